//! What becomes of requests by the resources that a server serves, whatever shape says it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use prost::Message;

use super::{
    matches::{Match, matches},
    server::{Protocol, Served},
};
use crate::{
    istio::{Era, Kind, validate::Validate},
    proto::istio::networking::v1alpha3::{
        ClientTlsSettings, Destination, DestinationRule, Gateway, HttpRetry, HttpRoute,
        LoadBalancerSettings, OutlierDetection, Server, ServiceEntry, Sidecar, TrafficPolicy,
        VirtualService, WorkloadEntry,
        client_tls_settings::TlSmode,
        headers::HeaderOperations,
        http_fault_injection::abort::ErrorType,
        load_balancer_settings::{
            ConsistentHashLb, LbPolicy,
            consistent_hash_lb::{HashKey, HttpCookie},
        },
    },
};

/// What all resources come to.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// What the ingress listens to.
    pub(super) servers: BTreeSet<String>,
    pub(super) hosts: BTreeMap<Host, Routes>,
    /// By the labels of their proxies, whom apps may call.
    pub(super) reach: BTreeMap<String, BTreeSet<String>>,
    /// What readers discard without a word, and why.
    pub(super) discarded: BTreeMap<String, String>,
}

/// A hostname.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Host {
    pub(super) name: String,
    /// Whether apps call it within the mesh.
    pub(super) internal: bool,
}

/// How requests for a hostname are answered.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The virtual addresses that it resolves to.
    pub(super) addresses: BTreeSet<String>,
    /// Each that some request gets to: behind a wider match nothing is reached.
    pub(super) routes: BTreeMap<(Option<String>, String), (Match, Answer)>,
}

/// How a request is answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// By the proxy.
    Status(i32),
    /// By instances: each gets so many of a hundred requests. Without any, the proxy says that there is none.
    Shared {
        shares: BTreeMap<Endpoint, f64>,
        policies: BTreeSet<String>,
    },
}

/// An instance, as it is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    address: String,
    port: u32,
    protocol: String,
    tls: bool,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({}", self.address, self.port, self.protocol)?;
        f.write_str(if self.tls { ", TLS)" } else { ")" })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        f.write_str(if self.internal { " (internal)" } else { "" })
    }
}

impl Answer {
    /// Whether nobody is there to answer.
    pub(super) fn is_nobody(&self) -> bool {
        matches!(self, Self::Shared { shares, .. } if shares.is_empty())
    }
}

impl Effect {
    /// What is served comes to this for readers of the protocol.
    pub(super) fn of(served: &Served, protocol: Protocol) -> Self {
        let era = match protocol {
            Protocol::Mcp => Era::Classic,
            Protocol::Xds => Era::Xds,
        };
        let mut effect = Self::default();
        let services = effect.services(served, era);
        for (_, gateway) in effect.valid::<Gateway>(served, Kind::Gateway, era) {
            effect
                .servers
                .extend(gateway.servers.iter().flat_map(doors));
        }
        for (_, sidecar) in effect.valid::<Sidecar>(served, Kind::Sidecar, era) {
            let labels = sidecar.workload_selector.unwrap_or_default().labels;
            let labels: Vec<_> = labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let hosts = sidecar.egress.into_iter().flat_map(|egress| egress.hosts);
            effect.reach.insert(labels.join(","), hosts.collect());
        }
        for (_, service) in effect.valid::<VirtualService>(served, Kind::VirtualService, era) {
            for name in &service.hosts {
                let internal = service.gateways.is_empty();
                let host = Host {
                    name: name.clone(),
                    internal,
                };
                effect
                    .hosts
                    .entry(host)
                    .or_default()
                    .add(&service.http, &services);
            }
        }
        effect.add_services(&services);
        effect
    }

    /// The resources of a kind that readers take in. The others are noted.
    fn valid<T: Message + Default + Validate>(
        &mut self,
        served: &Served,
        kind: Kind,
        era: Era,
    ) -> Vec<(String, T)> {
        let mut valid = Vec::new();
        for (name, body) in served.get(&kind).into_iter().flatten() {
            let decoded = T::decode(&**body).map_err(|error| error.to_string());
            let sound = decoded.and_then(|resource| match resource.validate(era) {
                Ok(()) => Ok(resource),
                Err(invalid) => Err(invalid.detail),
            });
            match sound {
                Ok(resource) => valid.push((name.clone(), resource)),
                Err(why) => {
                    self.discarded.insert(format!("{kind:?} {name}"), why);
                }
            }
        }
        valid
    }

    fn services(&mut self, served: &Served, era: Era) -> Services {
        let mut services = Services::default();
        for (name, entry) in self.valid::<ServiceEntry>(served, Kind::ServiceEntry, era) {
            let internal = name.starts_with("internal/");
            for host in &entry.hosts {
                let service = (internal, entry.clone());
                services.entries.insert(host.clone(), service);
            }
        }
        for (_, rule) in self.valid::<DestinationRule>(served, Kind::DestinationRule, era) {
            services.rules.insert(rule.host.clone(), rule);
        }
        services
    }

