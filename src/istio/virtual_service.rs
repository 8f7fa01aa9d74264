//! VirtualServices.

use std::sync::Arc;

use super::{GATEWAY, endpoint, subset::Subsets, validate::Invalid, weights};
use crate::{
    model::{Destination as To, Route},
    proto::istio::networking::v1alpha3::{
        Destination, HttpMatchRequest, HttpRoute, HttpRouteDestination, PortSelector, StringMatch,
        VirtualService, string_match::MatchType,
    },
    table::HostView,
};

/// The routes of a hostname that have destinations; `None` where none has.
pub(super) fn virtual_service(host: &HostView<'_>) -> Option<VirtualService> {
    let subsets = Subsets::of(host);
    let http: Vec<_> = served(host)
        .map(|route| HttpRoute {
            r#match: path_matches(&route.path),
            route: destinations(host, &subsets, route),
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

/// The routes with destinations, one for each path. Two with the same path follow each other, and the first counts.
pub(super) fn served<'a>(host: &HostView<'a>) -> impl Iterator<Item = &'a Route> {
    let mapped = host
        .routes
        .iter()
        .filter(|route| !route.destinations.is_empty());
    let mut last: Option<&str> = None;
    mapped
        .filter(move |route| last.replace(&route.path) != Some(&route.path))
        .map(Arc::as_ref)
}

/// The routes of a hostname that another one hides.
pub(super) fn shadowed(host: &HostView<'_>) -> Option<Invalid> {
    let served: Vec<_> = served(host).map(|route| &route.guid).collect();
    let mut hidden = host
        .routes
        .iter()
        .filter(|route| !route.destinations.is_empty() && !served.contains(&&route.guid));
    hidden.next().map(|route| Invalid {
        rule: "shadowed",
        detail: format!(
            "route {} has the path {:?} of another one, which is served",
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
        })
        .into()
}

/// Destinations whose share of their route is less than Istio can tell: it takes whole percents.
pub(super) fn rounded_away(host: &HostView<'_>) -> Option<Invalid> {
    served(host).find_map(|route| {
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
        .filter(|instance| endpoint::serves(host, instance, to));
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
