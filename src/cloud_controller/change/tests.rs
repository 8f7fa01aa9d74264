//! What each call needs, and what is refused in which words.

use super::*;

fn route() -> api::Route {
    api::Route {
        guid: "r".to_owned(),
        host: "Shop.Example.com".to_owned(),
        path: "/Sub".to_owned(),
        internal: true,
        vip: "127.128.0.1".to_owned(),
    }
}

type Spoil = fn(&mut api::Route);

fn mapping() -> api::RouteMapping {
    api::RouteMapping {
        capi_process_guid: "p".to_owned(),
        route_guid: "r".to_owned(),
        route_weight: 1,
    }
}

fn association(guids: &[&str]) -> api::CapiDiegoProcessAssociation {
    api::CapiDiegoProcessAssociation {
        capi_process_guid: "p".to_owned(),
        diego_process_guids: guids.iter().map(ToString::to_string).collect(),
    }
}

/// What is said of a route that is otherwise valid.
fn refused_route(spoil: impl FnOnce(&mut api::Route)) -> String {
    let mut route = route();
    spoil(&mut route);
    Change::upsert_route(Some(&route)).unwrap_err().to_string()
}

fn refused_mapping(spoil: impl FnOnce(&mut api::RouteMapping)) -> String {
    let mut mapping = mapping();
    spoil(&mut mapping);
    Change::map(Some(&mapping)).unwrap_err().to_string()
}

#[test]
fn a_route_has_its_host_in_lower_case_and_its_path_as_it_came() {
    let Ok(Change::UpsertRoute(route)) = Change::upsert_route(Some(&route())) else {
        panic!("a valid route");
    };
    assert_eq!(route.host.as_str(), "shop.example.com");
    assert_eq!(&*route.path, "/Sub");
    assert_eq!(route.vip, Some(Ipv4Addr::new(127, 128, 0, 1)));
    assert!(route.internal);
}

#[test]
fn a_refused_route_is_told_which_field_is_wrong() {
    let missing = Change::upsert_route(None).unwrap_err();
    assert_eq!(missing.to_string(), "route is missing");
    let cases: [(Spoil, &str); 9] = [
        (|route| route.guid.clear(), "route.guid is missing"),
        (|route| route.host.clear(), "route.host is missing"),
        (
            |route| route.guid = "g".repeat(1 << 20),
            "route.guid has 1048576 bytes, at most 200 fit",
        ),
        (
            |route| route.host = "h".repeat(1 << 20),
            "route.host has 1048576 bytes, at most 253 fit",
        ),
        (
            |route| route.guid = "a\nb".to_owned(),
            "route.guid has a control character",
        ),
        (
            |route| route.host = "a\u{7}b".to_owned(),
            "route.host has the character '\\u{7}'",
        ),
        (
            |route| route.path = "sub".to_owned(),
            "route.path \"sub\" does not begin with a slash",
        ),
        (
            |route| route.path = "/a\0".to_owned(),
            "route.path has a control character",
        ),
        (
            |route| route.vip = "::1".to_owned(),
            "route.vip \"::1\" is no IPv4 address",
        ),
    ];
    for (spoil, message) in cases {
        assert_eq!(refused_route(spoil), message);
    }
}

#[test]
fn a_mapping_needs_both_guids_and_a_weight_that_cloud_controller_allows() {
    assert_eq!(
        refused_mapping(|mapping| mapping.route_guid.clear()),
        "route_mapping.route_guid is missing"
    );
    assert_eq!(
        refused_mapping(|mapping| mapping.capi_process_guid.clear()),
        "route_mapping.capi_process_guid is missing"
    );
    for weight in [0, 129, u32::MAX] {
        assert_eq!(
            refused_mapping(|mapping| mapping.route_weight = weight),
            format!("route_mapping.route_weight is {weight}, not from 1 to 128")
        );
    }
    let heaviest = api::RouteMapping {
        route_weight: 128,
        ..mapping()
    };
    assert!(Change::map(Some(&heaviest)).is_ok());
}

#[test]
fn the_weight_of_an_unmapping_says_nothing() {
    for route_weight in [0, 1, u32::MAX] {
        let mapping = api::RouteMapping {
            route_weight,
            ..mapping()
        };
        let pair = ("r".into(), "p".into());
        assert_eq!(Change::unmap(Some(&mapping)), Ok(Change::Unmap(pair)));
    }
}

#[test]
fn an_association_has_each_diego_process_once_and_at_least_one() {
    let Ok(Change::Associate(found)) = Change::associate(Some(&association(&["b", "a", "b"])))
    else {
        panic!("a valid association");
    };
    let expected: [DiegoProcessGuid; 2] = ["a".into(), "b".into()];
    assert_eq!(found.diego_processes[..], expected);

    for guids in [&[][..], &[""], &["a", ""]] {
        let refused = Change::associate(Some(&association(guids))).unwrap_err();
        assert_eq!(refused, Invalid::Missing(ASSOCIATED));
    }
    let many = Change::associate(Some(&association(&["a"; MAX_DIEGO_PROCESSES + 1])));
    assert!(matches!(many, Err(Invalid::TooManyDiegoProcesses(_))));
}

#[test]
fn no_answer_repeats_a_value_at_length() {
    let huge = "x".repeat(1 << 20);
    let long = "x".repeat(MAX_PATH);
    let refusals = [
        refused_route(|route| route.guid.clone_from(&huge)),
        refused_route(|route| route.path.clone_from(&huge)),
        refused_route(|route| route.path.clone_from(&long)),
        refused_route(|route| route.vip.clone_from(&huge)),
        refused_mapping(|mapping| mapping.route_guid.clone_from(&huge)),
        Change::dissociate(&huge).unwrap_err().to_string(),
        Change::delete_route(&huge).unwrap_err().to_string(),
    ];
    for refusal in refusals {
        assert!(refusal.len() < 160, "{refusal}");
    }
}
