//! Hostnames that Istio refuses, under a wildcard whose VirtualService tells of them.

use regex::Regex;

use super::*;
use crate::{model::Refusal, proto::istio::networking::v1alpha3::http_fault_injection::abort};

/// What a request to the wildcard's VirtualService gets: a service, or a status.
fn answer(made: &Made, host: &str, path: &str) -> String {
    let is_met = |text: &Option<_>, of: &str| match text {
        None => true,
        Some(text) => {
            let text: &crate::proto::istio::networking::v1alpha3::StringMatch = text;
            match text.match_type.as_ref().unwrap() {
                MatchType::Exact(exact) => exact == of,
                MatchType::Prefix(prefix) => of.starts_with(prefix),
                MatchType::Regex(regex) => {
                    Regex::new(&format!("^(?:{regex})$")).unwrap().is_match(of)
                }
            }
        }
    };
    let mut routes = made.services[0].as_ref().unwrap().http.iter();
    let found = routes.find(|route| {
        let mut requests = route.r#match.iter();
        route.r#match.is_empty()
            || requests.any(|one| is_met(&one.authority, host) && is_met(&one.uri, path))
    });
    match found.map(|route| (route, route.fault.as_ref())) {
        None => "404".to_owned(),
        Some((_, Some(fault))) => {
            let abort::ErrorType::HttpStatus(status) = fault.abort.unwrap().error_type.unwrap();
            status.to_string()
        }
        Some((route, None)) => route.route[0].destination.as_ref().unwrap().host.clone(),
    }
}

fn refused(url: &str, refusal: Refusal) -> Route {
    Route {
        refused: Some(refusal),
        ..route(url, [to("app", 8080)])
    }
}

fn services_of(routes: &[Route]) -> Vec<String> {
    let names = routes
        .iter()
        .map(|route| service(&route.host, &route.key()));
    names.collect()
}

#[test]
fn it_is_looked_up_in_the_wildcards_place_in_any_case_and_with_any_port() {
    let routes = [
        route("*.x.com", [to("app", 8080)]),
        route("a_b.x.com", [to("app", 8080)]),
        refused("a_b.x.com/Admin", Refusal::RouteService),
        refused("c_d.x.com", Refusal::RoutePolicies),
        route("*.my_team.x.com", [to("app", 8080)]),
        refused("e.my_team.x.com/p", Refusal::RouteService),
    ];
    let names = services_of(&routes);
    let made = make(routes, [instance(1, "app", &[(8080, 61_001)])]);
    for (host, path, expected) in [
        ("a_b.x.com", "/", &*names[1]),
        ("A_B.X.com:8080", "/", &names[1]),
        ("a_b.x.com", "/admin/x", "502"),
        ("A_b.x.com:80", "/ADMIN", "502"),
        ("c_d.x.com", "/any", "403"),
        ("c_d.x.com:", "/any", "403"),
        ("e.my_team.x.com", "/p", "502"),
        ("e.my_team.x.com", "/", &names[4]),
        ("any.of.my_team.x.com", "/", &names[4]),
        // Of which Cloud Foundry knows nothing.
        ("my_team.x.com", "/", &names[0]),
        ("a_bbx.com.x.com", "/", &names[0]),
        ("x.a_b.x.com", "/", &names[0]),
        ("shop.x.com", "/", &names[0]),
    ] {
        assert_eq!(answer(&made, host, path), expected, "{host}{path}");
    }
    // What is open has its service, what is withheld has none.
    let entries: Vec<_> = made.entries[1].keys().cloned().collect();
    let mut open =
        [&names[0], &names[1], &names[4]].map(|name| name.replace(".routes.cloudfoundry", ""));
    open.sort();
    assert_eq!(entries, open);
    assert_eq!(made.remarks, []);
}

#[test]
fn a_nearer_wildcard_speaks_for_it_and_one_that_istio_refuses_does_not() {
    let made = make(
        [
            route("*.x.com", [to("app", 8080)]),
            route("*.deep.x.com", [to("app", 8080)]),
            refused("a_b.deep.x.com", Refusal::RouteService),
            route("*.my_team.x.com/p", []),
            refused("c.my_team.x.com", Refusal::RoutePolicies),
        ],
        [],
    );
    assert_eq!(answer(&made, "c.my_team.x.com", "/"), "403");
    let wide = "cf--any.x.com.routes.cloudfoundry";
    assert_eq!(answer(&made, "a_b.deep.x.com", "/"), wide, "not said here");
}

#[test]
fn the_longest_hostname_has_a_pattern_that_istio_takes() {
    let labels = ["a"; 124].join(".");
    let host = format!("a_{labels}.xy");
    assert_eq!(host.len(), 252);
    let made = make(
        [
            route("*.xy", [to("app", 8080)]),
            refused(&host, Refusal::RouteService),
            refused(&format!("{}_.xy", "a".repeat(249)), Refusal::RouteService),
        ],
        [],
    );
    assert_eq!(answer(&made, &host, "/"), "502");
    assert_eq!(
        answer(&made, &format!("{}_.xy", "A".repeat(249)), "/"),
        "502"
    );
}

#[test]
fn where_there_are_too_many_none_of_them_is_for_the_wildcard_and_they_are_named() {
    let routes: Vec<_> = (0..1003)
        .map(|n| refused(&format!("host_{n:04}.x.com"), Refusal::RouteService))
        .chain([route("*.x.com", [to("app", 8080)])])
        .rev()
        .collect();
    let mut table = table([], []);
    table.apply(Update::AllRoutes(routes.clone()));
    let made = make_of(&routes[..1], &table);
    assert_eq!(
        made.http().len(),
        1002,
        "and the rest, and the wildcard's own"
    );
    assert_eq!(answer(&made, "host_0999.x.com", "/"), "502");
    for host in [
        "host_1000.x.com",
        "Host_1002.x.com:8080",
        "-a.x.com",
        "a.b-.x.com",
    ] {
        assert_eq!(answer(&made, host, "/"), "503", "{host}");
    }
    let long = format!("{}.x.com", "a".repeat(64));
    assert_eq!(answer(&made, &long, "/"), "503");
    for host in ["shop.x.com", "a-b.x.com:80", "a.b--c.x.com"] {
        assert_eq!(
            answer(&made, host, "/"),
            "cf--any.x.com.routes.cloudfoundry",
            "{host}"
        );
    }
    let remark = &made.remarks[0];
    assert_eq!(remark.rule, "host");
    assert!(
        remark
            .detail
            .ends_with("host_1000.x.com, host_1001.x.com, host_1002.x.com"),
        "{remark}"
    );
}
