//! The ports of an internal hostname's service.

use std::collections::{BTreeMap, BTreeSet};

use super::destinations;
use crate::{
    istio::service_entry::protocol,
    model::{AppPort, Protocol},
    proto::istio::networking::v1alpha3::ServicePort,
    table::HostView,
};

/// The service ports of a hostname, one for each port and protocol of its destinations.
pub(super) struct Ports {
    /// By port and protocol, the number by which apps and VirtualServices know it.
    numbers: BTreeMap<(AppPort, Protocol), u32>,
}

impl Ports {
    pub(super) fn of(host: HostView<'_>) -> Self {
        let used: BTreeSet<_> = destinations(host)
            .map(|to| (to.port, to.protocol))
            .collect();
        let mut numbers = BTreeMap::new();
        let mut taken = BTreeSet::new();
        let mut others = Vec::new();
        for (port, protocol) in used {
            if taken.insert(u32::from(port.number())) {
                numbers.insert((port, protocol), port.number().into());
            } else {
                others.push((port, protocol));
            }
        }
        // Two protocols at one port are two ports of the service. Only the VirtualService sends to the second.
        let mut free = (1..=65_535).rev();
        for other in others {
            if let Some(free) = free.find(|number| taken.insert(*number)) {
                numbers.insert(other, free);
            }
        }
        Self { numbers }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The number of a port of the hostname's.
    pub(super) fn number(&self, port: AppPort, protocol: Protocol) -> u32 {
        let number = self.numbers.get(&(port, protocol)).copied();
        number.unwrap_or_else(|| port.number().into())
    }

    /// Unique in the ServiceEntry: Pilot discards one with two ports of the same name.
    pub(super) fn name(&self, port: AppPort, protocol: Protocol) -> String {
        if self.numbers.len() == 1 {
            "http".to_owned()
        } else {
            format!("http-{}", self.number(port, protocol))
        }
    }

    pub(super) fn service_ports(&self) -> Vec<ServicePort> {
        let ports = self.numbers.iter();
        ports
            .map(|((port, spoken), number)| ServicePort {
                number: *number,
                protocol: protocol(*spoken).to_owned(),
                name: self.name(*port, *spoken),
            })
            .collect()
    }
}
