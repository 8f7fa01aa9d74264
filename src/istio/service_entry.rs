//! ServiceEntries.

use std::collections::{BTreeMap, BTreeSet};

use super::{Eras, endpoint, subset::Subsets};
use crate::{
    model::{AppPort, Instance, Protocol, Workload},
    proto::istio::networking::v1alpha3::{
        ServiceEntry, ServicePort, WorkloadEntry,
        service_entry::{Location, Resolution},
    },
    table::HostView,
};

/// The ports and endpoints of a hostname. `None` where no instance can be reached, since Pilots up to 1.4 discard a
/// static ServiceEntry without endpoints; with `keep_empty` it stays for istiods, if the hostname leads anywhere.
pub(super) fn service_entry(host: &HostView<'_>, keep_empty: bool) -> Eras<Option<ServiceEntry>> {
    let ports = Ports::of(host);
    let subsets = Subsets::of(host);
    let endpoints: Vec<_> = subsets
        .workloads()
        .flat_map(|(workload, reached)| {
            let (ports, subsets) = (&ports, &subsets);
            host.instances(workload).filter_map(move |instance| {
                endpoint(host, ports, subsets, workload, reached, instance)
            })
        })
        .collect();
    let is_empty = endpoints.is_empty();
    if is_empty && (ports.0.is_empty() || !keep_empty) {
        return Eras::Same(None);
    }
    let entry = ServiceEntry {
        hosts: vec![host.name.to_string()],
        addresses: host.vip().iter().map(ToString::to_string).collect(),
        ports: ports.service_ports(),
        location: Location::MeshInternal.into(),
        resolution: Resolution::Static.into(),
        endpoints,
    };
    if is_empty {
        Eras::Each {
            classic: None,
            xds: Some(entry),
        }
    } else {
        Eras::Same(Some(entry))
    }
}

fn endpoint(
    host: &HostView<'_>,
    ports: &Ports,
    subsets: &Subsets<'_>,
    workload: &Workload,
    reached: &BTreeSet<AppPort>,
    instance: &Instance,
) -> Option<WorkloadEntry> {
    let internal = host.is_internal();
    let address = endpoint::address(host, instance)?;
    let serving: BTreeMap<AppPort, u16> = reached
        .iter()
        .filter_map(|port| Some((*port, endpoint::port(instance, *port, internal)?)))
        .collect();
    (!serving.is_empty()).then(|| WorkloadEntry {
        address: address.to_string(),
        labels: subsets.labels(workload, serving.keys().copied()),
        ports: serving
            .into_iter()
            .map(|(port, at)| (ports.name(port), at.into()))
            .collect(),
    })
}

/// The service ports of a hostname: those of its destinations.
struct Ports(BTreeMap<AppPort, Protocol>);

impl Ports {
    fn of(host: &HostView<'_>) -> Self {
        let mut ports = BTreeMap::new();
        for to in host.routes.iter().flat_map(|route| &route.destinations) {
            // A port has one protocol for all who share it, and HTTP/1.1 is what everyone speaks.
            let protocol = ports.entry(to.port).or_insert(to.protocol);
            *protocol = to.protocol.min(*protocol);
        }
        Self(ports)
    }

    /// Unique in the ServiceEntry: Pilot discards one with two ports of the same name.
    fn name(&self, port: AppPort) -> String {
        if self.0.len() == 1 {
            "http".to_owned()
        } else {
            format!("http-{}", port.number())
        }
    }

    fn service_ports(&self) -> Vec<ServicePort> {
        self.0
            .iter()
            .map(|(port, protocol)| ServicePort {
                number: port.number().into(),
                protocol: match protocol {
                    Protocol::Http1 => "http".to_owned(),
                    Protocol::Http2 => "http2".to_owned(),
                },
                name: self.name(*port),
            })
            .collect()
    }
}
