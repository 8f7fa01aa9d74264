//! A server that sinks read, and everything that it serves.

use std::{collections::BTreeMap, net::IpAddr, str::FromStr};

use anyhow::{Context as _, bail};
use prost::Message as _;
use prost_types::Any;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::{
    delivery::VISITOR,
    grpc,
    istio::Kind,
    proto::{
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{
                DiscoveryRequest,
                aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
            },
        },
        istio::mcp::v1alpha1::{
            RequestResources, Resource, SinkNode, resource_source_client::ResourceSourceClient,
        },
    },
};

/// Requests that wait to be sent: one of each kind, or the ACK of it.
const REQUESTS: usize = 16;
/// The largest foundations are answered in one message.
const MAX_MESSAGE: usize = i32::MAX as usize;

/// How a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Mcp,
    Xds,
}

impl Protocol {
    fn asked(self, kind: Kind) -> String {
        match self {
            Self::Xds => format!("networking.istio.io/v1alpha3/{}", kind.as_str()),
            Self::Mcp => kind.collection().to_owned(),
        }
    }
}

/// The bodies of all resources, by their names.
pub(super) type Served = BTreeMap<Kind, BTreeMap<String, Vec<u8>>>;

/// Where a server is: `mcp://host:9009`, `xds://host:15010`, or `host:9009`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) protocol: Protocol,
    host: String,
    port: u16,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, rest) = match text.split_once("://") {
            None | Some(("mcp", _)) => (Protocol::Mcp, text.trim_start_matches("mcp://")),
            Some(("xds", rest)) => (Protocol::Xds, rest),
            Some((other, _)) => return Err(format!("{other:?} is neither mcp nor xds")),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = rest.rsplit_once(':').ok_or("no port")?;
        let port = port
            .parse()
            .map_err(|error| format!("port {port:?}: {error}"))?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Ok(Self {
            protocol,
            host,
            port,
        })
    }
}

impl Server {
    fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        address.map_or(self.host == "localhost", |address| address.is_loopback())
    }

    /// Asks for everything, as a sink does.
    pub(super) async fn read(
        &self,
        tls: Option<ClientConfig>,
        name: Option<&str>,
    ) -> anyhow::Result<Served> {
        let channel = self.connect(tls, name).await?;
        match self.protocol {
            Protocol::Mcp => read_mcp(channel).await,
            Protocol::Xds => read_xds(channel).await,
        }
    }

    async fn connect(
        &self,
        tls: Option<ClientConfig>,
        name: Option<&str>,
    ) -> anyhow::Result<Channel> {
        let Self { host, port, .. } = self;
        let Some(tls) = tls else {
            if !self.is_loopback() {
                bail!("plaintext is for loopback: --ca, --cert and --key are missing");
            }
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.clone()
            };
            return Ok(grpc::connect_in_the_clear(&format!("{host}:{port}")).await?);
        };
        let name = name.unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).context("the server's name")?;
        Ok(grpc::connect((host.clone(), *port), name, tls).await?)
    }
}

/// Which of what was asked for is answered.
struct Answers {
    protocol: Protocol,
    served: Served,
}

impl Answers {
    fn new(protocol: Protocol) -> Self {
        let served = Served::new();
        Self { protocol, served }
    }

    fn is_complete(&self) -> bool {
        self.served.len() == Kind::ALL.len()
    }

    fn take(&mut self, asked: &str, resources: impl Iterator<Item = Resource>) {
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| self.protocol.asked(*kind) == asked);
        let Some(kind) = kind else { return };
        let bodies = resources.map(|resource| {
            let Resource { metadata, body } = resource;
            let name = metadata.map(|metadata| metadata.name).unwrap_or_default();
            (name, body.map(|body| body.value).unwrap_or_default())
        });
        self.served.insert(kind, bodies.collect());
    }
}

const ENDED: &str = "the server has ended the stream before everything was answered";

async fn read_mcp(channel: Channel) -> anyhow::Result<Served> {
    let (requests, outgoing) = mpsc::channel(REQUESTS);
    let request = |collection: String, response_nonce| RequestResources {
        sink_node: Some(SinkNode {
            id: VISITOR.to_owned(),
        }),
        collection,
        response_nonce,
        ..RequestResources::default()
    };
    for kind in Kind::ALL {
        requests
            .send(request(Protocol::Mcp.asked(kind), String::new()))
            .await?;
    }
    let mut client = ResourceSourceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let responses = client.establish_resource_stream(ReceiverStream::new(outgoing));
    let mut responses = responses.await?.into_inner();
    let mut answers = Answers::new(Protocol::Mcp);
    while !answers.is_complete() {
        let response = responses.message().await?.context(ENDED)?;
        answers.take(&response.collection, response.resources.into_iter());
        requests
            .send(request(response.collection, response.nonce))
            .await?;
    }
    Ok(answers.served)
}

async fn read_xds(channel: Channel) -> anyhow::Result<Served> {
    let (requests, outgoing) = mpsc::channel(REQUESTS);
    for kind in Kind::ALL {
        let request = DiscoveryRequest {
            node: Some(Node {
                id: VISITOR.to_owned(),
                ..Node::default()
            }),
            type_url: Protocol::Xds.asked(kind),
            ..DiscoveryRequest::default()
        };
        requests.send(request).await?;
    }
    let client = AggregatedDiscoveryServiceClient::new(channel);
    let mut client = client.max_decoding_message_size(MAX_MESSAGE);
    let responses = client.stream_aggregated_resources(ReceiverStream::new(outgoing));
    let mut responses = responses.await?.into_inner();
    let mut answers = Answers::new(Protocol::Xds);
    while !answers.is_complete() {
        let response = responses.message().await?.context(ENDED)?;
        let resources = response.resources.iter().filter_map(resource);
        answers.take(&response.type_url, resources);
        let ack = DiscoveryRequest {
            version_info: response.version_info,
            type_url: response.type_url,
            response_nonce: response.nonce,
            ..DiscoveryRequest::default()
        };
        requests.send(ack).await?;
    }
    Ok(answers.served)
}

/// istiod skips what is none, and so do we.
fn resource(any: &Any) -> Option<Resource> {
    Resource::decode(&*any.value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_how_its_server_is_asked() {
        let read = |text: &str| {
            let server: Server = text.parse().unwrap();
            (
                server.protocol,
                server.host.clone(),
                server.port,
                server.is_loopback(),
            )
        };
        let mcp = |host: &str, is_loopback| (Protocol::Mcp, host.to_owned(), 9009, is_loopback);
        assert_eq!(
            read("copilot.internal:9009"),
            mcp("copilot.internal", false)
        );
        assert_eq!(read("mcp://[::1]:9009"), mcp("::1", true));
        assert_eq!(
            read("xds://localhost:15010"),
            (Protocol::Xds, "localhost".to_owned(), 15010, true)
        );
        for wrong in ["copilot", "https://copilot:9009", "copilot:x"] {
            wrong.parse::<Server>().unwrap_err();
        }
    }
}
