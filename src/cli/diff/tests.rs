//! Two ways to say something, and whether it comes to the same.

use std::collections::BTreeMap;

use prost::Message;

use super::*;
use crate::{
    istio::Kind,
    proto::istio::networking::v1alpha3::{
        Destination, Gateway, HttpMatchRequest, HttpRoute, HttpRouteDestination, L4MatchAttributes,
        Port, RouteDestination, ServerTlsSettings, ServiceEntry, ServicePort, StringMatch,
        TcpRoute, VirtualService, WorkloadEntry,
        server_tls_settings::TlSmode,
        service_entry::{Location, Resolution},
        string_match::MatchType,
    },
};

type ListenerOfGateway = crate::proto::istio::networking::v1alpha3::Server;

const HOST: &str = "shop.example.com";

/// What a server serves, with a service of one instance for each of `one`, `two` and `three`.
#[derive(Default)]
struct Served(server::Served);

impl Served {
    fn new() -> Self {
        let mut served = Self::default();
        for (n, name) in ["one", "two", "three"].into_iter().enumerate() {
            let endpoint = WorkloadEntry {
                address: format!("10.0.0.{n}"),
                ports: BTreeMap::from([("http".to_owned(), 8080)]),
                ..WorkloadEntry::default()
            };
            let port = ServicePort {
                number: 8080,
                protocol: "http".to_owned(),
                name: "http".to_owned(),
            };
            let service = ServiceEntry {
                hosts: vec![service(name)],
                ports: vec![port],
                location: Location::MeshInternal.into(),
                resolution: Resolution::Static.into(),
                endpoints: vec![endpoint],
                ..ServiceEntry::default()
            };
            served.add(Kind::ServiceEntry, name, &service);
        }
        served
    }

    fn add(&mut self, kind: Kind, name: &str, resource: &impl Message) {
        let of_kind = self.0.entry(kind).or_default();
        of_kind.insert(name.to_owned(), resource.encode_to_vec());
    }

    fn gateway(mut self, name: &str, servers: Vec<ListenerOfGateway>) -> Self {
        let gateway = Gateway {
            servers,
            ..Gateway::default()
        };
        self.add(Kind::Gateway, name, &gateway);
        self
    }

    /// A hostname that is bound to these gateways, with its paths and the services that they lead to.
    fn host(mut self, name: &str, gateways: &[&str], http: Vec<HttpRoute>) -> Self {
        let service = VirtualService {
            hosts: vec![name.to_owned()],
            gateways: gateways.iter().map(ToString::to_string).collect(),
            http,
            tcp: Vec::new(),
        };
        self.add(Kind::VirtualService, name, &service);
        self
    }

    fn paths(self, http: &[HttpRoute]) -> Self {
        let all = self.gateway("ingress", vec![listener(80, "http", "*", None)]);
        all.host(HOST, &["ingress"], http.to_vec())
    }
}

fn service(name: &str) -> String {
    format!("{name}.services.example")
}

fn listener(
    number: u32,
    protocol: &str,
    host: &str,
    tls: Option<ServerTlsSettings>,
) -> ListenerOfGateway {
    ListenerOfGateway {
        port: Some(Port {
            number,
            protocol: protocol.to_owned(),
            name: format!("{protocol}-{number}"),
        }),
        hosts: vec![host.to_owned()],
        tls,
    }
}

fn tls(mode: TlSmode) -> ServerTlsSettings {
    ServerTlsSettings {
        mode: mode.into(),
        server_certificate: "/certs/tls.crt".to_owned(),
        private_key: "/certs/tls.key".to_owned(),
        ..ServerTlsSettings::default()
    }
}

fn redirect() -> ServerTlsSettings {
    ServerTlsSettings {
        https_redirect: true,
        ..ServerTlsSettings::default()
    }
}

fn to(uri: Option<MatchType>, ignore_uri_case: bool, name: &str) -> HttpRoute {
    let request = HttpMatchRequest {
        uri: uri.map(|uri| StringMatch {
            match_type: Some(uri),
        }),
        authority: None,
        ignore_uri_case,
    };
    HttpRoute {
        r#match: vec![request],
        route: vec![HttpRouteDestination {
            destination: Some(Destination {
                host: service(name),
                ..Destination::default()
            }),
            weight: 0,
        }],
        ..HttpRoute::default()
    }
}

