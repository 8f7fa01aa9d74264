//! What is due goes to a Pilot in bursts, between which it has the time to push.

use std::time::Duration;

use copilot::{
    mcp,
    sim::sink::{Answer, Options, Sink, State},
};
use futures_util::FutureExt as _;

use super::harness::{A, B, C, Harness, StreamExt as _, soon};

const CHANGES: u32 = 60;

/// What a sink holds of each collection, as versions.
fn versions(state: &State) -> Vec<String> {
    let of = |name: &&str| {
        let replica = state.collections.get(*name);
        replica.map_or_else(String::new, |replica| replica.version.clone())
    };
    [A, B, C].iter().map(of).collect()
}

#[tokio::test]
async fn changes_in_quick_succession_are_one_state_and_a_stream_of_deltas_has_each() {
    let harness = Harness::start_with(|settings| {
        settings.limits.burst_distance = Duration::from_hours(1);
    })
    .await;
    let publish = |content: u32| {
        let resources = [("a", content)];
        harness.publish(&[(A, &resources), (B, &resources), (C, &resources)]);
    };
    publish(0);
    let mut stream = harness.stream().await;
    let mut held = State::default();
    for name in [A, B, C] {
        stream.subscribe(name).await;
        let response = stream.response().await;
        stream.ack(&response).await;
        held.apply(response);
    }
    let options = Options {
        collections: [A, B, C].map(str::to_owned).to_vec(),
        incremental: true,
        ..Options::default()
    };
    let channel = harness.channel().await;
    let witness = Sink::open(&channel, options, |_| Answer::Ack).await;
    let witness = witness.unwrap();
    let mut told = witness.state();
    soon(told.wait_for(|state| state.collections.len() == 3))
        .await
        .unwrap();
    for change in 1..=CHANGES {
        let before = versions(&told.borrow());
        publish(change);
        let is_news = |state: &State| {
            let now = versions(state);
            now.iter().zip(&before).all(|(now, before)| now != before)
        };
        soon(told.wait_for(is_news)).await.unwrap();
        assert!(stream.next().now_or_never().is_none(), "a burst too early");
    }
    // Who asks has what is newest, and of each collection one response.
    stream.subscribe("probe").await;
    for _ in 0..4 {
        let response = stream.response().await;
        stream.ack(&response).await;
        held.apply(response);
    }
    let told = told.borrow().clone();
    assert_eq!(versions(&held), versions(&told));
    for name in [A, B, C] {
        let applied = [&held, &told].map(|state| state.collections[name].applied);
        assert_eq!(applied, [2, u64::from(CHANGES) + 1], "{name}");
    }
    harness.stop().await;
}

#[tokio::test]
async fn what_has_waited_for_the_next_burst_is_sent_though_nothing_else_happens() {
    let harness = Harness::start_with(|settings| {
        settings.limits.burst_distance = mcp::BURST_DISTANCE;
    })
    .await;
    harness.publish(&[(A, &[("a", 0)])]);
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    for change in 1..=3 {
        let response = stream.response().await;
        harness.publish(&[(A, &[("a", change)])]);
        stream.ack(&response).await;
    }
    stream.response().await;
    harness.stop().await;
}
