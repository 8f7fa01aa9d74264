//! What is known of Istio and Envoy, and that the interpreter knows it.

use super::*;
use crate::lookup::{
    messages::{
        Abort, Destination, DestinationRule, Gateway, HttpDirectResponse, HttpFaultInjection,
        HttpRouteDestination, MatchType, Percent, Port, Server, ServiceEntry, StringMatch, Subset,
        VirtualService, WorkloadEntry,
    },
    reader::Named,
};

fn named<M>(name: &str, created_at: i64, body: M) -> Named<M> {
    Named {
        name: name.to_owned(),
        created_at,
        body,
    }
}

fn port() -> Port {
    Port {
        number: 80,
        protocol: "HTTP".to_owned(),
        name: "http".to_owned(),
    }
}

/// A service with an endpoint at each of these ports of an address.
fn entry(host: &str, endpoints: &[u32]) -> Named<ServiceEntry> {
    let endpoints = endpoints.iter().map(|number| WorkloadEntry {
        address: "10.0.0.1".to_owned(),
        ports: [("http".to_owned(), *number)].into(),
        labels: [("of".to_owned(), number.to_string())].into(),
    });
    let body = ServiceEntry {
        hosts: vec![host.to_owned()],
        ports: vec![port()],
        resolution: 1,
        endpoints: endpoints.collect(),
        ..ServiceEntry::default()
    };
    named(host, 0, body)
}

fn to(host: &str, weight: i32) -> HttpRouteDestination {
    HttpRouteDestination {
        destination: Some(Destination {
            host: host.to_owned(),
            ..Destination::default()
        }),
        weight,
    }
}

/// A route of one match to one service; without one it matches everything.
fn route(uri: impl Into<Option<MatchType>>, host: &str) -> HttpRoute {
    let request = uri.into().map(|match_type| HttpMatchRequest {
        uri: Some(StringMatch {
            match_type: Some(match_type),
        }),
        ..HttpMatchRequest::default()
    });
    HttpRoute {
        matches: request.into_iter().collect(),
        route: vec![to(host, 0)],
        ..HttpRoute::default()
    }
}

fn exact(path: &str) -> MatchType {
    MatchType::Exact(path.to_owned())
}

fn service(host: &str, http: Vec<HttpRoute>) -> VirtualService {
    VirtualService {
        hosts: vec![host.to_owned()],
        gateways: vec!["ingress".to_owned()],
        http,
    }
}

/// With services `a.com`, `b.com` and `c.com`, of one endpoint each, whose ports are 1, 2 and 3.
fn config(services: Vec<VirtualService>) -> Config {
    let server = Server {
        port: Some(port()),
        hosts: vec!["*".to_owned()],
        tls: None,
    };
    let gateway = Gateway {
        servers: vec![server],
        ..Gateway::default()
    };
    let numbered = (0..).zip(services);
    Config {
        gateways: vec![named("ingress", 0, gateway)],
        services: numbered.map(|(n, service)| named("", n, service)).collect(),
        entries: vec![
            entry("a.com", &[1]),
            entry("b.com", &[2]),
            entry("c.com", &[3]),
        ],
        ..Config::default()
    }
}

/// The ports of who answers, with their shares; `None` is nobody.
fn ports(answer: &Answer) -> Vec<(Option<u16>, f64)> {
    match answer {
        Answer::Status(status) => panic!("{status}"),
        Answer::Shared(targets) => targets
            .iter()
            .map(|target| (target.endpoint.map(|at| at.port()), target.share))
            .collect(),
    }
}

fn asked(config: &Config, host: &str, target: &str) -> Vec<(Option<u16>, f64)> {
    ports(Envoy::new(config.clone(), Reader::Istiod).ask(host, target))
}

