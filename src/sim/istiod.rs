//! A client of aggregated discovery, as istiod has one for its configuration sources: a stream to script, and clients
//! that run by themselves.

mod running;
mod unpack;

use std::net::SocketAddr;

use prost::Message as _;
use prost_types::{Struct, Value, value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Error},
};

pub use self::{running::Istiod, unpack::Delivered};
use crate::{
    grpc,
    proto::{
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{
                DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
                aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
            },
        },
        google::rpc,
    },
};

/// Requests that wait to be sent: istiod asks for all its types before it reads anything.
const REQUESTS: usize = 64;
/// istiod takes any size since 1.12.
const MAX_MESSAGE: usize = i32::MAX as usize;
/// What the nonce of a first request looks like: the wall clock's time as istiod prints it.
const GARBAGE: &str = "2026-01-02 03:04:05.678901234 +0000 UTC m=+0.012345678";

/// The mesh config, which istiod asks for beside its types, and does not wait for.
pub const MESH_CONFIG: &str = "core/v1alpha1/MeshConfig";

/// The types that an istiod of today asks for; of the API group of networking in this version, which is `v1alpha3` up
/// to istiod 1.23 and `v1` from 1.24 on.
pub fn types(networking: &str) -> Vec<String> {
    let of_networking = [
        "DestinationRule",
        "Gateway",
        "ServiceEntry",
        "Sidecar",
        "VirtualService",
        "WorkloadEntry",
        "WorkloadGroup",
    ];
    let others = [
        "extensions.istio.io/v1alpha1/WasmPlugin",
        "networking.istio.io/v1alpha3/EnvoyFilter",
        "networking.istio.io/v1beta1/ProxyConfig",
        "security.istio.io/v1/AuthorizationPolicy",
        "security.istio.io/v1/PeerAuthentication",
        "security.istio.io/v1/RequestAuthentication",
        "telemetry.istio.io/v1/Telemetry",
        "extensions.istio.io/v1alpha1/TrafficExtension",
    ];
    let of_networking =
        of_networking.map(|kind| format!("networking.istio.io/{networking}/{kind}"));
    of_networking
        .into_iter()
        .chain(others.map(str::to_owned))
        .collect()
}

/// Connects in the clear, as istiod does without `tlsSettings`.
///
/// # Errors
/// There is no connection.
pub async fn connect(address: SocketAddr) -> Result<Channel, Error> {
    grpc::connect_in_the_clear(&address.to_string()).await
}

/// A stream whose every request is the caller's.
#[derive(Debug)]
pub struct Stream<Q, R> {
    requests: mpsc::Sender<Q>,
    responses: Streaming<R>,
}

/// A stream of full states.
pub type FullStream = Stream<DiscoveryRequest, DiscoveryResponse>;
/// A stream of deltas.
pub type DeltaStream = Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

impl FullStream {
    /// Opens a stream.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn open(channel: &Channel) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel(REQUESTS);
        let responses = client(channel)
            .stream_aggregated_resources(ReceiverStream::new(outgoing))
            .await?
            .into_inner();
        Ok(Self {
            requests,
            responses,
        })
    }

    /// Asks for a type as istiod does: with a nonce that nobody has sent it.
    pub async fn subscribe(&self, type_url: &str) {
        self.send(request(type_url)).await;
    }
}

impl DeltaStream {
    /// Opens a stream.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn open(channel: &Channel) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel(REQUESTS);
        let responses = client(channel)
            .delta_aggregated_resources(ReceiverStream::new(outgoing))
            .await?
            .into_inner();
        Ok(Self {
            requests,
            responses,
        })
    }
}

impl<R: Delivered> Stream<R::Request, R> {
    /// Says that a response was applied.
    pub async fn ack(&self, response: &R) {
        self.send(response.ack()).await;
    }
}

impl<Q, R> Stream<Q, R> {
    /// Sends a request; one that the stream's end has overtaken is lost, as on any connection.
    pub async fn send(&self, request: Q) {
        if self.requests.send(request).await.is_err() {
            tracing::debug!("request after the end of the stream");
        }
    }

    /// The next response; `None` when the server has ended the stream well.
    ///
    /// # Errors
    /// The stream has failed.
    pub async fn next(&mut self) -> Result<Option<R>, Status> {
        self.responses.message().await
    }
}

fn client(channel: &Channel) -> AggregatedDiscoveryServiceClient<Channel> {
    AggregatedDiscoveryServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE)
}

/// What istiod says of itself.
pub fn node() -> Node {
    let fields = [
        ("GENERATOR", "api"),
        ("ISTIO_REVISION", "default"),
        ("ISTIO_VERSION", "65536.65536.65536"),
    ];
    let text = |text: &str| Value {
        kind: Some(value::Kind::StringValue(text.to_owned())),
    };
    let metadata = Struct {
        fields: fields
            .map(|(key, value)| (key.to_owned(), text(value)))
            .into(),
    };
    Node {
        id: "sidecar~10.0.0.1~istiod-0.istio-system~istio-system.svc.cluster.local".to_owned(),
        metadata: metadata.encode_to_vec(),
    }
}

/// A first request for a type; the first of a stream has a [`node`] beside that.
pub fn request(type_url: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: type_url.to_owned(),
        response_nonce: GARBAGE.to_owned(),
        ..DiscoveryRequest::default()
    }
}

/// The ACK of a response.
pub fn ack(response: &DiscoveryResponse) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        node: Some(node()),
        response_nonce: response.nonce.clone(),
        ..request(&response.type_url)
    }
}

/// The NACK of a response. istiod never sends one.
pub fn nack(response: &DiscoveryResponse, code: i32, message: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        error_detail: Some(status(code, message)),
        ..ack(response)
    }
}

/// A first request for all resources of a type, as deltas.
pub fn delta_request(type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

/// The ACK of a delta.
pub fn delta_ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        response_nonce: response.nonce.clone(),
        ..delta_request(&response.type_url)
    }
}

/// The NACK of a delta.
pub fn delta_nack(
    response: &DeltaDiscoveryResponse,
    code: i32,
    message: &str,
) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        error_detail: Some(status(code, message)),
        ..delta_ack(response)
    }
}

fn status(code: i32, message: &str) -> rpc::Status {
    rpc::Status {
        code,
        message: message.to_owned(),
    }
}