    /// Internal hostnames are services: what no VirtualService says of them goes to all endpoints alike.
    fn add_services(&mut self, services: &Services) {
        let internal = services
            .entries
            .iter()
            .filter(|(_, (internal, _))| *internal);
        for (name, (_, entry)) in internal {
            let host = Host {
                name: name.clone(),
                internal: true,
            };
            let routes = self.hosts.entry(host).or_default();
            routes.addresses.extend(entry.addresses.iter().cloned());
            let destinations = entry.ports.iter().map(|port| (port.number, 100.0));
            let mut destinations: Vec<_> = destinations.collect();
            for (_, share) in &mut destinations {
                *share /= f64::from(u32::try_from(entry.ports.len()).unwrap_or(u32::MAX));
            }
            let answer = services.shared(destinations.iter().map(|(port, share)| {
                let to = Destination {
                    host: name.clone(),
                    port: Some(crate::proto::istio::networking::v1alpha3::PortSelector {
                        number: *port,
                    }),
                    ..Destination::default()
                };
                (to, *share)
            }));
            routes.insert(&matches(&[]), &answer);
        }
    }
}

/// Services by their hostnames.
#[derive(Debug, Default)]
struct Services {
    /// Whether it is of the internal namespace, and what it is.
    entries: BTreeMap<String, (bool, ServiceEntry)>,
    rules: BTreeMap<String, DestinationRule>,
}

impl Services {
    fn answer(&self, route: &HttpRoute) -> Answer {
        let abort = route.fault.and_then(|fault| fault.abort);
        if let Some(ErrorType::HttpStatus(status)) = abort.and_then(|abort| abort.error_type) {
            return Answer::Status(status);
        }
        // A single destination has all, whatever its weight.
        let is_single = route.route.len() == 1;
        let weighted = route.route.iter().filter_map(|to| {
            let share = if is_single {
                100.0
            } else {
                f64::from(to.weight)
            };
            Some((to.destination.clone()?, share))
        });
        let mut answer = self.shared(weighted);
        if let Answer::Shared { policies, .. } = &mut answer {
            policies.extend(asked_for(route));
        }
        answer
    }

    fn shared(&self, destinations: impl Iterator<Item = (Destination, f64)>) -> Answer {
        let (mut shares, mut policies) = (BTreeMap::new(), BTreeSet::new());
        for (to, share) in destinations.filter(|(_, share)| *share > 0.0) {
            let endpoints = self.endpoints(&to);
            let rule = self.rules.get(&to.host);
            let policy = rule.and_then(|rule| rule.traffic_policy.as_ref());
            policies.extend(policy.into_iter().flat_map(words));
            let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
            for endpoint in endpoints {
                *shares.entry(endpoint).or_default() += share / f64::from(count);
            }
        }
        Answer::Shared { shares, policies }
    }

    fn endpoints(&self, to: &Destination) -> Vec<Endpoint> {
        let Some((_, entry)) = self.entries.get(&to.host) else {
            return Vec::new();
        };
        let wanted = to.port.map(|port| port.number);
        let mut ports = entry.ports.iter();
        let Some(port) = ports.find(|port| wanted.is_none_or(|wanted| port.number == wanted))
        else {
            return Vec::new();
        };
        let rule = self.rules.get(&to.host);
        let subset =
            rule.and_then(|rule| rule.subsets.iter().find(|subset| subset.name == to.subset));
        if subset.is_none() && !to.subset.is_empty() {
            return Vec::new();
        }
        let is_in = |endpoint: &&WorkloadEntry| {
            let labels = subset.iter().flat_map(|subset| &subset.labels);
            let mut labels = labels.map(|(key, value)| endpoint.labels.get(key) == Some(value));
            labels.all(|has| has)
        };
        let policy = rule.and_then(|rule| rule.traffic_policy.as_ref());
        let tls = policy.and_then(|policy| policy.tls.as_ref());
        let endpoints = entry
            .endpoints
            .iter()
            .filter(is_in)
            .map(|endpoint| Endpoint {
                address: endpoint.address.clone(),
                port: endpoint
                    .ports
                    .get(&port.name)
                    .copied()
                    .unwrap_or(port.number),
                protocol: port.protocol.clone(),
                tls: tls.is_some_and(|tls| tls.mode() != TlSmode::Disable),
            });
        endpoints.collect()
    }
}

