//! Where an instance is reached.

use std::net::{IpAddr, Ipv4Addr};

use crate::model::{AppPort, Instance};

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
