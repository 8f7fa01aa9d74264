//! What a change allocates on its way from the update to the collections: the same at any size of the foundation.
//!
//! A program of its own, since its allocator counts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use copilot::{
    model::Update,
    publisher::{Metrics, Settings, State},
    sim::foundation,
};
use prometheus_client::registry::Registry;

/// A publisher's state with so many routes, each to an app with two instances.
fn state(routes: usize) -> State {
    let settings = Settings::default();
    let mut state = State::new(&settings, Metrics::new(&mut Registry::default())).unwrap();
    state.apply(Update::AllRoutes(
        (0..routes).map(foundation::route).collect(),
    ));
    let instances =
        (0..routes).flat_map(|n| (0..2).map(move |index| foundation::instance(n, index, 61_000)));
    state.apply(Update::AllInstances(instances.collect()));
    state.publish().unwrap();
    state
}

/// Allocations, and bytes, of one instance that moves to another port.
fn one_instance(state: &mut State, port: u16) -> (u64, u64) {
    let moved = Update::Instances {
        current: vec![foundation::instance(7, 0, port)],
        gone: vec![],
    };
    let counted = allocation_counter::measure(|| {
        state.apply(moved);
        assert!(state.publish().is_some());
    });
    (counted.count_total, counted.bytes_total)
}

#[test]
fn an_instance_that_moves_allocates_as_little_in_a_large_foundation_as_in_a_small_one() {
    let [small, large] = [1_000, 40_000].map(|routes| {
        let mut state = state(routes);
        // The first one makes what is kept.
        one_instance(&mut state, 61_001);
        one_instance(&mut state, 61_002)
    });
    println!("{small:?} at 1,000 routes, {large:?} at 40,000");
    // Where in its leaf the resource falls decides about one or two.
    assert!(large.0 <= small.0 + 2, "{small:?}, {large:?}");
    assert!(large.0 < 100, "{} allocations", large.0);
    // A leaf of 16 KiB with its entries, the pointers of one branch, and those of all branches: only they grow.
    assert!(large.1 < small.1 + (4 << 10), "{small:?}, {large:?}");
    assert!(large.1 < 40 << 10, "{} bytes", large.1);
}
