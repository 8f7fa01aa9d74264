//! Deltas: M-23 to M-30. M-31, how a sink applies them, is the simulated sink's `Replica`.

use std::collections::BTreeMap;

use copilot::{
    proto::istio::mcp::v1alpha1::{RequestResources, Resources},
    sim::sink::{self, Answer, Options, Sink, State, Stream},
};

use super::harness::{A, B, Contents, Harness, StreamExt as _, names, soon, until};

/// An incremental stream that has applied A with these resources.
async fn with_acked(harness: &Harness, resources: Contents<'_>) -> Stream {
    harness.publish(&[(A, resources)]);
    let mut stream = harness.stream().await;
    stream.subscribe_incrementally(A).await;
    let response = stream.response().await;
    assert!(response.incremental);
    assert_eq!(response.resources.len(), resources.len());
    stream.ack_incrementally(&response).await;
    stream
}

fn contents(response: &Resources) -> (Vec<&str>, Vec<&str>) {
    let removed = response.removed_resources.iter().map(String::as_str);
    (names(response), removed.collect())
}

#[tokio::test]
async fn m24_m25_m28_a_delta_is_what_changed_since_the_last_ack() {
    let harness = Harness::start().await;
    let mut stream = with_acked(&harness, &[("a", 1), ("b", 1), ("c", 1)]).await;
    let cases: [(Contents, &[&str], &[&str]); 5] = [
        (&[("a", 2), ("b", 1), ("c", 1)], &["a"], &[]),
        (&[("a", 2), ("b", 1)], &[], &["c"]),
        (&[("a", 3), ("d", 1), ("e", 1)], &["a", "d", "e"], &["b"]),
        (&[], &[], &["a", "d", "e"]),
        (&[("a", 1)], &["a"], &[]),
    ];
    for (state, changed, removed) in cases {
        harness.publish(&[(A, state)]);
        let response = stream.response().await;
        assert!(response.incremental);
        assert_eq!(contents(&response), (changed.to_vec(), removed.to_vec()));
        stream.ack_incrementally(&response).await;
    }
}

#[tokio::test]
async fn m26_a_delta_after_a_nack_starts_from_the_last_ack() {
    let harness = Harness::start().await;
    let mut stream = with_acked(&harness, &[("a", 1), ("b", 1)]).await;
    harness.publish(&[(A, &[("a", 2)])]);
    let rejected = stream.response().await;
    stream
        .send(RequestResources {
            incremental: true,
            ..sink::nack(&rejected, 2, "no")
        })
        .await;
    harness.publish(&[(A, &[("a", 2), ("c", 1)])]);
    let response = stream.response().await;
    assert_eq!(contents(&response), (vec!["a", "c"], vec!["b"]));
}

#[tokio::test]
async fn what_a_sink_has_rejected_is_over_when_it_is_not_published_any_more() {
    let harness = Harness::start().await;
    let mut stream = with_acked(&harness, &[("a", 1)]).await;
    harness.publish(&[(A, &[("a", 1), ("bad", 1)])]);
    let rejected = stream.response().await;
    let answer = RequestResources {
        incremental: true,
        ..sink::nack(&rejected, 2, "no")
    };
    stream.send(answer).await;
    let is_rejected = || {
        let sinks = harness.sinks.list();
        sinks[0].collections[A].nack.is_some()
    };
    until(is_rejected).await;
    // There is nothing to send: it holds that.
    harness.publish(&[(A, &[("a", 1)])]);
    until(|| !is_rejected()).await;
}

#[tokio::test]
async fn m23_m27_a_state_is_full_unless_the_last_request_asked_for_a_delta() {
    let harness = Harness::start().await;
    let mut stream = with_acked(&harness, &[("a", 1), ("b", 1)]).await;
    harness.publish(&[(A, &[("a", 2), ("b", 1)])]);
    let delta = stream.response().await;
    stream.ack(&delta).await;
    harness.publish(&[(A, &[("a", 3), ("b", 1)])]);
    let full = stream.response().await;
    assert!(!full.incremental);
    assert_eq!(names(&full), ["a", "b"]);
    stream.ack_incrementally(&full).await;
    harness.publish(&[(A, &[("a", 3)])]);
    let delta = stream.response().await;
    assert_eq!(contents(&delta), (vec![], vec!["b"]));
}

#[tokio::test]
async fn m29_a_sink_that_comes_back_loses_what_was_deleted_meanwhile() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("keep", 1), ("change", 1), ("zombie", 1)])]);
    let options = Options {
        collections: vec![A.to_owned()],
        incremental: true,
        ..Options::default()
    };
    let channel = harness.channel().await;
    let sink = Sink::open(&channel, options.clone(), |_| Answer::Ack)
        .await
        .unwrap();
    let resume = soon(sink.state().wait_for(|state| state.names(A).is_some()))
        .await
        .unwrap()
        .clone();
    drop(sink);

    harness.publish(&[(A, &[("keep", 1), ("change", 2), ("new", 1)])]);
    let options = Options { resume, ..options };
    let (sender, mut responses) = tokio::sync::mpsc::channel(1);
    let answer = move |response: &Resources| {
        sender.try_send(response.clone()).unwrap();
        Answer::Ack
    };
    let sink = Sink::open(&channel, options, answer).await.unwrap();
    let response = soon(responses.recv()).await.unwrap();
    assert_eq!(contents(&response), (vec!["change", "new"], vec!["zombie"]));
    let held = |state: &State| state.names(A) == Some(vec!["change", "keep", "new"]);
    soon(sink.state().wait_for(held)).await.unwrap();
}

#[tokio::test]
async fn m29_a_sink_that_holds_the_newest_state_is_answered_with_nothing_new() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    let full = stream.response().await;
    let version = full.resources[0].metadata.clone().unwrap().version;
    let mut again = harness.stream().await;
    again
        .send(RequestResources {
            incremental: true,
            initial_resource_versions: BTreeMap::from([("a".to_owned(), version)]),
            ..sink::request(A)
        })
        .await;
    let response = again.response().await;
    assert!(response.incremental);
    assert_eq!(contents(&response), (vec![], vec![]));
}

#[tokio::test]
async fn m30_a_state_that_the_sink_holds_already_is_not_sent() {
    let harness = Harness::start().await;
    let mut stream = with_acked(&harness, &[("a", 1)]).await;
    stream.subscribe(B).await;
    let of_b = stream.response().await;
    stream.ack(&of_b).await;
    harness.publish(&[(A, &[("a", 2)])]);
    let rejected = stream.response().await;
    stream
        .send(RequestResources {
            incremental: true,
            ..sink::nack(&rejected, 2, "no")
        })
        .await;
    // B tells when the snapshot has arrived that takes A back.
    harness.publish(&[(A, &[("a", 1)]), (B, &[("b", 1)])]);
    let response = stream.response().await;
    assert_eq!(response.collection, B);
    stream.expect_silence().await;
}
