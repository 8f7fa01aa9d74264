//! Which collections are answered: M-20 to M-22, M-38.

use std::collections::BTreeSet;

use copilot::{
    proto::{
        google::rpc,
        istio::mcp::v1alpha1::{RequestResources, SinkNode},
    },
    sim::sink::{self, Answer, Options, Sink},
};
use tonic::Code;

use super::harness::{A, Harness, StreamExt as _, assert_code, names, soon};

/// What Pilots ask for and nobody publishes.
const NOT_OURS: &str = "istio/networking/v1alpha3/envoyfilters";

#[tokio::test]
async fn m20_an_unknown_collection_is_answered_empty_and_the_stream_goes_on() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    stream.subscribe("nobody/knows/this").await;
    let response = stream.response().await;
    assert!(response.resources.is_empty() && !response.system_version_info.is_empty());
    stream.ack(&response).await;
    stream.subscribe(NOT_OURS).await;
    assert!(stream.response().await.resources.is_empty());
    stream.subscribe(A).await;
    assert_eq!(names(&stream.response().await), ["a"]);
    for label in ["other", NOT_OURS] {
        let unknown = format!("copilot_mcp_unknown_collections_total{{collection=\"{label}\"}}");
        assert_eq!(harness.metric(&unknown), Some(1.0), "{label}");
    }
}

#[tokio::test]
async fn m21_all_collections_of_every_pilot_are_answered_before_the_sink_reads() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    let channel = harness.channel().await;
    for (version, collections) in sink::pilots() {
        let mut stream = sink::Stream::open(&channel).await.unwrap();
        for collection in &collections {
            stream.subscribe(collection).await;
        }
        let mut answered = BTreeSet::<String>::new();
        for _ in &collections {
            answered.insert(stream.response().await.collection);
        }
        let asked = collections.iter().map(ToString::to_string).collect();
        assert_eq!(answered, asked, "Pilot {version}");
    }
}

#[tokio::test]
async fn m21_a_pilot_becomes_ready_and_is_shown() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    let (_, collections) = sink::pilots()[2].clone();
    let options = Options {
        node: "pilot".to_owned(),
        collections: collections.iter().map(ToString::to_string).collect(),
        ..Options::default()
    };
    let channel = harness.channel().await;
    let sink = Sink::open(&channel, options, |_| Answer::Ack)
        .await
        .unwrap();
    let mut state = sink.state();
    soon(state.wait_for(|state| state.collections.len() == collections.len()))
        .await
        .unwrap();
    harness.publish(&[(A, &[("a", 1), ("b", 1)])]);
    soon(state.wait_for(|state| state.names(A).is_some_and(|names| names == ["a", "b"])))
        .await
        .unwrap();
    let status = &harness.sinks.list()[0];
    assert_eq!(status.node, "pilot");
    assert_eq!(status.names, ["pilot.example.com"]);
    assert!(status.user_agent.starts_with("tonic/"));
    assert_eq!(status.collections.len(), collections.len());
    assert!(status.collections[A].sent_version.is_some());
    let json = serde_json::to_value(status).unwrap();
    assert!(json["connected"].as_str().unwrap().ends_with('Z'), "{json}");
}

#[tokio::test]
async fn m22_the_second_stream_of_pilot_1_4_is_answered() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    let channel = harness.channel().await;
    let _first = sink::Stream::open(&channel).await.unwrap();
    let mut second = sink::Stream::open(&channel).await.unwrap();
    let collection = "istio/networking/v1alpha3/synthetic/serviceentries";
    second
        .send(RequestResources {
            sink_node: Some(SinkNode {
                id: "SSEMCP".to_owned(),
            }),
            incremental: true,
            ..sink::request(collection)
        })
        .await;
    let response = second.response().await;
    assert_eq!(response.collection, collection);
    assert!(response.resources.is_empty());
    assert_eq!(harness.sinks.list()[1].node, "SSEMCP");
}

#[tokio::test]
async fn m38_the_answer_to_a_trigger_is_swallowed() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    let error = rpc::Status {
        code: Code::Unimplemented.into(),
        ..rpc::Status::default()
    };
    stream
        .send(RequestResources {
            error_detail: Some(error),
            ..sink::request("$triggerCollection")
        })
        .await;
    stream.expect_silence().await;
}

#[tokio::test]
async fn a_stream_that_asks_for_too_many_collections_ends() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    for n in 0..64 {
        stream.subscribe(&format!("collection/{n}")).await;
        let response = stream.response().await;
        stream.ack(&response).await;
    }
    stream.subscribe("one/more").await;
    let status = stream.status().await;
    assert_code::<()>(Err(status), Code::ResourceExhausted);
}
