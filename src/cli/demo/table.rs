//! What the client holds, as a table for a person.

use std::{
    cmp::Reverse,
    fmt::{self, Write as _},
};

use prost::Message;

use super::scene;
use crate::{
    istio::{GATEWAY, GATEWAYS, Kind},
    model::Hostname,
    proto::istio::networking::v1alpha3::{
        DestinationRule, HttpRoute, HttpRouteDestination, ServiceEntry, VirtualService,
        string_match::MatchType,
    },
    sim::{cloud_foundry::INTERNAL_DOMAIN, sink::State},
};

/// A hostname's resources as the client holds them.
struct Held<'a> {
    state: &'a State,
    host: &'a Hostname,
}

impl Held<'_> {
    fn name(&self, kind: Kind) -> String {
        kind.name(self.host, self.host.as_str().ends_with(INTERNAL_DOMAIN))
    }

    fn has(&self, kind: Kind) -> bool {
        let names = self.state.names(kind.collection()).unwrap_or_default();
        names.contains(&self.name(kind).as_str())
    }

    fn resource<M: Message + Default>(&self, kind: Kind) -> M {
        let collection = self.state.collections.get(kind.collection());
        let resource = collection.and_then(|collection| collection.resources.get(&self.name(kind)));
        let body = resource.and_then(|resource| resource.body.as_ref());
        body.and_then(|body| M::decode(body.value.as_slice()).ok())
            .unwrap_or_default()
    }

    /// What the client's Envoys would do with a request for the path.
    fn route(&self, path: &str) -> Option<HttpRoute> {
        let service: VirtualService = self.resource(Kind::VirtualService);
        service
            .http
            .into_iter()
            .find(|route| match_path(route) == path)
    }

    /// The endpoints behind a destination: those with the labels of its subset, at its port.
    fn endpoints(&self, to: &HttpRouteDestination) -> Vec<String> {
        let to = to.destination.clone().unwrap_or_default();
        let rule: DestinationRule = self.resource(Kind::DestinationRule);
        let entry: ServiceEntry = self.resource(Kind::ServiceEntry);
        let subset = rule
            .subsets
            .into_iter()
            .find(|subset| subset.name == to.subset)
            .unwrap_or_default();
        let number = to.port.unwrap_or_default().number;
        let port = entry
            .ports
            .into_iter()
            .find(|port| port.number == number)
            .unwrap_or_default();
        let selected = |labels: &std::collections::BTreeMap<String, String>| {
            subset
                .labels
                .iter()
                .all(|(name, value)| labels.get(name) == Some(value))
        };
        entry
            .endpoints
            .iter()
            .filter(|endpoint| selected(&endpoint.labels))
            .filter_map(|endpoint| {
                Some(format!(
                    "{}:{}",
                    endpoint.address,
                    endpoint.ports.get(&port.name)?
                ))
            })
            .collect()
    }
}

fn match_path(route: &HttpRoute) -> &str {
    let exact = route.r#match.iter().find_map(|r#match| {
        match r#match.uri.as_ref()?.match_type.as_ref()? {
            MatchType::Exact(path) => Some(path.as_str()),
            MatchType::Prefix(_) | MatchType::Regex(_) => None,
        }
    });
    exact.unwrap_or_default()
}

/// Whether the client holds the gateway, and the resources of so many hostnames, of which so many have instances.
pub(super) fn is_complete(state: &State, served: usize, reached: usize) -> bool {
    let count = |collection| state.names(collection).map(|names| names.len());
    count(GATEWAYS) == Some(1)
        && count(Kind::VirtualService.collection()) == Some(served)
        && count(Kind::DestinationRule.collection()) == Some(served)
        && count(Kind::ServiceEntry.collection()) == Some(reached)
}

/// Every endpoint of a hostname, whatever its path.
pub(super) fn endpoints(state: &State, host: &Hostname) -> Vec<String> {
    let service: VirtualService = Held { state, host }.resource(Kind::VirtualService);
    let destinations = service.http.iter().flat_map(|route| &route.route);
    destinations
        .flat_map(|to| Held { state, host }.endpoints(to))
        .collect()
}

/// Each route with its endpoints and the names of its resources; `withheld` says why a hostname is not served.
pub(super) fn render(
    state: &State,
    withheld: impl Fn(&Hostname) -> Option<String>,
) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for (host, path, remark) in scene::routes() {
        let held = Held { state, host: &host };
        writeln!(text, "{host}{path}  ({remark})")?;
        let mut split = held.route(path).unwrap_or_default().route;
        split.sort_by_key(|to| Reverse(to.weight));
        for to in split {
            let endpoints = held.endpoints(&to);
            let endpoints = if endpoints.is_empty() {
                "no instance".to_owned()
            } else {
                endpoints.join("  ")
            };
            writeln!(text, "  {:>3} %  {endpoints}", to.weight)?;
        }
        for kind in Kind::ALL.into_iter().filter(|kind| held.has(*kind)) {
            writeln!(text, "         {kind:?} {}", held.name(kind))?;
        }
        if let Some(reason) = withheld(&host) {
            writeln!(text, "         not served: {reason}")?;
        }
    }
    if state.names(GATEWAYS).unwrap_or_default().contains(&GATEWAY) {
        writeln!(text, "all external routes\n         Gateway {GATEWAY}")?;
    }
    Ok(text)
}
