//! What is sent when, by ACK, NACK and nonce.

use copilot::{
    proto::{
        envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
        istio::mcp::v1alpha1::Resource,
    },
    sim::istiod::{self, FullStream, Istiod, MESH_CONFIG, types},
    snapshot::{ByKind, Kind, Snapshot},
};

use super::harness::{
    Contents, GATEWAYS, Harness, SERVICES, SIDECARS, StreamExt as _, names, soon, until,
};

/// A stream that has been sent virtual services with one of them, and has not answered.
async fn with_pending(harness: &Harness) -> (FullStream, DiscoveryResponse) {
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    stream.subscribe(SERVICES.0).await;
    let response = stream.response().await;
    (stream, response)
}

#[tokio::test]
async fn x01_a_first_request_with_any_nonce_is_answered() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1)]), (GATEWAYS, &[("b", 1)])]);
    let mut stream = harness.stream().await;
    for ((type_url, _), name) in [(SERVICES, "cloudfoundry/a"), (GATEWAYS, "cloudfoundry/b")] {
        let request = istiod::request(type_url);
        assert!(!request.response_nonce.is_empty());
        stream.send(request).await;
        let response = stream.response().await;
        assert_eq!(response.type_url, type_url);
        assert_eq!(names(&response), [name]);
        assert!(!response.version_info.is_empty() && !response.nonce.is_empty());
    }
}

#[tokio::test]
async fn x02_a_burst_of_all_types_is_answered_but_for_the_mesh_config() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    let mut expected = types("v1");
    assert_eq!(expected.len(), 15);
    for type_url in [MESH_CONFIG.to_owned()].iter().chain(&expected) {
        stream.subscribe(type_url).await;
    }
    let mut answered = Vec::new();
    for _ in &expected {
        let response = stream.response().await;
        let resources = usize::from(response.type_url == SERVICES.0);
        assert_eq!(response.resources.len(), resources, "{}", response.type_url);
        stream.ack(&response).await;
        answered.push(response.type_url);
    }
    answered.sort();
    expected.sort();
    assert_eq!(answered, expected);
    stream.expect_silence().await;
}

#[tokio::test]
async fn x02_an_istiod_becomes_ready_and_is_shown() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    let types = types("v1");
    let istiod = Istiod::open(&harness.channel().await, &types)
        .await
        .unwrap();
    let mut state = istiod.state();
    let is_ready = state.wait_for(|state| types.iter().all(|t| state.collections.contains_key(t)));
    soon(is_ready).await.unwrap();
    let sinks = harness.sinks.list();
    assert_eq!(sinks[0].node, istiod::node().id);
    assert_eq!(sinks[0].collections.len(), 16);
    assert_eq!(sinks[0].collections[MESH_CONFIG].sent, 0);
    assert_eq!(harness.metric("copilot_xds_clients"), Some(1.0));
}

#[tokio::test]
async fn x03_the_type_is_echoed_in_the_version_that_was_asked_for() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    for version in ["v1alpha3", "v1beta1", "v1"] {
        let type_url = format!("networking.istio.io/{version}/VirtualService");
        stream.subscribe(&type_url).await;
        let response = stream.response().await;
        assert_eq!(response.type_url, type_url);
        assert_eq!(names(&response), ["cloudfoundry/a"]);
    }
}

#[tokio::test]
async fn x04_a_resource_is_wrapped_twice_under_exact_types() {
    let harness = Harness::start().await;
    let (_stream, response) = with_pending(&harness).await;
    let outer = &response.resources[0];
    assert_eq!(
        outer.type_url,
        "type.googleapis.com/istio.mcp.v1alpha1.Resource"
    );
    let resource: Resource = outer.to_msg().unwrap();
    assert_eq!(
        resource.body.unwrap().type_url,
        "type.googleapis.com/istio.networking.v1alpha3.VirtualService"
    );
    let metadata = resource.metadata.unwrap();
    assert_eq!(metadata.create_time.unwrap().seconds, 1_500_000_000);
    assert!(!metadata.version.is_empty());
}

