//! The table by example, and for any order of updates against one that read their final state at once.

mod addresses;
mod crowds;
mod places;
mod policies;
mod pushed;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use proptest::{collection::vec, prelude::*, sample::subsequence};
use smallvec::smallvec;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::model::{
    AppPort, Asked, DiegoProcessGuid, Instance, InstanceGuid, PortMapping, Process, ProcessType,
    Refusal, Route, RouteGuid, RouteSettings, Weight,
};

fn workload(app: &str) -> Workload {
    Workload {
        app: AppGuid::from(app),
        process_type: ProcessType::Web,
    }
}

fn route(guid: &str, host: &str, path: &str, apps: &[&str]) -> Route {
    Route {
        path: path.into(),
        internal: host.ends_with(".internal"),
        destinations: apps.iter().map(|app| Destination::example(app)).collect(),
        ..Route::example(guid, host)
    }
}

/// On a cell of its own.
fn instance(guid: &str, app: Option<&str>) -> Arc<Instance> {
    let [a, b, ..] = xxh3_64(guid.as_bytes()).to_be_bytes();
    Arc::new(Instance {
        guid: InstanceGuid::from(guid),
        process: DiegoProcessGuid::from(format!("process-of-{guid}").as_str()),
        workload: app.map(workload),
        routable: true,
        since: 0,
        host_address: IpAddr::from([10, 0, a, b]),
        container_address: None,
        prefers_container: false,
        zone: None,
        ports: smallvec![PortMapping::plain(8080, 61000)],
    })
}

/// How much of a hostname is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Services of its routes.
    Services,
    /// Those, and where its requests go.
    Lookup,
    /// Where its requests go alone.
    LookupAlone,
}

/// Instances are as said here now.
fn current(instances: impl IntoIterator<Item = Arc<Instance>>) -> Update {
    Update::Instances {
        current: instances.into_iter().collect(),
        gone: vec![],
    }
}

/// An instance is there no longer.
fn gone(guid: &str) -> Update {
    Update::Instances {
        current: vec![],
        gone: vec![guid.into()],
    }
}

fn touched(changes: &Changes) -> Vec<(&str, How)> {
    changes
        .hosts()
        .map(|(host, touched)| {
            let how = match (touched.lookup(), touched.services().next().is_none()) {
                (false, _) => How::Services,
                (true, false) => How::Lookup,
                (true, true) => How::LookupAlone,
            };
            (host.as_str(), how)
        })
        .collect()
}

fn instances<'a>(table: &'a RouteTable, host: &str, app: &str) -> Vec<&'a Instance> {
    let host = Hostname::parse(host).unwrap();
    table
        .host(&host)
        .unwrap()
        .instances(&workload(app))
        .collect()
}

#[test]
fn a_route_that_is_read_again_unchanged_touches_nothing() {
    let mut table = RouteTable::default();
    let routes = || {
        vec![
            route("r1", "a.example.com", "", &["app"]),
            route("r2", "b.example.com", "", &[]),
        ]
    };
    assert_eq!(table.apply(Update::AllRoutes(routes())).hosts().count(), 2);
    assert!(table.apply(Update::AllRoutes(routes())).is_empty());
}

#[test]
fn a_complete_read_removes_what_it_does_not_name() {
    let mut table = RouteTable::default();
    table.apply(Update::AllRoutes(vec![
        route("r1", "a.example.com", "", &["app"]),
        route("r2", "b.example.com", "", &["app"]),
    ]));
    let changes = table.apply(Update::AllRoutes(vec![route(
        "r2",
        "b.example.com",
        "",
        &["app"],
    )]));
    assert_eq!(touched(&changes), [("a.example.com", How::Lookup)]);
    assert!(
        table
            .host(&Hostname::parse("a.example.com").unwrap())
            .is_none()
    );
}

#[test]
fn a_route_that_moves_to_another_host_touches_both() {
    let mut table = RouteTable::default();
    table.apply(Update::AllRoutes(vec![route(
        "r1",
        "a.example.com",
        "",
        &[],
    )]));
    let moved = Update::Routes {
        current: vec![route("r1", "b.example.com", "", &[])],
        gone: vec![],
    };
    let changes = table.apply(moved);
    assert_eq!(
        touched(&changes),
        [
            ("a.example.com", How::Lookup),
            ("b.example.com", How::Lookup)
        ]
    );
}

