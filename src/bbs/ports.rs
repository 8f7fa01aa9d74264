//! The ports of a row: one mapping for each container port, with all the ports that lead to it. What cannot be is left out alone.

use smallvec::SmallVec;

use crate::{model::PortMapping, proto::bbs};

/// Cloud Controller allows an app ten ports.
const MAX_PORTS: usize = 64;

/// The ports of an instance, in the order of the container ports.
pub(super) type Ports = SmallVec<[PortMapping; 2]>;

/// Why a mapping is left out: a metric label, and what exactly is wrong.
pub(super) type Unusable = (&'static str, String);

/// Puts the mappings of each container port together: a cell reports an app's port once for each port of its proxy. Of
/// two that contradict each other the second is left out, and named by its place in the row.
pub(super) fn parse(
    sent: &[bbs::PortMapping],
    mut leave_out: impl FnMut(usize, Unusable),
) -> Ports {
    let mut ports = Ports::new();
    for (at, mapping) in sent.iter().enumerate() {
        if let Err(why) = read(mapping).and_then(|mapping| add(&mut ports, mapping)) {
            leave_out(at, why);
        }
    }
    ports.sort_unstable_by_key(|mapping| mapping.container);
    ports
}

fn read(sent: &bbs::PortMapping) -> Result<PortMapping, Unusable> {
    let port =
        |number: u32| u16::try_from(number).map_err(|_| ("port", format!("{number} is no port")));
    let container = port(sent.container_port)?;
    let tls = port(sent.container_tls_proxy_port)?;
    let mapping = PortMapping {
        container,
        host: port(sent.host_port)?,
        host_tls: port(sent.host_tls_proxy_port)?,
        container_tls: if tls == PortMapping::INTERNAL_TLS {
            0
        } else {
            tls
        },
        internal_tls: if tls == PortMapping::INTERNAL_TLS {
            tls
        } else {
            0
        },
    };
    if container == 0 {
        return Err(contradiction("there is no container port"));
    }
    consistent(mapping)
}

fn add(ports: &mut Ports, new: PortMapping) -> Result<(), Unusable> {
    let mut others = ports
        .iter()
        .filter(|known| known.container != new.container);
    if let Some((place, port)) = others.find_map(|known| shared(known, &new)) {
        return Err(contradiction(format!(
            "port {port} of the {place} is another container port's"
        )));
    }
    let is_full = ports.len() == MAX_PORTS;
    match ports
        .iter_mut()
        .find(|known| known.container == new.container)
    {
        Some(known) => *known = joined(known, &new)?,
        None if is_full => {
            return Err(("mapping", format!("more than {MAX_PORTS} container ports")));
        }
        None => ports.push(new),
    }
    Ok(())
}

/// Both mappings of a container port in one. Of several ports of the proxy that only containers reach, the first counts,
/// and before it the one to which a port of the cell leads.
fn joined(known: &PortMapping, new: &PortMapping) -> Result<PortMapping, Unusable> {
    let one = |a: u16, b: u16| match (a, b) {
        (0, port) | (port, 0) => Ok(port),
        (a, b) if a == b => Ok(a),
        (a, b) => Err(contradiction(format!(
            "port {a} was there before, for what is port {b} now"
        ))),
    };
    let container_tls = match (known.host_tls, new.host_tls) {
        (0, port) if port != 0 && new.container_tls != 0 => new.container_tls,
        (port, 0) if known.container_tls != 0 || port != 0 => known.container_tls,
        _ => one(known.container_tls, new.container_tls)?,
    };
    consistent(PortMapping {
        container: known.container,
        host: one(known.host, new.host)?,
        host_tls: one(known.host_tls, new.host_tls)?,
        container_tls,
        internal_tls: one(known.internal_tls, new.internal_tls)?,
    })
}

/// Where each port is, and its number.
fn all_ports(mapping: &PortMapping) -> [(&'static str, u16); 5] {
    [
        ("cell", mapping.host),
        ("cell", mapping.host_tls),
        ("container", mapping.container),
        ("container", mapping.container_tls),
        ("container", mapping.internal_tls),
    ]
}

/// A port that both have.
fn shared(a: &PortMapping, b: &PortMapping) -> Option<(&'static str, u16)> {
    let (a, b) = (all_ports(a), all_ports(b));
    a.into_iter().find(|port| port.1 != 0 && b.contains(port))
}

/// A port takes either TLS or plaintext.
fn consistent(mapping: PortMapping) -> Result<PortMapping, Unusable> {
    let ports = all_ports(&mapping);
    for (at, port) in ports.iter().enumerate() {
        if port.1 != 0 && ports[..at].contains(port) {
            let (place, port) = port;
            return Err(contradiction(format!(
                "port {port} of the {place} is there twice"
            )));
        }
    }
    Ok(mapping)
}

fn contradiction(detail: impl Into<String>) -> Unusable {
    ("mapping", detail.into())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Container port, host port, and the proxy's two.
    type Sent = (u32, u32, u32, u32);

    fn read_all(sent: &[Sent]) -> (Ports, Vec<(usize, &'static str)>) {
        let sent: Vec<_> = sent.iter().map(mapping).collect();
        let mut left_out = Vec::new();
        let ports = parse(&sent, |at, (reason, _)| left_out.push((at, reason)));
        (ports, left_out)
    }

    fn mapping((container, host, tls, host_tls): &Sent) -> bbs::PortMapping {
        bbs::PortMapping {
            container_port: *container,
            host_port: *host,
            container_tls_proxy_port: *tls,
            host_tls_proxy_port: *host_tls,
        }
    }

    fn tls(container: u16, host: u16, container_tls: u16, host_tls: u16) -> PortMapping {
        PortMapping {
            container_tls,
            host_tls,
            ..PortMapping::plain(container, host)
        }
    }

    fn mapping_with(container: u16, host: u16, container_tls: u16, host_tls: u16) -> PortMapping {
        PortMapping {
            internal_tls: 61_443,
            ..tls(container, host, container_tls, host_tls)
        }
    }

    #[test]
    fn two_mappings_of_a_container_port_are_one_place_with_several_ports() {
        let of_today = [
            (8080, 0, 61_001, 61_014),
            (8080, 0, 61_443, 0),
            (2222, 0, 61_002, 61_015),
        ];
        let expected = [
            tls(2222, 0, 61_002, 61_015),
            mapping_with(8080, 0, 61_001, 61_014),
        ];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let sent: Vec<_> = order.iter().map(|at| of_today[*at]).collect();
            let (ports, left_out) = read_all(&sent);
            assert_eq!((ports.as_slice(), left_out), (&expected[..], vec![]));
        }
    }

    #[test]
    fn plain_ports_stay_what_they_were() {
        let (ports, left_out) = read_all(&[(9090, 0, 0, 0), (8080, 0, 0, 0), (8080, 61_000, 0, 0)]);
        let expected = [
            PortMapping::plain(8080, 61_000),
            PortMapping::plain(9090, 0),
        ];
        assert_eq!((ports.as_slice(), left_out), (&expected[..], vec![]));
    }

    #[test]
    fn a_further_port_of_the_proxy_is_no_contradiction() {
        let sent = [
            (8080, 0, 62_443, 0),
            (8080, 0, 61_001, 61_014),
            (8080, 0, 61_443, 0),
        ];
        for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0]] {
            let sent: Vec<_> = order.iter().map(|at| sent[*at]).collect();
            let (ports, left_out) = read_all(&sent);
            let expected = mapping_with(8080, 0, 61_001, 61_014);
            assert_eq!((ports.as_slice(), left_out), (&[expected][..], vec![]));
        }
    }

    #[test]
    fn a_bad_mapping_is_left_out_and_the_others_stay() {
        let good = (8080, 61_000, 61_001, 61_014);
        for (bad, reason) in [
            ((0, 0, 61_002, 61_015), "mapping"),
            ((9090, 70_000, 0, 0), "port"),
            ((9090, 0, 70_000, 61_015), "port"),
            ((9090, 0, 61_002, 65_536), "port"),
            ((65_536, 61_002, 0, 0), "port"),
            ((8080, 61_002, 0, 0), "mapping"),
            ((8080, 0, 61_001, 61_015), "mapping"),
            ((8080, 0, 61_002, 61_014), "mapping"),
            ((9090, 61_000, 0, 0), "mapping"),
            ((9090, 61_014, 0, 0), "mapping"),
            ((9090, 0, 61_001, 61_015), "mapping"),
            ((9090, 61_016, 61_002, 61_016), "mapping"),
            ((9090, 61_016, 9090, 61_017), "mapping"),
            ((8080, 0, 0, 61_000), "mapping"),
        ] {
            let (ports, left_out) = read_all(&[good, bad]);
            let expected = tls(8080, 61_000, 61_001, 61_014);
            assert_eq!(ports.as_slice(), [expected], "{bad:?}");
            assert_eq!(left_out, [(1, reason)], "{bad:?}");
        }
    }

    #[test]
    fn no_row_has_more_ports_than_an_app_can_have() {
        let sent: Vec<_> = (1..=100).map(|port| (port, 0, 0, 0)).collect();
        let (ports, left_out) = read_all(&sent);
        assert_eq!((ports.len(), left_out.len()), (64, 36));
    }

    fn any_port() -> impl Strategy<Value = u32> {
        prop_oneof![0u32..4, Just(61_443), 65_530u32..65_540]
    }

    proptest! {
        #[test]
        fn any_mappings_give_each_port_once_and_each_is_used_or_left_out(
            sent in vec((any_port(), any_port(), any_port(), any_port()), 0..8),
        ) {
            let (ports, left_out) = read_all(&sent);
            let mut seen = std::collections::BTreeSet::new();
            for port in ports.iter().flat_map(all_ports).filter(|port| port.1 != 0) {
                prop_assert!(seen.insert(port), "{port:?} twice in {ports:?}");
            }
            prop_assert!(ports.iter().all(|mapping| mapping.container != 0));
            for (at, sent) in sent.iter().enumerate() {
                let is_there = ports.iter().any(|known| u32::from(known.container) == sent.0);
                let is_left_out = left_out.iter().any(|(left, _)| *left == at);
                prop_assert!(is_there || is_left_out, "{sent:?}");
            }
        }
    }
}
