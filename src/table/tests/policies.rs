//! Policies: what an app may connect to, by example and against a model.

use super::*;
use crate::model::{Policy, Refusal};

fn policy(source: &str, destination: &str) -> Policy {
    Policy {
        source: source.into(),
        destination: destination.into(),
    }
}

fn reachable(table: &RouteTable, source: &str) -> Vec<String> {
    let hosts = table.reachable_from(&source.into()).into_iter();
    hosts.map(ToString::to_string).collect()
}

fn sources(changes: &Changes) -> Vec<String> {
    changes.sources().map(ToString::to_string).collect()
}

/// Two internal hostnames of one app, one of another, and an external one.
fn table(policies: Vec<Policy>) -> RouteTable {
    let mut table = RouteTable::default();
    table.apply(Update::AllRoutes(vec![
        route("r1", "c1.apps.internal", "", &["c"]),
        route("r2", "c2.apps.internal", "", &["c"]),
        route("r3", "d.apps.internal", "", &["d"]),
        route("r4", "c.example.com", "", &["c"]),
    ]));
    table.apply(Update::AllPolicies(policies));
    table
}

#[test]
fn an_app_reaches_the_internal_hosts_of_its_own_policies_destinations_each_once() {
    // Faults 27 to 29 of the original: several sources of one destination, several policies of one source.
    let table = table(vec![
        policy("a", "c"),
        policy("b", "c"),
        policy("a", "d"),
        policy("a", "c"),
        policy("b", "nothing there"),
    ]);
    let (c, all) = (
        ["c1.apps.internal", "c2.apps.internal"],
        ["c1.apps.internal", "c2.apps.internal", "d.apps.internal"],
    );
    assert_eq!(reachable(&table, "a"), all);
    assert_eq!(reachable(&table, "b"), c);
    assert!(reachable(&table, "c").is_empty());
}

#[test]
fn a_route_touches_the_apps_that_may_reach_it_only_where_a_hostname_comes_or_goes() {
    let mut table = table(vec![policy("a", "c"), policy("b", "d")]);
    let routes = |current| Update::Routes {
        current,
        gone: vec![],
    };
    let second = route("r5", "c1.apps.internal", "/below", &["c"]);
    assert!(sources(&table.apply(routes(vec![second]))).is_empty());
    let external = route("r4", "c.example.com", "", &["c", "d"]);
    assert!(sources(&table.apply(routes(vec![external]))).is_empty());
    let moved = table.apply(routes(vec![route("r3", "d2.apps.internal", "", &["d"])]));
    assert_eq!(sources(&moved), ["b"]);
    assert_eq!(reachable(&table, "b"), ["d2.apps.internal"]);
    table.apply(Update::AllPolicies(vec![
        policy("a", "c"),
        policy("e", "d"),
    ]));
    let moved = table.apply(routes(vec![route("r3", "d.apps.internal", "", &["d"])]));
    assert_eq!(sources(&moved), ["e"], "and no longer the other one");
    let gone = table.apply(Update::Routes {
        current: vec![],
        gone: vec!["r1".into()],
    });
    assert!(sources(&gone).is_empty(), "another route has the hostname");
}

#[test]
fn an_internal_hostname_whose_routes_are_all_refused_is_reached_by_nobody() {
    let mut table = table(vec![policy("a", "d")]);
    let mut refused = route("r3", "d.apps.internal", "", &["d"]);
    refused.refused = Some(Refusal::RoutePolicies);
    let changes = table.apply(Update::Routes {
        current: vec![refused],
        gone: vec![],
    });
    assert_eq!(sources(&changes), ["a"]);
    assert!(reachable(&table, "a").is_empty());
}

#[test]
fn an_instance_touches_no_source_and_a_policy_no_host() {
    let mut table = table(vec![policy("a", "c")]);
    let changes = table.apply(Update::Instances {
        current: vec![instance("i1", Some("c")), instance("i2", Some("a"))],
        gone: vec![],
    });
    assert!(changes.hosts().count() > 0 && sources(&changes).is_empty());
    let changes = table.apply(Update::AllPolicies(vec![
        policy("b", "c"),
        policy("e", "nothing there"),
    ]));
    assert_eq!(changes.hosts().count(), 0);
    assert_eq!(sources(&changes), ["a", "b"]);
    assert!(
        table
            .apply(Update::AllPolicies(vec![
                policy("e", "nothing there"),
                policy("b", "c"),
            ]))
            .is_empty(),
        "the same in another order"
    );
}

fn any_policies() -> impl Strategy<Value = Vec<Policy>> {
    let policy = (0..APPS.len(), 0..APPS.len()).prop_map(|(a, b)| policy(APPS[a], APPS[b]));
    vec(policy, 0..6)
}

#[derive(Debug, Clone)]
enum Change {
    Policies(Vec<Policy>),
    Other(Step),
}

proptest! {
    #[test]
    fn any_updates_end_in_what_the_policies_say_and_report_every_source_that_differs(
        changes in vec(
            prop_oneof![
                any_policies().prop_map(Change::Policies),
                any_step().prop_map(Change::Other),
            ],
            1..20,
        ),
    ) {
        let mut table = RouteTable::default();
        let mut policies = Vec::new();
        for change in changes {
            let before = APPS.map(|app| reachable(&table, app));
            let changes = match change {
                Change::Policies(all) => {
                    policies.clone_from(&all);
                    table.apply(Update::AllPolicies(all))
                }
                Change::Other(step) => table.apply(step.update()),
            };
            let touched = sources(&changes);
            for (app, before) in APPS.iter().zip(before) {
                let after = reachable(&table, app);
                let is_touched = touched.iter().any(|touched| touched == app);
                prop_assert!(before == after || is_touched, "{} not reported", app);

                let own = policies.iter().filter(|policy| policy.source == AppGuid::from(*app));
                let destinations: BTreeSet<_> = own.map(|policy| &policy.destination).collect();
                let routes = seen(&table).into_values().flat_map(|(_, routes, _)| routes);
                let expected: BTreeSet<_> = routes
                    .map(|(route, _)| route)
                    .filter(|route| route.internal)
                    .filter(|route| {
                        let mut to = route.destinations.iter();
                        to.any(|to| destinations.contains(&to.workload.app))
                    })
                    .map(|route| route.host.to_string())
                    .collect();
                prop_assert_eq!(after, expected.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
