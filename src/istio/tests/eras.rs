//! What Pilots and istiods are told differently, and that it is nothing else.

use super::*;
use crate::{
    model::{HeaderName, LoadBalancing},
    proto::istio::networking::v1alpha3::load_balancer_settings::{
        LbPolicy, consistent_hash_lb::HashKey,
    },
};

/// A choice as it is on the wire: the number of a simple one, or the header of a hash.
#[derive(Debug, PartialEq, Eq)]
enum Policy {
    Simple(i32),
    Hash(String),
}

fn hash(header: &str) -> LoadBalancing {
    LoadBalancing::Hash(HeaderName::parse(header).unwrap())
}

/// A route to an app, with the choice of its owner; `age` orders routes, the oldest first.
fn choosing(url: &str, app: &str, age: i64, choice: Option<LoadBalancing>) -> Route {
    Route {
        created_at: age,
        load_balancing: choice.map(Box::new),
        ..route(url, [to(app, 8080)])
    }
}

/// The hostname's rule, and the choice that does not count.
fn rule<const R: usize>(routes: [Route; R]) -> (Eras<Option<DestinationRule>>, Option<Invalid>) {
    let name = routes[0].host.clone();
    let table = table(routes, []);
    let host = table.host(&name).unwrap();
    let rule = destination_rule::destination_rule(&host);
    for era in [Era::Classic, Era::Xds] {
        assert_valid(rule.of(era).as_ref(), era);
    }
    (rule, Kind::DestinationRule.remarks(&host).pop())
}

/// The policy of each subset.
fn policies(rule: &Eras<Option<DestinationRule>>, era: Era) -> Vec<(&str, Option<Policy>)> {
    let subsets = rule.of(era).as_ref().unwrap().subsets.iter();
    subsets
        .map(|subset| {
            let policy = subset.traffic_policy.clone();
            let policy = policy.map(|policy| match policy.load_balancer.unwrap().lb_policy {
                Some(LbPolicy::Simple(number)) => Policy::Simple(number),
                Some(LbPolicy::ConsistentHash(hash)) => {
                    let HashKey::HttpHeaderName(header) = hash.hash_key.unwrap();
                    Policy::Hash(header)
                }
                None => panic!("an empty policy"),
            });
            (subset.name.as_str(), policy)
        })
        .collect()
}

#[test]
fn a_choice_is_written_with_the_numbers_that_each_era_understands() {
    for (choice, classic, xds) in [
        (LoadBalancing::RoundRobin, 0, 4),
        (LoadBalancing::LeastConnection, 1, 5),
    ] {
        let (rule, remark) = rule([choosing("shop.example.com", "app", 1, Some(choice))]);
        let classic = ("app", Some(Policy::Simple(classic)));
        assert_eq!(policies(&rule, Era::Classic), [classic]);
        let xds = ("app", Some(Policy::Simple(xds)));
        assert_eq!(policies(&rule, Era::Xds), [xds]);
        assert_eq!(remark, None);
    }
}

#[test]
fn round_robin_is_on_the_wire_although_its_number_is_zero_to_old_pilots() {
    use prost::Message as _;

    let choice = Some(LoadBalancing::RoundRobin);
    let (rule, _) = rule([choosing("shop.example.com", "app", 1, choice)]);
    let rule = rule.of(Era::Classic).as_ref().unwrap();
    // Pilot discards a policy that says nothing: `load_balancer` of two bytes, the key and number of `simple`.
    let policy = rule.subsets[0].traffic_policy.as_ref().unwrap();
    assert_eq!(policy.encode_to_vec(), [0x0a, 2, 0x08, 0]);
}

#[test]
fn a_hash_and_no_choice_are_the_same_for_both_eras() {
    for choice in [None, Some(hash("X-User"))] {
        let policy = choice.as_ref().map(|_| Policy::Hash("x-user".to_owned()));
        let (rule, _) = rule([choosing("shop.example.com", "app", 1, choice)]);
        assert!(matches!(rule, Eras::Same(_)));
        assert_eq!(policies(&rule, Era::Xds), [("app", policy)]);
    }
}

#[test]
fn a_choice_is_for_the_destinations_of_its_route_and_not_for_other_paths() {
    let (rule, remark) = rule([
        choosing("shop.example.com", "shop", 1, None),
        choosing("shop.example.com/cart", "cart", 2, Some(hash("cart"))),
        choosing(
            "shop.example.com/pay",
            "pay",
            3,
            Some(LoadBalancing::RoundRobin),
        ),
    ]);
    let expected = |round_robin| {
        [
            ("cart", Some(Policy::Hash("cart".to_owned()))),
            ("pay", Some(Policy::Simple(round_robin))),
            ("shop", None),
        ]
    };
    assert_eq!(policies(&rule, Era::Classic), expected(0));
    assert_eq!(policies(&rule, Era::Xds), expected(4));
    assert_eq!(remark, None);
}

#[test]
fn of_two_choices_for_one_app_the_older_route_has_its_own_and_the_other_is_named() {
    let (rule, remark) = rule([
        choosing("shop.example.com/a", "app", 3, None),
        choosing(
            "shop.example.com/long",
            "app",
            2,
            Some(LoadBalancing::LeastConnection),
        ),
        choosing("shop.example.com/b", "app", 1, Some(hash("x-user"))),
    ]);
    let hashed = ("app", Some(Policy::Hash("x-user".to_owned())));
    assert_eq!(policies(&rule, Era::Classic), [hashed]);
    let remark = remark.unwrap();
    assert_eq!(remark.rule, "options");
    assert_eq!(
        remark.detail,
        "route shop.example.com/long asks for least-connection where the older route \
         shop.example.com/b has hash of x-user"
    );
}

#[test]
fn a_route_that_a_newer_one_hides_has_no_say() {
    let mut hidden = choosing("shop.example.com", "app", 1, Some(hash("x-user")));
    hidden.guid = "hidden".into();
    let (rule, _) = rule([hidden, choosing("shop.example.com", "app", 2, None)]);
    assert_eq!(policies(&rule, Era::Classic), [("app", None)]);
}

/// The `ServiceEntry` of a hostname with an app that has these instances.
fn entry<const I: usize>(
    to: impl IntoIterator<Item = Destination>,
    instances: [Instance; I],
    keep_empty: bool,
) -> Eras<Option<ServiceEntry>> {
    let route = route("shop.example.com", to);
    let name = route.host.clone();
    let table = table([route], instances);
    service_entry::service_entry(&table.host(&name).unwrap(), keep_empty)
}

#[test]
fn an_entry_without_endpoints_is_kept_for_istiods_alone_and_only_if_asked_for() {
    assert_eq!(entry([to("app", 8080)], [], false), Eras::Same(None));
    let Eras::Each { classic, xds } = entry([to("app", 8080)], [], true) else {
        panic!("the same for both");
    };
    assert_eq!(classic, None);
    let xds = xds.unwrap();
    assert_eq!((xds.ports.len(), xds.endpoints.len()), (1, 0));
    xds.validate(Era::Xds).unwrap();
    assert_eq!(xds.validate(Era::Classic).unwrap_err().rule, "endpoint");
}

#[test]
fn an_entry_with_endpoints_is_the_same_for_both_and_one_without_ports_is_for_nobody() {
    let reached = entry(
        [to("app", 8080)],
        [instance(1, "app", &[(8080, 61_001)])],
        true,
    );
    assert!(matches!(reached, Eras::Same(Some(_))));
    assert_eq!(entry([], [], true), Eras::Same(None));
}
