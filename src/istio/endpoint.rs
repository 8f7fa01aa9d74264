//! Where an instance is reached.

use std::net::{IpAddr, Ipv4Addr};

use super::validate::Invalid;
use crate::{
    model::{AppPort, Destination, Instance},
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

/// The port at that address behind which the container port is.
pub(super) fn port(instance: &Instance, wanted: AppPort, internal: bool) -> Option<u16> {
    let mapping = instance.mapping(wanted)?;
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

/// Instances of a hostname's destinations that run but cannot be reached, or an internal hostname without an address.
pub(super) fn unreachable(host: &HostView<'_>) -> Option<Invalid> {
    if host.lacks_vip() {
        let detail = "no virtual address is left in VIPCIDR".to_owned();
        return Some(Invalid {
            rule: "vip",
            detail,
        });
    }
    let destinations = host.routes.iter().flat_map(|route| &route.destinations);
    let unreachable = destinations.flat_map(|to| {
        host.instances(&to.workload)
            .filter(|instance| !serves(instance, to, host.is_internal()))
    });
    let count = unreachable.count();
    (count > 0).then(|| Invalid {
        rule: "unreachable",
        detail: format!(
            "{count} instances without an IPv4 address or without a mapping of the destination's port"
        ),
    })
}
