//! Routes that Cloud Foundry guards in a way that a mesh cannot: the fixed answer in their place, and why.

use super::validate::Invalid;
use crate::{
    model::{Refusal, Route},
    proto::istio::networking::v1alpha3::{
        Destination, HttpFaultInjection, HttpMatchRequest, HttpRoute, HttpRouteDestination,
        Percent, StringMatch,
        http_fault_injection::{Abort, abort::ErrorType},
        string_match::MatchType,
    },
    table::HostView,
};

/// Where nothing is, and nothing ever will be (RFC 6761): Istio takes no route without a destination. Whoever got past
/// the fault would be told that there is no such cluster.
const NOWHERE: &str = "refused.invalid";

/// The same for every request to the path and what is below it.
///
/// A fault is what all Pilots and istiods have; a direct response came with Istio 1.15.
pub(super) fn answer(path: &str, refusal: Refusal) -> HttpRoute {
    HttpRoute {
        r#match: matches(path),
        route: vec![HttpRouteDestination {
            destination: Some(Destination {
                host: NOWHERE.to_owned(),
                ..Destination::default()
            }),
            weight: 100,
        }],
        fault: Some(HttpFaultInjection {
            abort: Some(Abort {
                error_type: Some(ErrorType::HttpStatus(refusal.status().into())),
                percentage: Some(Percent { value: 100.0 }),
            }),
        }),
    }
}

/// Every spelling of the path by which the gorouter finds the route: in whatever case, with or without a slash at its
/// end. What is not matched here goes to a shorter path, which may lead to the same app.
fn matches(path: &str) -> Vec<HttpMatchRequest> {
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Vec::new();
    }
    [
        MatchType::Exact(path.to_owned()),
        MatchType::Prefix(format!("{path}/")),
    ]
    .map(|match_type| HttpMatchRequest {
        uri: Some(StringMatch {
            match_type: Some(match_type),
        }),
        ignore_uri_case: true,
    })
    .into()
}

/// Why each of the hostname's refused routes is not served, and what an operator can do.
pub(super) fn reasons(host: &HostView<'_>) -> impl Iterator<Item = Invalid> {
    let internal = host.is_internal();
    host.routes
        .iter()
        .filter_map(move |route| Some(reason(route, route.refused?, internal)))
}

fn reason(route: &Route, refusal: Refusal, internal: bool) -> Invalid {
    let (rule, why, remedy) = match refusal {
        Refusal::RoutePolicies => (
            "route-policies",
            "is of a domain that enforces route policies, which a mesh cannot",
            "reach it through the gorouter, or give its app a route of a domain that does not enforce them",
        ),
        Refusal::RouteService => (
            "route-service",
            "is bound to a route service, past which a mesh would serve it",
            "reach it through the gorouter, unbind it, or set CAPI.ServeBoundRoutes if nothing is lost past the service",
        ),
    };
    let instead = if internal {
        "it is not served".to_owned()
    } else {
        format!("requests get {}", refusal.status())
    };
    Invalid {
        rule,
        detail: format!(
            "route {} ({}{}) {why}: {instead}; {remedy}",
            route.guid, route.host, route.path
        ),
    }
}
