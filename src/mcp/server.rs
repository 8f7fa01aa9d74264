//! The MCP server, from bind to the last stream's end.

use std::net::SocketAddr;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::{Settings, collections, service::ResourceSource, sizes};
use crate::{
    delivery::{self, Naming, Sinks},
    grpc::{self, Entrance, Reports, Security},
    snapshot,
};

const NAMING: Naming = Naming {
    istio: "istio_mcp",
    own: "copilot_mcp",
    clients: "istio_mcp_clients_total",
    others: &collections::OTHERS,
};

/// A bound MCP server.
#[derive(Debug)]
pub struct Server {
    bound: delivery::Server,
    snapshots: snapshot::Receiver,
}

impl Server {
    /// Loads the certificates and binds the address.
    ///
    /// # Errors
    /// The certificates cannot be used, or the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        settings: Settings,
        snapshots: snapshot::Receiver,
        registry: &mut Registry,
        reports: Reports<'_>,
    ) -> Result<Self, grpc::Error> {
        let security = Security::Tls {
            identity: settings.identity,
            clients: Some(settings.clients),
            certificates_every: settings.certificates_every,
        };
        let metrics = (registry, NAMING);
        let (limits, states) = (settings.limits, snapshots.clone());
        Ok(Self {
            bound: delivery::Server::bind(address, security, limits, states, metrics, reports)
                .await?,
            snapshots,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.bound.local_addr()
    }

    /// A way in for sinks within the process.
    pub fn entrance(&mut self) -> Entrance {
        self.bound.entrance()
    }

    /// The streams that are open.
    pub fn sinks(&self) -> Sinks {
        self.bound.sinks()
    }

    /// Serves until `shutdown`. Then every stream ends with UNAVAILABLE, and a peer that does not read it is cut off
    /// a few seconds later.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::join!(
            self.bound.run(ResourceSource, shutdown.clone()),
            sizes::watch(self.snapshots, shutdown),
        );
    }
}