#[test]
fn an_instance_touches_only_the_endpoints_of_its_hosts() {
    let mut table = RouteTable::default();
    table.apply(Update::AllRoutes(vec![
        route("r1", "a.example.com", "", &["app"]),
        route("r2", "b.example.com", "", &["other"]),
    ]));
    let changes = table.apply(current([instance("i1", Some("app"))]));
    assert_eq!(touched(&changes), [("a.example.com", How::Services)]);
    let again = table.apply(current([instance("i1", Some("app"))]));
    assert!(again.is_empty());
    let gone = table.apply(gone("i1"));
    assert_eq!(touched(&gone), [("a.example.com", How::Services)]);
    assert!(instances(&table, "a.example.com", "app").is_empty());
}

#[test]
fn of_many_paths_of_a_wildcard_the_shortest_and_the_withheld_are_for_those_who_go_on_to_it() {
    let paths = (100..250).map(|n| format!("/{n}"));
    let wide = paths.map(|path| route(&path, "*.x.com", &path, &["a"]));
    let withheld = Route {
        refused: Some(Refusal::RouteService),
        ..route("withheld", "*.x.com", "/much/longer", &["a"])
    };
    let own = route("own", "shop.x.com", "/own", &["a"]);
    let mut table = RouteTable::default();
    let all = wide.chain([withheld, own]).collect();
    table.apply(Update::AllRoutes(all));
    table.apply(Update::AllInstances(vec![instance("i", Some("a"))]));
    let host = table.host(&Hostname::parse("shop.x.com").unwrap()).unwrap();
    let lookup = host.lookup();
    let keys: Vec<_> = lookup.iter().map(|pool| pool.key().into_owned()).collect();
    assert_eq!(keys.len(), 1 + 100 + 1);
    assert_eq!(keys[1], "/much/longer", "the longest of the wildcard's");
    assert!(lookup[1].refused().is_some());
}

#[test]
fn who_went_on_to_a_wildcard_is_touched_though_a_nearer_one_keeps_all_from_the_same_update_on() {
    let mut table = RouteTable::default();
    table.apply(Update::AllInstances(vec![instance("i", Some("a"))]));
    table.apply(Update::AllRoutes(vec![
        route("wide", "*.example.com", "", &["a"]),
        route("near", "*.near.example.com", "", &[]),
        route("one", "one.near.example.com", "/p", &["a"]),
    ]));
    let changes = table.apply(Update::Routes {
        current: vec![route("near", "*.near.example.com", "", &["a"])],
        gone: vec!["wide".into()],
    });
    assert_eq!(
        touched(&changes),
        [
            ("*.example.com", How::Lookup),
            ("*.near.example.com", How::Lookup),
            ("one.near.example.com", How::LookupAlone),
        ]
    );
}

#[test]
fn routes_of_a_host_are_ordered_by_the_length_of_their_path() {
    let mut table = RouteTable::default();
    table.apply(Update::AllRoutes(vec![
        route("r1", "a.example.com", "", &[]),
        route("r2", "a.example.com", "/b", &[]),
        route("r3", "a.example.com", "/long", &[]),
        route("r4", "a.example.com", "/a", &[]),
    ]));
    let host = Hostname::parse("a.example.com").unwrap();
    let paths: Vec<_> = table
        .host(&host)
        .unwrap()
        .routes
        .iter()
        .map(|route| &*route.path)
        .collect();
    assert_eq!(paths, ["/long", "/a", "/b", ""]);
}