#[tokio::test]
async fn x05_a_name_has_one_slash_between_a_namespace_and_a_name() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a.example.com", 1), ("internal/b", 1)])]);
    let mut stream = harness.stream().await;
    stream.subscribe(SERVICES.0).await;
    let response = stream.response().await;
    assert_eq!(
        names(&response),
        ["cloudfoundry/a.example.com", "internal/b"]
    );
}

#[tokio::test]
async fn x06_an_ack_is_not_answered() {
    let harness = Harness::start().await;
    let (mut stream, response) = with_pending(&harness).await;
    stream.ack(&response).await;
    stream.expect_silence().await;
    let status = &harness.sinks.list()[0].collections[SERVICES.0];
    assert_eq!((status.sent, status.acks, status.nacks), (1, 1, 0));
    let acks = format!(
        "copilot_xds_request_acks_total{{collection=\"{}\"}}",
        SERVICES.1
    );
    assert_eq!(harness.metric(&acks), Some(1.0));
}

#[tokio::test]
async fn x07_an_answer_to_what_is_not_pending_is_counted_and_ignored() {
    let harness = Harness::start().await;
    let (mut stream, first) = with_pending(&harness).await;
    harness.publish(&[(SERVICES, &[("b", 1)])]);
    let stale = DiscoveryResponse {
        nonce: "99".to_owned(),
        ..first.clone()
    };
    stream.ack(&stale).await;
    // As in a first request, which this is not.
    stream.subscribe(SERVICES.0).await;
    stream.expect_silence().await;
    let counted = harness.metric("copilot_xds_stale_requests_total");
    assert_eq!(counted, Some(2.0));
    stream.ack(&first).await;
    assert_eq!(names(&stream.response().await), ["cloudfoundry/b"]);
}

#[tokio::test]
async fn x08_a_rejected_version_is_recorded_and_not_sent_again() {
    let harness = Harness::start().await;
    let (mut stream, first) = with_pending(&harness).await;
    stream.send(istiod::nack(&first, 3, "cannot be")).await;
    stream.expect_silence().await;
    let nacks = format!(
        "copilot_xds_request_nacks_total{{collection=\"{}\",code=\"InvalidArgument\"}}",
        SERVICES.1
    );
    assert_eq!(harness.metric(&nacks), Some(1.0));
    let sinks = harness.sinks.list();
    let nack = sinks[0].collections[SERVICES.0].nack.as_ref().unwrap();
    assert_eq!((nack.code, &*nack.message), (3, "cannot be"));
    harness.publish(&[(SERVICES, &[("b", 1)])]);
    assert_eq!(names(&stream.response().await), ["cloudfoundry/b"]);
}

#[tokio::test]
async fn x09_only_the_kind_that_has_changed_is_pushed() {
    let harness = Harness::start().await;
    let (mut stream, first) = with_pending(&harness).await;
    stream.ack(&first).await;
    harness.publish(&[(GATEWAYS, &[("g", 1)])]);
    stream.expect_silence().await;
    stream.subscribe(GATEWAYS.0).await;
    let gateways = stream.response().await;
    stream.ack(&gateways).await;
    harness.publish(&[(SERVICES, &[("a", 1)]), (GATEWAYS, &[("g", 2)])]);
    assert_eq!(stream.response().await.type_url, GATEWAYS.0);
    stream.expect_silence().await;
}

#[tokio::test]
async fn x10_versions_published_while_one_is_pending_are_skipped() {
    let harness = Harness::start().await;
    let (mut stream, first) = with_pending(&harness).await;
    for content in 2..9 {
        harness.publish(&[(SERVICES, &[("a", content)])]);
    }
    harness.publish(&[(SERVICES, &[("newest", 1)])]);
    stream.expect_silence().await;
    stream.ack(&first).await;
    assert_eq!(names(&stream.response().await), ["cloudfoundry/newest"]);
    stream.expect_silence().await;
}

#[tokio::test]
async fn x11_a_node_may_be_missing_or_come_again() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1)]), (GATEWAYS, &[("g", 1)])]);
    let mut stream = harness.stream().await;
    for (type_url, node) in [(SERVICES.0, Some(istiod::node())), (GATEWAYS.0, None)] {
        let request = DiscoveryRequest {
            node,
            ..istiod::request(type_url)
        };
        stream.send(request).await;
        let response = stream.response().await;
        let ack = istiod::ack(&response);
        assert!(ack.node.is_some());
        stream.send(ack).await;
    }
    stream.expect_silence().await;
    assert_eq!(harness.sinks.list()[0].node, istiod::node().id);
}

