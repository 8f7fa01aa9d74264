//! The rules by example: a few routes and instances, and what is made of them.

mod defaults;
mod eras;
mod internal;
mod lookup;
mod nameless;
mod pushed;
mod refused;
mod settings;
mod tcp;
mod tls;

use std::{collections::BTreeMap, net::IpAddr};

use super::{Made as Generated, *};
use crate::{
    model::{
        AppPort, Destination, Instance, PortMapping, ProcessType, Protocol, Route, RouteGuid,
        Update, Weight, Workload,
    },
    proto::istio::networking::v1alpha3::{
        DestinationRule, HttpRoute, ServiceEntry, VirtualService, string_match::MatchType,
    },
    snapshot::Collection,
    table::{Join, RouteTable},
};

fn to(app: &str, port: u16) -> Destination {
    Destination {
        port: AppPort::Number(port),
        ..Destination::example(app)
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
        path: path.into(),
        internal: host.ends_with(".internal"),
        destinations: to.into_iter().collect(),
        ..Route::example(url, host)
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
        zone: None,
        host_address: IpAddr::from([10, 0, 0, n]),
        container_address: Some(IpAddr::from([10, 255, 0, n])),
        ports: ports
            .iter()
            .map(|&(container, host)| PortMapping::plain(container, host))
            .collect(),
    }
}

/// What is made of the hostname of the first route, and of each route; valid for each era.
#[derive(Default)]
struct Made {
    /// For Pilots, then for istiods.
    services: [Option<VirtualService>; 2],
    /// By the names of their services, without the domain.
    entries: [BTreeMap<String, ServiceEntry>; 2],
    rules: [BTreeMap<String, DestinationRule>; 2],
    /// What is wrong with the hostname.
    remarks: Vec<Invalid>,
    /// What is wrong with the services of the routes.
    unreachable: Vec<Invalid>,
    overruled: Vec<Invalid>,
}

const ERAS: [Era; 2] = [Era::Classic, Era::Xds];

fn table<const R: usize, const I: usize>(
    routes: [Route; R],
    instances: [Instance; I],
) -> RouteTable {
    table_with(Tls::default(), routes, instances)
}

fn table_with<const R: usize, const I: usize>(
    tls: Tls,
    routes: [Route; R],
    instances: [Instance; I],
) -> RouteTable {
    let table = RouteTable::new(Join::Described, Some("127.128.0.0/9".parse().unwrap()));
    let mut table = table.with_tls(tls);
    table.apply(Update::AllRoutes(routes.into()));
    table.apply(Update::AllInstances(
        instances.into_iter().map(Into::into).collect(),
    ));
    table
}

fn make<const R: usize, const I: usize>(routes: [Route; R], instances: [Instance; I]) -> Made {
    make_with(&keep_empty(), routes, instances)
}

fn keep_empty() -> Options {
    Options {
        keep_empty: true,
        ..Options::default()
    }
}

fn make_with<const R: usize, const I: usize>(
    options: &Options,
    routes: [Route; R],
    instances: [Instance; I],
) -> Made {
    make_from(
        options,
        &routes.clone(),
        &table_with(options.tls(), routes, instances),
    )
}

fn make_of(routes: &[Route], table: &RouteTable) -> Made {
    make_from(&keep_empty(), routes, table)
}

fn make_from(options: &Options, routes: &[Route], table: &RouteTable) -> Made {
    let mut made = Made::default();
    let first = table.host(&routes[0].host).unwrap();
    if first.is_internal() {
        let [service, rule] = internal_lookup(first, options);
        made.take(service);
        made.take(rule);
        made.take(internal_service(first, options));
        return made;
    }
    made.take(virtual_service(first, &Held::new(), options));
    let hosts: std::collections::BTreeSet<_> = routes.iter().map(|route| &route.host).collect();
    for pool in hosts
        .into_iter()
        .flat_map(|host| table.host(host).unwrap().pools())
    {
        if let Services::Open { entries, rules } = services(&pool, options, true, &Ended::new()) {
            made.take(entries);
            made.take(rules.unwrap());
        }
    }
    made
}

fn decode<M: prost::Message + Default>(encoded: &Encoded) -> M {
    let edits = [("".into(), Some(encoded.clone()))].into();
    let collection = Collection::default().edited(edits);
    let body = collection.iter().next().unwrap().decode().body.unwrap();
    M::decode(body.value.as_slice()).unwrap()
}

fn decoded<M: Validate + prost::Message + Default>(encoded: &Encoded, era: Era) -> M {
    let message: M = decode(encoded);
    message.validate(era).unwrap();
    message
}