fn prefix(path: &str, name: &str) -> HttpRoute {
    to(Some(MatchType::Prefix(path.to_owned())), false, name)
}

fn exact(path: &str, name: &str) -> HttpRoute {
    to(Some(MatchType::Exact(path.to_owned())), false, name)
}

fn pattern(path: &str, name: &str) -> HttpRoute {
    to(Some(MatchType::Regex(path.to_owned())), false, name)
}

/// What is said of two servers, a line each.
fn said(a: &Served, b: &Served) -> Vec<String> {
    let effects = [a, b].map(|side| Effect::of(&side.0, server::Protocol::Mcp));
    for effect in &effects {
        assert_eq!(effect.discarded, BTreeMap::new());
    }
    let found = differences(&effects[0], &effects[1]);
    let lines = found
        .iter()
        .map(|Difference { place, what }| format!("{place}: {what}"));
    lines.collect()
}

fn said_of_paths(a: &[HttpRoute], b: &[HttpRoute]) -> Vec<String> {
    said(&Served::new().paths(a), &Served::new().paths(b))
}

#[test]
fn gateways_are_what_they_listen_to_whatever_they_are_called() {
    let http = || listener(80, "http", "*", None);
    let https = |mode| listener(443, "https", "*.example.com", Some(tls(mode)));
    let a = Served::new().gateway("ingress", vec![http(), https(TlSmode::Simple)]);
    let b = Served::new()
        .gateway("plain", vec![listener(80, "HTTP", "*", None)])
        .gateway("istio-system/tls", vec![https(TlSmode::Simple)]);
    assert_eq!(said(&a, &b), [""; 0]);

    let c = Served::new().gateway(
        "ingress",
        vec![
            listener(80, "http", "*", Some(redirect())),
            https(TlSmode::Mutual),
        ],
    );
    assert_eq!(
        said(&a, &c),
        [
            "gateway: only in A: port 443 HTTPS, TLS SIMPLE for *.example.com, certificate /certs/tls.crt",
            "gateway: only in A: port 80 HTTP for *",
            "gateway: only in B: port 443 HTTPS, TLS MUTUAL for *.example.com, certificate /certs/tls.crt",
            "gateway: only in B: port 80 HTTP, redirected to HTTPS for *",
        ]
    );
}

#[test]
fn where_a_hostname_comes_in_is_told_of_each_where_ports_are_alike_and_once_where_they_are_not() {
    let gateways = || {
        Served::new()
            .gateway("plain", vec![listener(80, "http", "*", None)])
            .gateway(
                "redirecting",
                vec![listener(80, "http", "*", Some(redirect()))],
            )
            .gateway(
                "secure",
                vec![listener(443, "https", "*", Some(tls(TlSmode::Simple)))],
            )
    };
    let http = || vec![prefix("/", "one")];
    let spared = gateways().host(HOST, &["plain", "secure"], http());
    let redirected = gateways().host(HOST, &["redirecting", "secure"], http());
    assert_eq!(said(&spared, &spared), [""; 0]);
    assert_eq!(
        said(&spared, &redirected),
        [
            "shop.example.com: only in A: port 80 HTTP",
            "shop.example.com: only in B: port 80 HTTP, redirected to HTTPS",
        ]
    );
    // Bound to what is not there, nobody gets to it.
    let nowhere = gateways().host(HOST, &["gone"], http());
    assert_eq!(
        said(&nowhere, &spared),
        [
            "shop.example.com: only in B: port 443 HTTPS, TLS SIMPLE",
            "shop.example.com: only in B: port 80 HTTP",
        ]
    );
    let plain = Served::new()
        .gateway("plain", vec![listener(80, "http", "*", None)])
        .host(HOST, &["plain"], http());
    let lines = said(&plain, &redirected);
    let is_told = |line: &String| line.starts_with("gateway: only in B");
    assert!(!lines.is_empty() && lines.iter().all(is_told), "{lines:?}");
}

#[test]
fn the_order_of_matches_that_do_not_meet_or_lead_to_the_same_is_no_difference() {
    let (cart, rest) = (prefix("/cart/", "one"), prefix("/about", "two"));
    let all = prefix("/", "three");
    let a = [cart.clone(), rest.clone(), all.clone()];
    assert_eq!(said_of_paths(&a, &[rest, cart, all.clone()]), [""; 0]);
    // What is within a wider one leads to the same, whether it is said before it, after it or not at all.
    let (cart, all) = (prefix("/cart/", "three"), &all);
    let said_before = [cart.clone(), all.clone()];
    assert_eq!(said_of_paths(&said_before, &[all.clone(), cart]), [""; 0]);
    assert_eq!(
        said_of_paths(&said_before, std::slice::from_ref(all)),
        [""; 0]
    );
}

