//! The streams of all protocols, with what a sink reads from them in the words of one.

use std::{sync::Arc, time::Instant};

use copilot::{
    delivery::Dialogue,
    mcp,
    proto::{
        envoy::service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        },
        istio::mcp::v1alpha1::{RequestResources, Resources},
    },
    sim::{
        istiod::{self, Delivered as _},
        sink,
    },
    snapshot::Snapshot,
    xds,
};

/// How a sink reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Full,
    Incremental,
    World,
    Delta,
}

impl Protocol {
    pub const ALL: [Self; 4] = [Self::Full, Self::Incremental, Self::World, Self::Delta];

    pub fn is_xds(self) -> bool {
        matches!(self, Self::World | Self::Delta)
    }

    /// What a sink asks for to have that kind.
    pub fn asks_for(self, kind: &str) -> String {
        if self.is_xds() {
            return format!("networking.istio.io/v1/{kind}");
        }
        let plural = match kind {
            "ServiceEntry" => "serviceentries".to_owned(),
            _ => format!("{}s", kind.to_lowercase()),
        };
        format!("istio/networking/v1alpha3/{plural}")
    }
}

/// The server's end of a stream.
#[derive(Debug)]
pub enum Peer {
    Classic(Dialogue<RequestResources, Resources>, bool),
    World(Dialogue<DiscoveryRequest, DiscoveryResponse>),
    Delta(Dialogue<DeltaDiscoveryRequest, DeltaDiscoveryResponse>),
}

impl Peer {
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Full => Self::Classic(mcp::dialogue(), false),
            Protocol::Incremental => Self::Classic(mcp::dialogue(), true),
            Protocol::World => Self::World(xds::dialogue()),
            Protocol::Delta => Self::Delta(xds::delta_dialogue()),
        }
    }

    pub fn publish(&mut self, snapshot: Arc<Snapshot>) {
        match self {
            Self::Classic(server, _) => server.publish(snapshot),
            Self::World(server) => server.publish(snapshot),
            Self::Delta(server) => server.publish(snapshot),
        }
    }

    pub fn ask(&mut self, name: &str, now: Instant) {
        let heard = match self {
            Self::Classic(server, incremental) => {
                let incremental = *incremental;
                let request = RequestResources {
                    incremental,
                    ..sink::request(name)
                };
                server.hear(request, now)
            }
            Self::World(server) => server.hear(istiod::request(name), now),
            Self::Delta(server) => server.hear(istiod::delta_request(name), now),
        };
        heard.unwrap();
    }

    pub fn next(&mut self, now: Instant) -> Option<Resources> {
        match self {
            Self::Classic(server, _) => server.next(now),
            Self::World(server) => server.next(now).map(DiscoveryResponse::unpack),
            Self::Delta(server) => server.next(now).map(DeltaDiscoveryResponse::unpack),
        }
    }

    pub fn due_at(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Classic(server, _) => server.due_at(now),
            Self::World(server) => server.due_at(now),
            Self::Delta(server) => server.due_at(now),
        }
    }

    /// The sink's answer to a response.
    pub fn answer(&mut self, response: &Resources, rejects: bool, now: Instant) {
        const WHY: (i32, &str) = (3, "no");
        let heard = match self {
            Self::Classic(server, incremental) => {
                let answer = if rejects {
                    sink::nack(response, WHY.0, WHY.1)
                } else {
                    sink::ack(response)
                };
                let incremental = *incremental;
                let answer = RequestResources {
                    incremental,
                    ..answer
                };
                server.hear(answer, now)
            }
            Self::World(server) => {
                let response = DiscoveryResponse {
                    version_info: response.system_version_info.clone(),
                    type_url: response.collection.clone(),
                    nonce: response.nonce.clone(),
                    resources: Vec::new(),
                };
                let answer = if rejects {
                    istiod::nack(&response, WHY.0, WHY.1)
                } else {
                    istiod::ack(&response)
                };
                server.hear(answer, now)
            }
            Self::Delta(server) => {
                let response = DeltaDiscoveryResponse {
                    type_url: response.collection.clone(),
                    nonce: response.nonce.clone(),
                    ..DeltaDiscoveryResponse::default()
                };
                let answer = if rejects {
                    istiod::delta_nack(&response, WHY.0, WHY.1)
                } else {
                    istiod::delta_ack(&response)
                };
                server.hear(answer, now)
            }
        };
        heard.unwrap();
    }
}
