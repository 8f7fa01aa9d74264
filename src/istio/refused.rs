//! Routes that Cloud Foundry guards in a way that a mesh cannot: the fixed answer in their place, and why.

use super::validate::Invalid;
use crate::{
    model::{Refusal, Route},
    proto::istio::networking::v1alpha3::{
        Destination, HttpFaultInjection, HttpMatchRequest, HttpRoute, HttpRouteDestination,
        Percent,
        http_fault_injection::{Abort, abort::ErrorType},
    },
    table::HostView,
};

/// Where nothing is, and nothing ever will be (RFC 6761): Istio takes no route without a destination. Whoever got past
/// the fault would be told that there is no such cluster.
const NOWHERE: &str = "refused.invalid";

/// The same status for all requests that match.
///
/// A fault is what all Pilots and istiods have; a direct response came with Istio 1.15.
pub(super) fn answer(matches: Vec<HttpMatchRequest>, status: u16) -> HttpRoute {
    HttpRoute {
        r#match: matches,
        route: vec![HttpRouteDestination {
            destination: Some(Destination {
                host: NOWHERE.to_owned(),
                ..Destination::default()
            }),
            weight: 100,
        }],
        fault: Some(HttpFaultInjection {
            abort: Some(Abort {
                error_type: Some(ErrorType::HttpStatus(status.into())),
                percentage: Some(Percent { value: 100.0 }),
            }),
        }),
        ..HttpRoute::default()
    }
}

/// Why each of the hostname's refused routes is not served, and what an operator can do.
pub(super) fn reasons(host: HostView<'_>) -> impl Iterator<Item = Invalid> {
    let is_unanswered = host.is_internal() || host.is_tcp();
    host.routes
        .iter()
        .filter_map(move |route| Some(reason(route, route.refused?, is_unanswered)))
}

fn reason(route: &Route, refusal: Refusal, is_unanswered: bool) -> Invalid {
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
    let instead = if is_unanswered {
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
