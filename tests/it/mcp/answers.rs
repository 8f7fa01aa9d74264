//! What is sent when, by ACK, NACK and nonce: M-01 to M-19.

use copilot::{
    mcp::SinkStatus,
    proto::istio::mcp::v1alpha1::Resources,
    sim::sink::{self, Stream},
};

use super::harness::{A, B, C, Contents, Harness, StreamExt as _, names, until};

/// A stream that has been sent A with one resource, and has not answered.
async fn with_pending(harness: &Harness) -> (Stream, Resources) {
    harness.publish(&[(A, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    let response = stream.response().await;
    (stream, response)
}

#[tokio::test]
async fn m01_nothing_is_sent_before_there_is_data_and_then_once() {
    let harness = Harness::start().await;
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    harness.publish(&[(A, &[("a", 1)])]);
    let response = stream.response().await;
    assert_eq!((&*response.nonce, names(&response)), ("1", vec!["a"]));
    stream.expect_silence().await;
}

#[tokio::test]
async fn m02_a_request_is_answered_with_the_full_state() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1), ("b", 1)])]);
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    let response = stream.response().await;
    assert_eq!(response.collection, A);
    assert_eq!(response.nonce, "1");
    assert_eq!(names(&response), ["a", "b"]);
    assert!(!response.incremental && !response.system_version_info.is_empty());
    for resource in &response.resources {
        let metadata = resource.metadata.as_ref().unwrap();
        assert_eq!(
            metadata.create_time.as_ref().unwrap().seconds,
            1_500_000_000
        );
        assert!(!metadata.version.is_empty());
        assert_eq!(
            resource.body.as_ref().unwrap().type_url,
            "type.googleapis.com/istio.networking.v1alpha3.VirtualService"
        );
    }
}

#[tokio::test]
async fn m03_nonces_count_on_over_all_collections_of_a_stream() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)]), (B, &[]), (C, &[])]);
    for _ in 0..2 {
        let mut stream = harness.stream().await;
        for collection in [A, B, C] {
            stream.subscribe(collection).await;
        }
        for nonce in ["1", "2", "3"] {
            assert_eq!(stream.response().await.nonce, nonce);
        }
    }
}

#[tokio::test]
async fn m04_every_response_carries_the_complete_state() {
    let harness = Harness::start().await;
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    let states: [Contents; 5] = [
        &[("a", 1)],
        &[("a", 2)],
        &[],
        &[("b", 1), ("c", 1)],
        &[("b", 2), ("c", 1), ("d", 1)],
    ];
    for state in states {
        harness.publish(&[(A, state)]);
        let response = stream.response().await;
        let expected: Vec<_> = state.iter().map(|(name, _)| *name).collect();
        assert_eq!(names(&response), expected);
        assert!(!response.incremental && response.removed_resources.is_empty());
        stream.ack(&response).await;
    }
    stream.expect_silence().await;
}

#[tokio::test]
async fn m05_an_empty_collection_is_sent_once() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[])]);
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    let response = stream.response().await;
    assert!(response.resources.is_empty() && !response.system_version_info.is_empty());
    stream.ack(&response).await;
    stream.expect_silence().await;
}

#[tokio::test]
async fn m06_the_answer_for_one_collection_does_not_concern_the_others() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)]), (B, &[("b", 1)]), (C, &[("c", 1)])]);
    let mut stream = harness.stream().await;
    let mut pending = Vec::new();
    for collection in [A, B, C] {
        stream.subscribe(collection).await;
        pending.push(stream.response().await);
    }
    stream.ack(&pending[1]).await;
    harness.publish(&[(A, &[("a", 2)]), (B, &[("b", 2)]), (C, &[("c", 2)])]);
    assert_eq!(stream.response().await.collection, B);
    stream.expect_silence().await;
}

#[tokio::test]
async fn m07_m08_only_what_has_changed_is_pushed() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)]), (B, &[("b", 1)]), (C, &[("c", 1)])]);
    let mut stream = harness.stream().await;
    for collection in [A, B, C] {
        stream.subscribe(collection).await;
        let response = stream.response().await;
        stream.ack(&response).await;
    }
    harness.publish(&[(A, &[("a", 1)]), (B, &[("b", 2)])]);
    assert_eq!(stream.response().await.collection, B);
    stream.expect_silence().await;
}

#[tokio::test]
async fn m09_versions_published_while_one_is_pending_are_skipped() {
    let harness = Harness::start().await;
    let (mut stream, first) = with_pending(&harness).await;
    for content in 2..=9 {
        harness.publish(&[(A, &[("a", content)])]);
    }
    harness.publish(&[(A, &[("newest", 1)])]);
    stream.expect_silence().await;
    stream.ack(&first).await;
    assert_eq!(names(&stream.response().await), ["newest"]);
    stream.expect_silence().await;
}

#[tokio::test]
async fn m11_a_rejected_version_is_not_sent_again_and_the_next_is() {
    let harness = Harness::start().await;
    let (mut stream, first) = with_pending(&harness).await;
    stream.nack(&first, 2, "cannot be applied").await;
    stream.expect_silence().await;
    let nacks = format!("istio_mcp_request_nacks_total{{collection=\"{A}\",code=\"Unknown\"}}");
    assert_eq!(harness.metric(&nacks), Some(1.0));
    let status = &harness.sinks.list()[0].collections[A];
    assert_eq!((status.sent, status.nacks, status.acks), (1, 1, 0));
    assert_eq!(status.nack.as_ref().unwrap().message, "cannot be applied");
    harness.publish(&[(A, &[("a", 2)])]);
    let second = stream.response().await;
    assert_eq!(second.nonce, "4", "after the two probes");
}