#[test]
fn an_instance_that_moves_replaces_itself_and_one_that_stops_leaves_the_others() {
    // Faults 2, 3 and 13 of the original.
    let mut table = RouteTable::default();
    table.apply(Update::AllRoutes(vec![route(
        "r1",
        "a.example.com",
        "",
        &["app"],
    )]));
    let [one, two] = ["i1", "i2"].map(|guid| instance(guid, Some("app")));
    table.apply(Update::AllInstances(vec![one.clone(), two.clone()]));
    let mut moved = Instance::clone(&one);
    moved.host_address = IpAddr::from([10, 1, 0, 2]);
    table.apply(current([moved.clone().into()]));
    assert_eq!(instances(&table, "a.example.com", "app"), [&moved, &*two]);
    table.apply(gone(&moved.guid.to_string()));
    assert_eq!(instances(&table, "a.example.com", "app"), [&*two]);
}

#[test]
fn a_process_that_the_bbs_does_not_describe_is_joined_when_cloud_controller_does() {
    let mut table = RouteTable::default();
    table.apply(Update::AllRoutes(vec![route(
        "r1",
        "a.example.com",
        "",
        &["app"],
    )]));
    assert!(
        table
            .apply(Update::AllInstances(vec![instance("i1", None)]))
            .is_empty()
    );
    let asked: Vec<_> = table.undescribed().iter().cloned().collect();
    assert_eq!(asked, [CapiProcessGuid::from("process-of-i1")]);

    let known = vec![Process {
        guid: "process-of-i1".into(),
        workload: workload("app"),
    }];
    let changes = table.apply(Update::Processes {
        known,
        unknown: vec![],
    });
    assert_eq!(touched(&changes), [("a.example.com", How::Services)]);
    assert_eq!(instances(&table, "a.example.com", "app").len(), 1);
    assert!(table.undescribed().is_empty());

    table.apply(Update::AllInstances(vec![]));
    table.apply(Update::AllInstances(vec![instance("i1", None)]));
    assert_eq!(
        table.undescribed().len(),
        1,
        "forgotten with its last instance, asked again with the next"
    );
}

#[test]
fn a_process_that_cloud_controller_does_not_know_either_is_answered_for_and_stays_undescribed() {
    let mut table = RouteTable::default();
    table.apply(Update::AllInstances(vec![instance("i1", None)]));
    table.apply(Update::Processes {
        known: vec![],
        unknown: vec!["process-of-i1".into()],
    });
    assert!(table.is_answered());
    assert_eq!(table.undescribed().len(), 1);
}

const ROUTES: [(&str, &str); 7] = [
    ("r1", "a.example.com"),
    ("r2", "a.example.com"),
    ("r3", "b.example.com"),
    ("r4", "c.example.com"),
    ("r5", "c.example.com"),
    ("r6", "d.apps.internal"),
    ("r7", "e.apps.internal"),
];
const APPS: [&str; 3] = ["app-1", "app-2", "app-3"];
const INSTANCES: [&str; 6] = ["i1", "i2", "i3", "i4", "i5", "i6"];

/// What an owner may ask for.
fn any_asked() -> impl Strategy<Value = Asked> {
    let texts = subsequence(
        vec![
            ("timeout", "5s"),
            ("path-rewrite", "/other"),
            ("session-affinity", "SHOP"),
        ],
        0..=3,
    );
    prop_oneof![2 => Just(Asked::default()), 1 => texts.prop_map(Asked::parse)]
}

/// With `refusal`, sometimes refused.
fn any_route(refusal: Option<Refusal>) -> impl Strategy<Value = Route> {
    (
        0..ROUTES.len(),
        prop_oneof![Just(""), Just("/x"), Just("/x/")],
        subsequence(APPS.to_vec(), 0..=2),
        proptest::option::of(0u8..4),
        prop_oneof![4 => Just(None), 1 => Just(refusal)],
        any_asked(),
    )
        .prop_map(|(n, path, apps, vip, refused, asked)| {
            let mut route = Route {
                created_at: i64::try_from(n * 5 % 3).unwrap(),
                refused,
                vip: vip.map(|last| Ipv4Addr::new(127, 128, 0, last)),
                ..route(ROUTES[n].0, ROUTES[n].1, path, &apps)
            };
            route.ask(asked);
            route
        })
}

