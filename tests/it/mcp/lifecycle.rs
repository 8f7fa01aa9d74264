//! How streams and the server end, and what a peer may use: M-10, M-32 to M-36, M-42, M-43, M-45, M-46.

use std::time::{Duration, Instant};

use copilot::{
    proto::istio::mcp::v1alpha1::{RequestResources, Resources},
    sim::sink::{self, Stream},
};
use tokio::io::AsyncWriteExt as _;
use tonic::{Code, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use super::{
    harness::{A, B, Harness, StreamExt as _, assert_code, large, names, soon, until},
    raw,
};

#[tokio::test]
async fn m10_m33_a_stream_whose_sink_vanishes_leaves_nothing_behind() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    stream.response().await;
    assert_eq!(harness.sinks.list().len(), 1);
    assert_eq!(harness.metric("istio_mcp_clients_total"), Some(1.0));
    drop(stream);
    until(|| harness.sinks.list().is_empty()).await;
    assert_eq!(harness.metric("istio_mcp_clients_total"), Some(0.0));
    assert_eq!(
        harness.metric("copilot_mcp_oldest_unacked_seconds"),
        Some(0.0)
    );
}

#[tokio::test]
async fn m32_a_half_close_ends_the_stream_well() {
    let harness = Harness::start().await;
    let stream = harness.stream().await;
    stream.subscribe(A).await;
    soon(stream.half_close()).await.unwrap();
    assert!(harness.sinks.list().is_empty());
}

#[tokio::test]
async fn m34_a_peer_that_goes_in_the_middle_of_a_response_harms_nobody() {
    let harness = Harness::start().await;
    harness.publish_collection(A, large(40_000));
    let stream = harness.stream().await;
    stream.subscribe(A).await;
    let sent = format!("copilot_mcp_responses_total{{collection=\"{A}\",incremental=\"false\"}}");
    until(|| harness.metric(&sent) == Some(1.0)).await;
    drop(stream);
    let failed = "istio_mcp_send_failures_total{code=\"Cancelled\"}";
    until(|| harness.metric(failed) == Some(1.0)).await;
    let mut other = harness.stream().await;
    other.subscribe(A).await;
    let response = other.response().await;
    assert_eq!(response.resources.len(), 40_000);
}

#[tokio::test]
async fn m35_shutdown_ends_every_stream_as_unavailable() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    let channel = harness.channel().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(Stream::open(&channel).await.unwrap());
    }
    streams[0].subscribe(A).await;
    harness.shutdown.cancel();
    for stream in &mut streams {
        let status = assert_code::<()>(Err(stream.status().await), Code::Unavailable);
        assert!(status.message().contains("shutting down"), "{status}");
    }
    harness.stopped().await;
    assert!(soon(Stream::open(&channel)).await.is_err());
}

#[tokio::test]
async fn m35_shutdown_says_goaway() {
    let harness = Harness::start().await;
    let config = harness.client_config(&["raw"]);
    let mut peer = raw::open(harness.address, config, A).await;
    until(|| !harness.sinks.list().is_empty()).await;
    harness.shutdown.cancel();
    soon(raw::read_until(&mut peer, raw::GOAWAY)).await;
    drop(peer);
    harness.stopped().await;
}

#[tokio::test]
async fn m41_a_dead_peer_is_found_and_one_that_answers_pings_stays() {
    let harness = Harness::start_with(|settings| {
        settings.limits.keepalive_interval = Duration::from_millis(100);
        settings.limits.keepalive_timeout = Duration::from_secs(1);
    })
    .await;
    harness.publish(&[(A, &[("a", 1)])]);
    let mut alive = harness.stream().await;
    alive.subscribe(A).await;
    let response = alive.response().await;
    alive.ack(&response).await;
    let config = harness.client_config(&["raw"]);
    let _dead = raw::open(harness.address, config, A).await;
    until(|| harness.sinks.list().len() == 2).await;
    until(|| harness.sinks.list().len() == 1).await;
    harness.publish(&[(A, &[("b", 1)])]);
    assert_eq!(names(&alive.response().await), ["b"]);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_a_peer_that_never_reads() {
    let harness = Harness::start().await;
    harness.publish_collection(A, large(80_000));
    // One whose stream has no window left, and one that does not read its socket at all.
    let full = harness.stream().await;
    full.subscribe(A).await;
    let deaf = raw::open(harness.address, harness.client_config(&["deaf"]), A).await;
    let sent = format!("copilot_mcp_responses_total{{collection=\"{A}\",incremental=\"false\"}}");
    until(|| harness.metric(&sent) == Some(2.0)).await;
    let begin = Instant::now();
    harness.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(10));
    drop((full, deaf));
}

