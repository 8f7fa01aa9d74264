//! What Pilots and istiods are told differently, and that it is nothing else.

use std::time::Duration;

use super::*;
use crate::{
    model::{Cookie, CookieName, HeaderName, LoadBalancing},
    proto::istio::networking::v1alpha3::load_balancer_settings::{
        LbPolicy, consistent_hash_lb::HashKey,
    },
};

/// A choice as it is on the wire: the number of a simple one, or the header of a hash.
#[derive(Debug, PartialEq, Eq)]
enum Policy {
    Simple(i32),
    Hash(String),
    Cookie(String, String, i64),
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

/// The policy of each service that has a rule: for Pilots, then for istiods.
fn policies(made: &Made) -> [Vec<(&str, Policy)>; 2] {
    let policy = |rule: &DestinationRule| {
        let policy = rule.traffic_policy.clone().unwrap();
        match policy.load_balancer.unwrap().lb_policy.unwrap() {
            LbPolicy::Simple(number) => Policy::Simple(number),
            LbPolicy::ConsistentHash(hash) => match hash.hash_key.unwrap() {
                HashKey::HttpHeaderName(header) => Policy::Hash(header),
                HashKey::HttpCookie(cookie) => {
                    let ttl = cookie.ttl.unwrap();
                    Policy::Cookie(cookie.name, cookie.path, ttl.seconds)
                }
            },
        }
    };
    let [classic, xds] = &made.rules;
    [classic, xds].map(|rules| {
        let rules = rules.iter();
        rules
            .map(|(name, rule)| (name.as_str(), policy(rule)))
            .collect()
    })
}

#[test]
fn a_choice_is_written_with_the_numbers_that_each_era_understands() {
    for (choice, classic, xds) in [
        (LoadBalancing::RoundRobin, 0, 4),
        (LoadBalancing::LeastConnection, 1, 5),
    ] {
        let made = make([choosing("shop.example.com", "app", 1, Some(choice))], []);
        let expected = [classic, xds].map(|n| vec![("shop.example.com", Policy::Simple(n))]);
        assert_eq!(policies(&made), expected);
        assert!(made.overruled.is_empty());
    }
}

#[test]
fn round_robin_is_on_the_wire_although_its_number_is_zero_to_old_pilots() {
    use prost::Message as _;

    let choice = Some(LoadBalancing::RoundRobin);
    let made = make([choosing("shop.example.com", "app", 1, choice)], []);
    // Pilot discards a policy that says nothing: `load_balancer` of two bytes, the key and number of `simple`.
    let policy = made.rules[0]["shop.example.com"].traffic_policy.as_ref();
    assert_eq!(policy.unwrap().encode_to_vec(), [0x0a, 2, 0x08, 0]);
}

#[test]
fn a_hash_is_the_same_for_both_eras_and_without_a_choice_there_is_no_rule() {
    let made = make(
        [choosing("shop.example.com", "app", 1, Some(hash("X-User")))],
        [],
    );
    let hashed = || vec![("shop.example.com", Policy::Hash("x-user".to_owned()))];
    assert_eq!(policies(&made), [hashed(), hashed()]);
    let made = make([choosing("shop.example.com", "app", 1, None)], []);
    assert_eq!(policies(&made), [vec![], vec![]]);
}

#[test]
fn a_cookie_is_made_for_all_paths_and_is_the_same_for_both_eras() {
    let cookie = LoadBalancing::Cookie(Cookie {
        name: CookieName::parse("SHOP").unwrap(),
        ttl: Duration::from_mins(1),
    });
    let made = make([choosing("shop.example.com", "app", 1, Some(cookie))], []);
    let policy = || Policy::Cookie("SHOP".to_owned(), "/".to_owned(), 60);
    let expected = || vec![("shop.example.com", policy())];
    assert_eq!(policies(&made), [expected(), expected()]);
}

#[test]
fn a_choice_is_for_all_instances_of_its_route_and_not_for_other_paths() {
    let route = Route {
        load_balancing: Some(Box::new(hash("tenant"))),
        ..route(
            "shop.example.com/pay",
            [to("blue", 8080), to("green", 8080)],
        )
    };
    let made = make(
        [choosing("shop.example.com", "blue", 1, None), route],
        [
            instance(1, "blue", &[(8080, 61_001)]),
            instance(2, "green", &[(8080, 61_002)]),
        ],
    );
    let pay = "pay.cf--path.shop.example.com";
    let [classic, _] = policies(&made);
    assert_eq!(classic, [(pay, Policy::Hash("tenant".to_owned()))]);
    assert_eq!(made.endpoints(pay).len(), 2, "of one service");
}

#[test]
fn where_weights_divide_a_route_each_of_its_services_has_the_choice() {
    let route = Route {
        load_balancing: Some(Box::new(hash("tenant"))),
        ..route(
            "shop.example.com",
            [weighted("blue", 60), weighted("green", 40)],
        )
    };
    let made = make([route], []);
    let [classic, _] = policies(&made);
    let ruled: Vec<_> = classic.iter().map(|(service, _)| *service).collect();
    let split = made.split(0);
    assert_eq!(
        split.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(),
        [60, 40]
    );
    assert!(split.iter().all(|(service, _)| ruled.contains(service)));
}

#[test]
fn of_two_choices_for_one_url_that_of_the_older_route_counts_and_the_other_is_named() {
    let made = make(
        [
            choosing(
                "shop.example.com/A",
                "app",
                2,
                Some(LoadBalancing::RoundRobin),
            ),
            choosing("shop.example.com/a", "app", 1, Some(hash("x-user"))),
        ],
        [],
    );
    let hashed = (
        "a.cf--path.shop.example.com",
        Policy::Hash("x-user".to_owned()),
    );
    assert_eq!(policies(&made)[0], [hashed]);
    assert_eq!(made.overruled[0].rule, "options");
    assert_eq!(
        made.overruled[0].detail,
        "route shop.example.com/A asks for round-robin where the older route \
         shop.example.com/a has hash of x-user"
    );
}

#[test]
fn a_route_that_an_older_one_hides_has_no_say() {
    let mut hidden = choosing("shop.example.com", "app", 2, Some(hash("x-user")));
    hidden.guid = "hidden".into();
    let made = make([choosing("shop.example.com", "app", 1, None), hidden], []);
    assert!(policies(&made)[0].is_empty());
}

/// What the eras match of the hostname's first route.
fn matched(made: &Made) -> [Vec<(MatchType, bool)>; 2] {
    let [classic, xds] = &made.services;
    [classic, xds].map(|service| {
        let matches = service.as_ref().unwrap().http[0].r#match.iter();
        let uri = |request: &crate::proto::istio::networking::v1alpha3::HttpMatchRequest| {
            let uri = request.uri.clone().unwrap().match_type.unwrap();
            (uri, request.ignore_uri_case)
        };
        matches.map(uri).collect()
    })
}

#[test]
fn pilots_match_a_path_in_any_case_by_a_pattern_and_istiods_without_regard_to_it() {
    let made = make([route("shop.example.com/Cart/", [to("app", 8080)])], []);
    let (exact, below) = ("/cart".to_owned(), "/cart/".to_owned());
    let pattern = "/[cC][aA][rR][tT](/.*)?".to_owned();
    assert_eq!(
        matched(&made),
        [
            vec![(MatchType::Regex(pattern), false)],
            vec![
                (MatchType::Exact(exact), true),
                (MatchType::Prefix(below), true)
            ],
        ]
    );
}

#[test]
fn an_entry_without_endpoints_is_kept_for_istiods_alone_and_only_if_asked_for() {
    let table = table([route("shop.example.com", [to("app", 8080)])], []);
    let host = Hostname::parse("shop.example.com").unwrap();
    let pool = table.host(&host).unwrap().pool("").unwrap();
    let options = |keep_empty| Options {
        keep_empty,
        ..Options::default()
    };
    let entry = |keep_empty| match services(&pool, &options(keep_empty), false, &Ended::new()) {
        Services::Open { entries, rules } => {
            assert!(rules.is_none());
            entries.resources[0].1.clone()
        }
        Services::Refused => panic!("refused"),
    };
    assert_eq!(entry(false), Eras::Same(None));
    let Eras::Each { classic, xds } = entry(true) else {
        panic!("the same for both");
    };
    assert_eq!(classic, None);
    let kept: ServiceEntry = decode(&xds.unwrap());
    assert_eq!((kept.ports.len(), kept.endpoints.len()), (1, 0));
    kept.validate(Era::Xds).unwrap();
    assert_eq!(kept.validate(Era::Classic).unwrap_err().rule, "endpoint");
}