fn any_instance() -> impl Strategy<Value = Arc<Instance>> {
    let app = proptest::option::of(0..APPS.len());
    (0..INSTANCES.len(), app, places::any_place()).prop_map(|(n, app, place)| {
        let instance = instance(INSTANCES[n], app.map(|app| APPS[app]));
        place.given_to(&instance)
    })
}

#[derive(Debug, Clone)]
enum Step {
    AllRoutes(Vec<Route>),
    Routes(Vec<Route>, Vec<usize>),
    AllInstances(Vec<Arc<Instance>>),
    Instances(Vec<Arc<Instance>>, Vec<usize>),
    Described(usize, usize),
}

fn any_step(refusal: Option<Refusal>) -> impl Strategy<Value = Step> {
    prop_oneof![
        vec(any_route(refusal), 0..6).prop_map(Step::AllRoutes),
        (vec(any_route(refusal), 0..3), vec(0..ROUTES.len(), 0..3))
            .prop_map(|(a, b)| Step::Routes(a, b)),
        vec(any_instance(), 0..6).prop_map(Step::AllInstances),
        (vec(any_instance(), 0..3), vec(0..INSTANCES.len(), 0..3))
            .prop_map(|(a, b)| Step::Instances(a, b)),
        (0..INSTANCES.len(), 0..APPS.len()).prop_map(|(a, b)| Step::Described(a, b)),
    ]
}

impl Step {
    fn update(&self) -> Update {
        match self.clone() {
            Self::AllRoutes(routes) => Update::AllRoutes(routes),
            Self::Routes(current, gone) => Update::Routes {
                current,
                gone: gone.into_iter().map(|n| ROUTES[n].0.into()).collect(),
            },
            Self::AllInstances(instances) => Update::AllInstances(instances),
            Self::Instances(current, gone) => Update::Instances {
                current,
                gone: gone.into_iter().map(|n| INSTANCES[n].into()).collect(),
            },
            Self::Described(instance, app) => {
                let guid = format!("process-of-{}", INSTANCES[instance]);
                let process = Process {
                    guid: guid.as_str().into(),
                    workload: workload(APPS[app]),
                };
                Update::Processes {
                    known: vec![process],
                    unknown: vec![],
                }
            }
        }
    }
}

/// Everything that generation can see of a host. When a row was changed only decides who has its addresses.
type Seen = (
    Option<Ipv4Addr>,
    Vec<(Route, Vec<Vec<(Instance, Standing)>>)>,
    Vec<SeenPool>,
);

/// A pool that requests may go to, with what is asked for, its parts and their shares.
type SeenPool = (
    String,
    String,
    Option<Arc<RouteSettings>>,
    Vec<(Which, bool, u64)>,
);

/// What a VirtualService, and an internal hostname's rule, say of a hostname.
fn seen_lookup(host: HostView<'_>) -> Vec<SeenPool> {
    let asked = |pool: &Pool<'_>| pool.settings().map(|(_, settings)| settings);
    if host.is_internal() {
        let of_all = vec![(Which::Whole, host.has_internal_tls(), 0)];
        let pools = host.pools().map(|pool| {
            let key = pool.key().into_owned();
            (host.name.to_string(), key, asked(&pool), of_all.clone())
        });
        return pools.collect();
    }
    let pools = host.lookup().into_iter().map(|pool| {
        let parts = pool
            .parts()
            .into_iter()
            .map(|part| (part.which, part.is_tls, part.share));
        (
            pool.host().name.to_string(),
            pool.key().into_owned(),
            asked(&pool),
            parts.collect(),
        )
    });
    pools.collect()
}

fn seen(table: &RouteTable) -> BTreeMap<String, Seen> {
    let hosts: BTreeSet<_> = ROUTES
        .iter()
        .map(|(_, host)| Hostname::parse(host).unwrap())
        .collect();
    hosts
        .iter()
        .filter_map(|host| table.host(host))
        .map(|view| {
            let routes = view.routes.iter().map(|route| {
                let seen = |instance: &Instance| {
                    let timeless = Instance {
                        since: 0,
                        ..instance.clone()
                    };
                    (timeless, view.standing(instance))
                };
                let instances = route
                    .destinations
                    .iter()
                    .map(|to| view.instances(&to.workload).map(seen).collect());
                (Route::clone(route), instances.collect())
            });
            let seen = (view.vip(), routes.collect(), seen_lookup(view));
            (view.name.to_string(), seen)
        })
        .collect()
}

