//! What a BulkSync costs from its bytes to the collections, without sockets: time, allocations, resources encoded.
//!
//! `cargo bench --bench push`; add `-- --sample-count 10` for a quick look.

use copilot::{
    cloud_controller::Pushed,
    model::Update,
    proto::api::{BulkSyncRequest, CapiDiegoProcessAssociation, Route, RouteMapping},
    publisher::{Metrics, Settings, State},
    sim::foundation,
    table::Join,
};
use divan::{AllocProfiler, Bencher, black_box};
use prometheus_client::{encoding::text, registry::Registry};
use prost::Message as _;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const ROUTES: [usize; 2] = [20_000, 100_000];

fn main() {
    for count in ROUTES {
        print_encoded(count);
    }
    divan::main();
}

/// One route, one mapping and one association each, as Cloud Controller sends them.
fn message(count: usize) -> Vec<u8> {
    let process = |n| foundation::app(n).to_string();
    let request = BulkSyncRequest {
        route_mappings: (0..count)
            .map(|n| RouteMapping {
                capi_process_guid: process(n),
                route_guid: foundation::route(n).guid.to_string(),
                route_weight: 1,
            })
            .collect(),
        routes: (0..count).map(route).collect(),
        capi_diego_process_associations: (0..count)
            .map(|n| CapiDiegoProcessAssociation {
                capi_process_guid: process(n),
                diego_process_guids: vec![foundation::instance(n, 0, 1).process.to_string()],
            })
            .collect(),
    };
    request.encode_to_vec()
}

fn route(n: usize) -> Route {
    let route = foundation::route(n);
    Route {
        guid: route.guid.to_string(),
        host: route.host.to_string(),
        ..Route::default()
    }
}

fn update(message: &[u8]) -> Update {
    let (pushed, _, dropped) = Pushed::from_bulk_sync(message).expect("a valid BulkSync");
    assert!(dropped.is_empty());
    pushed.all(true)
}

fn with_instances(count: usize, registry: &mut Registry) -> State {
    let settings = Settings {
        join: Join::Associated,
        ..Settings::default()
    };
    let mut state = State::new(&settings, Metrics::new(registry))
        .expect("a gateway without certificates is valid");
    let instances =
        (0..count).flat_map(|n| [0, 1].map(|index| foundation::instance(n, index, 61_000)));
    state.apply(Update::AllInstances(instances.collect()));
    black_box(state.publish());
    state
}

/// From the bytes to the first snapshot.
#[divan::bench(args = ROUTES, sample_count = 10)]
fn bulk_sync_cold(bencher: Bencher, count: usize) {
    let message = message(count);
    bencher
        .with_inputs(|| with_instances(count, &mut Registry::default()))
        .bench_local_values(|mut state| {
            state.apply(update(&message));
            black_box(state.publish());
            state
        });
}

/// From the bytes to the finding that everything is as it was, by the registrar's own comparison.
#[divan::bench(args = ROUTES, sample_count = 20)]
fn bulk_sync_unchanged(bencher: Bencher, count: usize) {
    let message = message(count);
    let (known, _, _) = Pushed::from_bulk_sync(&message).expect("a valid BulkSync");
    bencher.bench_local(|| {
        let (pushed, _, _) = Pushed::from_bulk_sync(&message).expect("a valid BulkSync");
        assert!(black_box(pushed == known));
    });
}

/// The same by the table's comparison, which an update would take that brings one change among all.
#[divan::bench(args = ROUTES, sample_count = 20)]
fn bulk_sync_unchanged_through_the_table(bencher: Bencher, count: usize) {
    let message = message(count);
    let mut state = with_instances(count, &mut Registry::default());
    state.apply(update(&message));
    black_box(state.publish());
    bencher.bench_local(|| {
        state.apply(update(&message));
        black_box(state.publish())
    });
}

/// How many resources a cold and an unchanged BulkSync encode.
fn print_encoded(count: usize) {
    let message = message(count);
    let mut registry = Registry::default();
    let mut state = with_instances(count, &mut registry);
    let encoded = [(); 2].map(|()| {
        let before = encoded(&registry);
        state.apply(update(&message));
        black_box(state.publish());
        encoded(&registry) - before
    });
    let [cold, unchanged] = encoded;
    println!(
        "{count} routes, {} bytes: {cold} resources encoded cold, {unchanged} unchanged",
        message.len()
    );
}

fn encoded(registry: &Registry) -> u64 {
    let mut page = String::new();
    text::encode(&mut page, registry).expect("metrics are text");
    page.lines()
        .filter(|line| line.contains("resources_encoded_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}