impl Made {
    fn take(&mut self, generated: Generated) {
        for (name, eras) in &generated.resources {
            let name = name.trim_end_matches(".routes.cloudfoundry");
            for (at, era) in ERAS.into_iter().enumerate() {
                let Some(encoded) = eras.of(era) else {
                    continue;
                };
                match generated.kind {
                    Kind::VirtualService => self.services[at] = Some(decoded(encoded, era)),
                    Kind::DestinationRule => {
                        self.rules[at].insert(name.to_owned(), decoded(encoded, era));
                    }
                    Kind::ServiceEntry => {
                        self.entries[at].insert(name.to_owned(), decoded(encoded, era));
                    }
                    Kind::Gateway | Kind::Sidecar => unreachable!("they are of no hostname"),
                }
            }
        }
        match generated.kind {
            Kind::VirtualService => self.remarks.extend(generated.reasons),
            Kind::DestinationRule => self.overruled.extend(generated.reasons),
            Kind::ServiceEntry => self.unreachable.extend(generated.reasons),
            Kind::Gateway | Kind::Sidecar => unreachable!("they are of no hostname"),
        }
    }

    fn assert_unreachable(&self, count: usize) {
        let remark = &self.unreachable[0];
        assert!(
            remark.detail.starts_with(&format!("{count} instances")),
            "{remark}"
        );
    }

    /// The routes of the hostname, as istiods have them.
    fn http(&self) -> &[HttpRoute] {
        self.services[1]
            .as_ref()
            .map_or(&[], |service| &service.http)
    }

    /// Service and percentage of each destination of the hostname's `n`th route.
    fn split(&self, n: usize) -> Vec<(&str, i32)> {
        let destinations = self.http()[n].route.iter();
        destinations
            .map(|to| {
                let destination = to.destination.as_ref().unwrap();
                let service = destination.host.trim_end_matches(".routes.cloudfoundry");
                (service, to.weight)
            })
            .collect()
    }

    /// For each route of the hostname, the one service that it leads to.
    fn order(&self) -> Vec<&str> {
        let single = |n| match self.split(n)[..] {
            [(service, 100)] => service,
            ref several => panic!("{several:?}"),
        };
        (0..self.http().len()).map(single).collect()
    }

    /// What Pilots are told of a service.
    fn entry(&self, service: &str) -> &ServiceEntry {
        let entry = self.entries[0].get(service);
        entry.unwrap_or_else(|| panic!("no {service} in {:?}", self.entries[0]))
    }

    /// Address and port of each of its endpoints.
    fn endpoints(&self, service: &str) -> Vec<String> {
        let entry = self.entry(service);
        let endpoints = entry.endpoints.iter().map(|endpoint| {
            let ports: Vec<_> = endpoint.ports.values().map(ToString::to_string).collect();
            format!("{}:{}", endpoint.address, ports.join(","))
        });
        endpoints.collect()
    }

    /// Number, name and protocol of each of its ports.
    fn ports(&self, service: &str) -> Vec<(u32, &str, &str)> {
        let ports = self.entry(service).ports.iter();
        ports
            .map(|port| (port.number, port.name.as_str(), port.protocol.as_str()))
            .collect()
    }
}

#[test]
fn a_route_is_a_service_outside_of_the_mesh_with_all_its_instances() {
    let made = make(
        [route(
            "shop.example.com",
            [to("blue", 8080), to("green", 9090)],
        )],
        [
            instance(1, "blue", &[(8080, 61_001)]),
            instance(2, "blue", &[(8080, 61_002)]),
            instance(3, "green", &[(8080, 61_003), (9090, 61_004)]),
        ],
    );
    let service = made.services[0].as_ref().unwrap();
    assert_eq!(service.hosts, ["shop.example.com"]);
    assert_eq!(service.gateways, [GATEWAY]);
    assert_eq!(made.services[0], made.services[1]);
    assert_eq!(made.order(), ["shop.example.com"]);
    assert_eq!(
        made.endpoints("shop.example.com"),
        ["10.0.0.1:61001", "10.0.0.2:61002", "10.0.0.3:61004"]
    );
    assert_eq!(made.ports("shop.example.com"), [(80, "http", "http")]);
    let entry = made.entry("shop.example.com");
    assert_eq!(entry.hosts, ["shop.example.com.routes.cloudfoundry"]);
    assert_eq!(entry.location, 0, "MESH_EXTERNAL");
    assert!(
        entry
            .endpoints
            .iter()
            .all(|endpoint| endpoint.labels.is_empty())
    );
    assert!(made.rules[0].is_empty() && made.rules[1].is_empty());
}

