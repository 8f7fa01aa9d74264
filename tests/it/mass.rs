//! Much changes at once, and it is true: nothing of it waits for a later read.

use std::collections::{BTreeMap, BTreeSet};

use copilot::sim::{
    cloud_foundry::{App, CloudFoundry, loaded_host},
    sink::{Sink, State},
};
use serde_json::json;

use crate::mesh::{Daemon, collections, endpoints, holds, with};

/// A foundation whose daemon has read everything once, and reads no list again before a test is over.
struct Mass {
    foundation: CloudFoundry,
    apps: Vec<App>,
    daemon: Daemon,
    pilot: Sink,
    /// Where the instances of each route are at the start.
    before: BTreeMap<usize, BTreeSet<String>>,
    lists: u64,
}

impl Mass {
    async fn of(routes: usize, instances: usize) -> Self {
        let mut foundation = CloudFoundry::start().await.unwrap();
        let apps = foundation.load(routes, instances);
        let config = with(
            foundation.config(),
            &[
                ("/CAPI/FullReadInterval", json!("1h")),
                ("/CAPI/TailInterval", json!("50ms")),
                ("/BBS/SyncInterval", json!("1h")),
            ],
        );
        let daemon = Daemon::start(config).await;
        let pilot = foundation.connect_pilot(daemon.mcp, collections()).await;
        let pilot = pilot.unwrap();
        let state = holds(&pilot, |state| places(state, routes - 1).len() == 1).await;
        let before = (0..routes).map(|n| (n, places(&state, n))).collect();
        let lists = *foundation.bbs.lists_served().borrow();
        Self {
            foundation,
            apps,
            daemon,
            pilot,
            before,
            lists,
        }
    }

    /// Waits until each of these routes is as it should be, beside what it was; the others are as they were, and nothing
    /// was held.
    async fn becomes(
        &self,
        routes: usize,
        expected: impl Fn(&BTreeSet<String>, &BTreeSet<String>) -> bool,
    ) {
        let state = holds(&self.pilot, |state| {
            (0..routes).all(|n| expected(&self.before[&n], &places(state, n)))
        });
        let state = state.await;
        for (n, before) in self.before.range(routes..) {
            assert_eq!(places(&state, *n), *before, "{n}");
        }
        let (_, metrics) = self.daemon.operator.get("/metrics").await.unwrap();
        let held = metrics.lines().filter(|line| line.starts_with(HELD));
        let held: Vec<_> = held.filter(|line| !line.ends_with(" 0")).collect();
        assert!(held.is_empty(), "{held:?}");
        let lists = *self.foundation.bbs.lists_served().borrow();
        assert_eq!(lists, self.lists, "events said it all");
    }
}

const HELD: &str = "copilot_held_losses_total{";

fn places(state: &State, n: usize) -> BTreeSet<String> {
    endpoints(state, &loaded_host(n)).into_iter().collect()
}

#[tokio::test]
async fn a_cell_of_250_is_evacuated_as_its_events_come() {
    const ON_THE_CELL: usize = 250;
    let mut mass = Mass::of(500, 500).await;
    // A cell is given time for it: some hundred events a second.
    for done in (0..ON_THE_CELL).step_by(50).map(|done| done + 50) {
        for app in &mut mass.apps[done - 50..done] {
            mass.foundation.move_first(app);
        }
        mass.becomes(done, |before, now| {
            now.len() == 1 && now.is_disjoint(before)
        })
        .await;
    }
}

#[tokio::test]
async fn more_than_a_tenth_of_all_instances_ends_with_their_cells() {
    const LOST: usize = 110;
    let mut mass = Mass::of(1000, 1000).await;
    for app in &mut mass.apps[..LOST] {
        for gone in app.instances.drain(..) {
            mass.foundation.bbs.stop_instance(&gone);
        }
    }
    mass.becomes(LOST, |_, now| now.is_empty()).await;
}

#[tokio::test]
async fn a_third_of_the_routes_goes_with_its_organization() {
    const DELETED: usize = 100;
    let mut mass = Mass::of(300, 300).await;
    for (n, app) in mass.apps[..DELETED].iter_mut().enumerate() {
        {
            let mut state = mass.foundation.capi.state();
            let route = state.route(&loaded_host(n)).expect("it was loaded");
            // A space's routes go without an event of their own, its apps with one.
            state.delete_route_silently(&route);
            let app = app.guid.to_string();
            state.emit("audit.app.delete-request", &app, &json!({}));
        }
        mass.foundation.stop(app);
    }
    mass.becomes(DELETED, |_, now| now.is_empty()).await;
}