impl Routes {
    fn add(&mut self, routes: &[HttpRoute], services: &Services) {
        for route in routes {
            self.insert(&matches(&route.r#match), &services.answer(route));
        }
    }

    fn insert(&mut self, matches: &[Match], answer: &Answer) {
        for next in matches {
            let is_covered = self.routes.values().any(|(before, _)| before.covers(next));
            if !is_covered {
                let answer = (next.clone(), answer.clone());
                self.routes.entry(next.key()).or_insert(answer);
            }
        }
    }
}

fn doors(server: &Server) -> Vec<String> {
    let port = server.port.clone().unwrap_or_default();
    let tls = server.tls.as_ref();
    let said = tls.map_or_else(String::new, |tls| {
        if tls.https_redirect {
            ", to HTTPS".to_owned()
        } else {
            format!(", certificate {}", tls.server_certificate)
        }
    });
    let hosts = server.hosts.iter();
    hosts
        .map(|host| format!("{} {} {host}{said}", port.number, port.protocol))
        .collect()
}

/// A policy in words, without what changes with each instance.
fn words(policy: &TrafficPolicy) -> Vec<String> {
    let TrafficPolicy {
        load_balancer,
        connection_pool,
        outlier_detection,
        tls,
    } = policy;
    let choice = load_balancer.as_ref().and_then(choice);
    let tls = tls.as_ref().filter(|tls| tls.mode() != TlSmode::Disable);
    let tcp = connection_pool.as_ref().and_then(|pool| pool.tcp.as_ref());
    let connect = tcp.and_then(|tcp| tcp.connect_timeout.as_ref());
    let connect = connect.map(|time| format!("{time} for a connection"));
    let ejection = outlier_detection.as_ref().map(ejected);
    [choice, connect, ejection, tls.map(verified)]
        .into_iter()
        .flatten()
        .collect()
}

fn ejected(detection: &OutlierDetection) -> String {
    let time = detection.base_ejection_time.unwrap_or_default();
    let failures = detection
        .consecutive_local_origin_failures
        .unwrap_or_default();
    format!("no requests for {time} after {failures} connections that failed")
}

/// What becomes of a route's requests beside where they go.
fn asked_for(route: &HttpRoute) -> Vec<String> {
    let HttpRoute {
        rewrite,
        timeout,
        retries,
        headers,
        ..
    } = route;
    let said = [
        rewrite
            .as_ref()
            .map(|rewrite| format!("the path replaced by {}", rewrite.uri)),
        timeout
            .as_ref()
            .map(|timeout| format!("a timeout of {timeout}")),
        retries
            .as_ref()
            .filter(|retries| !is_default(retries))
            .map(tried_again),
    ];
    let said = said.into_iter().flatten();
    let sides = headers.iter().flat_map(|headers| {
        let sides = [
            ("request", &headers.request),
            ("response", &headers.response),
        ];
        sides.map(|(side, changes)| Some(changed_headers(side, changes.as_ref()?)))
    });
    said.chain(sides.flatten()).collect()
}

/// What this daemon says of every external route where nobody chose otherwise, and the Go Copilot of none.
fn is_default(retries: &HttpRetry) -> bool {
    let unsent = [
        "connect-failure,refused-stream",
        "connect-failure,refused-stream,reset-before-request",
    ];
    retries.attempts == 2
        && retries.per_try_timeout.is_none()
        && unsent.contains(&&*retries.retry_on)
}

fn tried_again(retries: &HttpRetry) -> String {
    let each = retries.per_try_timeout.as_ref();
    let each = each.map_or_else(String::new, |time| format!(", for {time} each"));
    format!("{} retries of {}{each}", retries.attempts, retries.retry_on)
}

fn changed_headers(side: &str, changes: &HeaderOperations) -> String {
    let set = changes.set.iter();
    let set = set.map(|(name, value)| format!("{name}: {value}"));
    let removed = changes.remove.iter().map(|name| format!("no {name}"));
    let all: Vec<_> = set.chain(removed).collect();
    format!("{side} headers {}", all.join(", "))
}

fn choice(settings: &LoadBalancerSettings) -> Option<String> {
    Some(match settings.lb_policy.as_ref()? {
        // One number each in old and new Istios.
        LbPolicy::Simple(0 | 4) => "picked in turn".to_owned(),
        LbPolicy::Simple(1 | 5) => "picked by fewest requests".to_owned(),
        LbPolicy::Simple(other) => format!("picked by {other}"),
        LbPolicy::ConsistentHash(ConsistentHashLb { hash_key }) => match hash_key.as_ref()? {
            HashKey::HttpHeaderName(header) => format!("picked by the header {header}"),
            HashKey::HttpCookie(HttpCookie { name, path, ttl }) => {
                let ttl = ttl
                    .as_ref()
                    .map_or_else(String::new, |ttl| format!(", kept for {ttl}"));
                format!("picked by the cookie {name} of {path}{ttl}")
            }
        },
    })
}

fn verified(tls: &ClientTlsSettings) -> String {
    let ClientTlsSettings {
        client_certificate,
        ca_certificates,
        subject_alt_names,
        ..
    } = tls;
    let names = if subject_alt_names.is_empty() {
        "any name"
    } else {
        "their names"
    };
    format!("verified by {ca_certificates} and {names}, client certificate {client_certificate:?}")
}
