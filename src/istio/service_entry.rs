//! ServiceEntries of routes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
};

use bytes::Bytes;
use prost::Message as _;

use super::{Eras, Options, PORT, validate::Invalid};
use crate::{
    model::Protocol,
    proto::istio::networking::v1alpha3::{
        ServiceEntry, ServicePort, WorkloadEntry,
        service_entry::{Location, Resolution},
    },
    snapshot::Resource,
    table::{Part, Pool, Unreachable},
};

/// The protocol of TCP routes' services.
const TCP: &str = "tcp";

/// A service for a part of a route's requests, with all the instances that take them.
///
/// It is outside of the mesh, so that no Istio puts a mutual TLS of its own on it.
pub(super) fn service_entry(
    service: &str,
    pool: &Pool<'_>,
    part: &Part<'_>,
    options: &Options,
) -> Eras<Option<ServiceEntry>> {
    let (number, name) = match pool.host().name.port() {
        Some(number) => (number.into(), TCP),
        None => (PORT, "http"),
    };
    let endpoints = pool.endpoints(part).into_iter();
    let endpoints = endpoints.map(|(at, instance)| WorkloadEntry {
        address: at.ip().to_string(),
        ports: BTreeMap::from([(name.to_owned(), at.port().into())]),
        labels: BTreeMap::new(),
        locality: options.defaults.locality(instance),
    });
    let entry = ServiceEntry {
        hosts: vec![service.to_owned()],
        addresses: Vec::new(),
        ports: vec![ServicePort {
            number,
            protocol: protocol(part.protocol).to_owned(),
            name: name.to_owned(),
        }],
        location: Location::MeshExternal.into(),
        resolution: Resolution::Static.into(),
        endpoints: endpoints.collect(),
        export_to: Vec::new(),
    };
    for_eras(entry, options.keep_empty)
}

/// The endpoints of a ServiceEntry as it is served.
pub(super) fn places(served: Resource<'_>) -> BTreeSet<SocketAddrV4> {
    let body = served.decode().body.unwrap_or_default();
    let entry = ServiceEntry::decode(&*body.value).unwrap_or_default();
    entry.endpoints.iter().filter_map(place).collect()
}

/// A ServiceEntry, but for all that is not counted.
#[derive(Clone, PartialEq, prost::Message)]
struct Counted {
    /// As in the message itself.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    endpoints: Vec<Bytes>,
}

/// How many endpoints a ServiceEntry has: a count copies none of them.
pub(super) fn count(served: Resource<'_>) -> usize {
    let body = served.decode().body.unwrap_or_default();
    let entry = Counted::decode(Bytes::from(body.value)).unwrap_or_default();
    entry.endpoints.len()
}

/// A ServiceEntry as it is served, with those of its endpoints only that are among these; `None` if all are.
pub(super) fn reduced(
    served: Resource<'_>,
    to: &BTreeSet<SocketAddrV4>,
    keep_empty: bool,
) -> Option<(i64, Eras<Option<ServiceEntry>>)> {
    let message = served.decode();
    let mut entry = ServiceEntry::decode(&*message.body?.value).ok()?;
    entry.export_to.clear();
    let before = entry.endpoints.len();
    entry
        .endpoints
        .retain(|endpoint| place(endpoint).is_some_and(|place| to.contains(&place)));
    if entry.endpoints.len() == before {
        return None;
    }
    let created_at = message.metadata?.create_time?.seconds;
    Some((created_at, for_eras(entry, keep_empty)))
}

fn place(endpoint: &WorkloadEntry) -> Option<SocketAddrV4> {
    let address: Ipv4Addr = endpoint.address.parse().ok()?;
    let port = *endpoint.ports.values().next()?;
    Some(SocketAddrV4::new(address, port.try_into().ok()?))
}

/// Pilots up to 1.4 discard a static ServiceEntry without endpoints. With `keep_empty` it stays for istiods, to which the
/// next endpoint is then no new service.
///
/// To a sidecar a service of TCP without an address is a listener at its port, whatever goes there. So istiods tell of it
/// nobody but proxies of its own namespace, of which apps' have Sidecars; to Pilots it has no namespace.
pub(super) fn for_eras(entry: ServiceEntry, keep_empty: bool) -> Eras<Option<ServiceEntry>> {
    let is_tcp = entry.ports.iter().any(|port| port.protocol == TCP);
    if is_tcp {
        let is_kept = keep_empty || !entry.endpoints.is_empty();
        let classic = (!entry.endpoints.is_empty()).then(|| entry.clone());
        let export_to = vec![".".to_owned()];
        let xds = is_kept.then_some(ServiceEntry { export_to, ..entry });
        return Eras::new(classic, xds);
    }
    if !entry.endpoints.is_empty() {
        Eras::Same(Some(entry))
    } else if keep_empty {
        Eras::Each {
            classic: None,
            xds: Some(entry),
        }
    } else {
        Eras::Same(None)
    }
}

/// The protocol of a service's port.
pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "http",
        Protocol::Http2 => "http2",
        Protocol::Tcp => TCP,
    }
}

/// What is wrong with the pools although their services are served.
pub(super) fn unreachable<'a>(pools: impl IntoIterator<Item = Pool<'a>>) -> Vec<Invalid> {
    let mut kinds: BTreeMap<_, (usize, _)> = BTreeMap::new();
    for pool in pools {
        for (why, instance) in pool.unreachable() {
            let first = (0, (pool.host(), instance));
            kinds.entry(why).or_insert(first).0 += 1;
        }
    }
    let kinds = kinds.into_iter();
    kinds
        .map(|(why, (count, (host, instance)))| match why {
            Unreachable::Taken => {
                let owner = host.successor(instance);
                let owner = owner.map_or("a cell".to_owned(), |owner| owner.guid.to_string());
                Invalid {
                    rule: "taken",
                    detail: format!(
                        "{count} instances with an address that is not theirs any more: that of {} is now of {owner}",
                        instance.guid
                    ),
                }
            }
            Unreachable::TlsAlone => Invalid {
                rule: "tls",
                detail: format!(
                    "{count} instances that are reached over TLS alone: BackendTLS says how proxies do that"
                ),
            },
            Unreachable::NoPort => Invalid {
                rule: "unreachable",
                detail: format!(
                    "{count} instances without an IPv4 address or without a mapping of the destination's port"
                ),
            },
        })
        .collect()
}
