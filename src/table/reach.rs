//! Where an instance is reached, and through which door.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::places::{Standing, v4};
use crate::model::{AppPort, Instance};

/// For which hostnames instances are reached over TLS, where they have a door for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tls {
    /// For external ones.
    pub external: bool,
    /// For internal ones.
    pub internal: bool,
}

/// Where an instance takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Door {
    /// The address and port.
    pub at: SocketAddrV4,
    /// Whether it takes TLS, or else plaintext.
    pub is_tls: bool,
}

/// Why nobody can be sent to an instance that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreachable {
    /// Its address is another's now.
    Taken,
    /// It takes nothing but TLS.
    TlsAlone,
    /// It has no IPv4 address, or no door to the port.
    NoDoor,
}

/// The door of an instance for everyone: its cell's, or its container's own where the cell prefers that. Over TLS where
/// there is such a door, and proxies are told how.
///
/// Pilots up to 1.4 discard a ServiceEntry with an IPv6 endpoint whole, so such an instance
/// is left out by itself.
pub(super) fn outside(
    instance: &Instance,
    standing: Standing,
    wanted: AppPort,
    tls: bool,
) -> Result<Door, Unreachable> {
    if !standing.has_cell {
        return Err(Unreachable::Taken);
    }
    let mapping = instance.mapping(wanted).ok_or(Unreachable::NoDoor)?;
    let is_preferred = instance.prefers_container && standing.has_container;
    let container = instance.container_address.filter(|_| is_preferred);
    let (address, over_tls, plain) = match container.and_then(v4) {
        Some(address) => (Some(address), mapping.container_tls, mapping.container),
        None => (v4(instance.host_address), mapping.host_tls, mapping.host),
    };
    let address = address.ok_or(Unreachable::NoDoor)?;
    match (over_tls, plain) {
        (port, _) if port != 0 && tls => Ok(door(address, port, true)),
        (_, port) if port != 0 => Ok(door(address, port, false)),
        (0, _) => Err(Unreachable::NoDoor),
        _ => Err(Unreachable::TlsAlone),
    }
}

/// The door of an instance for other apps, at the container's own address.
pub(super) fn inside(
    instance: &Instance,
    standing: Standing,
    wanted: AppPort,
    tls: bool,
) -> Result<Door, Unreachable> {
    let address = instance.container_address.and_then(v4);
    let address = address.ok_or(Unreachable::NoDoor)?;
    if !standing.has_container {
        return Err(Unreachable::Taken);
    }
    let mapping = instance.mapping(wanted).ok_or(Unreachable::NoDoor)?;
    Ok(match mapping.internal_tls {
        port if port != 0 && tls => door(address, port, true),
        _ => door(address, mapping.container, false),
    })
}

fn door(address: Ipv4Addr, port: u16, is_tls: bool) -> Door {
    Door {
        at: SocketAddrV4::new(address, port),
        is_tls,
    }
}