#[tokio::test]
async fn m12_m13_m14_a_nonce_that_is_not_pending_changes_nothing() {
    let harness = Harness::start().await;
    let (mut stream, first) = with_pending(&harness).await;
    stream.subscribe(B).await;
    let of_b = stream.response().await;
    harness.publish(&[(A, &[("a", 2)])]);
    let unknown = Resources {
        nonce: "99".to_owned(),
        ..first.clone()
    };
    stream.ack(&unknown).await;
    stream.nack(&unknown, 3, "no").await;
    let of_another = Resources {
        nonce: of_b.nonce.clone(),
        ..first.clone()
    };
    stream.ack(&of_another).await;
    stream.expect_silence().await;
    assert_eq!(
        harness.metric("copilot_mcp_stale_requests_total"),
        Some(3.0)
    );

    stream.ack(&first).await;
    assert_eq!(names(&stream.response().await), ["a"]);
    // Twice is once too often.
    stream.ack(&first).await;
    stream.expect_silence().await;
    assert_eq!(
        harness.metric("copilot_mcp_stale_requests_total"),
        Some(4.0)
    );
    let acks = format!("istio_mcp_request_acks_total{{collection=\"{A}\"}}");
    assert_eq!(harness.metric(&acks), Some(1.0));
}

#[tokio::test]
async fn m15_m16_a_new_request_is_answered_in_full_again() {
    let harness = Harness::start().await;
    let (mut stream, pending) = with_pending(&harness).await;
    harness.publish(&[(A, &[("b", 1)])]);
    stream.expect_silence().await;
    stream.subscribe(A).await;
    let second = stream.response().await;
    assert_eq!(names(&second), ["b"]);
    // The first has been overtaken.
    stream.ack(&pending).await;
    stream.ack(&second).await;
    stream.expect_silence().await;
    stream.subscribe(A).await;
    let third = stream.response().await;
    assert_eq!(names(&third), ["b"]);
    assert_ne!(third.nonce, second.nonce);
}

#[tokio::test]
async fn m17_an_error_in_a_first_request_means_nothing() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    let nothing = Resources {
        collection: A.to_owned(),
        ..Resources::default()
    };
    stream.send(sink::nack(&nothing, 3, "left over")).await;
    assert_eq!(names(&stream.response().await), ["a"]);
}

#[tokio::test]
async fn m18_a_new_stream_gets_once_what_an_earlier_one_rejected() {
    let harness = Harness::start().await;
    let (stream, first) = with_pending(&harness).await;
    stream.nack(&first, 2, "no").await;
    let mut again = harness.stream().await;
    again.subscribe(A).await;
    let second = again.response().await;
    assert_eq!(second.system_version_info, first.system_version_info);
    again.nack(&second, 2, "no").await;
    again.expect_silence().await;
}

#[tokio::test]
async fn m19_a_sink_that_never_answers_delays_nobody() {
    let harness = Harness::start().await;
    let (_silent, _) = with_pending(&harness).await;
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    for content in 2..50 {
        let response = stream.response().await;
        stream.ack(&response).await;
        harness.publish(&[(A, &[("a", content)])]);
    }
    let silent = &harness.sinks.list()[0].collections[A];
    assert_eq!(silent.sent, 1);
    assert!(harness.metric("copilot_mcp_oldest_unacked_seconds") > Some(0.0));
}

#[tokio::test]
async fn each_open_stream_has_metrics_of_its_own() {
    let harness = Harness::start().await;
    let (silent, _) = with_pending(&harness).await;
    let (mut busy, first) = with_pending(&harness).await;
    busy.ack(&first).await;
    busy.subscribe(B).await;
    let of_b = busy.response().await;
    busy.nack(&of_b, 2, "no").await;
    busy.expect_silence().await;
    let of = |stream: usize, what: &str| {
        let SinkStatus { id, peer, .. } = &harness.sinks.list()[stream];
        let name = format!("copilot_mcp_stream_{what}{{stream=\"{id}\",peer=\"{peer}\"}}");
        harness.metric(&name).unwrap()
    };
    let counts =
        |stream| ["sent_total", "acked_total", "nacked_total"].map(|what| of(stream, what));
    let [sent, acked, nacked] = counts(0);
    assert_eq!((sent, acked, nacked), (1.0, 0.0, 0.0));
    // The two probes are sent and acknowledged, too; the last ACK may be still under way.
    let [sent, acked, nacked] = counts(1);
    assert_eq!((sent, nacked), (4.0, 1.0));
    assert!((2.0..=3.0).contains(&acked), "{acked}");
    assert!(of(0, "oldest_unacked_seconds") > 0.0);
    let gone = harness.sinks.list()[0].id;
    let gone = format!("copilot_mcp_stream_sent_total{{stream=\"{gone}\"");
    assert!(harness.page().contains(&gone));
    drop(silent);
    until(|| harness.sinks.list().len() == 1).await;
    assert!(!harness.page().contains(&gone));
}
