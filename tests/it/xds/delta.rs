//! Deltas: X-17.

use copilot::{
    proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    sim::{
        istiod::{self, DeltaStream, Istiod},
        sink::State,
    },
};

use super::harness::{Harness, SERVICES, StreamExt as _, kind, soon};

/// The names of what a delta sets.
fn set(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response
        .resources
        .iter()
        .map(|entry| &*entry.name)
        .collect()
}

fn change(wanted: &[&str], given_up: &[&str]) -> DeltaDiscoveryRequest {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    DeltaDiscoveryRequest {
        resource_names_subscribe: owned(wanted),
        resource_names_unsubscribe: owned(given_up),
        ..istiod::delta_request(SERVICES.0)
    }
}

/// A stream whose client wants these names and has applied the first answer.
async fn subscribed(harness: &Harness, names: &[&str]) -> (DeltaStream, DeltaDiscoveryResponse) {
    let mut stream = harness.delta().await;
    stream.send(change(names, &[])).await;
    let first = stream.response().await;
    stream.ack(&first).await;
    (stream, first)
}

#[tokio::test]
async fn x17_first_everything_and_then_what_has_changed() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1), ("b", 1), ("internal/c", 1)])]);
    let (mut stream, first) = subscribed(&harness, &[]).await;
    assert_eq!(
        set(&first),
        ["cloudfoundry/a", "cloudfoundry/b", "internal/c"]
    );
    assert_eq!(first.type_url, SERVICES.0);
    stream.expect_silence().await;
    harness.publish(&[(SERVICES, &[("a", 2), ("d", 1), ("internal/c", 1)])]);
    let second = stream.response().await;
    assert_eq!(set(&second), ["cloudfoundry/a", "cloudfoundry/d"]);
    assert_eq!(second.removed_resources, ["cloudfoundry/b"]);
    assert_ne!(second.nonce, first.nonce);
    stream.ack(&second).await;
    stream.expect_silence().await;
}

#[tokio::test]
async fn x17_an_entry_has_the_version_of_its_resource() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    let (_stream, first) = subscribed(&harness, &["*"]).await;
    let entry = &first.resources[0];
    let any = entry.resource.as_ref().unwrap();
    let resource: copilot::proto::istio::mcp::v1alpha1::Resource = any.to_msg().unwrap();
    let metadata = resource.metadata.unwrap();
    assert_eq!(
        (&entry.name, &entry.version),
        (&metadata.name, &metadata.version)
    );
}

#[tokio::test]
async fn x17_a_client_that_comes_back_gets_what_differs_from_its_list() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("same", 1), ("old", 1), ("gone", 1)])]);
    let types = [SERVICES.0.to_owned()];
    let channel = harness.channel().await;
    let first = Istiod::open_delta(&channel, &types, State::default())
        .await
        .unwrap();
    let mut state = first.state();
    let holds = |count| {
        move |state: &State| {
            let replica = state.collections.get(SERVICES.0);
            replica.is_some_and(|replica| replica.applied == count)
        }
    };
    let held = soon(state.wait_for(holds(1))).await.unwrap().clone();
    harness.publish(&[(SERVICES, &[("same", 1), ("old", 2), ("new", 1)])]);
    let client = Istiod::open_delta(&channel, &types, held).await.unwrap();
    let mut state = client.state();
    let held = soon(state.wait_for(holds(2))).await.unwrap().clone();
    assert_eq!(
        held.names(SERVICES.0).unwrap(),
        ["cloudfoundry/new", "cloudfoundry/old", "cloudfoundry/same"]
    );
    // Of three, only those two were sent again.
    let all = &harness.snapshots.borrow().clone().unwrap();
    let versions = all.get(kind(SERVICES.1)).unwrap().iter();
    let listed = versions.map(|resource| {
        let name = format!("cloudfoundry/{}", resource.name);
        (name, resource.version.to_string())
    });
    let mut stream = harness.delta().await;
    stream
        .send(DeltaDiscoveryRequest {
            initial_resource_versions: listed.chain([("x/y".to_owned(), "1".to_owned())]).collect(),
            ..istiod::delta_request(SERVICES.0)
        })
        .await;
    let response = stream.response().await;
    assert!(response.resources.is_empty());
    assert_eq!(response.removed_resources, ["x/y"]);
}