#[test]
fn the_most_specific_domain_counts_without_regard_to_case_and_port() {
    let config = config(vec![
        service("*.x.com", vec![route(None, "a.com")]),
        service("*.deep.x.com", vec![route(None, "b.com")]),
        service("one.x.com", vec![route(None, "c.com")]),
    ]);
    for (host, found) in [
        ("other.x.com", 1),
        ("two.labels.x.com", 1),
        ("a.deep.x.com", 2),
        ("ONE.x.com:8080", 3),
        ("a.one.x.com", 1),
    ] {
        assert_eq!(asked(&config, host, "/"), [(Some(found), 100.0)], "{host}");
    }
    let envoy = Envoy::new(config, Reader::Istiod);
    for host in ["x.com", "ax.com", "x.org", ""] {
        assert_eq!(envoy.ask(host, "/"), &Answer::Status(404), "{host:?}");
    }
}

#[test]
fn the_first_route_that_matches_counts_and_nothing_after_one_that_always_does() {
    let prefix = |path: &str| MatchType::Prefix(path.to_owned());
    let regex = |regex: &str| MatchType::Regex(regex.to_owned());
    let config = config(vec![service(
        "x.com",
        vec![
            route(exact("/p"), "b.com"),
            route(regex("/[pP](/.*)?"), "c.com"),
            route(prefix("/"), "a.com"),
            route(exact("/never"), "c.com"),
        ],
    )]);
    for (target, found) in [
        ("/p", 2),
        ("/p?q", 2),
        ("/P", 3),
        ("/P/x", 3),
        ("/pp", 1),
        ("/never", 1),
    ] {
        assert_eq!(
            asked(&config, "x.com", target),
            [(Some(found), 100.0)],
            "{target}"
        );
    }
}

#[test]
fn case_is_ignored_where_that_is_asked_of_who_knows_it() {
    let mut folded = route(exact("/Api"), "a.com");
    folded.matches[0].ignore_uri_case = true;
    let config = config(vec![service("x.com", vec![folded])]);
    for (reader, knows) in [
        (Reader::Pilot(1), false),
        (Reader::Pilot(3), true),
        (Reader::Istiod, true),
    ] {
        let envoy = Envoy::new(config.clone(), reader);
        let answered = |target| *envoy.ask("x.com", target) != Answer::Status(404);
        assert_eq!(
            (answered("/Api"), answered("/aPI")),
            (true, knows),
            "{reader:?}"
        );
    }
}

#[test]
fn two_services_of_one_host_are_one_with_the_older_first_and_everything_last() {
    let mut config = config(vec![
        service(
            "x.com",
            vec![route(exact("/p"), "b.com"), route(None, "a.com")],
        ),
        service(
            "x.com",
            vec![route(exact("/p"), "c.com"), route(exact("/q"), "c.com")],
        ),
    ]);
    assert_eq!(asked(&config, "x.com", "/p"), [(Some(2), 100.0)]);
    assert_eq!(asked(&config, "x.com", "/q"), [(Some(3), 100.0)]);
    config.services.swap(0, 1);
    assert_eq!(asked(&config, "x.com", "/p"), [(Some(3), 100.0)]);
}

#[test]
fn a_service_of_another_gateway_or_of_sidecars_is_not_at_the_ingress() {
    let of = |gateways: &[&str]| VirtualService {
        gateways: gateways.iter().map(|name| (*name).to_owned()).collect(),
        ..service("x.com", vec![route(None, "a.com")])
    };
    for gateways in [&[][..], &["mesh"], &["other/ingress"]] {
        let envoy = Envoy::new(config(vec![of(gateways)]), Reader::Istiod);
        assert_eq!(
            envoy.ask("x.com", "/"),
            &Answer::Status(404),
            "{gateways:?}"
        );
    }
}

#[test]
fn weights_are_of_a_hundred_and_what_is_not_there_takes_its_part_with_it() {
    let config = config(vec![service(
        "x.com",
        vec![HttpRoute {
            route: vec![
                to("a.com", 25),
                to("gone.com", 70),
                to("b.com", 0),
                to("c.com", 5),
            ],
            ..HttpRoute::default()
        }],
    )]);
    let shares = [(Some(1), 25.0), (None, 70.0), (Some(3), 5.0)];
    assert_eq!(asked(&config, "x.com", "/"), shares);
}

