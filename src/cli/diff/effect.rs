//! What becomes of requests by the resources that a server serves, whatever shape says it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use prost::Message;

use super::{
    gateways::Gateways,
    matches::matches,
    routes::{Answer, Endpoint, Routes},
    server::{Protocol, Served},
    words::{asked_for, words},
};
use crate::{
    istio::{Era, Kind, validate::Validate},
    proto::istio::networking::v1alpha3::{
        Destination, DestinationRule, Gateway, HttpRoute, PortSelector, ServiceEntry, Sidecar,
        TcpRoute, VirtualService, WorkloadEntry, client_tls_settings::TlSmode,
        http_fault_injection::abort::ErrorType,
    },
};

/// What all resources come to.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// What the ingress listens to.
    pub(super) gateways: Gateways,
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

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        f.write_str(if self.internal { " (internal)" } else { "" })
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
        for (name, gateway) in effect.valid::<Gateway>(served, Kind::Gateway, era) {
            effect.gateways.add(&name, &gateway);
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
            for route in &service.tcp {
                effect.add_ports(route, &services);
            }
            let hosts = service.hosts.iter();
            for name in hosts.filter(|_| !service.http.is_empty()) {
                let internal = service.gateways.is_empty();
                let host = Host {
                    name: name.clone(),
                    internal,
                };
                let listeners = effect.gateways.of(&service.gateways, name);
                let routes = effect.hosts.entry(host).or_default();
                routes.listeners.extend(listeners);
                for route in &service.http {
                    routes.insert(&matches(&route.r#match), &services.answer(route));
                }
            }
        }
        effect.add_services(&services);
        effect
    }

    /// A port stands where a hostname does for requests: the host of TCP routes is looked at by nobody.
    fn add_ports(&mut self, route: &TcpRoute, services: &Services) {
        let answer = services.divided(route.route.iter().map(|to| (&to.destination, to.weight)));
        for matched in &route.r#match {
            let host = Host {
                name: format!("TCP port {}", matched.port),
                internal: false,
            };
            let routes = self.hosts.entry(host).or_default();
            routes.insert(&matches(&[]), &answer);
        }
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
                    port: Some(PortSelector { number: *port }),
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
        let mut answer = self.divided(route.route.iter().map(|to| (&to.destination, to.weight)));
        if let Answer::Shared { policies, .. } = &mut answer {
            policies.extend(asked_for(route));
        }
        answer
    }

    /// A single destination has all, whatever its weight.
    fn divided<'a>(
        &self,
        to: impl ExactSizeIterator<Item = (&'a Option<Destination>, i32)>,
    ) -> Answer {
        let is_single = to.len() == 1;
        self.shared(to.filter_map(|(to, weight)| {
            let share = if is_single { 100.0 } else { f64::from(weight) };
            Some((to.clone()?, share))
        }))
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
