//! From the destinations of a route to endpoints.

use std::{collections::BTreeMap, net::SocketAddrV4};

use super::{Answer, Target};
use crate::lookup::{
    messages::{Destination, DestinationRule, HttpRoute, Port, PortSelector, WorkloadEntry},
    reader::{Config, Named, Reader},
};

/// A service of the mesh: what all ServiceEntries of its hostname say.
#[derive(Debug, Default)]
pub struct Service {
    /// How many ServiceEntries there are of it.
    pub entries: usize,
    pub ports: Vec<Port>,
    pub endpoints: Vec<WorkloadEntry>,
    /// `MESH_INTERNAL`: of the mesh itself.
    pub is_internal: bool,
    is_confused: bool,
}

/// The services that a reader has.
pub fn services(config: &Config, reader: Reader) -> BTreeMap<String, Service> {
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    for entry in &config.entries {
        for host in &entry.body.hosts {
            let service = services.entry(host.clone()).or_default();
            service.entries += 1;
            service
                .endpoints
                .extend(entry.body.endpoints.iter().cloned());
            if service.entries == 1 {
                service.ports.clone_from(&entry.body.ports);
                service.is_internal = entry.body.location == 1;
            }
        }
    }
    if reader.confuses_wildcards() {
        let hosts: Vec<_> = services.keys().cloned().collect();
        for (host, service) in &mut services {
            let Some(suffix) = host.strip_prefix('*') else {
                continue;
            };
            service.is_confused = hosts
                .iter()
                .any(|other| other != host && other.ends_with(suffix));
        }
    }
    services
}

/// From destinations to endpoints.
pub struct Clusters<'a> {
    pub services: &'a BTreeMap<String, Service>,
    pub rules: &'a [Named<DestinationRule>],
}

impl Clusters<'_> {
    /// What becomes of the requests that a route matches.
    pub fn answer(&self, route: &HttpRoute) -> Answer {
        if let Some(direct) = &route.direct_response {
            return Answer::Status(direct.status.try_into().unwrap());
        }
        let abort = route.fault.and_then(|fault| fault.abort);
        let aborted = abort.filter(|abort| {
            // Without a percentage it happens to none.
            abort
                .percentage
                .is_some_and(|percent| percent.value >= 100.0)
        });
        if let Some(status) = aborted.and_then(|abort| abort.http_status) {
            return Answer::Status(status.try_into().unwrap());
        }
        let single = route.route.len() == 1;
        let weight = |weight: i32| if single { 1.0 } else { f64::from(weight) };
        let sum: f64 = route.route.iter().map(|to| weight(to.weight)).sum();
        let weighted = route.route.iter().filter(|to| single || to.weight > 0);
        let targets = weighted.flat_map(|to| {
            let share = 100.0 * weight(to.weight) / sum;
            self.targets(to.destination.as_ref().unwrap(), share)
        });
        Answer::Shared(targets.collect())
    }

    /// What becomes of the requests to a service's port, if no route says anything else.
    pub fn all_of(&self, host: &str, port: u32) -> Answer {
        let to = Destination {
            host: host.to_owned(),
            subset: String::new(),
            port: Some(PortSelector { number: port }),
        };
        Answer::Shared(self.targets(&to, 100.0))
    }

    fn targets(&self, to: &Destination, share: f64) -> Vec<Target> {
        let nobody = Target {
            endpoint: None,
            is_missing: !self.services.contains_key(&to.host),
            share,
            cluster: format!("{}|{}", to.subset, to.host),
            protocol: String::new(),
            policy: None,
        };
        let Some((service, port)) = self.service(to) else {
            return vec![nobody];
        };
        let rule = self.rule(&to.host);
        let subset = rule.and_then(|rule| rule.subsets.iter().find(|s| s.name == to.subset));
        if subset.is_none() && !to.subset.is_empty() || service.is_confused {
            return vec![nobody];
        }
        let of_rule = rule.and_then(|rule| rule.traffic_policy.as_ref());
        let of_subset = subset.and_then(|subset| subset.traffic_policy.as_ref());
        let policy = of_subset
            .or(of_rule)
            .and_then(|policy| policy.load_balancer.as_ref());
        let selects = |endpoint: &&WorkloadEntry| {
            let mut labels = subset.into_iter().flat_map(|subset| &subset.labels);
            labels.all(|(name, value)| endpoint.labels.get(name) == Some(value))
        };
        let endpoints: Vec<_> = service.endpoints.iter().filter(selects).collect();
        if endpoints.is_empty() {
            return vec![nobody];
        }
        let count: f64 = u32::try_from(endpoints.len()).unwrap().into();
        let share = share / count;
        let target = |endpoint: &&WorkloadEntry| {
            // Where an endpoint does not say its own, the service's number is its port.
            let number = *endpoint.ports.get(&port.name).unwrap_or(&port.number);
            Target {
                endpoint: Some(SocketAddrV4::new(
                    endpoint.address.parse().unwrap(),
                    number.try_into().unwrap(),
                )),
                share,
                protocol: port.protocol.to_ascii_lowercase(),
                policy: policy.and_then(|policy| policy.lb_policy.clone()),
                ..nobody.clone()
            }
        };
        endpoints.iter().map(target).collect()
    }

    /// The service and the port that a destination names; it may leave out the only port.
    fn service(&self, to: &Destination) -> Option<(&Service, &Port)> {
        let service = self.services.get(&to.host)?;
        let port = match (to.port, &service.ports[..]) {
            (Some(wanted), ports) => ports.iter().find(|port| port.number == wanted.number)?,
            (None, [only]) => only,
            (None, ports) => ports.iter().find(|port| port.number == 80)?,
        };
        Some((service, port))
    }

    /// The rule of a host: its own, else that of the nearest wildcard.
    fn rule(&self, host: &str) -> Option<&DestinationRule> {
        let rules = self.rules.iter().map(|rule| &rule.body);
        let specific = |rule: &&DestinationRule| {
            let suffix = rule.host.strip_prefix('*');
            let covers = suffix.map_or(rule.host == host, |suffix| host.ends_with(suffix));
            covers.then_some((suffix.is_none(), rule.host.len()))
        };
        let covering = rules.filter(|rule| specific(rule).is_some());
        // The first of the most specific: `max_by_key` would take the last.
        covering.reduce(|best, rule| {
            if specific(&rule) > specific(&best) {
                rule
            } else {
                best
            }
        })
    }
}
