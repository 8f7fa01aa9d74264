//! The parts of the daemon with and without each other: whichever are switched off, the others run.

use std::collections::BTreeSet;

use copilot::{
    istio::Kind,
    proto::api::BulkSyncRequest,
    sim::{
        cloud_foundry::{App, CloudFoundry, DOMAIN},
        operator::Operator,
        sink::State,
    },
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    mesh::{LONG, collections, endpoints, foundation, holds, with},
    process::Process,
    push::{association, connect_to, mapping, original_config, route},
};

/// Daemons that run at a time.
const AT_A_TIME: usize = 4;

const XDS: &str = "ListenAddressForXDS";
const VIP_RESOLVER: &str = "ListenAddressForVIPResolver";

/// Where routes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Routes {
    Polled,
    /// With a listener for those who push, who are refused.
    PolledAndListening,
    Pushed,
}

/// What a daemon has.
#[derive(Debug, Clone, Copy)]
struct Parts {
    routes: Routes,
    bbs: bool,
    policies: bool,
    /// The keys of the listeners that may be there or not.
    listeners: &'static [&'static str],
}

impl Parts {
    /// Every combination of sources with each of these sets of listeners.
    fn all(listeners: &[&'static [&'static str]]) -> Vec<Self> {
        let mut all = Vec::new();
        for routes in [Routes::Polled, Routes::PolledAndListening, Routes::Pushed] {
            for (bbs, policies) in [(false, false), (false, true), (true, false), (true, true)] {
                all.extend(listeners.iter().map(|listeners| Self {
                    routes,
                    bbs,
                    policies,
                    listeners,
                }));
            }
        }
        all
    }

    fn config(self, foundation: &CloudFoundry) -> Value {
        let original = original_config(foundation);
        let mut config = with(
            foundation.config(),
            &[
                ("/CAPI/TailInterval", json!("200ms")),
                ("/PolicyServerPollInterval", json!("200ms")),
                ("/BBS/Disable", json!(!self.bbs)),
                ("/PolicyServerDisabled", json!(!self.policies)),
            ],
        );
        if self.routes != Routes::Polled {
            for key in [
                "ListenAddressForCloudController",
                "CloudControllerClientCAPath",
            ] {
                config[key] = original[key].clone();
            }
        }
        if self.routes == Routes::Pushed {
            let config = config.as_object_mut().unwrap();
            config.retain(|key, _| !["CAPI", "MeshDomains"].contains(&key.as_str()));
        }
        for key in self.listeners {
            config[key] = json!("127.0.0.1:0");
        }
        config
    }

    /// What it waits for as long as nobody tells it anything.
    fn waits_for(self) -> BTreeSet<&'static str> {
        let mut names = BTreeSet::from(["first snapshot", "routes from Cloud Controller"]);
        if self.bbs {
            names.insert("instances from the BBS");
        }
        if self.bbs && self.routes != Routes::Pushed {
            names.insert("processes from Cloud Controller");
        }
        names
    }

    /// The feeds that ask somebody.
    fn asking(self) -> Vec<&'static str> {
        let polled = self.routes != Routes::Pushed;
        let feeds = [
            (polled, "capi_routes"),
            (self.bbs, "bbs_lists"),
            (self.bbs, "bbs_events"),
            (self.policies, "policies"),
        ];
        let on = feeds.into_iter().filter(|(is_on, _)| *is_on);
        on.map(|(_, feed)| feed).collect()
    }
}

/// Runs a daemon of each combination, and ends it as its supervisor would.
async fn each(
    foundation: &CloudFoundry,
    combinations: Vec<Parts>,
    check: impl AsyncFn(usize, Parts, &Process),
) {
    let run = async |(index, parts): (usize, Parts)| {
        let config = parts.config(foundation);
        let start = || Process::serve(foundation, &format!("parts-{index}.json"), &config);
        let mut process = tokio::task::block_in_place(start);
        check(index, parts, &process).await;
        let (status, _) = tokio::task::block_in_place(|| process.terminate());
        assert!(status.success(), "{parts:?}: {status}");
    };
    let combinations = futures_util::stream::iter(combinations.into_iter().enumerate());
    combinations.for_each_concurrent(AT_A_TIME, run).await;
}

