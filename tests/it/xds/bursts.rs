//! What is due goes out in bursts, between which istiod has the time to push.

use std::time::Duration;

use copilot::sim::{
    istiod::{Delivered as _, Istiod},
    sink::State,
};
use futures_util::FutureExt as _;

use super::harness::{GATEWAYS, Harness, SERVICES, StreamExt as _, names, soon};

/// What virtual services name.
const ENTRIES: (&str, &str) = (
    "networking.istio.io/v1/ServiceEntry",
    "istio/networking/v1alpha3/serviceentries",
);

/// A type that nobody publishes.
const PROBE: &str = "probe/v1/Probe";
const CHANGES: u32 = 100;

/// The version of the one resource that there is.
fn version(state: &State, type_url: &str) -> Option<String> {
    let replica = state.collections.get(type_url)?;
    replica.versions().remove("cloudfoundry/a")
}

#[tokio::test]
async fn changes_in_quick_succession_are_one_state_and_whoever_asks_has_it_at_once() {
    let harness = Harness::start_with(|settings| {
        settings.limits.burst_distance = Duration::from_hours(1);
    })
    .await;
    harness.publish(&[(SERVICES, &[("a", 0)]), (GATEWAYS, &[("a", 0)])]);
    let mut stream = harness.stream().await;
    let mut held = State::default();
    for (type_url, _) in [SERVICES, GATEWAYS] {
        stream.subscribe(type_url).await;
        let response = stream.response().await;
        stream.ack(&response).await;
        held.apply(response.unpack());
    }
    // One that takes deltas is told of each change, from which it is seen that the other could have been.
    let channel = harness.channel().await;
    let types = [SERVICES.0.to_owned(), GATEWAYS.0.to_owned()];
    let witness = Istiod::open_delta(&channel, &types, State::default());
    let witness = witness.await.unwrap();
    let mut told = witness.state();
    let is_told = |state: &State| types.iter().all(|of| version(state, of).is_some());
    soon(told.wait_for(is_told)).await.unwrap();
    for change in 1..=CHANGES {
        let before = told.borrow().clone();
        harness.publish(&[(SERVICES, &[("a", change)]), (GATEWAYS, &[("a", change)])]);
        let is_news = |state: &State| {
            let differs = |of: &String| version(state, of) != version(&before, of);
            types.iter().all(differs)
        };
        soon(told.wait_for(is_news)).await.unwrap();
        while let Some(next) = stream.next().now_or_never() {
            let response = next.unwrap().unwrap();
            stream.ack(&response).await;
            held.apply(response.unpack());
        }
    }
    // Of one that has just been asked, and of both that were due.
    stream.subscribe(PROBE).await;
    for _ in 0..3 {
        let response = stream.response().await;
        stream.ack(&response).await;
        held.apply(response.unpack());
    }
    let told = told.borrow().clone();
    for of in &types {
        assert_eq!(version(&held, of), version(&told, of));
        let applied = [&held, &told].map(|state| state.collections[of].applied);
        assert_eq!(applied, [2, u64::from(CHANGES) + 1], "{of}");
    }
    assert_eq!(held.collections[PROBE].applied, 1);
    harness.stop().await;
}

#[tokio::test]
async fn what_has_waited_for_the_next_burst_is_sent_though_nothing_else_happens() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 0)])]);
    let channel = harness.channel().await;
    let types = [SERVICES.0.to_owned()];
    let istiod = Istiod::open(&channel, &types).await.unwrap();
    let mut state = istiod.state();
    let mut before = None;
    for change in 1..=3 {
        let held = state.wait_for(|state| version(state, SERVICES.0) != before);
        before = version(&soon(held).await.unwrap(), SERVICES.0);
        harness.publish(&[(SERVICES, &[("a", change)])]);
    }
    let held = state.wait_for(|state| version(state, SERVICES.0) != before);
    soon(held).await.unwrap();
    harness.stop().await;
}

#[tokio::test]
async fn what_is_new_is_last_of_the_services_and_first_of_what_names_them() {
    let harness = Harness::start().await;
    let all: Vec<_> = (100..400).map(|n| format!("n-{n}")).collect();
    let publish = |content: u32| {
        let content = |name: &String| if name == "n-250" { content } else { 0 };
        let resources: Vec<_> = all.iter().map(|name| (&**name, content(name))).collect();
        harness.publish(&[(ENTRIES, &resources), (SERVICES, &resources)]);
    };
    publish(1);
    let mut stream = harness.stream().await;
    for (type_url, _) in [ENTRIES, SERVICES] {
        stream.subscribe(type_url).await;
        let response = stream.response().await;
        assert!(names(&response).is_sorted(), "{type_url}");
        stream.ack(&response).await;
    }
    publish(2);
    for ((type_url, _), near) in [(ENTRIES, 236..300), (SERVICES, 0..64)] {
        let response = stream.response().await;
        assert_eq!(response.type_url, type_url);
        stream.ack(&response).await;
        let mut names = names(&response);
        let at = names.iter().position(|name| name == "cloudfoundry/n-250");
        assert!(near.contains(&at.unwrap()), "{type_url}: {at:?}");
        names.sort();
        let all = all.iter().map(|name| format!("cloudfoundry/{name}"));
        assert!(names.into_iter().eq(all), "{type_url}");
    }
    harness.stop().await;
}
