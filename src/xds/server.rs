//! The server for istiod, from bind to the last stream's end.

use std::net::SocketAddr;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::{Settings, service::AggregatedDiscovery};
use crate::{
    delivery::{self, Naming, Sinks},
    grpc::{self, Entrance, Reports},
    snapshot,
};

const NAMING: Naming = Naming {
    istio: "copilot_xds",
    own: "copilot_xds",
    clients: "copilot_xds_clients",
    others: &[],
};

/// A bound server.
#[derive(Debug)]
pub struct Server(delivery::Server);

impl Server {
    /// Loads the certificates, if there are to be any, and binds the address.
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
        let Settings { security, limits } = settings;
        let metrics = (registry, NAMING);
        delivery::Server::bind(address, security, limits, snapshots, metrics, reports)
            .await
            .map(Self)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }

    /// A way in for sinks within the process.
    pub fn entrance(&mut self) -> Entrance {
        self.0.entrance()
    }

    /// The streams that are open.
    pub fn sinks(&self) -> Sinks {
        self.0.sinks()
    }

    /// Serves until `shutdown`. Then every stream ends with UNAVAILABLE, and a peer that does not read it is cut off
    /// a few seconds later.
    pub async fn run(self, shutdown: CancellationToken) {
        self.0.run(AggregatedDiscovery, shutdown).await;
    }
}
