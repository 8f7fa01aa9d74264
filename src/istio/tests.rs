//! The rules by example: the routes and instances of one hostname, and what is made of them.

mod eras;
mod pushed;

use std::net::IpAddr;

use super::*;
use crate::{
    model::{
        AppGuid, AppPort, Destination, Instance, PortMapping, ProcessType, Protocol, Route,
        RouteGuid, Update, Weight, Workload,
    },
    proto::istio::networking::v1alpha3::{
        DestinationRule, HttpRoute, ServiceEntry, VirtualService, WorkloadEntry,
        string_match::MatchType,
    },
    table::{Join, RouteTable},
};

fn to(app: &str, port: u16) -> Destination {
    Destination {
        workload: Workload {
            app: AppGuid::from(app),
            process_type: ProcessType::Web,
        },
        port: AppPort::Number(port),
        weight: Weight::Instances,
        protocol: Protocol::Http1,
    }
}

fn to_type(process_type: &str) -> Destination {
    let mut to = to("app", 8080);
    to.workload.process_type = ProcessType::from(process_type);
    to
}

fn weighted(app: &str, weight: u32) -> Destination {
    Destination {
        weight: Weight::Fixed(weight),
        ..to(app, 8080)
    }
}

fn http2(app: &str, port: u16) -> Destination {
    Destination {
        protocol: Protocol::Http2,
        ..to(app, port)
    }
}

fn route(url: &str, to: impl IntoIterator<Item = Destination>) -> Route {
    let (host, path) = url.split_at(url.find('/').unwrap_or(url.len()));
    Route {
        guid: RouteGuid::from(url),
        host: Hostname::parse(host).unwrap(),
        path: path.into(),
        internal: host.ends_with(".internal"),
        vip: None,
        created_at: 1,
        load_balancing: None,
        destinations: to.into_iter().collect(),
    }
}

/// The `n`th instance; `ports` are pairs of a container port and its port on the cell.
fn instance(n: u8, app: &str, ports: &[(u16, u16)]) -> Instance {
    Instance {
        guid: format!("instance-{n}").as_str().into(),
        process: "process".into(),
        workload: Some(to(app, 0).workload),
        routable: true,
        since: 0,
        prefers_container: false,
        host_address: IpAddr::from([10, 0, 0, n]),
        container_address: Some(IpAddr::from([10, 255, 0, n])),
        ports: ports
            .iter()
            .map(|&(container, host)| PortMapping::plain(container, host))
            .collect(),
    }
}

/// A hostname's resources.
struct Made {
    service: Option<VirtualService>,
    rule: Option<DestinationRule>,
    entry: Option<ServiceEntry>,
    /// What is wrong although the `ServiceEntry` is served.
    remark: Option<Invalid>,
    /// What is wrong although the `VirtualService` is served.
    hidden: Option<Invalid>,
}

fn table<const R: usize, const I: usize>(
    routes: [Route; R],
    instances: [Instance; I],
) -> RouteTable {
    let mut table = RouteTable::new(Join::Described, Some("127.128.0.0/9".parse().unwrap()));
    table.apply(Update::AllRoutes(routes.into()));
    table.apply(Update::AllInstances(
        instances.into_iter().map(Into::into).collect(),
    ));
    table
}

/// What is made of the hostname of the routes.
fn make<const R: usize, const I: usize>(routes: [Route; R], instances: [Instance; I]) -> Made {
    let name = routes[0].host.clone();
    let table = table(routes, instances);
    let host = table.host(&name).unwrap();
    let made = Made {
        service: virtual_service::virtual_service(&host),
        rule: destination_rule::destination_rule(&host)
            .of(Era::Classic)
            .clone(),
        entry: service_entry::service_entry(&host, false)
            .of(Era::Classic)
            .clone(),
        remark: Kind::ServiceEntry.remark(&host),
        hidden: Kind::VirtualService.remark(&host),
    };
    assert_valid(made.service.as_ref(), Era::Classic);
    assert_valid(made.rule.as_ref(), Era::Classic);
    assert_valid(made.entry.as_ref(), Era::Classic);
    made
}

fn assert_valid<M: Validate>(made: Option<&M>, era: Era) {
    made.map_or(Ok(()), |made| made.validate(era)).unwrap();
}

impl Made {
    fn assert_unreachable(&self, count: usize) {
        let remark = self.remark.as_ref().unwrap();
        assert!(
            remark.detail.starts_with(&format!("{count} instances")),
            "{remark}"
        );
    }

    fn http(&self) -> &[HttpRoute] {
        &self.service.as_ref().unwrap().http
    }

    /// Subset, port and weight of each destination of the hostname's `n`th route.
    fn split(&self, n: usize) -> Vec<(&str, u32, i32)> {
        let destinations = self.http()[n].route.iter();
        destinations
            .map(|to| {
                let destination = to.destination.as_ref().unwrap();
                let port = destination.port.as_ref().unwrap().number;
                (destination.subset.as_str(), port, to.weight)
            })
            .collect()
    }

