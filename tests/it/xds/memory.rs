//! What peers can have kept of what they say: so many bytes, for so long, and nothing once they have left.

use std::time::Duration;

use bytes::Bytes;
use copilot::{
    grpc,
    proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    sim::istiod,
};
use futures_util::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::{Service as _, ServiceExt as _};

use super::harness::{Harness, SERVICES, StreamExt as _, assert_code, names, soon};

const STREAM: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const MIB: usize = 1 << 20;

async fn with_bytes(connection: usize, address: usize, listener: usize) -> Harness {
    let bytes = grpc::Bytes {
        connection,
        address,
        listener,
    };
    let harness = Harness::start_with(|settings| settings.limits.bytes = bytes).await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    harness
}

/// Opens a stream on which a request of that length lacks its last byte, for ever.
async fn begin(channel: &Channel, bytes: usize) -> http::Response<Body> {
    let length = u32::try_from(bytes).unwrap().to_be_bytes();
    let prefix = Bytes::from([&[0], &length[..]].concat());
    let content = Bytes::from(vec![0; bytes - 1]);
    let frames = [prefix, content].map(|data| Ok::<_, Status>(Frame::data(data)));
    let body = Body::new(StreamBody::new(
        stream::iter(frames).chain(stream::pending()),
    ));
    let request = http::Request::post(format!("http://localhost{STREAM}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let mut channel = channel.clone();
    let ready = soon(channel.ready()).await.unwrap();
    soon(ready.call(request)).await.unwrap()
}

/// How a stream ends.
async fn end(response: http::Response<Body>) -> Status {
    let ended = response.into_body().collect().await.unwrap();
    Status::from_header_map(ended.trailers().unwrap()).unwrap()
}

/// Of that size, and complete.
fn large(bytes: usize) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: "x".repeat(bytes),
        ..istiod::request(SERVICES.0)
    }
}

#[tokio::test]
async fn unfinished_requests_hold_so_many_bytes_and_give_them_back() {
    for (connection, address, listener) in [
        (MIB, 9 * MIB, 9 * MIB),
        (9 * MIB, MIB, 9 * MIB),
        (9 * MIB, 9 * MIB, MIB),
    ] {
        let harness = with_bytes(connection, address, listener).await;
        let one = harness.channel().await;
        let other = if connection == MIB {
            one.clone()
        } else {
            harness.channel().await
        };
        let first = begin(&one, 700 << 10).await;
        let second = begin(&other, 700 << 10).await;
        // Whichever comes later.
        let (mut first, mut second) = (Box::pin(end(first)), Box::pin(end(second)));
        let ended = soon(async {
            tokio::select! {
                status = &mut first => status,
                status = &mut second => status,
            }
        });
        assert_code::<()>(Err(ended.await), Code::ResourceExhausted);

        // Who says little is heard all the same, also on the same connection.
        let mut sink = istiod::FullStream::open(&one).await.unwrap();
        sink.subscribe(SERVICES.0).await;
        assert_eq!(names(&sink.response().await), ["cloudfoundry/a"]);

        drop((first, second));
        let again = async {
            loop {
                let mut sink = istiod::FullStream::open(&other).await.unwrap();
                sink.send(large(400 << 10)).await;
                if sink.next().await.is_ok() {
                    return;
                }
            }
        };
        soon(again).await;
    }
}

#[tokio::test]
async fn a_request_that_is_not_complete_in_time_ends_its_stream_and_silence_does_not() {
    let harness = Harness::start_with(|settings| {
        settings.limits.request_within = Duration::from_millis(50);
    })
    .await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    let channel = harness.channel().await;
    let mut silent = istiod::FullStream::open(&channel).await.unwrap();
    let status = soon(end(begin(&channel, 1000).await)).await;
    assert_code::<()>(Err(status), Code::DeadlineExceeded);
    silent.subscribe(SERVICES.0).await;
    assert_eq!(names(&silent.response().await), ["cloudfoundry/a"]);
}

#[tokio::test]
async fn names_that_sinks_hold_count_until_they_have_left() {
    let harness = with_bytes(9 * MIB, MIB, 9 * MIB).await;
    let listing = || DeltaDiscoveryRequest {
        initial_resource_versions: (0..4000)
            .map(|n| (format!("x/{n:06}"), String::new()))
            .collect(),
        ..istiod::delta_request(SERVICES.0)
    };
    let open = async || {
        let channel = harness.channel().await;
        let mut sink = istiod::DeltaStream::open(&channel).await.unwrap();
        sink.send(listing()).await;
        let response = soon(sink.next()).await;
        response.map(|response| (sink, response.expect("a response")))
    };
    // None of them has answered: what they hold is still to be compared.
    let mut sinks = Vec::new();
    let refused = loop {
        match open().await {
            Ok(sink) => sinks.push(sink),
            Err(status) => break status,
        }
    };
    assert_code::<()>(Err(refused), Code::ResourceExhausted);
    assert!(!sinks.is_empty());
    sinks.clear();
    soon(async { while open().await.is_err() {} }).await;
}

#[tokio::test]
async fn a_request_of_nothing_but_empty_names_is_refused_before_it_is_read() {
    let harness = Harness::start().await;
    harness.publish(&[(SERVICES, &[("a", 1)])]);
    let mut stream = harness.delta().await;
    let request = DeltaDiscoveryRequest {
        resource_names_subscribe: vec![String::new(); 1_000_000],
        ..istiod::delta_request(SERVICES.0)
    };
    stream.send(request).await;
    let status = assert_code::<()>(Err(stream.status().await), Code::ResourceExhausted);
    assert!(status.message().contains("too many resources"), "{status}");
}
