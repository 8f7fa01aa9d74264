//! Internal hostnames: what apps reach each other by.

use prost::Message as _;

use super::*;
use crate::proto::istio::networking::v1alpha3::TrafficPolicy;

const ENTRY: &str = "internal/copilot-service-entry-for-shop.apps.internal";
const RULE: &str = "internal/copilot-rule-for-shop.apps.internal";

/// The subsets, each with the labels that select its endpoints.
fn subsets(made: &Made) -> Vec<(&str, Vec<&str>)> {
    let subsets = made.rules[0][RULE].subsets.iter();
    subsets
        .map(|subset| {
            let labels = subset.labels.keys().map(String::as_str).collect();
            (subset.name.as_str(), labels)
        })
        .collect()
}

/// Subset, port and weight of each destination of the hostname's `n`th route.
fn split(made: &Made, n: usize) -> Vec<(&str, u32, i32)> {
    let destinations = made.http()[n].route.iter();
    destinations
        .map(|to| {
            let destination = to.destination.as_ref().unwrap();
            assert_eq!(destination.host, "shop.apps.internal");
            let port = destination.port.as_ref().unwrap().number;
            (destination.subset.as_str(), port, to.weight)
        })
        .collect()
}

#[test]
fn a_hostname_is_a_service_of_the_mesh_with_container_addresses() {
    let made = make(
        [route(
            "shop.apps.internal",
            [to("blue", 8080), to("green", 8080)],
        )],
        [
            instance(1, "blue", &[(8080, 0)]),
            instance(2, "green", &[(8080, 61_002)]),
        ],
    );
    assert!(made.services[1].is_none(), "nothing is told apart");
    assert_eq!(
        made.endpoints(ENTRY),
        ["10.255.0.1:8080", "10.255.0.2:8080"]
    );
    assert_eq!(made.ports(ENTRY), [(8080, "http", "http")]);
    let entry = made.entry(ENTRY);
    assert_eq!(entry.location, 1, "MESH_INTERNAL");
    assert_eq!(
        entry.endpoints[0].labels["cfapp"], "blue",
        "by which its own proxy is known"
    );
    assert_eq!(entry.addresses.len(), 1);
    assert!(entry.addresses[0].starts_with("127."));
}

#[test]
fn istiods_are_told_that_nothing_is_encrypted_and_pilots_nothing() {
    let made = make([route("shop.apps.internal", [to("app", 8080)])], []);
    assert!(made.rules[0].is_empty());
    let policy = made.rules[1][RULE].traffic_policy.clone().unwrap();
    assert_eq!(policy.tls.as_ref().unwrap().mode, 0, "DISABLE");
    assert_eq!(policy.load_balancer, None);
    let encoded = TrafficPolicy {
        tls: policy.tls,
        ..TrafficPolicy::default()
    };
    assert_eq!(
        encoded.encode_to_vec(),
        [0x22, 0],
        "is said although it is the default"
    );
}

#[test]
fn weights_divide_it_into_subsets() {
    let made = make(
        [route(
            "shop.apps.internal",
            [weighted("blue", 90), weighted("green", 10)],
        )],
        [
            instance(1, "blue", &[(8080, 0)]),
            instance(2, "green", &[(8080, 0)]),
        ],
    );
    let service = made.services[1].as_ref().unwrap();
    assert!(service.gateways.is_empty());
    assert_eq!(split(&made, 0), [("blue", 8080, 90), ("green", 8080, 10)]);
    assert_eq!(
        subsets(&made),
        [("blue", vec!["cfapp"]), ("green", vec!["cfapp"])]
    );
    assert!(made.rules[0][RULE].traffic_policy.is_none());
    assert!(made.rules[1][RULE].traffic_policy.is_some());
}

#[test]
fn each_port_of_an_app_is_a_subset_of_the_endpoints_that_have_it() {
    let made = make(
        [route(
            "shop.apps.internal",
            [to("app", 8080), to("app", 9090)],
        )],
        [
            instance(1, "app", &[(8080, 0), (9090, 0)]),
            instance(2, "app", &[(8080, 0)]),
        ],
    );
    assert_eq!(
        split(&made, 0),
        [("app-port-8080", 8080, 67), ("app-port-9090", 9090, 33)]
    );
    assert_eq!(
        subsets(&made),
        [
            ("app-port-8080", vec!["cfapp", "cfport-8080"]),
            ("app-port-9090", vec!["cfapp", "cfport-9090"]),
        ]
    );
    assert_eq!(
        made.ports(ENTRY),
        [(8080, "http-8080", "http"), (9090, "http-9090", "http")]
    );
    let labels = |n: usize| {
        made.entry(ENTRY).endpoints[n]
            .labels
            .keys()
            .collect::<Vec<_>>()
    };
    assert_eq!(labels(0), ["cfapp", "cfport-8080", "cfport-9090"]);
    assert_eq!(labels(1), ["cfapp", "cfport-8080"]);
    // The second instance at its second port.
    made.assert_unreachable(1);
}

#[test]
fn two_protocols_at_one_port_are_two_ports_and_none_takes_the_number_of_another() {
    let made = make(
        [route(
            "shop.apps.internal",
            [to("web", 8080), http2("grpc", 8080), to("other", 65_535)],
        )],
        [
            instance(1, "web", &[(8080, 0)]),
            instance(2, "grpc", &[(8080, 0)]),
        ],
    );
    assert_eq!(
        made.ports(ENTRY),
        [
            (8080, "http-8080", "http"),
            (65_534, "http-65534", "http2"),
            (65_535, "http-65535", "http")
        ]
    );
    assert_eq!(split(&made, 0), [("grpc", 65_534, 50), ("web", 8080, 50)]);
}

#[test]
fn a_process_type_is_in_the_subset_name_or_in_its_hash_where_that_is_no_dns_label() {
    let long = "long".repeat(16);
    let made = make(
        [route(
            "shop.apps.internal/p",
            [to_type("worker"), to_type("under_score"), to_type(&long)],
        )],
        [],
    );
    let split = split(&made, 0);
    let mut names: Vec<_> = split.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    assert_eq!(names[0], "app-worker");
    for name in &names[1..] {
        assert!(name.starts_with("cf-") && name.len() == 19, "{name}");
    }
    assert_ne!(names[1], names[2]);
    let subsets = subsets(&made);
    let subsets: Vec<_> = subsets.iter().map(|(name, _)| *name).collect();
    assert_eq!(subsets, names, "each destination has its subset");
}

#[test]
fn an_instance_of_two_processes_is_one_endpoint() {
    // Where routes are pushed, several associations may name a process in Diego.
    let mut table = RouteTable::new(Join::Associated, None);
    let to = |process: &str| Destination {
        workload: Workload::pushed(&process.into()),
        ..to("", 8080)
    };
    let routes = [route("shop.apps.internal", [to("a"), to("b")])];
    let one = instance(1, "", &[(8080, 0)]);
    let association = |process: &str| crate::model::Association {
        process: process.into(),
        diego_processes: [one.process.clone()].into(),
    };
    table.apply(Update::AllPushed {
        routes: routes.to_vec(),
        associations: vec![association("a"), association("b")],
        leads: true,
    });
    table.apply(Update::AllInstances(vec![one.into()]));
    assert_eq!(
        make_of(&routes, &table).endpoints(ENTRY),
        ["10.255.0.1:8080"]
    );
}

#[test]
fn a_hostname_without_destinations_has_nothing() {
    let made = make([route("shop.apps.internal", [])], []);
    assert!(made.services[1].is_none() && made.rules[1].is_empty() && made.entries[1].is_empty());
}
