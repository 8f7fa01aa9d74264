//! The MCP server, from bind to the last stream's end.

use std::{net::SocketAddr, sync::Arc};

use prometheus_client::registry::Registry;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Settings, metrics::Metrics, service::Service, sinks::Sinks, sizes};
use crate::{
    grpc::{self, Listener, Reports, Security, Services},
    proto, snapshot,
};

/// A bound MCP server.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    settings: Settings,
    snapshots: snapshot::Receiver,
    sinks: Sinks,
    metrics: Arc<Metrics>,
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
        let listener = Listener::bind(address, listening(&settings), reports).await?;
        let sinks = Sinks::default();
        Ok(Self {
            listener,
            settings,
            snapshots,
            metrics: Arc::new(Metrics::new(registry, sinks.clone())),
            sinks,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// The streams that are open.
    pub fn sinks(&self) -> Sinks {
        self.sinks.clone()
    }

    /// Serves until `shutdown`. Then every stream ends with UNAVAILABLE, and a peer that does not read it is cut off
    /// a few seconds later.
    pub async fn run(self, shutdown: CancellationToken) {
        let limits = Arc::new(self.settings.limits);
        let tasks = TaskTracker::new();
        let service = Service {
            allowed_names: Arc::new(self.settings.allowed_names),
            limits: limits.clone(),
            snapshots: self.snapshots.clone(),
            sinks: self.sinks,
            metrics: self.metrics,
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        };
        let services = Services::new(proto::DESCRIPTOR_SET).with(service);
        let ready = snapshot::published(self.snapshots.clone());
        tokio::join!(
            self.listener.serve(services, ready, shutdown.clone()),
            sizes::watch(self.snapshots, limits, shutdown),
        );
        tasks.close();
        tasks.wait().await;
    }
}

fn listening(settings: &Settings) -> grpc::Settings {
    let limits = &settings.limits;
    grpc::Settings {
        keepalive_interval: limits.keepalive_interval,
        keepalive_timeout: limits.keepalive_timeout,
        max_connection_age: limits.max_connection_age,
        max_connections: limits.streams_total,
        calls_per_connection: limits.streams_per_peer,
        // Requests are small, but for the list of resources that an incremental sink begins with: the windows of any
        // listener will do.
        ..grpc::Settings::new(Security::Tls {
            identity: settings.identity.clone(),
            client_ca: Some(settings.client_ca.clone()),
            certificates_every: settings.certificates_every,
        })
    }
}
