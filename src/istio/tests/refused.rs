//! What becomes of routes that Cloud Foundry guards: an answer in their place, and nothing else of them.

use super::*;
use crate::{
    model::Refusal,
    proto::istio::networking::v1alpha3::{
        HttpFaultInjection, HttpRouteDestination, Percent,
        http_fault_injection::{Abort, abort::ErrorType},
    },
};

fn refused(url: &str, refusal: Refusal, to: impl IntoIterator<Item = Destination>) -> Route {
    Route {
        refused: Some(refusal),
        ..route(url, to)
    }
}

/// The status that the hostname's `n`th route gives to all requests; `None` where it sends them on.
fn status(made: &Made, n: usize) -> Option<i32> {
    let abort = made.http()[n].fault?.abort.unwrap();
    assert_eq!(abort.percentage, Some(Percent { value: 100.0 }));
    let ErrorType::HttpStatus(status) = abort.error_type.unwrap();
    Some(status)
}

fn hosts(made: &Made, n: usize) -> Vec<&str> {
    let to = made.http()[n].route.iter();
    to.map(|to| to.destination.as_ref().unwrap().host.as_str())
        .collect()
}

#[test]
fn a_hostname_that_is_refused_answers_for_itself_and_has_no_service() {
    for (refusal, expected) in [(Refusal::RoutePolicies, 403), (Refusal::RouteService, 502)] {
        let made = make(
            [refused("shop.example.com", refusal, [to("app", 8080)])],
            [instance(1, "app", &[(8080, 61_001)])],
        );
        assert_eq!(status(&made, 0), Some(expected));
        assert!(made.http()[0].r#match.is_empty(), "every path");
        assert!(made.rules[1].is_empty() && made.entries[1].is_empty());
        assert!(made.unreachable.is_empty());
    }
}

#[test]
fn a_path_that_is_refused_keeps_its_place_before_the_shorter_path_to_the_same_app() {
    let made = make(
        [
            route("shop.example.com", [to("app", 8080)]),
            refused(
                "shop.example.com/admin",
                Refusal::RouteService,
                [to("app", 8080), to("app", 9090)],
            ),
        ],
        [instance(1, "app", &[(8080, 61_001), (9090, 61_002)])],
    );
    assert_eq!(status(&made, 0), Some(502));
    assert_eq!(hosts(&made, 0), ["refused.invalid"]);
    assert_eq!(status(&made, 1), None);
    // Service and endpoints are those of the open route alone.
    assert_eq!(made.split(1), [("shop.example.com", 100)]);
    let services: Vec<_> = made.entries[1].keys().collect();
    assert_eq!(services, ["shop.example.com"]);
    assert_eq!(made.endpoints("shop.example.com"), ["10.0.0.1:61001"]);
}

#[test]
fn every_spelling_of_a_refused_path_gets_the_answer() {
    let made = make(
        [
            route("shop.example.com", [to("app", 8080)]),
            refused("shop.example.com/Admin/", Refusal::RouteService, []),
        ],
        [],
    );
    let [classic, xds] = &made.services;
    let matches = |service: &Option<VirtualService>| {
        let matches = service.as_ref().unwrap().http[0].r#match.iter();
        let uri = matches.map(|request| request.uri.clone().unwrap().match_type.unwrap());
        uri.collect::<Vec<_>>()
    };
    let pattern = "/[aA][dD][mM][iI][nN](/.*)?".to_owned();
    assert_eq!(matches(classic), [MatchType::Regex(pattern)]);
    let (exact, below) = ("/admin".to_owned(), "/admin/".to_owned());
    assert_eq!(
        matches(xds),
        [MatchType::Exact(exact), MatchType::Prefix(below)]
    );
    let cases = xds.as_ref().unwrap().http[0].r#match.iter();
    assert!(
        cases
            .map(|request| request.ignore_uri_case)
            .all(|ignored| ignored)
    );
}

#[test]
fn of_two_routes_with_one_url_the_refused_one_counts_whatever_its_age() {
    for age in [0, 2] {
        let mut guarded = refused(
            "shop.example.com",
            Refusal::RoutePolicies,
            [to("app", 8080)],
        );
        guarded.guid = "guarded".into();
        guarded.created_at = age;
        let made = make(
            [route("shop.example.com", [to("app", 8080)]), guarded],
            [instance(1, "app", &[(8080, 61_001)])],
        );
        assert_eq!(made.http().len(), 1);
        assert_eq!(status(&made, 0), Some(403));
        assert!(made.rules[1].is_empty() && made.entries[1].is_empty());
    }
}

#[test]
fn an_internal_hostname_that_is_refused_is_not_there() {
    let made = make(
        [refused(
            "shop.apps.internal",
            Refusal::RoutePolicies,
            [to("app", 8080)],
        )],
        [instance(1, "app", &[(8080, 0)])],
    );
    assert!(made.services[1].is_none() && made.rules[1].is_empty() && made.entries[1].is_empty());
    assert_eq!(made.remarks[0].rule, "route-policies");
    assert!(made.unreachable.is_empty(), "nor has it an address to lack");
}

#[test]
fn each_refused_route_is_named_with_its_rule_and_what_to_do() {
    let made = make(
        [
            route("shop.example.com", [to("app", 8080)]),
            refused("shop.example.com/a", Refusal::RouteService, []),
            refused("shop.example.com/b", Refusal::RoutePolicies, []),
        ],
        [],
    );
    let remarks: Vec<_> = made.remarks.iter().map(|remark| remark.rule).collect();
    assert_eq!(remarks, ["route-service", "route-policies"]);
    let [bound, enforced] = [&made.remarks[0].detail, &made.remarks[1].detail];
    assert!(bound.contains("shop.example.com/a") && bound.contains("CAPI.ServeBoundRoutes"));
    assert!(enforced.contains("shop.example.com/b"));
    assert!(enforced.contains("requests get 403"));
}

#[test]
fn a_fault_that_istio_would_discard_or_apply_to_no_request_is_refused() {
    let validate = |error_type, percentage: Option<f64>| {
        let service = VirtualService {
            hosts: vec!["shop.example.com".to_owned()],
            http: vec![HttpRoute {
                route: vec![HttpRouteDestination {
                    destination: Some(crate::proto::istio::networking::v1alpha3::Destination {
                        host: "a.b".to_owned(),
                        ..Default::default()
                    }),
                    weight: 100,
                }],
                fault: Some(HttpFaultInjection {
                    abort: Some(Abort {
                        error_type,
                        percentage: percentage.map(|value| Percent { value }),
                    }),
                }),
                ..HttpRoute::default()
            }],
            ..VirtualService::default()
        };
        service
            .validate(Era::Classic)
            .map_err(|invalid| invalid.rule)
    };
    let forbidden = Some(ErrorType::HttpStatus(403));
    assert_eq!(validate(forbidden, Some(100.0)), Ok(()));
    assert_eq!(validate(None, Some(100.0)), Err("fault"));
    assert_eq!(
        validate(Some(ErrorType::HttpStatus(600)), Some(100.0)),
        Err("fault")
    );
    assert_eq!(validate(forbidden, None), Err("fault"));
    assert_eq!(validate(forbidden, Some(100.5)), Err("fault"));
}
