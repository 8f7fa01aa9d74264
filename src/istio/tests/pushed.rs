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
fn a_pushed_app_is_reached_at_8080_else_at_its_lowest_port_and_never_at_ssh() {
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
    assert_eq!(
        made.order(),
        ["shop.example.com"],
        "a weight of 1 is nobody's wish"
    );
    assert_eq!(made.ports("shop.example.com"), [(80, "http", "http")]);
    assert_eq!(
        made.endpoints("shop.example.com"),
        ["10.0.0.1:61002", "10.0.0.2:61005"]
    );
    made.assert_unreachable(1);
}

#[test]
fn a_pushed_app_that_is_stopped_takes_no_share_of_its_hostname() {
    // Fault 17 of the original.
    let apps = [pushed("blue", 2), pushed("green", 2), pushed("grey", 2)];
    let made = make(
        [route("shop.example.com", apps)],
        [
            instance(1, "blue", &[(8080, 61_001)]),
            instance(2, "green", &[(8080, 61_002)]),
        ],
    );
    let weights: Vec<_> = made.split(0).iter().map(|(_, weight)| *weight).collect();
    assert_eq!(weights, [50, 50]);
}

#[test]
fn destinations_that_get_no_whole_percent_are_left_out_and_named() {
    // Fault 20 of the original.
    let apps = (0..120).map(|n| pushed(&format!("app-{n:03}"), 2));
    let made = make([route("shop.example.com", apps)], []);
    let weights: Vec<_> = made.split(0).iter().map(|(_, weight)| *weight).collect();
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
    let [rules, _] = &made.rules;
    let subsets = &rules["internal/copilot-rule-for-shop.apps.internal"].subsets;
    assert_eq!(subsets.len(), 1);
    let entry = "internal/copilot-service-entry-for-shop.apps.internal";
    assert_eq!(
        made.endpoints(entry),
        ["10.255.0.1:8080", "10.255.0.2:8080"]
    );
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
    let subset = |n: usize| &made.http()[n].route[0].destination.as_ref().unwrap().subset;
    assert_eq!([subset(0), subset(1)], ["cart", "all"]);
    let matched: Vec<_> = made.http().iter().map(|http| http.r#match.len()).collect();
    assert_eq!(matched, [2, 0]);
}

#[test]
fn an_internal_hostname_without_an_address_is_served_without_one() {
    // Fault 26 of the original.
    let routes = [route("shop.apps.internal", [pushed("app", 1)])];
    let mut table = RouteTable::default();
    table.apply(Update::AllRoutes(routes.to_vec()));
    table.apply(Update::AllInstances(vec![
        instance(1, "app", &[(8080, 0)]).into(),
    ]));
    let made = make_of(&routes, &table);
    let entry = made.entry("internal/copilot-service-entry-for-shop.apps.internal");
    assert!(entry.addresses.is_empty());
    assert!(made.unreachable.is_empty());
}
