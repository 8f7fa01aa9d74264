//! What a change costs from the update to the collections, without sockets: time and allocations.
//!
//! `cargo bench --bench publish`; add `-- --sample-count 10` for a quick look.

use std::sync::Arc;

use copilot::{
    model::{Instance, Update},
    publisher::{Metrics, Settings, State},
    sim::foundation,
};
use divan::{AllocProfiler, Bencher, black_box};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const ROUTES: [usize; 2] = [20_000, 100_000];
const INTERNAL_ROUTES: [usize; 4] = [300, 1_000, 5_000, 20_000];

fn main() {
    divan::main();
}

fn empty() -> State {
    let settings = Settings {
        vip_range: Some("127.128.0.0/9".parse().expect("a range")),
        ..Settings::default()
    };
    State::new(&settings, Metrics::new(&mut Registry::default()))
        .expect("a gateway without certificates is valid")
}

fn routes(count: usize) -> Update {
    Update::AllRoutes((0..count).map(foundation::route).collect())
}

fn instances(count: usize) -> Update {
    let instances =
        (0..count).flat_map(|n| [0, 1].map(|index| foundation::instance(n, index, 61_000)));
    Update::AllInstances(instances.collect())
}

fn published(count: usize) -> State {
    let mut state = empty();
    state.apply(routes(count));
    state.apply(instances(count));
    black_box(state.publish());
    state
}

/// From nothing to the first snapshot.
#[divan::bench(args = ROUTES, sample_count = 10)]
fn initial_build(bencher: Bencher, count: usize) {
    bencher
        .with_inputs(|| (empty(), routes(count), instances(count)))
        .bench_local_values(|(mut state, routes, instances)| {
            state.apply(routes);
            state.apply(instances);
            black_box(state.publish());
            state
        });
}

/// One instance moves to another port: the new snapshot.
#[divan::bench(args = ROUTES)]
fn one_instance_changes(bencher: Bencher, count: usize) {
    let mut state = published(count);
    let mut port = 0;
    bencher
        .with_inputs(|| {
            port = port % 60_000 + 1;
            Update::Instances {
                current: vec![foundation::instance(count / 2, 0, port)],
                gone: vec![],
            }
        })
        .bench_local_values(|update| {
            state.apply(update);
            black_box(state.publish())
        });
}

/// A route comes and goes.
#[divan::bench(args = ROUTES)]
fn one_route_changes(bencher: Bencher, count: usize) {
    let mut state = published(count);
    let mut there = false;
    bencher
        .with_inputs(|| {
            there = !there;
            let route = foundation::route(count);
            if there {
                Update::Routes {
                    current: vec![route],
                    gone: vec![],
                }
            } else {
                Update::Routes {
                    current: vec![],
                    gone: vec![route.guid],
                }
            }
        })
        .bench_local_values(|update| {
            state.apply(update);
            black_box(state.publish())
        });
}

/// A full read that finds everything as it was.
#[divan::bench(args = ROUTES, sample_count = 20)]
fn unchanged_full_read(bencher: Bencher, count: usize) {
    let mut state = published(count);
    bencher
        .with_inputs(|| routes(count))
        .bench_local_values(|update| {
            state.apply(update);
            black_box(state.publish())
        });
}

/// What `copilot explain` takes of the publisher's time.
#[divan::bench(args = ROUTES)]
fn a_hostname_is_explained(bencher: Bencher, count: usize) {
    let state = published(count);
    let route = foundation::route(count / 2);
    let now = Instant::now();
    bencher.bench_local(|| black_box(state.explain(&route.host, &route.path, now)));
}

/// What `copilot routes` and `copilot instances` take of it.
#[divan::bench(args = ROUTES)]
fn everything_is_listed(bencher: Bencher, count: usize) {
    let state = published(count);
    bencher.bench_local(|| black_box(state.everything()));
}

/// Internal routes, each app with ten policies.
fn published_with_policies(count: usize) -> State {
    let mut state = empty();
    let routes = (0..count).map(foundation::internal_route).collect();
    state.apply(Update::AllRoutes(routes));
    state.apply(Update::AllPolicies(foundation::policies(count)));
    state.apply(instances(count));
    black_box(state.publish());
    state
}

/// An instance of an app that ten others may connect to stops and starts: one ServiceEntry and no Sidecar.
#[divan::bench(args = INTERNAL_ROUTES)]
fn one_internal_instance_changes(bencher: Bencher, count: usize) {
    let state = published_with_policies(count);
    stops_and_starts(bencher, state, &foundation::instance(count / 2, 0, 61_000));
}

/// A full read of the policies, one of which is another one: one Sidecar.
#[divan::bench(args = INTERNAL_ROUTES)]
fn one_policy_changes(bencher: Bencher, count: usize) {
    let mut state = published_with_policies(count);
    let mut policies = foundation::policies(count);
    let mut next = 0;
    bencher
        .with_inputs(|| {
            next = (next + 1) % count;
            let changed = policies.len() / 2;
            policies[changed].destination = foundation::app(next);
            Update::AllPolicies(policies.clone())
        })
        .bench_local_values(|update| {
            state.apply(update);
            black_box(state.publish())
        });
}

/// Paths of one hostname.
const PATHS: [usize; 3] = [2_500, 5_000, 10_000];

/// Routes of one app: under one hostname, or under one each.
fn routes_of_one_app(count: usize, is_one_host: bool) -> Update {
    let route = |n| {
        let mut route = foundation::route(n);
        if is_one_host {
            route.host = foundation::route(0).host;
            route.path = format!("/path/{n:05}").as_str().into();
        }
        route.destinations = foundation::route(0).destinations;
        route
    };
    Update::AllRoutes((0..count).map(route).collect())
}

/// From nothing to the first snapshot: one hostname with many paths.
#[divan::bench(args = PATHS, sample_count = 3)]
fn initial_build_of_one_hostname(bencher: Bencher, paths: usize) {
    bencher
        .with_inputs(|| (empty(), routes_of_one_app(paths, true), instances(1)))
        .bench_local_values(|(mut state, routes, instances)| {
            state.apply(instances);
            state.apply(routes);
            black_box(state.publish());
            state
        });
}

/// The only instance of an app with many routes ends, or is back.
fn flap(bencher: Bencher, count: usize, is_one_host: bool) {
    let mut state = empty();
    state.apply(routes_of_one_app(count, is_one_host));
    let instance = foundation::instance(0, 0, 61_000);
    state.apply(Update::Instances {
        current: vec![instance.clone()],
        gone: vec![],
    });
    black_box(state.publish());
    stops_and_starts(bencher, state, &instance);
}

/// An instance that runs stops, and starts again.
fn stops_and_starts(bencher: Bencher, mut state: State, instance: &Arc<Instance>) {
    let mut there = true;
    bencher
        .with_inputs(|| {
            there = !there;
            let (mut current, mut gone) = (vec![], vec![]);
            if there {
                current.push(instance.clone());
            } else {
                gone.push(instance.guid.clone());
            }
            Update::Instances { current, gone }
        })
        .bench_local_values(|update| {
            state.apply(update);
            black_box(state.publish())
        });
}

/// An app with many paths of one hostname flaps.
#[divan::bench(args = PATHS, sample_count = 10)]
fn an_app_of_one_hostname_flaps(bencher: Bencher, paths: usize) {
    flap(bencher, paths, true);
}

/// An app with many hostnames flaps.
#[divan::bench(args = PATHS, sample_count = 10)]
fn an_app_of_many_hostnames_flaps(bencher: Bencher, hosts: usize) {
    flap(bencher, hosts, false);
}