#[tokio::test]
async fn a_peer_that_neither_answers_nor_reads_is_cut_off() {
    let harness = Harness::start_with(|settings| {
        // Long enough for it to ask, on any machine: a connection that ends before that is not cut.
        settings.limits.max_connection_age = Some(Duration::from_secs(2));
        settings.limits.streams_total = 1;
    })
    .await;
    harness.publish_collection(A, large(80_000));
    let mut deaf = raw::open(harness.address, harness.client_config(&["deaf"]), A).await;
    // The connection has the only place: it must be gone before another one is served.
    until(|| harness.metric("copilot_mcp_cut_connections_total") == Some(1.0)).await;
    soon(async { while deaf.write_all(b"garbage").await.is_ok() {} }).await;
}

#[tokio::test]
async fn m36_a_sink_that_asks_too_often_waits_and_still_gets_what_is_new() {
    let harness = Harness::start_with(|settings| {
        settings.limits.requests_per_second = 1;
        settings.limits.request_burst = 10;
    })
    .await;
    harness.publish(&[(A, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    let first = stream.response().await;
    stream.ack(&first).await;
    let stale = Resources {
        nonce: "stale".to_owned(),
        ..first
    };
    for _ in 0..60 {
        stream.ack(&stale).await;
    }
    let counted = "copilot_mcp_stale_requests_total";
    until(|| harness.metric(counted) >= Some(8.0)).await;
    harness.publish(&[(A, &[("a", 2)])]);
    stream.response().await;
    assert!(harness.metric(counted) < Some(15.0));
    // To wait for the rest would take most of a minute.
    drop(stream);
    until(|| harness.sinks.list().is_empty()).await;
}

#[tokio::test]
async fn m42_a_connection_that_reaches_its_age_ends_and_the_next_one_converges() {
    let harness = Harness::start_with(|settings| {
        settings.limits.max_connection_age = Some(Duration::from_millis(300));
    })
    .await;
    harness.publish(&[(A, &[("a", 1)])]);
    let channel = harness.channel().await;
    let first = soon(until_aged(&channel)).await;
    let second = soon(until_aged(&channel)).await;
    assert_eq!(names(&second), ["a"]);
    assert_eq!(first.system_version_info, second.system_version_info);
}

/// Subscribes to A and stays until the server ends the stream for its connection's age; returns the one response.
async fn until_aged(channel: &Channel) -> Resources {
    loop {
        // The old connection may take one more stream, to end it at once.
        let Ok(mut stream) = Stream::open(channel).await else {
            continue;
        };
        stream.subscribe(A).await;
        let Ok(Some(response)) = stream.next().await else {
            continue;
        };
        stream.ack(&response).await;
        let status = stream.next().await.unwrap_err();
        assert_code::<()>(Err(status.clone()), Code::Unavailable);
        assert!(status.message().contains("age"), "{status}");
        return response;
    }
}

#[tokio::test]
async fn m45_m46_replicas_with_the_same_input_send_the_same() {
    let mut responses = Vec::new();
    for histories in [&[1_u32, 2, 3] as &[_], &[3]] {
        let harness = Harness::start().await;
        for content in histories {
            harness.publish(&[(A, &[("a", *content), ("b", 1)])]);
        }
        let mut stream = harness.stream().await;
        stream.subscribe(A).await;
        responses.push(stream.response().await);
    }
    assert_eq!(responses[0], responses[1]);
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let harness = Harness::start().await;
    let mut client = Grpc::new(harness.channel().await);
    for path in [
        "/istio.mcp.v1alpha1.ResourceSource/Other",
        "/istio.mcp.v1alpha1.ResourceSink/EstablishResourceStream",
    ] {
        client.ready().await.unwrap();
        let codec = ProstCodec::<RequestResources, Resources>::default();
        let request = tonic::Request::new(sink::request(A));
        let path = PathAndQuery::from_static(path);
        let response = soon(client.unary(request, path, codec)).await;
        assert_code(response, Code::Unimplemented);
    }
}

#[tokio::test]
async fn a_request_beyond_the_limit_ends_its_stream_only() {
    let harness = Harness::start_with(|settings| settings.limits.max_request_bytes = 1000).await;
    harness.publish(&[(A, &[("a", 1)]), (B, &[])]);
    let channel = harness.channel().await;
    let mut other = Stream::open(&channel).await.unwrap();
    let mut stream = Stream::open(&channel).await.unwrap();
    stream.subscribe(&"x".repeat(2000)).await;
    let status = stream.status().await;
    assert_code::<()>(Err(status), Code::OutOfRange);
    let failed = "istio_mcp_recv_failures_total{code=\"OutOfRange\"}";
    assert_eq!(harness.metric(failed), Some(1.0));
    other.subscribe(A).await;
    assert_eq!(names(&other.response().await), ["a"]);
}