#[test]
fn an_endpoint_of_several_destinations_is_there_once() {
    let mut other = to("app", 8080);
    other.workload.process_type = "worker".into();
    let mut of_worker = instance(2, "app", &[(8080, 61_001)]);
    of_worker.host_address = [10, 0, 0, 1].into();
    of_worker.workload = Some(other.workload.clone());
    let made = make(
        [route("shop.example.com", [to("app", 8080), other])],
        [instance(1, "app", &[(8080, 61_001)]), of_worker],
    );
    assert_eq!(made.endpoints("shop.example.com"), ["10.0.0.1:61001"]);
}

#[test]
fn each_destination_is_spoken_to_in_its_own_protocol() {
    let instances = || {
        [
            instance(1, "web", &[(8080, 61_001)]),
            instance(2, "grpc", &[(8080, 61_002)]),
            instance(3, "grpc", &[(8080, 61_003)]),
        ]
    };
    let made = make(
        [route(
            "mix.example.com",
            [to("web", 8080), http2("grpc", 8080)],
        )],
        instances(),
    );
    let h2 = "cf--h2.mix.example.com";
    assert_eq!(made.split(0), [("mix.example.com", 33), (h2, 67)]);
    assert_eq!(made.ports("mix.example.com"), [(80, "http", "http")]);
    assert_eq!(made.ports(h2), [(80, "http", "http2")]);
    assert_eq!(made.endpoints(h2).len(), 2);

    let made = make(
        [
            route("mix.example.com", [to("web", 8080)]),
            route("mix.example.com/pkg", [http2("grpc", 8080)]),
        ],
        instances(),
    );
    assert_eq!(
        made.order(),
        ["pkg.cf--path.mix.example.com", "mix.example.com"]
    );
    assert_eq!(made.ports("pkg.cf--path.mix.example.com")[0].2, "http2");
    assert_eq!(made.ports("mix.example.com")[0].2, "http");
}

#[test]
fn an_instance_with_an_ipv6_address_is_left_out_alone() {
    let mut ipv6 = instance(1, "app", &[(8080, 61_001)]);
    ipv6.host_address = "2001:db8::1".parse().unwrap();
    let made = make(
        [route("shop.example.com", [to("app", 8080)])],
        [ipv6, instance(2, "app", &[(8080, 61_002)])],
    );
    assert_eq!(made.endpoints("shop.example.com"), ["10.0.0.2:61002"]);
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
    assert_eq!(made.endpoints("shop.example.com"), ["10.0.0.3:61003"]);
    made.assert_unreachable(2);
}

#[test]
fn of_two_routes_with_one_url_the_older_is_served_and_the_newer_named() {
    // Cloud Controller allows it for a moment only: one is deleted, the other created.
    let mut older = route("shop.example.com/cart", [to("older", 8080)]);
    let mut newer = route("shop.example.com/cart", [to("newer", 8080)]);
    older.guid = "b".into();
    newer.guid = "a".into();
    newer.created_at = older.created_at + 1;
    let made = make(
        [newer, older],
        [
            instance(1, "older", &[(8080, 61_001)]),
            instance(2, "newer", &[(8080, 61_002)]),
        ],
    );
    assert_eq!(made.http().len(), 1);
    assert_eq!(
        made.endpoints("cart.cf--path.shop.example.com"),
        ["10.0.0.1:61001"]
    );
    assert_eq!(made.remarks[0].rule, "shadowed");
    assert_eq!(
        made.remarks[0].detail,
        "route a has the path \"/cart\" of route b, which counts"
    );
}

#[test]
fn an_older_route_without_destinations_hides_nothing() {
    let mut older = route("shop.example.com/cart", []);
    older.guid = "a".into();
    let mut newer = route("shop.example.com/cart", [to("newer", 8080)]);
    newer.created_at = older.created_at + 1;
    let made = make([newer, older], [instance(1, "newer", &[(8080, 61_001)])]);
    assert_eq!(
        made.endpoints("cart.cf--path.shop.example.com"),
        ["10.0.0.1:61001"]
    );
    assert!(made.remarks.is_empty());
}

#[test]
fn of_many_routes_with_one_url_ten_are_named_and_the_others_counted() {
    let routes: [Route; 13] = std::array::from_fn(|n| Route {
        guid: format!("route-{n:02}").as_str().into(),
        ..route("shop.example.com/cart", [to("app", 8080)])
    });
    let detail = make(routes, []).remarks[0].detail.clone();
    assert!(detail.contains("route route-10 has") && !detail.contains("route-11"));
    assert!(detail.ends_with("; and 2 more"), "{detail}");
}

