//! Peers that err or mean harm: what they can use is bounded, and they are told.

use std::time::{Duration, Instant};

use copilot::{
    proto::envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    },
    sim::istiod::{self, FullStream},
};
use prost::Message as _;
use prost_types::{Struct, Value, value::Kind};
use tonic::Code;

use super::harness::{Harness, SERVICES, StreamExt as _, assert_code, names, soon, until};

fn node(metadata_bytes: usize) -> Node {
    let large = Value {
        kind: Some(Kind::StringValue("x".repeat(metadata_bytes))),
    };
    let metadata = Struct {
        fields: [("LARGE".to_owned(), large)].into(),
    };
    Node {
        id: "y".repeat(10_000),
        metadata: metadata.encode_to_vec(),
    }
}

#[tokio::test]
async fn what_is_no_type_of_a_configuration_source_ends_the_stream_and_is_named() {
    let harness = Harness::start().await;
    harness.publish(&[]);
    for type_url in ["", "type.googleapis.com/envoy.config.cluster.v3.Cluster"] {
        let mut stream = harness.stream().await;
        stream.subscribe(type_url).await;
        let status = assert_code::<()>(Err(stream.status().await), Code::InvalidArgument);
        assert!(status.message().contains(type_url), "{status}");
        let mut stream = harness.delta().await;
        stream.send(istiod::delta_request(type_url)).await;
        assert_code::<()>(Err(stream.status().await), Code::InvalidArgument);
    }
    let refused = "copilot_xds_refused_streams_total{code=\"InvalidArgument\"}";
    assert_eq!(harness.metric(refused), Some(4.0));
}

#[tokio::test]
async fn types_that_nobody_knows_are_answered_and_counted_up_to_a_bound() {
    let harness = Harness::start().await;
    harness.publish(&[]);
    let mut stream = harness.stream().await;
    for n in 0..64 {
        stream.subscribe(&format!("made.up/v1/Kind{n}")).await;
        let response = stream.response().await;
        assert!(names(&response).is_empty());
    }
    let unknown = "copilot_xds_unknown_collections_total{collection=\"other\"}";
    assert_eq!(harness.metric(unknown), Some(64.0));
    stream.subscribe("made.up/v1/OneMore").await;
    assert_code::<()>(Err(stream.status().await), Code::ResourceExhausted);
}

#[tokio::test]
async fn wrong_nonces_are_counted_and_harm_nothing() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    for nonce in 0..100 {
        let request = DiscoveryRequest {
            response_nonce: format!("{nonce}-wrong"),
            ..istiod::request(SERVICES.0)
        };
        stream.send(request).await;
    }
    assert_eq!(names(&stream.response().await), ["cloudfoundry/a"]);
    stream.expect_silence().await;
    let stale = harness.metric("copilot_xds_stale_requests_total");
    assert_eq!(stale, Some(99.0), "the first is a new one");
}

#[tokio::test]
async fn a_nodes_metadata_is_not_kept_and_its_id_only_so_long() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    let request = |metadata_bytes| DiscoveryRequest {
        node: Some(node(metadata_bytes)),
        ..istiod::request(SERVICES.0)
    };
    stream.send(request(8 << 20)).await;
    assert_eq!(names(&stream.response().await), ["cloudfoundry/a"]);
    assert_eq!(harness.sinks.list()[0].node.len(), 1024);
    stream.send(request(17 << 20)).await;
    assert_code::<()>(Err(stream.status().await), Code::OutOfRange);
    let failed = "copilot_xds_recv_failures_total{code=\"OutOfRange\"}";
    assert_eq!(harness.metric(failed), Some(1.0));
}

#[tokio::test]
async fn a_million_names_end_their_stream_and_leave_nothing() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    let million = || (0..1_000_000).map(|n| format!("x/{n:06}")).collect();
    let first = DeltaDiscoveryRequest {
        resource_names_subscribe: million(),
        ..istiod::delta_request(SERVICES.0)
    };
    let given_up = DeltaDiscoveryRequest {
        resource_names_unsubscribe: million(),
        ..istiod::delta_request(SERVICES.0)
    };
    for (greeting, names) in [(false, first), (true, given_up)] {
        let mut stream = harness.delta().await;
        if greeting {
            stream.send(istiod::delta_request(SERVICES.0)).await;
            stream.response().await;
        }
        stream.send(names).await;
        let status = assert_code::<()>(Err(stream.status().await), Code::ResourceExhausted);
        assert!(status.message().contains("too many resources"), "{status}");
    }
    until(|| harness.sinks.list().is_empty()).await;
}

#[tokio::test]
async fn requests_in_a_tight_loop_wait_and_pushes_do_not() {
    let harness = Harness::start_with(|settings| {
        settings.limits.requests_per_second = 50;
        settings.limits.request_burst = 5;
    })
    .await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    let channel = harness.channel().await;
    let mut stream = FullStream::open(&channel).await.unwrap();
    let begin = Instant::now();
    let looping = async {
        for _ in 0..60 {
            stream.subscribe(SERVICES.0).await;
        }
        stream.subscribe("probe/v1/Probe").await;
        while stream.response().await.type_url != "probe/v1/Probe" {}
        Instant::now()
    };
    let mut other = FullStream::open(&channel).await.unwrap();
    let another = async {
        other.subscribe(SERVICES.0).await;
        let response = other.response().await;
        assert_eq!(names(&response), ["cloudfoundry/a"]);
        other.ack(&response).await;
        harness.publish(&[(SERVICES, &[("a", 1), ("b", 1)])]);
        let pushed = other.response().await;
        assert_eq!(names(&pushed), ["cloudfoundry/a", "cloudfoundry/b"]);
        Instant::now()
    };
    let (looped, served) = soon(async { tokio::join!(looping, another) }).await;
    // 56 of them at 50 a second.
    assert!(looped - begin > Duration::from_secs(1));
    assert!(served < looped, "another stream waits too");
    let throttled = harness.metric("copilot_xds_throttled_requests_total");
    assert!(throttled > Some(0.0), "{throttled:?}");
}

#[tokio::test]
async fn streams_of_a_peer_are_limited_and_end_with_the_server() {
    let harness = Harness::start_with(|settings| settings.limits.streams_per_peer = 1).await;
    let mut stream = harness.stream().await;
    let channel = harness.channel().await;
    let refused = FullStream::open(&channel).await.map(drop);
    assert_code(refused, Code::ResourceExhausted);
    harness.stop().await;
    assert_code::<()>(Err(stream.status().await), Code::Unavailable);
}
