//! Where an instance is reached.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    model::{Destination, Instance},
    table::HostView,
};

/// The address of an instance: the cell's for external hostnames, the container's for internal ones.
///
/// Pilots up to 1.4 discard a ServiceEntry with an IPv6 endpoint whole, so such an instance is left out by itself.
pub(super) fn address(instance: &Instance, internal: bool) -> Option<Ipv4Addr> {
    let address = if internal {
        instance.container_address?
    } else {
        instance.host_address
    };
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// The port at that address behind which the container port is. Never another port: an app that was not restarted
/// since a port was added to it does not listen there yet.
pub(super) fn port(instance: &Instance, container: u16, internal: bool) -> Option<u16> {
    let mapping = instance
        .ports
        .iter()
        .find(|mapping| mapping.container == container)?;
    let port = if internal {
        mapping.container
    } else {
        mapping.host
    };
    (port != 0).then_some(port)
}

/// Whether requests to the destination can be sent to the instance.
pub(super) fn serves(instance: &Instance, to: &Destination, internal: bool) -> bool {
    address(instance, internal).is_some() && port(instance, to.port, internal).is_some()
}

/// How many instances of a hostname's destinations are running but cannot be reached: no IPv4 address, or no mapping
/// of the destination's port.
pub fn unreachable(host: &HostView<'_>) -> usize {
    host.routes
        .iter()
        .flat_map(|route| &route.destinations)
        .map(|to| {
            host.instances(&to.workload)
                .filter(|instance| !serves(instance, to, host.is_internal()))
                .count()
        })
        .sum()
}