    /// The subsets, each with the labels that select its endpoints.
    fn subsets(&self) -> Vec<(&str, Vec<&str>)> {
        let subsets = self.rule.as_ref().unwrap().subsets.iter();
        subsets
            .map(|subset| {
                let labels = subset.labels.keys().map(String::as_str).collect();
                (subset.name.as_str(), labels)
            })
            .collect()
    }

    fn endpoints(&self) -> &[WorkloadEntry] {
        &self.entry.as_ref().unwrap().endpoints
    }

    fn addresses(&self) -> Vec<&str> {
        let endpoints = self.endpoints().iter();
        endpoints
            .map(|endpoint| endpoint.address.as_str())
            .collect()
    }

    /// Number, name and protocol of each port of the service.
    fn ports(&self) -> Vec<(u32, &str, &str)> {
        let ports = self.entry.as_ref().unwrap().ports.iter();
        ports
            .map(|port| (port.number, port.name.as_str(), port.protocol.as_str()))
            .collect()
    }
}

#[test]
fn a_hostname_has_one_resource_of_each_kind() {
    let made = make(
        [route("shop.example.com", [to("app", 8080)])],
        [instance(1, "app", &[(8080, 61_001)])],
    );
    let service = made.service.as_ref().unwrap();
    assert_eq!(service.hosts, ["shop.example.com"]);
    assert_eq!(service.gateways, [GATEWAY]);
    assert_eq!(made.split(0), [("app", 8080, 100)]);
    assert_eq!(made.subsets(), [("app", vec!["cfapp"])]);
    assert_eq!(made.ports(), [(8080, "http", "http")]);
    assert_eq!(made.addresses(), ["10.0.0.1"]);
    assert_eq!(made.endpoints()[0].ports["http"], 61_001);
    assert_eq!(made.endpoints()[0].labels["cfapp"], "app");
}

#[test]
fn each_port_of_an_app_is_a_subset_of_the_endpoints_that_have_it() {
    let made = make(
        [route(
            "shop.example.com",
            [to("app", 8080), to("app", 9090)],
        )],
        [
            instance(1, "app", &[(8080, 61_001), (9090, 61_002)]),
            instance(2, "app", &[(8080, 61_003)]),
        ],
    );
    assert_eq!(
        made.split(0),
        [("app-port-8080", 8080, 50), ("app-port-9090", 9090, 50)]
    );
    assert_eq!(
        made.subsets(),
        [
            ("app-port-8080", vec!["cfapp", "cfport-8080"]),
            ("app-port-9090", vec!["cfapp", "cfport-9090"]),
        ]
    );
    assert_eq!(
        made.ports(),
        [(8080, "http-8080", "http"), (9090, "http-9090", "http")]
    );
    let labels = |n: usize| made.endpoints()[n].labels.keys().collect::<Vec<_>>();
    assert_eq!(labels(0), ["cfapp", "cfport-8080", "cfport-9090"]);
    assert_eq!(labels(1), ["cfapp", "cfport-8080"]);
    // The second instance at its second port.
    made.assert_unreachable(1);
}

#[test]
fn a_process_type_is_in_the_subset_name_or_in_its_hash_where_that_is_no_dns_label() {
    let long = "long".repeat(16);
    let made = make(
        [route(
            "shop.example.com",
            [to_type("worker"), to_type("under_score"), to_type(&long)],
        )],
        [],
    );
    let split = made.split(0);
    let names: Vec<_> = split.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names[0], "app-worker");
    for name in &names[1..] {
        assert!(name.starts_with("cf-") && name.len() == 19, "{name}");
    }
    assert_ne!(names[1], names[2]);
    let mut subsets: Vec<_> = made.subsets().into_iter().map(|(name, _)| name).collect();
    subsets.sort_by_key(|subset| names.iter().position(|name| name == subset));
    assert_eq!(subsets, names, "each destination has its subset");
}

#[test]
fn a_port_is_http2_only_where_all_who_share_it_are() {
    let made = make(
        [
            route(
                "shop.example.com",
                [http2("grpc", 8080), http2("grpc", 9090)],
            ),
            route("shop.example.com/web", [to("web", 8080)]),
        ],
        [instance(1, "grpc", &[(8080, 61_001), (9090, 61_002)])],
    );
    assert_eq!(
        made.ports(),
        [(8080, "http-8080", "http"), (9090, "http-9090", "http2")]
    );
}

#[test]
fn an_instance_with_an_ipv6_address_is_left_out_alone() {
    let mut ipv6 = instance(1, "app", &[(8080, 61_001)]);
    ipv6.host_address = "2001:db8::1".parse().unwrap();
    let made = make(
        [route("shop.example.com", [to("app", 8080)])],
        [ipv6, instance(2, "app", &[(8080, 61_002)])],
    );
    assert_eq!(made.addresses(), ["10.0.0.2"]);
    made.assert_unreachable(1);
}

