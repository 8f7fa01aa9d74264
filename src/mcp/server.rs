//! The listener of the MCP server, from bind to the last stream's end.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use futures_util::StreamExt as _;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport;
use tracing::warn;

use super::{
    Error, Limits, Settings, handshakes::Handshakes, io::Severable, metrics::Metrics,
    service::Service, sinks::Sinks, sizes, stream::GRACE,
};
use crate::{feed::chain, snapshot, tls};

/// Bytes of requests in flight. They are small, but for the list of resources that an incremental sink begins with.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Handshakes done and not yet served; serving one only spawns its task.
const ACCEPTED: usize = 16;

/// A bound MCP server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
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
    ) -> Result<Self, Error> {
        let tls = tls::mutual_server(&settings.identity, &settings.client_ca)?;
        let listener = TcpListener::bind(address).await.map_err(Error::Bind)?;
        let address = listener.local_addr().map_err(Error::Bind)?;
        let sinks = Sinks::default();
        Ok(Self {
            listener,
            address,
            tls: Arc::new(tls),
            settings,
            snapshots,
            metrics: Arc::new(Metrics::new(registry, sinks.clone())),
            sinks,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
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
            metrics: self.metrics.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        };
        let cut = CancellationToken::new();
        let (accepted, connections) = mpsc::channel(ACCEPTED);
        let places = Arc::new(Semaphore::new(limits.streams_total));
        let handshakes = Handshakes::new(self.metrics);
        let incoming = severable(connections, handshakes, places, cut.clone());
        let serving = builder(&limits)
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
        tokio::join!(
            tls::accept(self.listener, self.tls, accepted, shutdown.clone()),
            sizes::watch(self.snapshots, limits.clone(), shutdown.clone()),
            drained(serving, cut, shutdown),
        );
        tasks.close();
        tasks.wait().await;
    }
}

fn builder(limits: &Limits) -> transport::Server {
    let builder = transport::Server::builder()
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(u32::try_from(limits.streams_per_peer).unwrap_or(u32::MAX));
    // Without a grace period of its own: that one would cut the connection and never say GOAWAY. The streams end
    // themselves at the same age.
    match limits.max_connection_age {
        Some(age) => builder.max_connection_age(age),
        None => builder,
    }
}

/// Connections that end with `cut`, no more at a time than there are places.
fn severable(
    connections: mpsc::Receiver<tls::Handshake>,
    mut handshakes: Handshakes,
    places: Arc<Semaphore>,
    cut: CancellationToken,
) -> impl futures_util::Stream<Item = Result<Severable, Infallible>> {
    let mut severed = move |connection: tls::Connection| {
        let Ok(place) = places.clone().try_acquire_owned() else {
            warn!(address = %connection.peer.address, "connection refused: too many are open");
            return None;
        };
        Some(Ok(Severable::new(connection, cut.child_token(), place)))
    };
    ReceiverStream::new(connections).filter_map(move |handshake| {
        let connection = handshakes.conclude(handshake);
        std::future::ready(connection.and_then(&mut severed))
    })
}

/// Serves to the end, which is enforced when the grace period after `shutdown` is over.
async fn drained<E: std::error::Error>(
    serving: impl Future<Output = Result<(), E>>,
    cut: CancellationToken,
    shutdown: CancellationToken,
) {
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        () = overdue => {
            cut.cancel();
            serving.await
        }
    };
    if let Err(error) = served {
        warn!(error = chain(&error), "the MCP server has failed");
    }
}
