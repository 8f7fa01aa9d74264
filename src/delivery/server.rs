//! A server of one or more protocols, from bind to the last stream's end.

use std::{net::SocketAddr, sync::Arc};

use prometheus_client::registry::Registry;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Limits,
    log::Log,
    metrics::{Metrics, Naming},
    service::{Methods, Service},
    sinks::Sinks,
};
use crate::{
    grpc::{self, Entrance, Listener, Reports, Security, Services},
    proto, snapshot,
};

/// A bound server.
#[derive(Debug)]
pub(crate) struct Server {
    listener: Listener,
    limits: Arc<Limits>,
    snapshots: snapshot::Receiver,
    sinks: Sinks,
    metrics: Arc<Metrics>,
    log: Log,
}

impl Server {
    /// Loads the certificates and binds the address.
    pub(crate) async fn bind(
        address: SocketAddr,
        security: Security,
        limits: Limits,
        snapshots: snapshot::Receiver,
        (registry, naming): (&mut Registry, Naming),
        reports: Reports<'_>,
    ) -> Result<Self, grpc::Error> {
        let log = Log::new(reports.listener);
        let listener = Listener::bind(address, listening(security, &limits), reports).await?;
        let sinks = Sinks::default();
        Ok(Self {
            listener,
            limits: Arc::new(limits),
            snapshots,
            metrics: Arc::new(Metrics::new(registry, naming, sinks.clone())),
            sinks,
            log,
        })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// A way in for sinks within the process.
    pub(crate) fn entrance(&mut self) -> Entrance {
        self.listener.entrance()
    }

    /// The streams that are open.
    pub(crate) fn sinks(&self) -> Sinks {
        self.sinks.clone()
    }

    /// Serves these methods until `shutdown`. Then every stream ends with UNAVAILABLE, and a peer that
    /// does not read it is cut off a few seconds later.
    pub(crate) async fn run<M: Methods>(self, methods: M, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        let ready = snapshot::published(self.snapshots.clone());
        let service = Service {
            methods: Arc::new(methods),
            limits: self.limits,
            snapshots: self.snapshots,
            sinks: self.sinks,
            metrics: self.metrics,
            log: self.log,
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        };
        let services = Services::new(proto::DESCRIPTOR_SET).with(service);
        self.listener.serve(services, ready, shutdown).await;
        tasks.close();
        tasks.wait().await;
    }
}

fn listening(security: Security, limits: &Limits) -> grpc::Settings {
    grpc::Settings {
        keepalive_interval: limits.keepalive_interval,
        keepalive_timeout: limits.keepalive_timeout,
        max_connection_age: limits.max_connection_age,
        half_open: limits.half_open,
        max_connections: limits.connections,
        connections_per_address: limits.streams_per_peer.saturating_mul(2),
        bytes: limits.bytes,
        calls_per_connection: limits.streams_per_peer,
        // Requests are small, but for the list of resources that a sink begins with that takes deltas: the windows of
        // any listener will do.
        ..grpc::Settings::new(security)
    }
}
