//! TCP routes: a port of the ingress, and a service.

use super::*;
use crate::{
    model::{Cookie, CookieName, LoadBalancing},
    proto::istio::networking::v1alpha3::Gateway,
};

fn ports() -> BTreeSet<u16> {
    (1024..=1030).collect()
}

fn tcp(domain: &str, port: u16, to: impl IntoIterator<Item = Destination>) -> Route {
    let name = format!("{domain}:{port}");
    let to = to.into_iter().map(|to| Destination {
        protocol: Protocol::Tcp,
        ..to
    });
    Route {
        guid: RouteGuid::from(name.as_str()),
        host: Hostname::parse_any(&name).unwrap(),
        destinations: to.collect(),
        ..route("any.example.com", [])
    }
}

/// What is made of the first, and of all.
fn made<const R: usize, const I: usize>(
    options: &Options,
    routes: &[Route; R],
    instances: [Instance; I],
) -> Made {
    let table = RouteTable::new(Join::Described, None).with_tls(options.tls());
    let mut table = table.with_ports(ports());
    table.apply(Update::AllTcpRoutes(routes.to_vec()));
    let instances = instances.into_iter().map(Into::into).collect();
    table.apply(Update::AllInstances(instances));
    make_from(options, routes, &table)
}

/// The port of the route's connections, and the parts of them that each service gets.
fn split(made: &Made) -> (u32, Vec<(String, i32)>) {
    let [classic, xds] = &made.services;
    assert_eq!(classic, xds, "both eras are told the same");
    let service = classic.as_ref().unwrap();
    assert_eq!(service.gateways, [TCP_GATEWAY]);
    assert!(service.http.is_empty());
    let [route] = &service.tcp[..] else {
        panic!("{:?}", service.tcp);
    };
    let port = route.r#match[0].port;
    let to = route.route.iter().map(|to| {
        let destination = to.destination.as_ref().unwrap();
        assert_eq!(destination.port.as_ref().unwrap().number, port);
        let name = destination.host.trim_end_matches(".routes.cloudfoundry");
        (name.to_owned(), to.weight)
    });
    (port, to.collect())
}

const ECHO: &str = "1024.cf--tcp.tcp.example.com";

#[test]
fn a_tcp_route_is_a_port_of_the_ingress_and_a_service_of_all_its_instances() {
    let made = made(
        &keep_empty(),
        &[tcp(
            "tcp.example.com",
            1024,
            [to("echo", 7000), to("other", 7001)],
        )],
        [
            instance(1, "echo", &[(7000, 61001)]),
            instance(2, "echo", &[(7000, 61002)]),
            instance(3, "other", &[(7001, 61003)]),
        ],
    );
    assert_eq!(split(&made), (1024, vec![(ECHO.to_owned(), 100)]));
    assert_eq!(made.ports(ECHO), [(1024, "tcp", "tcp")]);
    // A sidecar that is told of it listens at that port, for whatever goes there.
    let visible = made
        .entries
        .each_ref()
        .map(|entries| entries[ECHO].export_to.clone());
    assert_eq!(visible, [vec![], vec![".".to_owned()]]);
    assert_eq!(
        made.endpoints(ECHO),
        ["10.0.0.1:61001", "10.0.0.2:61002", "10.0.0.3:61003"]
    );
    assert!(made.remarks.is_empty() && made.unreachable.is_empty());
}

#[test]
fn weights_divide_its_connections() {
    let made = made(
        &keep_empty(),
        &[tcp(
            "tcp.example.com",
            1024,
            [weighted("a", 1), weighted("b", 3)],
        )],
        [
            instance(1, "a", &[(8080, 61001)]),
            instance(2, "b", &[(8080, 61002)]),
        ],
    );
    let (_, parts) = split(&made);
    let mut shares: Vec<_> = parts.iter().map(|(_, share)| *share).collect();
    shares.sort_unstable();
    assert_eq!(shares, [25, 75]);
    for (service, _) in parts {
        assert_eq!(made.endpoints(&service).len(), 1);
    }
}

#[test]
fn one_without_instances_keeps_its_port_and_one_that_leads_nowhere_too() {
    for destinations in [vec![to("echo", 7000)], Vec::new()] {
        let made = made(
            &keep_empty(),
            &[tcp("tcp.example.com", 1024, destinations)],
            [],
        );
        assert_eq!(split(&made), (1024, vec![(ECHO.to_owned(), 100)]));
        assert!(made.entries[0].is_empty(), "Pilots discard it");
        assert!(made.entries[1][ECHO].endpoints.is_empty());
    }
}

#[test]
fn a_port_that_the_ingress_does_not_have_is_named_once_and_nothing_is_made_of_it() {
    let made = made(
        &keep_empty(),
        &[tcp("tcp.example.com", 2000, [to("echo", 7000)])],
        [instance(1, "echo", &[(7000, 61001)])],
    );
    assert_eq!(made.services, [None, None]);
    assert!(made.entries.iter().all(BTreeMap::is_empty));
    let [remark] = &made.remarks[..] else {
        panic!("{:?}", made.remarks);
    };
    assert_eq!(remark.rule, "port");
    assert!(remark.detail.contains("TCPRoutes.Ports"), "{remark}");
    assert!(made.unreachable.is_empty() && made.overruled.is_empty());
}

