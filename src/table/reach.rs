//! At which endpoint an instance is reached.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::places::{Standing, v4};
use crate::model::{AppPort, Instance};

/// For which hostnames instances are reached over TLS, where they have an endpoint for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tls {
    /// For external ones.
    pub external: bool,
    /// For internal ones.
    pub internal: bool,
}

/// Where an instance takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
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
    /// It has no IPv4 address, or no port that leads there.
    NoPort,
}

/// The endpoint of an instance for everyone: its cell's, or its container's own where the cell prefers that. Over TLS where
/// there is such an endpoint, and proxies are told how.
///
/// Pilots up to 1.4 discard a ServiceEntry with an IPv6 endpoint whole, so such an instance
/// is left out by itself.
pub(super) fn outside(
    instance: &Instance,
    standing: Standing,
    wanted: AppPort,
    tls: bool,
) -> Result<Endpoint, Unreachable> {
    if !standing.has_cell {
        return Err(Unreachable::Taken);
    }
    let mapping = instance.mapping(wanted).ok_or(Unreachable::NoPort)?;
    let is_preferred = instance.prefers_container && standing.has_container;
    let container = instance.container_address.filter(|_| is_preferred);
    let (address, over_tls, plain) = match container.and_then(v4) {
        Some(address) => (Some(address), mapping.container_tls, mapping.container),
        None => (v4(instance.host_address), mapping.host_tls, mapping.host),
    };
    let address = address.ok_or(Unreachable::NoPort)?;
    match (over_tls, plain) {
        (port, _) if port != 0 && tls => Ok(endpoint(address, port, true)),
        (_, port) if port != 0 => Ok(endpoint(address, port, false)),
        (0, _) => Err(Unreachable::NoPort),
        _ => Err(Unreachable::TlsAlone),
    }
}

/// The endpoint of an instance for other apps, at the container's own address.
pub(super) fn inside(
    instance: &Instance,
    standing: Standing,
    wanted: AppPort,
    tls: bool,
) -> Result<Endpoint, Unreachable> {
    let address = instance.container_address.and_then(v4);
    let address = address.ok_or(Unreachable::NoPort)?;
    if !standing.has_container {
        return Err(Unreachable::Taken);
    }
    let mapping = instance.mapping(wanted).ok_or(Unreachable::NoPort)?;
    Ok(match mapping.internal_tls {
        port if port != 0 && tls => endpoint(address, port, true),
        _ => endpoint(address, mapping.container, false),
    })
}

fn endpoint(address: Ipv4Addr, port: u16, is_tls: bool) -> Endpoint {
    Endpoint {
        at: SocketAddrV4::new(address, port),
        is_tls,
    }
}
