//! What the push API says, which names no ports and gives every app a weight.

use super::*;

/// A destination as the push API has it.
fn pushed(app: &str, weight: u32) -> Destination {
    Destination {
        port: AppPort::Main,
        weight: Weight::Running(weight),
        ..to(app, 0)
    }
}

#[test]
fn a_pushed_app_is_reached_at_8080_else_at_its_lowest_port_but_ssh_else_there() {
    // Faults 12, 22 and 23 of the original: one port of the service, whatever its instances listen on.
    let made = make(
        [route(
            "shop.example.com",
            [pushed("blue", 1), pushed("green", 1)],
        )],
        [
            instance(1, "blue", &[(2222, 61_001), (8080, 61_002), (9090, 61_003)]),
            instance(2, "blue", &[(2222, 61_004), (7070, 61_005), (9090, 61_006)]),
            instance(3, "green", &[(2222, 61_007)]),
        ],
    );
    assert_eq!(made.split(0), [("blue", 8080, 50), ("green", 8080, 50)]);
    assert_eq!(made.ports(), [(8080, "http", "http")]);
    let at: Vec<_> = made.endpoints().iter().map(|to| to.ports["http"]).collect();
    assert_eq!(at, [61_002, 61_005, 61_007]);
    assert!(made.unreachable.is_empty());
}

#[test]
fn a_pushed_app_that_is_stopped_takes_no_share_of_its_hostname() {
    // Fault 17 of the original.
    let apps = [pushed("blue", 1), pushed("green", 1), pushed("grey", 1)];
    let made = make(
        [route("shop.example.com", apps.clone())],
        [
            instance(1, "blue", &[(8080, 61_001)]),
            instance(2, "green", &[(8080, 61_002)]),
        ],
    );
    assert_eq!(made.split(0), [("blue", 8080, 50), ("green", 8080, 50)]);
    let made = make([route("shop.example.com", apps)], []);
    let weights: Vec<_> = made.split(0).iter().map(|(.., weight)| *weight).collect();
    assert_eq!(weights, [34, 33, 33], "none runs: as they were asked for");
}

#[test]
fn destinations_that_get_no_whole_percent_are_left_out_and_named() {
    // Fault 20 of the original.
    let apps = (0..120).map(|n| pushed(&format!("app-{n:03}"), 1));
    let made = make([route("shop.example.com", apps)], []);
    let weights: Vec<_> = made.split(0).iter().map(|(.., weight)| *weight).collect();
    assert_eq!(weights, [1; 100]);
    let remark = &made.remarks[0];
    assert_eq!(remark.rule, "share");
    assert!(
        remark.detail.starts_with("20 of 120 destinations"),
        "{remark}"
    );
}

#[test]
fn an_app_on_a_hostname_and_a_path_of_it_has_one_subset_and_each_endpoint_once() {
    // Fault 24 of the original; and 25, an internal hostname keeps its path matches.
    let made = make(
        [
            route("shop.apps.internal", [pushed("app", 1)]),
            route("shop.apps.internal/cart", [pushed("app", 1)]),
        ],
        [
            instance(1, "app", &[(8080, 0)]),
            instance(2, "app", &[(8080, 0)]),
        ],
    );
    assert_eq!(made.subsets(), [("app", vec!["cfapp"])]);
    assert_eq!(made.addresses(), ["10.255.0.1", "10.255.0.2"]);
    assert_eq!(made.http()[0].r#match.len(), 2);
    assert!(made.http()[1].r#match.is_empty());
}

#[test]
fn a_path_of_an_internal_hostname_is_matched_too() {
    // Fault 25 of the original.
    let made = make(
        [
            route("shop.apps.internal", [pushed("all", 1)]),
            route("shop.apps.internal/cart", [pushed("cart", 1)]),
        ],
        [],
    );
    assert_eq!([made.split(0)[0].0, made.split(1)[0].0], ["cart", "all"]);
    let matched: Vec<_> = made.http().iter().map(|http| http.r#match.len()).collect();
    assert_eq!(matched, [2, 0]);
}

#[test]
fn an_internal_hostname_without_an_address_is_served_without_one() {
    // Fault 26 of the original.
    let mut table = RouteTable::default();
    table.apply(Update::AllRoutes(vec![route(
        "shop.apps.internal",
        [pushed("app", 1)],
    )]));
    table.apply(Update::AllInstances(vec![
        instance(1, "app", &[(8080, 0)]).into(),
    ]));
    let name = Hostname::parse("shop.apps.internal").unwrap();
    let host = table.host(&name).unwrap();
    let entry = service_entry::service_entry(&host, false);
    let entry = entry.of(Era::Classic).as_ref().unwrap();
    assert!(entry.addresses.is_empty());
    entry.validate(Era::Classic).unwrap();
    assert!(Kind::ServiceEntry.remarks(&host).is_empty());
}
