//! Where an instance is reached.

use std::net::{IpAddr, SocketAddrV4};

use super::Standing;
use crate::model::{AppPort, Instance, PortMapping};

/// Where Diego's own SSH daemon listens in containers.
const SSH: u16 = 2222;

/// Why nobody can be sent to an instance that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreachable {
    /// Its address is another's now.
    Taken,
    /// It has no IPv4 address, or no door to the port.
    NoDoor,
}

/// Where a container port of an instance is reached: by the cell for external hostnames, at the container's own address
/// for internal ones. Never another port: an app that was not restarted since a port was added to it does not listen
/// there yet.
///
/// Pilots up to 1.4 discard a ServiceEntry with an IPv6 endpoint whole, so such an instance is left out by itself.
pub(super) fn reach(
    instance: &Instance,
    standing: Standing,
    wanted: AppPort,
    internal: bool,
) -> Result<SocketAddrV4, Unreachable> {
    let mapping = match wanted {
        AppPort::Number(number) => mapping(instance, number),
        AppPort::Main => main(instance),
    };
    let mapping = mapping.ok_or(Unreachable::NoDoor)?;
    let (address, port, is_own) = if internal {
        let address = instance.container_address;
        (address, mapping.container, standing.has_container)
    } else {
        let address = Some(instance.host_address);
        (address, mapping.host, standing.has_cell)
    };
    match address {
        Some(IpAddr::V4(_)) if !is_own => Err(Unreachable::Taken),
        Some(IpAddr::V4(address)) if port != 0 => Ok(SocketAddrV4::new(address, port)),
        _ => Err(Unreachable::NoDoor),
    }
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