#[tokio::test]
async fn x12_a_new_stream_gets_everything_again_in_the_same_versions() {
    let harness = Harness::start().await;
    let (stream, first) = with_pending(&harness).await;
    stream.ack(&first).await;
    drop(stream);
    let mut again = harness.stream().await;
    again.subscribe(SERVICES.0).await;
    let second = again.response().await;
    assert_eq!(second.version_info, first.version_info);
    assert_eq!(second.resources, first.resources);
}

#[tokio::test]
async fn x13_what_is_deleted_is_absent() {
    let harness = Harness::start().await;
    let mut stream = harness.stream().await;
    stream.subscribe(SERVICES.0).await;
    let states: [(Contents, &[&str]); 3] = [
        (&[("a", 1), ("b", 1)], &["cloudfoundry/a", "cloudfoundry/b"]),
        (&[("b", 1)], &["cloudfoundry/b"]),
        (&[], &[]),
    ];
    for (state, expected) in states {
        harness.publish(&[(SERVICES, state)]);
        let response = stream.response().await;
        assert_eq!(names(&response), expected);
        stream.ack(&response).await;
    }
}

#[tokio::test]
async fn x14_no_resource_is_of_a_revision_so_every_revision_gets_all() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1), ("b", 1)])]);
    let mut stream = harness.stream().await;
    let node = istiod::node();
    let metadata =
        <prost_types::Struct as prost::Message>::decode(node.metadata.as_slice()).unwrap();
    assert!(metadata.fields.contains_key("ISTIO_REVISION"));
    let request = DiscoveryRequest {
        node: Some(node),
        ..istiod::request(SERVICES.0)
    };
    stream.send(request).await;
    let response = stream.response().await;
    assert_eq!(response.resources.len(), 2);
    for any in &response.resources {
        let resource: Resource = any.to_msg().unwrap();
        assert!(resource.metadata.unwrap().labels.is_empty());
    }
}

#[tokio::test]
async fn x15_names_in_a_request_do_not_narrow_it() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1), ("b", 1)])]);
    let mut stream = harness.stream().await;
    let request = DiscoveryRequest {
        resource_names: vec!["cloudfoundry/a".to_owned()],
        ..istiod::request(SERVICES.0)
    };
    stream.send(request).await;
    assert_eq!(
        names(&stream.response().await),
        ["cloudfoundry/a", "cloudfoundry/b"]
    );
}

#[tokio::test]
async fn x16_nothing_is_answered_before_there_is_data() {
    let harness = Harness::start().await;
    let mut stream = harness.stream().await;
    stream.subscribe(SERVICES.0).await;
    stream.subscribe("telemetry.istio.io/v1/Telemetry").await;
    until(|| harness.sinks.list()[0].collections.len() == 2).await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    assert_eq!(names(&stream.response().await), ["cloudfoundry/a"]);
    assert!(names(&stream.response().await).is_empty());
    stream.expect_silence().await;
}

#[tokio::test]
async fn x16_a_withheld_kind_is_silent_and_the_others_do_not_wait() {
    let harness = Harness::start().await;
    let nothing = || Snapshot::new(ByKind::default());
    harness.publish_snapshot(nothing().withholding(Kind::Sidecar));
    let mut stream = harness.stream().await;
    stream.subscribe(SIDECARS.0).await;
    stream.expect_silence().await;
    harness.publish_snapshot(nothing());
    assert_eq!(stream.response().await.type_url, SIDECARS.0);
}

#[tokio::test]
async fn a_request_without_a_nonce_is_a_new_one() {
    let harness = Harness::start().await;
    let (mut stream, first) = with_pending(&harness).await;
    let anew = DiscoveryRequest {
        response_nonce: String::new(),
        ..istiod::request(SERVICES.0)
    };
    stream.send(anew).await;
    let second = stream.response().await;
    assert_eq!(second.resources, first.resources);
    assert_ne!(second.nonce, first.nonce);
    stream.ack(&second).await;
    stream.expect_silence().await;
}