#[tokio::test]
async fn x17_a_client_gets_what_it_names_and_learns_what_does_not_exist() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1), ("b", 1)])]);
    let (mut stream, first) =
        subscribed(&harness, &["cloudfoundry/a", "cloudfoundry/c", "b"]).await;
    assert_eq!(set(&first), ["cloudfoundry/a"]);
    assert_eq!(first.removed_resources, ["b", "cloudfoundry/c"]);
    harness.publish(&[(SERVICES, &[("a", 1), ("b", 2)])]);
    stream.expect_silence().await;
    harness.publish(&[(SERVICES, &[("b", 2), ("c", 1)])]);
    let second = stream.response().await;
    assert_eq!(set(&second), ["cloudfoundry/c"]);
    assert_eq!(second.removed_resources, ["cloudfoundry/a"]);
}

#[tokio::test]
async fn x17_what_is_subscribed_is_sent_and_what_is_unsubscribed_is_not() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1), ("b", 1)])]);
    let (mut stream, _) = subscribed(&harness, &["cloudfoundry/a"]).await;
    stream
        .send(change(&["cloudfoundry/b"], &["cloudfoundry/a"]))
        .await;
    let second = stream.response().await;
    assert_eq!(set(&second), ["cloudfoundry/b"]);
    stream.ack(&second).await;
    harness.publish(&[(SERVICES, &[("a", 2), ("b", 1)])]);
    stream.expect_silence().await;
    // It may have forgotten what it asks for again.
    stream.send(change(&["cloudfoundry/b"], &[])).await;
    assert_eq!(set(&stream.response().await), ["cloudfoundry/b"]);
}

#[tokio::test]
async fn x17_the_wildcard_comes_and_goes() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1), ("b", 1)])]);
    let (mut stream, _) = subscribed(&harness, &["cloudfoundry/a"]).await;
    stream.send(change(&["*"], &[])).await;
    let all = stream.response().await;
    assert_eq!(set(&all), ["cloudfoundry/a", "cloudfoundry/b"]);
    stream.ack(&all).await;
    // Given up by name, it is still covered.
    stream.send(change(&[], &["cloudfoundry/a"])).await;
    let again = stream.response().await;
    assert_eq!(set(&again), ["cloudfoundry/a"]);
    stream.ack(&again).await;
    stream.send(change(&["cloudfoundry/b"], &["*"])).await;
    let named = stream.response().await;
    assert_eq!(set(&named), ["cloudfoundry/b"]);
    stream.ack(&named).await;
    harness.publish(&[(SERVICES, &[("a", 2), ("b", 1)])]);
    stream.expect_silence().await;
}

#[tokio::test]
async fn x17_a_rejected_delta_is_not_repeated_and_the_next_has_its_names() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1), ("b", 1)])]);
    let mut stream = harness.delta().await;
    stream.send(change(&["cloudfoundry/a"], &[])).await;
    let first = stream.response().await;
    stream.send(istiod::delta_nack(&first, 3, "no")).await;
    stream.expect_silence().await;
    // Its name is owed still, though it is not what has changed.
    harness.publish(&[(SERVICES, &[("a", 1), ("b", 2)])]);
    assert_eq!(set(&stream.response().await), ["cloudfoundry/a"]);
}

#[tokio::test]
async fn x17_a_nonce_that_is_not_pending_answers_nothing() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    let mut stream = harness.delta().await;
    stream.send(change(&[], &[])).await;
    let first = stream.response().await;
    harness.publish(&[(SERVICES, &[("a", 2)])]);
    let stale = DeltaDiscoveryResponse {
        nonce: "99".to_owned(),
        ..first.clone()
    };
    stream.ack(&stale).await;
    stream.expect_silence().await;
    assert_eq!(
        harness.metric("copilot_xds_stale_requests_total"),
        Some(1.0)
    );
    stream.ack(&first).await;
    assert_eq!(set(&stream.response().await), ["cloudfoundry/a"]);
}
