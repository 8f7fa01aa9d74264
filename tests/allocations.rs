//! What a change allocates on its way from the update to the collections: the same at any size of the foundation.
//!
//! A program of its own, since its allocator counts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{sync::Arc, time::Duration};

use copilot::{
    feed::Feeds,
    model::{Confirmations, Update},
    outbound::Sockets,
    policy,
    publisher::{Metrics, Settings, State},
    sim::{
        foundation,
        pki::Pki,
        policy::{Fault, PolicyServer},
    },
};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

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

/// Polls a policy server that says this until it is said to be wrong; what that took at its peak.
async fn failed_poll(body: &'static str, kind: &str) {
    let folder = tempfile::TempDir::new().unwrap();
    let pki = Pki::new(folder.path(), "policies").unwrap();
    let identity = pki.issue("server", &["127.0.0.1"]).unwrap();
    let server = PolicyServer::start_on_loopback(&identity, pki.ca())
        .await
        .unwrap();
    server.fail(Some(Fault::Says(body)));
    let often = Duration::from_millis(10);
    let settings = policy::Settings {
        address: server.url(),
        ca: pki.ca().to_owned(),
        identity: pki.issue("copilot", &["copilot"]).unwrap(),
        poll_interval: often,
        request_timeout: Duration::from_mins(1),
        connect_timeout: Duration::from_mins(1),
        backoff: (often, often),
    };
    let feed = Feeds::new(&mut Registry::default()).register("policies", Duration::from_mins(1));
    let mut status = feed.status();
    let (updates, _updates) = mpsc::channel(1);
    let (_confirmations, confirmations) = watch::channel(Confirmations::default());
    let outputs = policy::Outputs {
        updates,
        confirmations,
        feed,
    };
    let poller = policy::Poller::new(settings, Arc::new(Sockets), outputs).unwrap();
    let stop = CancellationToken::new();
    let is_told = status.wait_for(|status| {
        let problem = status.problem.as_ref();
        problem.is_some_and(|problem| problem.kind == kind)
    });
    tokio::select! {
        () = poller.run(stop.clone()) => unreachable!("nobody stops it"),
        told = is_told => drop(told.unwrap()),
    }
}

#[test]
fn an_answer_of_junk_takes_little_more_than_its_bytes() {
    let body = format!(
        r#"{{"total_policies":1500000,"policies":[{}0]}}"#,
        "0,".repeat(1_499_999)
    );
    let body: &'static str = body.leak();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let peak = allocation_counter::measure(|| {
        runtime.block_on(failed_poll(body, "unreadable"));
    });
    let megabytes = peak.bytes_max >> 20;
    println!("{megabytes} MB at the peak for {} MB", body.len() >> 20);
    assert!(megabytes < 30, "{megabytes} MB");
}
