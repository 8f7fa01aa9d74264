//! Where an instance is reached.

use std::net::{IpAddr, Ipv4Addr};

use crate::model::{AppPort, Instance, PortMapping};

/// Where Diego's own SSH daemon listens in containers.
const SSH: u16 = 2222;

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
pub(super) fn port(instance: &Instance, wanted: AppPort, internal: bool) -> Option<u16> {
    let mapping = match wanted {
        AppPort::Number(number) => mapping(instance, number)?,
        AppPort::Main => main(instance)?,
    };
    let port = if internal {
        mapping.container
    } else {
        mapping.host
    };
    (port != 0).then_some(port)
}

fn mapping(instance: &Instance, container: u16) -> Option<&PortMapping> {
    instance
        .ports
        .iter()
        .find(|mapping| mapping.container == container)
}

/// Where an app serves requests if nobody said: at the platform's default port, else at its lowest port that is not
/// the platform's own for SSH, else there.
fn main(instance: &Instance) -> Option<&PortMapping> {
    let other = |mapping: &&PortMapping| mapping.container != SSH;
    mapping(instance, AppPort::DEFAULT)
        .or_else(|| instance.ports.iter().find(other))
        .or_else(|| instance.ports.first())
}