#[test]
fn a_port_of_two_domains_is_the_older_routes_also_unmapped_and_the_other_is_named() {
    let older = tcp("a.example.com", 1024, [to("a", 7000)]);
    let younger = Route {
        created_at: 2,
        ..tcp("b.example.com", 1024, [to("b", 7000)])
    };
    let instances = || {
        [
            instance(1, "a", &[(7000, 61001)]),
            instance(2, "b", &[(7000, 61002)]),
        ]
    };
    let loser = made(
        &keep_empty(),
        &[younger.clone(), older.clone()],
        instances(),
    );
    assert_eq!(loser.services, [None, None]);
    let remark = &loser.remarks[0];
    assert!(
        remark.detail.contains("a.example.com:1024") && remark.rule == "port",
        "{remark}"
    );
    let winner = made(&keep_empty(), &[older, younger.clone()], instances());
    assert_eq!(split(&winner).1[0].0, "1024.cf--tcp.a.example.com");
    assert_eq!(winner.entries[1].len(), 1, "{:?}", winner.entries);

    let unmapped = tcp("a.example.com", 1024, []);
    let loser = made(&keep_empty(), &[younger, unmapped], instances());
    assert_eq!(loser.services, [None, None]);
}

#[test]
fn the_end_of_one_domains_route_gives_its_port_to_the_others() {
    let older = tcp("a.example.com", 1024, [to("a", 7000)]);
    let younger = Route {
        created_at: 2,
        ..tcp("b.example.com", 1024, [to("b", 7000)])
    };
    let mut table = RouteTable::new(Join::Described, None).with_ports(ports());
    table.apply(Update::AllTcpRoutes(vec![older, younger.clone()]));
    let changes = table.apply(Update::AllTcpRoutes(vec![younger.clone()]));
    let (_, touched) = changes
        .hosts()
        .find(|(host, _)| **host == younger.host)
        .expect("it is told anew");
    assert!(touched.lookup() && touched.services().count() == 1);
    assert!(table.host(&younger.host).unwrap().unserved().is_none());
}

#[test]
fn what_looks_at_requests_is_nothing_to_it_and_what_looks_at_connections_is() {
    let cookie = LoadBalancing::Cookie(Cookie {
        name: CookieName::parse("MESH_ROUTE").unwrap(),
        ttl: std::time::Duration::ZERO,
    });
    let with = |choice, connect_timeout: Option<u64>| Options {
        defaults: Defaults {
            load_balancing: Some(choice),
            connect_timeout: connect_timeout.map(std::time::Duration::from_secs),
            ..Defaults::default()
        },
        ..keep_empty()
    };
    let rules = |options: &Options| {
        let routes = [tcp("tcp.example.com", 1024, [to("echo", 7000)])];
        let mut made = made(options, &routes, [instance(1, "echo", &[(7000, 61001)])]);
        made.rules[1].remove(ECHO)
    };
    assert!(rules(&with(cookie.clone(), None)).is_none());
    let policy = rules(&with(cookie, Some(5)))
        .unwrap()
        .traffic_policy
        .unwrap();
    assert!(policy.load_balancer.is_none() && policy.connection_pool.is_some());
    assert!(rules(&with(LoadBalancing::LeastConnection, None)).is_some());
}

#[test]
fn the_gateway_has_each_port_and_is_another_than_that_of_http() {
    let with = |ports: &BTreeSet<u16>| {
        let root = CertificateRoot::default();
        gateway(&root, &[], None, ports).unwrap().gateways
    };
    let [http, tcp] = &with(&ports())[..] else {
        panic!("two gateways");
    };
    assert_eq!(
        [http],
        [&with(&BTreeSet::new())[0]],
        "byte for byte as before"
    );
    assert_eq!(tcp.0, TCP_GATEWAY);
    let gateway: Gateway = decode(&tcp.1);
    let ports = gateway.servers.iter().map(|server| {
        let port = server.port.as_ref().unwrap();
        assert!(server.tls.is_none() && port.protocol == "tcp");
        port.number
    });
    assert!(ports.eq(1024..=1030));
}

#[test]
fn a_refused_one_has_no_port_and_a_route_service_is_none_for_it() {
    let echo = || tcp("tcp.example.com", 1024, [to("echo", 7000)]);
    let refused = Route {
        refused: Some(crate::model::Refusal::RoutePolicies),
        ..echo()
    };
    let made = made(
        &keep_empty(),
        &[refused],
        [instance(1, "echo", &[(7000, 61001)])],
    );
    assert_eq!(made.services, [None, None]);
    assert!(made.entries.iter().all(BTreeMap::is_empty));
    assert_eq!(made.remarks[0].rule, "route-policies");

    let mut table = RouteTable::new(Join::Described, None).with_ports(ports());
    table.apply(Update::AllTcpRoutes(vec![echo()]));
    let bound = (echo().guid, crate::model::Refusal::RouteService);
    assert!(table.apply(Update::Refused(vec![bound])).is_empty());
}

#[test]
fn complete_reads_of_either_kind_take_nothing_of_the_other() {
    let mut table = table([route("shop.example.com", [to("app", 8080)])], []);
    let echo = tcp("tcp.example.com", 1024, [to("echo", 7000)]);
    table.apply(Update::AllTcpRoutes(vec![echo]));
    assert_eq!(table.sizes().routes, 2);
    table.apply(Update::AllRoutes(Vec::new()));
    assert_eq!(table.sizes().routes, 1);
    table.apply(Update::AllTcpRoutes(Vec::new()));
    assert_eq!(table.sizes().routes, 0);
}