#[test]
fn a_match_behind_a_wider_one_that_leads_elsewhere_is_told_with_the_reason() {
    let (cart, all) = (prefix("/cart/", "one"), prefix("/", "two"));
    let (before, after) = ([cart.clone(), all.clone()], [all.clone(), cart]);
    let hidden = "in B what comes before it takes its requests";
    assert_eq!(
        said_of_paths(&before, &after),
        [format!("shop.example.com/cart/: only in A: {hidden}")]
    );
    assert_eq!(
        said_of_paths(&before, &[all]),
        ["shop.example.com/cart/: only in A"]
    );
}

#[test]
fn the_order_of_matches_that_cross_each_other_is_a_difference_if_they_lead_elsewhere() {
    let numbers = |to| pattern("/[0-9]+", to);
    let (one, two) = (numbers("one"), prefix("/1", "two"));
    let a = [one.clone(), two.clone()];
    assert_eq!(said_of_paths(&a, &a), [""; 0]);
    assert_eq!(
        said_of_paths(&a, &[two.clone(), one]),
        ["shop.example.com/[0-9]+: is tried before shop.example.com/1 in A, and after it in B"]
    );
    let same = numbers("two");
    assert_eq!(
        said_of_paths(&[same.clone(), two.clone()], &[two, same]),
        [""; 0]
    );
}

#[test]
fn of_two_matches_with_one_path_neither_is_lost() {
    let (alone, all) = (exact("/cart", "one"), prefix("/cart", "two"));
    let a = [alone.clone(), all];
    assert_eq!(said_of_paths(&a, &a), [""; 0]);
    assert_eq!(
        said_of_paths(&a, &[alone]),
        ["shop.example.com/cart: only in A"]
    );
}

#[test]
fn a_path_that_nobody_answers_is_told_where_somebody_does() {
    let (gone, all) = (prefix("/cart/", "nobody"), prefix("/", "two"));
    let lines = said_of_paths(&[gone, all.clone()], &[all]);
    assert_eq!(
        lines,
        ["shop.example.com/cart/: answered by nobody in A; led to 1 endpoints in B"]
    );
}

#[test]
fn tcp_routes_are_their_ports_whatever_their_resources_are_called() {
    let with = |host: &str, ports: &[(u32, &str)]| {
        let tcp = ports.iter().map(|(port, name)| TcpRoute {
            r#match: vec![L4MatchAttributes { port: *port }],
            route: vec![RouteDestination {
                destination: Some(Destination {
                    host: service(name),
                    ..Destination::default()
                }),
                weight: 100,
            }],
        });
        let mut served = Served::new();
        let service = VirtualService {
            hosts: vec![host.to_owned()],
            gateways: vec!["tcp".to_owned()],
            http: Vec::new(),
            tcp: tcp.collect(),
        };
        served.add(Kind::VirtualService, host, &service);
        served
    };
    let a = with("one.example.com", &[(1024, "one"), (1025, "two")]);
    let b = with("other.example.com", &[(1025, "two"), (1024, "one")]);
    assert_eq!(said(&a, &b), [""; 0]);
    let c = with("one.example.com", &[(1024, "two")]);
    let said = said(&a, &c);
    assert!(said[0].starts_with("TCP port 1024: "), "{said:?}");
    assert!(
        said.last().unwrap().starts_with("TCP port 1025: "),
        "{said:?}"
    );
}

/// What takes the requests of a match that one of them lacks may come after another that takes some of them.
#[test]
fn a_match_of_one_alone_is_told_where_another_before_its_stand_in_takes_some_of_its_requests() {
    let a = [
        prefix("/1", "three"),
        pattern("/[0-9]+", "one"),
        prefix("/", "three"),
    ];
    assert_eq!(said_of_paths(&a, &a[1..]).len(), 1);
    let a = [
        prefix("/1", "three"),
        prefix("/2", "one"),
        prefix("/", "three"),
    ];
    assert_eq!(said_of_paths(&a, &a[1..]), [""; 0]);
}
