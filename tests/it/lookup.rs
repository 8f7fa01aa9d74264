//! Requests go where a gorouter sends them.
//!
//! Two judges that know nothing of how configuration is generated: a model of the gorouter's lookup, which agrees with
//! what a real one answered, and an interpreter of what is published, by the rules of Istio and Envoy.

mod any;
mod cases;
mod envoy;
mod fixture;
mod foundation;
mod messages;
mod model;
mod reader;
mod verdict;

use std::{sync::Arc, time::Duration};

use copilot::{model::Update, snapshot::Snapshot, table::Join};

use self::{envoy::Envoy, foundation::Foundation, reader::Reader};
use crate::publisher::{Input, Running, Settings, settings, start, told_once};

/// A runtime whose clock stands still while somebody works, and jumps while nobody does.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// A publisher of a foundation.
async fn published(foundation: &Foundation) -> Running {
    let join = if foundation.is_pushed() {
        Join::Associated
    } else {
        Join::Described
    };
    let running = start(Settings {
        join,
        keep_empty_service_entries: true,
        guard: told_once(),
        ..settings([Input::Routes, Input::Instances])
    });
    send(&running, foundation.read()).await;
    running
}

/// Sends updates and lets them be published: longer than a publisher waits for more.
async fn send(running: &Running, updates: impl IntoIterator<Item = Update>) {
    for update in updates {
        running.send(update).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn snapshot(running: &Running) -> Arc<Snapshot> {
    let snapshot = running.outputs.snapshots.borrow().clone();
    snapshot.expect("a snapshot")
}

#[test]
fn the_model_agrees_with_every_answer_of_a_real_gorouter() {
    let mut asked = 0;
    for recorded in fixture::recorded() {
        let gorouter = recorded.gorouter();
        for (host, target, app, status) in &recorded.requests {
            let found = gorouter
                .lookup(host, target)
                .and_then(|pool| pool.0.first());
            assert_eq!(found, app.as_ref(), "{} {host}{target}", recorded.seed);
            assert_eq!(app.is_some(), *status == 200);
            asked += 1;
        }
    }
    assert_eq!(asked, 3_312);
}

#[test]
fn the_model_agrees_with_the_gorouters_routing_table() {
    let mut asked = 0;
    for table in fixture::tables() {
        let gorouter = table.gorouter();
        for (host, target, apps) in &table.requests {
            let found = gorouter.lookup(host, target);
            let found = found.map_or_else(Default::default, |pool| pool.0.clone());
            assert_eq!(&found, apps, "{host}{target}");
            asked += 1;
        }
    }
    assert_eq!(asked, 1_800);
}

#[test]
fn a_proxy_sends_every_request_where_a_real_gorouter_sent_it() {
    let mut wrong = Vec::new();
    for recorded in fixture::recorded() {
        let foundation = recorded.foundation();
        let snapshot = runtime().block_on(async { snapshot(&published(&foundation).await) });
        for reader in Reader::ALL {
            let envoy = Envoy::of_snapshot(&snapshot, reader);
            let requests = recorded.requests.iter();
            wrong.extend(requests.filter_map(|(host, target, app, _)| {
                let answering = recorded.answering(&foundation, envoy.ask(host, target));
                let seed = recorded.seed;
                (answering != [app.as_deref()].into())
                    .then(|| format!("{seed} {reader:?} {host}{target}: {answering:?} for {app:?}"))
            }));
        }
    }
    let some = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "{} go elsewhere: {some:#?}", wrong.len());
}
