//! What a change allocates on its way from the update to the collections: the same at any size of the foundation.
//!
//! A program of its own, since its allocator counts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{sync::Arc, time::Duration};

use copilot::{
    feed::Feeds,
    model::{Confirmations, Hostname, Instance, Route, Update, Weight},
    outbound::{self, Sockets},
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
    assert!(large.0 < 160, "{} allocations", large.0);
    // A leaf of 16 KiB with its entries, the pointers of one branch, and those of all branches: only they grow.
    assert!(large.1 < small.1 + (4 << 10), "{small:?}, {large:?}");
    assert!(large.1 < 40 << 10, "{} bytes", large.1);
}

/// What many routes have in common.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// One hostname with many paths, all to one app.
    Paths { internal: bool },
    /// A wildcard with many paths, and as many hostnames below it, of which each goes on to it.
    Wildcard,
    /// One app under many hostnames.
    Hostnames,
}

impl Shape {
    const ALL: [Self; 4] = [
        Self::Paths { internal: false },
        Self::Paths { internal: true },
        Self::Wildcard,
        Self::Hostnames,
    ];

    /// The `n`th route. The paths have capitals: whoever looks at one of another route allocates its key.
    fn route(self, n: usize) -> Route {
        let host = match self {
            Self::Paths { internal: true } => "one.apps.internal".to_owned(),
            Self::Wildcard if n.is_multiple_of(2) => "*.apps.example.com".to_owned(),
            Self::Paths { .. } => "one.apps.example.com".to_owned(),
            Self::Wildcard | Self::Hostnames => format!("app-{n}.apps.example.com"),
        };
        let path = match self {
            Self::Hostnames => String::new(),
            Self::Paths { .. } | Self::Wildcard => format!("/Path-{n:05}"),
        };
        Route {
            host: Hostname::parse(&host).unwrap(),
            path: Route::parse_path(&path).unwrap(),
            internal: matches!(self, Self::Paths { internal: true }),
            destinations: foundation::route(0).destinations,
            ..foundation::route(n)
        }
    }

    fn routes(self, count: usize) -> Vec<Route> {
        // Not in the order of anything.
        (0..count).map(|n| self.route(n * 7_919 % count)).collect()
    }

    /// The first snapshot, then the app's end and its return, another app in its place, and the routes' end: what each
    /// allocates, and how many bytes.
    fn work(self, count: usize) -> Vec<(u64, u64)> {
        let settings = Settings {
            vip_range: Some("127.128.0.0/9".parse().unwrap()),
            linger: Duration::from_secs(15),
            ..Settings::default()
        };
        let mut state = State::new(&settings, Metrics::new(&mut Registry::default())).unwrap();
        let instance = foundation::instance(0, 0, 61_000);
        let other = foundation::instance(1, 0, 61_000);
        let weighted = |mut route: Route| {
            let mut beside = foundation::route(1).destinations[0].clone();
            beside.weight = Weight::Fixed(1);
            route.destinations[0].weight = Weight::Fixed(3);
            route.destinations.push(beside);
            route
        };
        let instances = |current: &[&Arc<Instance>], gone: &[&Arc<Instance>]| Update::Instances {
            current: current.iter().map(|one| Arc::clone(one)).collect(),
            gone: gone.iter().map(|one| one.guid.clone()).collect(),
        };
        let updates = [
            vec![
                Update::AllRoutes(self.routes(count)),
                instances(&[&instance, &other], &[]),
            ],
            vec![instances(&[], &[&instance])],
            vec![instances(&[&instance], &[])],
            vec![Update::AllRoutes(
                self.routes(count).into_iter().map(weighted).collect(),
            )],
            vec![Update::AllRoutes(Vec::new())],
        ];
        let measured = updates.into_iter().map(|updates| {
            let counted = allocation_counter::measure(|| {
                for update in updates {
                    state.apply(update);
                }
                assert!(state.publish().is_some());
            });
            (counted.count_total, counted.bytes_total)
        });
        measured.collect()
    }
}

#[test]
fn what_many_routes_of_one_hostname_wildcard_or_app_allocate_grows_as_they_do() {
    for shape in Shape::ALL {
        let [one, two] = [500, 1_000].map(|count| shape.work(count));
        println!("{shape:?}: {one:?}, {two:?}");
        for (step, (one, two)) in one.iter().zip(&two).enumerate() {
            let grows = |one: u64, two: u64| two * 10 <= one * 25;
            assert!(grows(one.0, two.0), "{shape:?}, {step}: {one:?}, {two:?}");
            assert!(grows(one.1, two.1), "{shape:?}, {step}: {one:?}, {two:?}");
        }
    }
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
        peer: outbound::Settings {
            address: server.url(),
            ca: pki.ca().to_owned(),
            identity: Some(pki.issue("copilot", &["copilot"]).unwrap()),
            connect_timeout: Duration::from_mins(1),
            request_timeout: Duration::from_mins(1),
        },
        poll_interval: often,
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
    // As many as are read, and more than that.
    for (count, kind) in [(500_000, "unreadable"), (1_500_000, "too_large")] {
        let junk = "0,".repeat(count - 1);
        let body = format!(r#"{{"total_policies":{count},"policies":[{junk}0]}}"#);
        let megabytes = peak_of_failed_poll(body.leak(), kind);
        assert!(megabytes < 30, "{megabytes} MB");
    }
}

/// In megabytes.
fn peak_of_failed_poll(body: &'static str, kind: &'static str) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let peak = allocation_counter::measure(|| {
        runtime.block_on(failed_poll(body, kind));
    });
    let megabytes = peak.bytes_max >> 20;
    println!("{megabytes} MB at the peak for {} MB", body.len() >> 20);
    megabytes
}