/// Asks the daemon how ready it is until that is as it should be. One that has ended does not answer.
async fn shows(parts: Parts, process: &Process, expected: impl Fn(&Value) -> bool) {
    let operator = Operator::new(process.address("admin_address")).unwrap();
    let mut last = Value::Null;
    let seen = async {
        while !expected(&last) {
            let page = operator.json("/readyz").await;
            last = page.unwrap_or_else(|error| panic!("{parts:?} has ended: {error}"));
        }
    };
    let seen = timeout(LONG, seen).await.is_ok();
    assert!(seen, "{parts:?} still shows {last:#}");
}

fn waiting_for(page: &Value) -> BTreeSet<&str> {
    let names = page["waiting_for"].as_array();
    names
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn is_routed(state: &State, host: &str) -> bool {
    let held = state.collections.get(Kind::VirtualService.collection());
    held.is_some_and(|held| held.resources.keys().any(|name| name.ends_with(host)))
}

/// Tells the daemon of one route more than it knows, in the way in which it is told.
async fn create_route(
    foundation: &CloudFoundry,
    app: &App,
    parts: Parts,
    process: &Process,
    host: &str,
) {
    if parts.routes == Routes::Pushed {
        let pusher = connect_to(foundation, process.address("cloud_controller_address")).await;
        let name = format!("{host}.{DOMAIN}");
        pusher.upsert_route(route(host, &name)).await.unwrap();
        pusher.map_route(mapping(host, app, 1)).await.unwrap();
    } else {
        let route = foundation.create_route(host, "");
        foundation.map(&route, app, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_switched_off_the_rest_gets_ready_follows_changes_and_ends_in_order() {
    let (foundation, app) = foundation().await;
    let listeners: [&[&str]; 4] = [&[], &[XDS], &[VIP_RESOLVER], &[XDS, VIP_RESOLVER]];
    let check = async |index: usize, parts: Parts, process: &Process| {
        if parts.routes == Routes::Pushed {
            let waits_for = BTreeSet::from(["first snapshot", "routes from Cloud Controller"]);
            shows(parts, process, |page| waiting_for(page) == waits_for).await;
            let everything = BulkSyncRequest {
                routes: vec![route("shop", &format!("shop.{DOMAIN}"))],
                route_mappings: vec![mapping("shop", &app, 1)],
                capi_diego_process_associations: vec![association(&app)],
            };
            let pusher = connect_to(&foundation, process.address("cloud_controller_address"));
            pusher.await.bulk_sync(&everything).await.unwrap();
        }
        shows(parts, process, |page| page["ready"] == true).await;
        let mcp = process.address("mcp_address");
        let pilot = foundation.connect_pilot(mcp, collections()).await.unwrap();
        let state = holds(&pilot, |state| state.collections.len() == 4).await;
        assert!(is_routed(&state, &format!("shop.{DOMAIN}")), "{parts:?}");
        let reached = if parts.bbs { 2 } else { 0 };
        assert_eq!(endpoints(&state, "shop").len(), reached, "{parts:?}");

        let later = format!("later-{index}");
        create_route(&foundation, &app, parts, process, &later).await;
        let host = format!("{later}.{DOMAIN}");
        holds(&pilot, |state| is_routed(state, &host)).await;
    };
    each(&foundation, Parts::all(&listeners), check).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_answers_it_waits_for_what_is_switched_on_and_ends_in_order() {
    let (foundation, _) = foundation().await;
    foundation.capi.stop().await;
    foundation.bbs.stop();
    foundation.policies.stop().await;
    let check = async |_: usize, parts: Parts, process: &Process| {
        // More than one turn of each loop, so that none of them has ended with the first.
        let is_tried_again = |page: &Value| {
            let feeds = page["feeds"].as_array().cloned().unwrap_or_default();
            parts.asking().iter().all(|name| {
                let mut feeds = feeds.iter();
                let feed = feeds.find(|feed| feed["feed"] == *name);
                feed.is_some_and(|feed| feed["problem"]["failures"].as_u64() > Some(1))
            })
        };
        let waits_for = parts.waits_for();
        shows(parts, process, |page| {
            is_tried_again(page) && waiting_for(page) == waits_for
        })
        .await;
    };
    each(&foundation, Parts::all(&[&[XDS, VIP_RESOLVER]]), check).await;
}