/// Often so low that routes are left out.
fn any_limits() -> impl Strategy<Value = Limits> {
    let low = (
        1usize..4,
        prop_oneof![400usize..1_200, Just(usize::MAX)],
        1usize..4,
    );
    let low = low.prop_map(|(host_routes, host_bytes, app_routes)| Limits {
        host_routes,
        host_bytes,
        app_routes,
    });
    prop_oneof![Just(Limits::default()), low]
}

/// The routes that count of each hostname: counted anew, those that are refused first.
fn first_of_each_host(routes: &[Route], limits: Limits) -> BTreeSet<String> {
    let mut ranked: Vec<_> = routes.iter().collect();
    ranked.sort_by_key(|route| (route.refused.is_none(), route.created_at, &route.guid));
    let mut first = BTreeSet::new();
    let mut of_refused: BTreeMap<&Hostname, usize> = BTreeMap::new();
    let mut sums: BTreeMap<(&Hostname, bool), (usize, usize, bool)> = BTreeMap::new();
    for route in ranked {
        let is_refused = route.refused.is_some();
        let taken = of_refused.entry(&route.host).or_default();
        let most = if is_refused {
            limits.host_bytes / 2
        } else {
            limits.host_bytes - *taken
        };
        let (destinations, defaults) = if is_refused {
            (1, 0)
        } else {
            (route.destinations.len().max(1), 80)
        };
        let (count, bytes, is_full) = sums.entry((&route.host, is_refused)).or_default();
        *count += 1;
        *bytes += 32 + defaults + 4 * route.path.len() + 200 * destinations;
        *is_full |= *count > limits.host_routes || *bytes > most;
        if !*is_full {
            first.insert(route.guid.to_string());
            *taken = if is_refused { *bytes } else { *taken };
        }
    }
    first
}

proptest! {
    #[test]
    fn any_updates_end_in_the_table_of_their_final_state_and_report_every_host_that_differs(
        steps in vec(any_step(Some(Refusal::RouteService)), 1..20),
        external: bool,
        internal: bool,
        limits in any_limits(),
    ) {
        let empty = || {
            let table = RouteTable::new(Join::Described, Some("127.128.0.0/30".parse().unwrap()));
            table.with_tls(Tls { external, internal }).with_limits(limits)
        };
        let mut table = empty();
        for step in &steps {
            let before = seen(&table);
            let changes = table.apply(step.update());
            let after = seen(&table);
            for host in before.keys().chain(after.keys()) {
                let (before, after) = (before.get(host), after.get(host));
                if before != after {
                    let touched = changes.hosts().find(|(touched, _)| touched.as_str() == host);
                    prop_assert!(touched.is_some(), "{} not reported", host);
                    let looks_up = before.zip(after).is_some_and(|(before, after)| before.2 != after.2);
                    prop_assert!(!looks_up || touched.unwrap().1.lookup(), "the lookup of {}", host);
                }
            }
        }

        // The same state, read once.
        let mut fresh = empty();
        fresh.apply(Update::AllInstances(table.facts.instances.all()));
        let known = table.facts.instances.descriptions().collect();
        fresh.apply(Update::Processes { known, unknown: vec![] });
        let mut routes: Vec<_> = table.all_routes().into_iter().map(Arc::unwrap_or_clone).collect();
        routes.sort_by(|a, b| b.guid.cmp(&a.guid));
        let first = first_of_each_host(&routes, limits);
        fresh.apply(Update::AllRoutes(routes));
        prop_assert_eq!(seen(&fresh), seen(&table));
        let kept = seen(&table).into_values().flat_map(|(_, routes, _)| routes);
        let kept: BTreeSet<_> = kept.map(|(route, _)| route.guid.to_string()).collect();
        prop_assert_eq!(kept, first);
        let left_out = |table: &RouteTable| table.sizes().left_out;
        prop_assert_eq!(left_out(&fresh), left_out(&table));
    }
}
