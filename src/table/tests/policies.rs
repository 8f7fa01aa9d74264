//! Policies: what an app may connect to, by example and against a model.

use super::{pushed::any_pushed, *};
use crate::model::{Policy, Refusal, Transport};

fn policy(source: &str, destination: &str) -> Policy {
    Policy::at(source, destination, Transport::Tcp, (8080, 8080))
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
    let changes = table.apply(current([
        instance("i1", Some("c")),
        instance("i2", Some("a")),
    ]));
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

#[test]
fn a_policy_opens_hostnames_where_its_destination_listens_at_one_of_its_ports_by_tcp() {
    for (transport, ports, opens) in [
        (Transport::Tcp, (8080, 8080), true),
        (Transport::Tcp, (1, 65_535), true),
        (Transport::Tcp, (8000, 8080), true),
        (Transport::Tcp, (8080, 8999), true),
        (Transport::Tcp, (8081, 8999), false),
        (Transport::Tcp, (8000, 8079), false),
        (Transport::Udp, (8080, 8080), false),
    ] {
        let table = table(vec![Policy::at("a", "d", transport, ports)]);
        let open = !reachable(&table, "a").is_empty();
        assert_eq!(open, opens, "{transport:?} {ports:?}");
    }
    // Of several policies between two apps, and of several ports of an app, one is enough.
    let mut table = table(vec![
        Policy::at("a", "d", Transport::Udp, (9090, 9090)),
        Policy::at("a", "d", Transport::Tcp, (9090, 9090)),
    ]);
    assert!(reachable(&table, "a").is_empty());
    let mut both = route("r3", "d.apps.internal", "", &["d", "d"]);
    both.destinations[1].port = AppPort::Number(9090);
    let changes = table.apply(Update::Routes {
        current: vec![both],
        gone: vec![],
    });
    assert_eq!(sources(&changes), ["a"]);
    assert_eq!(reachable(&table, "a"), ["d.apps.internal"]);
}

#[test]
fn a_policy_that_opens_nothing_touches_nobody_and_one_of_two_that_goes_leaves_the_other() {
    let udp = || Policy::at("a", "c", Transport::Udp, (8080, 8080));
    let other = || Policy::at("a", "c", Transport::Tcp, (9090, 9090));
    let mut table = table(vec![]);
    let replace = |table: &mut RouteTable, policies| table.apply(Update::AllPolicies(policies));
    assert!(replace(&mut table, vec![udp(), other()]).is_empty());
    let opened = replace(&mut table, vec![udp(), other(), policy("a", "c")]);
    assert_eq!(sources(&opened), ["a"]);
    assert!(replace(&mut table, vec![policy("a", "c")]).is_empty());
    // What is left of the two still counts for routes to come.
    let changes = table.apply(Update::Routes {
        current: vec![route("r5", "c3.apps.internal", "", &["c"])],
        gone: vec![],
    });
    assert_eq!(sources(&changes), ["a"]);
}

/// An internal hostname of a pushed process, whose instances serve at these ports if nobody says at which.
fn pushed(ports: &[u16], policies: Vec<Policy>) -> RouteTable {
    let mut table = RouteTable::new(Join::Associated, None);
    let mut to = route("r1", "c.apps.internal", "", &["c"]);
    to.destinations[0].port = AppPort::Main;
    table.apply(Update::AllPushed {
        routes: vec![to],
        associations: vec![],
        leads: true,
    });
    table.apply(Update::AllPolicies(policies));
    table.apply(running(ports));
    table
}

/// All the instances of process `c`: one for each of these ports.
fn running(ports: &[u16]) -> Update {
    let instances = ports.iter().enumerate().map(|(n, port)| {
        let mut instance = Instance::clone(&instance(&format!("i{n}"), None));
        instance.process = "c".into();
        instance.ports = [2222, *port]
            .map(|container| PortMapping::plain(container, 1))
            .into_iter()
            .collect();
        Arc::new(instance)
    });
    Update::AllInstances(instances.collect())
}

#[test]
fn a_pushed_hostname_is_open_to_policies_for_the_port_that_its_instances_report() {
    let policies = || {
        vec![
            policy("a", "c"),
            Policy::at("b", "c", Transport::Tcp, (9000, 9999)),
            Policy::at("d", "c", Transport::Udp, (1, 65_535)),
            Policy::at("e", "c", Transport::Tcp, (2222, 2222)),
        ]
    };
    let open = |table: &RouteTable| -> Vec<_> {
        let apps = ["a", "b", "d", "e"].into_iter();
        apps.filter(|app| !reachable(table, app).is_empty())
            .collect()
    };
    assert_eq!(open(&pushed(&[8080], policies())), ["a"]);
    assert_eq!(open(&pushed(&[9090], policies())), ["b"]);
    assert_eq!(open(&pushed(&[9090, 8080], policies())), ["a", "b"]);
    for nobody in [&[][..], &[2222]] {
        let open = open(&pushed(nobody, policies()));
        assert_eq!(open, ["a", "b", "e"], "any will do: nobody is reached");
    }
}

#[test]
fn an_instance_touches_the_sources_to_whom_its_port_makes_a_difference_and_no_restart_does() {
    let policies = vec![
        policy("a", "c"),
        Policy::at("b", "c", Transport::Tcp, (9000, 9999)),
        Policy::at("d", "c", Transport::Tcp, (1, 65_535)),
    ];
    let mut table = pushed(&[8080], policies);
    let mut apply = |update| sources(&table.apply(update));
    assert!(apply(running(&[8080, 8080])).is_empty());
    assert_eq!(apply(running(&[8080, 9090])), ["b"]);
    assert_eq!(apply(running(&[9090])), ["a"]);
    assert_eq!(apply(running(&[8080])), ["a", "b"]);
    assert!(apply(running(&[2222, 8080])).is_empty());
    // It stops and starts; while it does not run, it is reached by nobody whatever Sidecars say.
    assert_eq!(apply(running(&[])), ["b"]);
    assert_eq!(apply(running(&[8080])), ["b"]);
    let routes = |current, gone| Update::Routes { current, gone };
    assert_eq!(apply(routes(vec![], vec!["r1".into()])), ["a", "b", "d"]);
    assert!(
        apply(running(&[9090])).is_empty(),
        "no hostname leads there"
    );
}

/// Whose instances listen at 8080 behind a proxy that takes TLS from other apps, or without one.
fn on_cells(are_of_today: &[bool]) -> Update {
    let instances = are_of_today.iter().enumerate().map(|(n, is_of_today)| {
        let mut instance = Instance::clone(&instance(&format!("i{n}"), Some("d")));
        instance.container_address = Some([10, 255, 0, u8::try_from(n).unwrap()].into());
        if *is_of_today {
            instance.ports[0].internal_tls = 61_443;
        }
        Arc::new(instance)
    });
    Update::AllInstances(instances.collect())
}

#[test]
fn a_hostname_over_tls_is_open_to_policies_for_the_port_of_the_proxies() {
    let policies = vec![
        policy("a", "d"),
        Policy::at("b", "d", Transport::Tcp, (61_443, 61_443)),
        Policy::at("e", "d", Transport::Tcp, (8080, 61_443)),
    ];
    let mut table = RouteTable::default().with_tls(Tls {
        external: false,
        internal: true,
    });
    table.apply(Update::AllRoutes(vec![
        route("r1", "d.apps.internal", "", &["d"]),
        route("r2", "beside.apps.internal", "", &["other"]),
    ]));
    table.apply(Update::AllPolicies(policies));
    let open = |table: &RouteTable| -> Vec<_> {
        let apps = ["a", "b", "e"].into_iter();
        apps.filter(|app| !reachable(table, app).is_empty())
            .collect()
    };
    assert_eq!(open(&table), ["b", "e"], "expected of cells of today");
    let restarted = [on_cells(&[true]), on_cells(&[]), on_cells(&[true, true])];
    for update in restarted {
        assert!(sources(&table.apply(update)).is_empty());
    }
    // One that has no such port, and all of the hostname are dialled in plaintext.
    assert_eq!(sources(&table.apply(on_cells(&[true, false]))), ["a", "b"]);
    assert_eq!(open(&table), ["a", "e"]);
    assert_eq!(sources(&table.apply(on_cells(&[true, true]))), ["a", "b"]);
    assert_eq!(open(&table), ["b", "e"]);
}

fn any_policies() -> impl Strategy<Value = Vec<Policy>> {
    policies_among(APPS)
}

fn policies_among(apps: [&'static str; 3]) -> impl Strategy<Value = Vec<Policy>> {
    let transport = prop_oneof![3 => Just(Transport::Tcp), 1 => Just(Transport::Udp)];
    let ports = prop::sample::select(vec![
        (8080, 8080),
        (1, 8079),
        (8000, 9090),
        (9090, 9090),
        (61_443, 61_443),
    ]);
    let policy = (0..3_usize, 0..3_usize, transport, ports)
        .prop_map(move |(a, b, transport, ports)| Policy::at(apps[a], apps[b], transport, ports));
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
                any_step(None).prop_map(Change::Other),
            ],
            1..20,
        ),
        internal: bool,
    ) {
        let mut table = RouteTable::default().with_tls(Tls { external: false, internal });
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

                let opens = |to: &Destination, instances: &[(Instance, Standing)], is_tls: bool| {
                    let mappings = instances.iter().filter_map(|(one, _)| one.ports.first());
                    let dialled = |over_tls| if is_tls && over_tls { 61_443 } else { 8080 };
                    let mut ports: Vec<_> = mappings.map(|mapping| dialled(mapping.internal_tls > 0)).collect();
                    if ports.is_empty() {
                        ports.push(dialled(true));
                    }
                    policies.iter().any(|policy| {
                        let is_own = policy.source == AppGuid::from(*app) && policy.destination == to.workload.app;
                        is_own && policy.admits(&ports)
                    })
                };
                let expected: BTreeSet<_> = seen(&table)
                    .into_values()
                    .flat_map(|(_, routes, lookup)| routes.into_iter().map(move |(route, instances)| (route, instances, lookup[0].3[0].1)))
                    .filter(|(route, _, _)| route.internal)
                    .filter(|(route, instances, is_tls)| {
                        std::iter::zip(&route.destinations, instances).any(|(to, instances)| opens(to, instances, *is_tls))
                    })
                    .map(|(route, _, _)| route.host.to_string())
                    .collect();
                prop_assert_eq!(after, expected.into_iter().collect::<Vec<_>>());
            }
        }
    }
    #[test]
    fn any_pushes_end_in_what_the_policies_say_of_the_instances_ports_and_report_who_differs(
        changes in vec(
            prop_oneof![
                policies_among(pushed::PROCESSES).prop_map(Ok),
                (any_pushed(), vec(prop::sample::select(vec![8080, 9090, 2222]), 4)).prop_map(Err),
            ],
            1..20,
        ),
    ) {
        let mut table = RouteTable::new(Join::Associated, None);
        let mut policies = Vec::new();
        for change in changes {
            let before = pushed::PROCESSES.map(|app| reachable(&table, app));
            let changes = match change {
                Ok(all) => {
                    policies.clone_from(&all);
                    table.apply(Update::AllPolicies(all))
                }
                Err((step, ports)) => table.apply(step.without_ports(&ports).update()),
            };
            let touched = sources(&changes);
            for (app, before) in pushed::PROCESSES.iter().zip(before) {
                let after = reachable(&table, app);
                let is_touched = touched.iter().any(|touched| touched == app);
                prop_assert!(before == after || is_touched, "{} not reported", app);
                let opens = |to: &Destination, instances: &[(Instance, Standing)]| {
                    let mut own = policies.iter().filter(|policy| {
                        policy.source == AppGuid::from(*app) && policy.destination == to.workload.app
                    });
                    let ports = instances.iter().map(|(one, _)| one.ports[0].container);
                    let mut ports: Vec<_> = ports.filter(|port| *port != 2222).collect();
                    if ports.is_empty() {
                        ports = vec![1, 8080, 9090, 61_443];
                    }
                    own.any(|policy| policy.admits(&ports))
                };
                let routes = seen(&table).into_values().flat_map(|(_, routes, _)| routes);
                let expected: BTreeSet<_> = routes
                    .filter(|(route, _)| route.internal)
                    .filter(|(route, instances)| {
                        std::iter::zip(&route.destinations, instances)
                            .any(|(to, instances)| opens(to, instances))
                    })
                    .map(|(route, _)| route.host.to_string())
                    .collect();
                prop_assert_eq!(after, expected.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
