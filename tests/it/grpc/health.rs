//! `grpc.health.v1.Health`.

use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus::{self, NotServing, ServiceUnknown, Serving},
    health_client::HealthClient,
};

use crate::mcp::harness::{A, Harness, assert_code, soon};

const MCP: &str = "istio.mcp.v1alpha1.ResourceSource";

fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

pub(super) async fn check(channel: &Channel, service: &str) -> Result<ServingStatus, Status> {
    let mut client = HealthClient::new(channel.clone());
    let response = soon(client.check(request(service))).await?;
    Ok(response.into_inner().status())
}

async fn watch(channel: &Channel, service: &str) -> Streaming<HealthCheckResponse> {
    let mut client = HealthClient::new(channel.clone());
    soon(client.watch(request(service)))
        .await
        .unwrap()
        .into_inner()
}

async fn next(updates: &mut Streaming<HealthCheckResponse>) -> Result<ServingStatus, Status> {
    let update = soon(updates.message()).await?;
    Ok(update.expect("a watch does not end well").status())
}

#[tokio::test]
async fn a_listener_is_healthy_from_the_first_snapshot_until_its_end_begins() {
    let harness = Harness::start().await;
    let channel = harness.channel().await;
    let mut all = watch(&channel, "").await;
    let mut mcp = watch(&channel, MCP).await;
    for updates in [&mut all, &mut mcp] {
        assert_eq!(next(updates).await.unwrap(), NotServing);
    }
    assert_eq!(check(&channel, MCP).await.unwrap(), NotServing);

    harness.publish(&[(A, &[("a", 1)])]);
    for updates in [&mut all, &mut mcp] {
        assert_eq!(next(updates).await.unwrap(), Serving);
    }
    assert_eq!(check(&channel, "").await.unwrap(), Serving);
    assert_eq!(check(&channel, MCP).await.unwrap(), Serving);

    harness.shutdown.cancel();
    for updates in [&mut all, &mut mcp] {
        assert_eq!(next(updates).await.unwrap(), NotServing);
        assert_code(next(updates).await, Code::Unavailable);
    }
    harness.stopped().await;
}

#[tokio::test]
async fn a_listener_that_ends_before_it_could_serve_was_never_healthy() {
    let harness = Harness::start().await;
    let mut updates = watch(&harness.channel().await, "").await;
    assert_eq!(next(&mut updates).await.unwrap(), NotServing);
    harness.shutdown.cancel();
    loop {
        match next(&mut updates).await {
            Ok(status) => assert_eq!(status, NotServing),
            Err(status) => break assert_eq!(status.code(), Code::Unavailable),
        }
    }
}

#[tokio::test]
async fn a_service_of_another_listener_is_unknown() {
    let harness = Harness::start().await;
    let channel = harness.channel().await;
    assert_code(
        check(&channel, "api.VIPResolverCopilot").await,
        Code::NotFound,
    );
    let mut updates = watch(&channel, "api.VIPResolverCopilot").await;
    assert_eq!(next(&mut updates).await.unwrap(), ServiceUnknown);
}

#[tokio::test]
async fn a_name_that_is_too_long_is_refused() {
    let harness = Harness::start().await;
    let name = "x".repeat(1 << 20);
    let checked = check(&harness.channel().await, &name).await;
    assert_code(checked, Code::OutOfRange);
}