#[test]
fn routes_that_differ_in_case_or_in_slashes_at_the_end_are_one_service() {
    let made = make(
        [
            route("shop.example.com/Cart", [to("one", 8080)]),
            route("shop.example.com/cart/", [to("two", 8080)]),
            route("shop.example.com/cart//", [to("three", 8080)]),
        ],
        [
            instance(1, "one", &[(8080, 61_001)]),
            instance(2, "two", &[(8080, 61_002)]),
            instance(3, "three", &[(8080, 61_003)]),
        ],
    );
    assert_eq!(made.order(), ["cart.cf--path.shop.example.com"]);
    assert_eq!(made.endpoints("cart.cf--path.shop.example.com").len(), 3);
    assert!(made.remarks.is_empty());
}

/// The percentages of a route to apps with these weights and numbers of instances.
fn percentages_of<const N: usize>(apps: [(&str, Weight, u8); N]) -> Vec<i32> {
    let to = apps.iter().map(|(app, weight, _)| Destination {
        weight: *weight,
        ..to(app, 8080)
    });
    let mut table = table([route("shop.example.com", to)], []);
    let instances = apps.iter().enumerate().flat_map(|(n, (app, _, count))| {
        (0..*count).map(move |index| {
            let n = u8::try_from(n).unwrap() * 10 + index;
            instance(n, app, &[(8080, 61_000)]).into()
        })
    });
    table.apply(Update::AllInstances(instances.collect()));
    let made = make_of(&[route("shop.example.com", [])], &table);
    let entries = &made.entries[1];
    let split = made.split(0);
    assert!(
        split
            .iter()
            .all(|(service, _)| entries.contains_key(*service))
    );
    split.iter().map(|(_, weight)| *weight).collect()
}

#[test]
fn weights_become_percentages_of_a_service_for_each_destination() {
    let fixed = Weight::Fixed;
    let blue_green = [
        ("blue", fixed(2), 1),
        ("green", fixed(1), 5),
        ("grey", fixed(0), 1),
    ];
    assert_eq!(percentages_of(blue_green), [67, 33]);
    let canary = [("canary", fixed(1), 1), ("stable", fixed(1000), 1)];
    assert_eq!(percentages_of(canary), [1, 99], "whoever runs has some");
}

#[test]
fn what_a_stopped_destination_would_get_goes_to_the_others_in_proportion() {
    for weight in [Weight::Fixed, Weight::Running] {
        let thirds = |running: [u8; 3]| {
            let [one, two, three] = running;
            percentages_of([
                ("a", weight(60), one),
                ("b", weight(30), two),
                ("c", weight(10), three),
            ])
        };
        assert_eq!(thirds([1, 5, 2]), [60, 30, 10]);
        assert_eq!(thirds([0, 1, 1]), [75, 25]);
        assert_eq!(thirds([0, 0, 1]), [100]);
        assert_eq!(
            thirds([0, 0, 0]),
            [60, 30, 10],
            "none runs: as they were asked for"
        );
    }
    let zero = |app, running| (app, Weight::Fixed(0), running);
    let only_zeros = [zero("a", 3), zero("b", 1), ("c", Weight::Fixed(100), 0)];
    assert_eq!(percentages_of(only_zeros), [75, 25], "rather than nobody");
}

#[test]
fn a_route_of_one_destination_is_whole_whatever_its_weight() {
    let made = make([route("shop.example.com", [weighted("app", 100)])], []);
    assert_eq!(made.order(), ["shop.example.com"]);
}

#[test]
fn a_route_without_destinations_or_instances_is_a_service_that_istiods_keep() {
    for to in [vec![], vec![to("stopped", 8080)]] {
        let made = make([route("shop.example.com", to)], []);
        assert_eq!(made.order(), ["shop.example.com"], "503, not 404");
        assert!(made.entries[0].is_empty(), "which Pilots discard");
        assert!(made.entries[1]["shop.example.com"].endpoints.is_empty());
    }
}

#[test]
fn a_hostname_that_istio_refuses_has_no_services_and_is_named() {
    let made = make(
        [route("under_score.example.com", [to("app", 8080)])],
        [instance(1, "app", &[(8080, 61_001)])],
    );
    assert!(made.services[1].is_none() && made.entries[1].is_empty());
    for reasons in [&made.remarks, &made.unreachable, &made.overruled] {
        assert_eq!(reasons[0].rule, "host");
    }
}