#[test]
fn an_instance_without_the_port_is_left_out_and_never_reached_at_another() {
    let made = make(
        [route("shop.example.com", [to("app", 8080)])],
        [
            instance(1, "app", &[(9090, 8080)]),
            // The cell does not lead to the port.
            instance(2, "app", &[(8080, 0)]),
            instance(3, "app", &[(8080, 61_003)]),
        ],
    );
    assert_eq!(made.addresses(), ["10.0.0.3"]);
    made.assert_unreachable(2);
}

#[test]
fn an_internal_hostname_is_reached_by_container_address_and_through_no_gateway() {
    let made = make(
        [route("shop.apps.internal", [to("app", 8080)])],
        [instance(1, "app", &[(8080, 0)])],
    );
    assert!(made.service.as_ref().unwrap().gateways.is_empty());
    assert_eq!(made.addresses(), ["10.255.0.1"]);
    assert_eq!(made.endpoints()[0].ports["http"], 8080);
    let virtual_addresses = &made.entry.as_ref().unwrap().addresses;
    assert_eq!(virtual_addresses.len(), 1);
    assert!(virtual_addresses[0].starts_with("127."));

    let name = Kind::ServiceEntry.name(&Hostname::parse("shop.apps.internal").unwrap(), true);
    assert_eq!(
        name,
        "internal/copilot-service-entry-for-shop.apps.internal"
    );
}

#[test]
fn the_longest_path_is_matched_first_by_itself_and_all_below_it() {
    let made = make(
        [
            route("shop.example.com", [to("all", 8080)]),
            route("shop.example.com/cart", [to("cart", 8080)]),
        ],
        [],
    );
    assert_eq!(made.split(0)[0].0, "cart");
    assert_eq!(made.split(1)[0].0, "all");
    let matches = |n: usize| {
        let matches = made.http()[n].r#match.iter();
        matches
            .map(|r#match| r#match.uri.clone().unwrap().match_type.unwrap())
            .collect::<Vec<_>>()
    };
    let (exact, below) = ("/cart".to_owned(), "/cart/".to_owned());
    assert_eq!(
        matches(0),
        [MatchType::Exact(exact), MatchType::Prefix(below)]
    );
    assert!(matches(1).is_empty());
}

#[test]
fn of_two_routes_with_one_url_the_newer_is_served_and_the_older_named() {
    // Cloud Controller allows it for a moment only: one is deleted, the other created.
    let mut older = route("shop.example.com/cart", [to("older", 8080)]);
    let mut newer = route("shop.example.com/cart", [to("newer", 8080)]);
    older.guid = "a".into();
    newer.guid = "b".into();
    newer.created_at = older.created_at + 1;
    let made = make(
        [newer, older],
        [
            instance(1, "older", &[(8080, 61_001)]),
            instance(2, "newer", &[(8080, 61_002)]),
        ],
    );
    assert_eq!(made.split(0), [("newer", 8080, 100)]);
    assert_eq!(made.service.unwrap().http.len(), 1);
    assert_eq!(made.hidden.unwrap().rule, "shadowed");
}

#[test]
fn weights_become_percentages_and_none_is_sent_to_a_weight_of_zero() {
    let blue_green = [
        weighted("blue", 2),
        weighted("green", 1),
        weighted("grey", 0),
    ];
    let made = make([route("shop.example.com", blue_green)], []);
    assert_eq!(made.split(0), [("blue", 8080, 67), ("green", 8080, 33)]);
}

#[test]
fn without_weights_apps_share_a_route_by_their_reachable_instances() {
    let made = make(
        [route(
            "shop.example.com",
            [to("blue", 8080), to("green", 8080)],
        )],
        [
            instance(1, "blue", &[(8080, 61_001)]),
            instance(2, "blue", &[(8080, 61_002)]),
            instance(3, "blue", &[(8080, 61_003)]),
            instance(4, "green", &[(8080, 61_004)]),
            instance(5, "green", &[(9090, 61_005)]),
        ],
    );
    assert_eq!(made.split(0), [("blue", 8080, 75), ("green", 8080, 25)]);
}

#[test]
fn a_hostname_without_destinations_has_nothing() {
    let made = make([route("shop.example.com", [])], []);
    assert!(made.service.is_none() && made.rule.is_none() && made.entry.is_none());
}

#[test]
fn a_hostname_without_instances_has_all_but_a_service_entry() {
    let made = make([route("shop.example.com", [to("stopped", 8080)])], []);
    assert_eq!(made.split(0), [("stopped", 8080, 100)]);
    assert_eq!(made.subsets(), [("stopped", vec!["cfapp"])]);
    assert!(made.entry.is_none());
}