#[test]
fn a_subset_is_of_the_hosts_own_rule_and_selects_by_labels() {
    let subset = |name: &str, of: &str| Subset {
        name: name.to_owned(),
        labels: [("of".to_owned(), of.to_owned())].into(),
        traffic_policy: None,
    };
    let rule = |host: &str, subsets| DestinationRule {
        host: host.to_owned(),
        traffic_policy: None,
        subsets,
    };
    let mut wanted = route(None, "d.x.com");
    wanted.route[0].destination.as_mut().unwrap().subset = "v".to_owned();
    let mut config = config(vec![service("x.com", vec![wanted])]);
    config.entries.push(entry("d.x.com", &[4, 5]));
    config.rules = vec![
        named("", 0, rule("*.x.com", vec![subset("v", "4")])),
        named("", 1, rule("d.x.com", vec![subset("v", "5")])),
    ];
    assert_eq!(asked(&config, "x.com", "/"), [(Some(5), 100.0)]);
    config.rules.pop();
    assert_eq!(asked(&config, "x.com", "/"), [(Some(4), 100.0)]);
    config.rules.pop();
    assert_eq!(asked(&config, "x.com", "/"), [(None, 100.0)]);
}

#[test]
fn up_to_pilot_1_5_a_specific_service_takes_the_wildcards_endpoints() {
    let mut config = config(vec![service("x.com", vec![route(None, "*.w.com")])]);
    config.entries.push(entry("*.w.com", &[7]));
    assert_eq!(
        ports(Envoy::new(config.clone(), Reader::Pilot(5)).ask("x.com", "/")),
        [(Some(7), 100.0)]
    );
    config.entries.push(entry("special.w.com", &[8]));
    assert_eq!(
        ports(Envoy::new(config.clone(), Reader::Pilot(5)).ask("x.com", "/")),
        [(None, 100.0)]
    );
    assert_eq!(
        ports(Envoy::new(config, Reader::Pilot(8)).ask("x.com", "/")),
        [(Some(7), 100.0)]
    );
}

#[test]
fn a_fault_without_a_percentage_happens_to_nobody() {
    let aborted = |percentage: Option<f64>| HttpRoute {
        fault: Some(HttpFaultInjection {
            abort: Some(Abort {
                http_status: Some(403),
                percentage: percentage.map(|value| Percent { value }),
            }),
        }),
        ..route(None, "a.com")
    };
    let always = config(vec![service("x.com", vec![aborted(Some(100.0))])]);
    assert_eq!(
        Envoy::new(always, Reader::Istiod).ask("x.com", "/"),
        &Answer::Status(403)
    );
    let never = config(vec![service("x.com", vec![aborted(None)])]);
    assert_eq!(asked(&never, "x.com", "/"), [(Some(1), 100.0)]);
    let direct = HttpRoute {
        direct_response: Some(HttpDirectResponse {
            status: 502,
            body: None,
        }),
        ..HttpRoute::default()
    };
    let direct = config(vec![service("x.com", vec![direct])]);
    assert_eq!(
        Envoy::new(direct, Reader::Istiod).ask("x.com", "/"),
        &Answer::Status(502)
    );
}

#[test]
fn within_the_mesh_a_service_is_its_own_unless_the_oldest_of_its_routes_say_otherwise() {
    let mut config = config(vec![]);
    for entry in &mut config.entries {
        entry.body.location = 1;
    }
    let envoy = Envoy::new(config.clone(), Reader::Istiod);
    assert_eq!(ports(envoy.ask_within("a.com", 80)), [(Some(1), 100.0)]);
    assert_eq!(envoy.ask_within("a.com", 81), &Answer::Status(404));
    for (n, other) in (0..).zip(["b.com", "c.com"]) {
        let service = VirtualService {
            gateways: vec![],
            ..service("a.com", vec![route(None, other)])
        };
        config.services.push(named("", n, service));
    }
    let envoy = Envoy::new(config, Reader::Istiod);
    assert_eq!(ports(envoy.ask_within("a.com", 80)), [(Some(2), 100.0)]);
}
