//! As much of the protocols' messages as a sink for load reads: names are slices of the response.

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message as _;

use super::{Mode, Sight};
use crate::{
    proto::{
        envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
        istio::{mcp::v1alpha1::RequestResources, networking::v1alpha3::ServiceEntry},
    },
    sim::istiod::node,
};

const MCP: &str = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream";
const ADS: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA_ADS: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// The namespace, over xDS, of what has none over MCP.
const NAMESPACE: &str = "cloudfoundry/";

/// The kinds of each collection, by its name in MCP.
const KINDS: [(&str, &str); 5] = [
    (
        "istio/networking/v1alpha3/destinationrules",
        "DestinationRule",
    ),
    ("istio/networking/v1alpha3/gateways", "Gateway"),
    ("istio/networking/v1alpha3/serviceentries", "ServiceEntry"),
    ("istio/networking/v1alpha3/sidecars", "Sidecar"),
    (
        "istio/networking/v1alpha3/virtualservices",
        "VirtualService",
    ),
];

/// The method that serves a mode.
pub(super) fn path(mode: Mode) -> PathAndQuery {
    PathAndQuery::from_static(match mode {
        Mode::Full | Mode::Delta => MCP,
        Mode::Xds => ADS,
        Mode::XdsDelta => DELTA_ADS,
    })
}

fn type_url(collection: &str) -> String {
    let kind = KINDS.iter().find(|(name, _)| *name == collection);
    let kind = kind.map_or("Unknown", |(_, kind)| kind);
    format!("networking.istio.io/v1alpha3/{kind}")
}

fn collection(type_url: &str) -> &str {
    let kind = type_url.rsplit('/').next().unwrap_or_default();
    let found = KINDS.iter().find(|(_, name)| *name == kind);
    found.map_or(type_url, |(collection, _)| collection)
}

/// The first requests of a stream.
pub(super) fn subscriptions(mode: Mode, collections: &[&str]) -> Vec<Bytes> {
    let requests = collections.iter().map(|collection| match mode {
        Mode::Full | Mode::Delta => RequestResources {
            collection: (*collection).to_owned(),
            incremental: mode == Mode::Delta,
            ..RequestResources::default()
        }
        .encode_to_vec(),
        Mode::Xds => DiscoveryRequest {
            node: Some(node()),
            type_url: type_url(collection),
            ..DiscoveryRequest::default()
        }
        .encode_to_vec(),
        Mode::XdsDelta => DeltaDiscoveryRequest {
            node: Some(node()),
            type_url: type_url(collection),
            ..DeltaDiscoveryRequest::default()
        }
        .encode_to_vec(),
    });
    requests.map(Bytes::from).collect()
}

/// A response, whatever protocol it is of.
pub(super) struct Delivery {
    pub(super) collection: String,
    pub(super) items: Vec<Item>,
    pub(super) is_delta: bool,
    nonce: String,
}

/// The ACK of a response.
pub(super) fn ack(mode: Mode, delivery: &Delivery) -> Bytes {
    let nonce = delivery.nonce.clone();
    Bytes::from(match mode {
        Mode::Full | Mode::Delta => RequestResources {
            collection: delivery.collection.clone(),
            response_nonce: nonce,
            incremental: mode == Mode::Delta,
            ..RequestResources::default()
        }
        .encode_to_vec(),
        Mode::Xds => DiscoveryRequest {
            type_url: type_url(&delivery.collection),
            response_nonce: nonce,
            ..DiscoveryRequest::default()
        }
        .encode_to_vec(),
        Mode::XdsDelta => DeltaDiscoveryRequest {
            type_url: type_url(&delivery.collection),
            response_nonce: nonce,
            ..DeltaDiscoveryRequest::default()
        }
        .encode_to_vec(),
    })
}

/// The fields of `istio.mcp.v1alpha1.Resources` that matter here.
#[derive(prost::Message)]
struct Resources {
    #[prost(string, tag = "2")]
    collection: String,
    #[prost(message, repeated, tag = "3")]
    items: Vec<Item>,
    #[prost(string, tag = "5")]
    nonce: String,
    #[prost(bool, tag = "6")]
    incremental: bool,
}

/// A resource with its name and body unread.
#[derive(prost::Message)]
pub(super) struct Item {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(message, optional, tag = "2")]
    body: Option<AnyBytes>,
}

#[derive(prost::Message)]
struct Metadata {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
}

#[derive(prost::Message)]
struct AnyBytes {
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(prost::Message)]
struct DiscoveryResponse {
    #[prost(message, repeated, tag = "2")]
    resources: Vec<AnyBytes>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
}

#[derive(prost::Message)]
struct DeltaDiscoveryResponse {
    #[prost(message, repeated, tag = "2")]
    resources: Vec<Wrapped>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
}

#[derive(prost::Message)]
struct Wrapped {
    #[prost(message, optional, tag = "2")]
    resource: Option<AnyBytes>,
}

/// Reads a response.
pub(super) fn read(mode: Mode, response: Bytes) -> Result<Delivery, prost::DecodeError> {
    let unwrapped = |any: AnyBytes| Item::decode(any.value);
    Ok(match mode {
        Mode::Full | Mode::Delta => {
            let response = Resources::decode(response)?;
            Delivery {
                collection: response.collection,
                items: response.items,
                is_delta: response.incremental,
                nonce: response.nonce,
            }
        }
        Mode::Xds => {
            let response = DiscoveryResponse::decode(response)?;
            let items = response.resources.into_iter().map(unwrapped);
            Delivery {
                collection: collection(&response.type_url).to_owned(),
                items: items.collect::<Result<_, _>>()?,
                is_delta: false,
                nonce: response.nonce,
            }
        }
        Mode::XdsDelta => {
            let response = DeltaDiscoveryResponse::decode(response)?;
            let wrapped = response.resources.into_iter();
            let items = wrapped
                .filter_map(|wrapped| wrapped.resource)
                .map(unwrapped);
            Delivery {
                collection: collection(&response.type_url).to_owned(),
                items: items.collect::<Result<_, _>>()?,
                is_delta: true,
                nonce: response.nonce,
            }
        }
    })
}

impl Item {
    /// Its name in MCP.
    pub(super) fn name(&self) -> &str {
        let name = self.metadata.as_ref().map(|metadata| &*metadata.name);
        let name = std::str::from_utf8(name.unwrap_or_default()).unwrap_or_default();
        name.strip_prefix(NAMESPACE).unwrap_or(name)
    }

    /// Whether it is as expected.
    pub(super) fn shows(&self, sight: Sight) -> bool {
        let (address, port) = match sight {
            Sight::Present => return true,
            Sight::Endpoint(address, port) => (address.to_string(), u32::from(port)),
        };
        let body = self.body.as_ref().map(|body| body.value.clone());
        let entry = body.and_then(|body| ServiceEntry::decode(body).ok());
        entry.is_some_and(|entry| {
            let mut endpoints = entry.endpoints.iter();
            endpoints.any(|endpoint| {
                endpoint.address == address && endpoint.ports.values().any(|mapped| *mapped == port)
            })
        })
    }
}
