//! Where an instance is reached.

use std::net::{IpAddr, Ipv4Addr};

use super::validate::Invalid;
use crate::{
    model::{AppPort, Destination, Instance, PortMapping},
    table::HostView,
};

/// Where Diego's own SSH daemon listens in containers.
const SSH: u16 = 2222;

/// The address of an instance: the cell's for external hostnames, the container's for internal ones. None that is
/// another's.
///
/// Pilots up to 1.4 discard a ServiceEntry with an IPv6 endpoint whole, so such an instance is left out by itself.
pub(super) fn address(host: &HostView<'_>, instance: &Instance) -> Option<Ipv4Addr> {
    let standing = host.standing(instance);
    let (address, is_own) = if host.is_internal() {
        (instance.container_address?, standing.has_container)
    } else {
        (instance.host_address, standing.has_cell)
    };
    match address {
        IpAddr::V4(address) if is_own => Some(address),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
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

/// Whether requests to the destination can be sent to the instance.
pub(super) fn serves(host: &HostView<'_>, instance: &Instance, to: &Destination) -> bool {
    address(host, instance).is_some() && port(instance, to.port, host.is_internal()).is_some()
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
            .filter(|instance| !serves(host, instance, to))
    });
    let (taken, unreachable): (Vec<_>, Vec<_>) =
        unreachable.partition(|instance| is_taken(host, instance));
    if let Some(instance) = taken.first() {
        let owner = host.successor(instance);
        let owner = owner.map_or("a cell".to_owned(), |owner| owner.guid.to_string());
        return Some(Invalid {
            rule: "taken",
            detail: format!(
                "{} instances with an address that is not theirs any more: that of {} is now of {owner}",
                taken.len(),
                instance.guid
            ),
        });
    }
    let count = unreachable.len();
    (count > 0).then(|| Invalid {
        rule: "unreachable",
        detail: format!(
            "{count} instances without an IPv4 address or without a mapping of the destination's port"
        ),
    })
}

fn is_taken(host: &HostView<'_>, instance: &Instance) -> bool {
    let standing = host.standing(instance);
    if host.is_internal() {
        instance.container_address.is_some() && !standing.has_container
    } else {
        !standing.has_cell
    }
}
