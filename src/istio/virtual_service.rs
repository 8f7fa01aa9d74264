//! VirtualServices.

use std::sync::Arc;

use super::{GATEWAY, endpoint, refused, subset::Subsets, validate::Invalid, weights};
use crate::{
    model::{Destination as To, Route},
    proto::istio::networking::v1alpha3::{
        Destination, HttpMatchRequest, HttpRoute, HttpRouteDestination, PortSelector, StringMatch,
        VirtualService, string_match::MatchType,
    },
    table::HostView,
};

/// The routes of a hostname that lead somewhere or are refused; `None` where there is none.
pub(super) fn virtual_service(host: &HostView<'_>) -> Option<VirtualService> {
    // Only the ingress answers at a hostname that has no service.
    if host.is_internal() && open(host).next().is_none() {
        return None;
    }
    let subsets = Subsets::of(host);
    let http: Vec<_> = placed(host)
        .map(|route| match route.refused {
            Some(refusal) => refused::answer(&route.path, refusal),
            None => HttpRoute {
                r#match: path_matches(&route.path),
                route: destinations(host, &subsets, route),
                fault: None,
            },
        })
        .collect();
    // Without a gateway, a VirtualService is for the sidecars of the mesh.
    let gateways = if host.is_internal() {
        Vec::new()
    } else {
        vec![GATEWAY.to_owned()]
    };
    (!http.is_empty()).then(|| VirtualService {
        hosts: vec![host.name.to_string()],
        gateways,
        http,
    })
}

/// The routes that have a place in the lookup, with destinations or refused, one for each path. Two with the same path
/// follow each other, and the first counts.
fn placed<'a>(host: &HostView<'a>) -> impl Iterator<Item = &'a Route> {
    let candidates = host
        .routes
        .iter()
        .filter(|route| route.refused.is_some() || !route.destinations.is_empty());
    let mut last: Option<&str> = None;
    candidates
        .filter(move |route| last.replace(&route.path) != Some(&route.path))
        .map(Arc::as_ref)
}

/// The routes that are served: of no other is there a service, a subset or an endpoint.
pub(super) fn open<'a>(host: &HostView<'a>) -> impl Iterator<Item = &'a Route> {
    placed(host).filter(|route| route.refused.is_none())
}

/// The routes of a hostname that another one hides.
pub(super) fn shadowed(host: &HostView<'_>) -> Option<Invalid> {
    let placed: Vec<_> = placed(host).map(|route| &route.guid).collect();
    let mut hidden = host
        .routes
        .iter()
        .filter(|route| !route.destinations.is_empty() && !placed.contains(&&route.guid));
    hidden.next().map(|route| Invalid {
        rule: "shadowed",
        detail: format!(
            "route {} has the path {:?} of another one, which counts",
            route.guid, route.path
        ),
    })
}

/// `/sub` matches `/sub` and all below it, not `/subway`: Envoy's own prefix match is of characters.
fn path_matches(path: &str) -> Vec<HttpMatchRequest> {
    if path.is_empty() {
        return Vec::new();
    }
    let below = MatchType::Prefix(format!("{}/", path.trim_end_matches('/')));
    [MatchType::Exact(path.to_owned()), below]
        .map(|match_type| HttpMatchRequest {
            uri: Some(StringMatch {
                match_type: Some(match_type),
            }),
            ignore_uri_case: false,
        })
        .into()
}

/// Destinations whose share of their route is less than Istio can tell: it takes whole percents.
pub(super) fn rounded_away(host: &HostView<'_>) -> Option<Invalid> {
    open(host).find_map(|route| {
        let count = weights::rounded_away(&route.destinations, |to| serving(host, to));
        (count > 0).then(|| Invalid {
            rule: "share",
            detail: format!(
                "{count} of {} destinations of route {} get no whole percent of its requests",
                route.destinations.len(),
                route.guid
            ),
        })
    })
}

/// How many instances take requests to the destination.
fn serving(host: &HostView<'_>, to: &To) -> u64 {
    let serving = host
        .instances(&to.workload)
        .filter(|instance| endpoint::serves(instance, to, host.is_internal()));
    serving.count() as u64
}

fn destinations(
    host: &HostView<'_>,
    subsets: &Subsets<'_>,
    route: &Route,
) -> Vec<HttpRouteDestination> {
    let percentages = weights::percentages(&route.destinations, |to| serving(host, to));
    std::iter::zip(&route.destinations, percentages)
        .filter(|(_, percentage)| *percentage > 0)
        .map(|(to, percentage)| HttpRouteDestination {
            destination: Some(Destination {
                host: host.name.to_string(),
                subset: subsets.name(to),
                port: Some(PortSelector {
                    number: to.port.number().into(),
                }),
            }),
            weight: i32::try_from(percentage).expect("at most 100"),
        })
        .collect()
}
