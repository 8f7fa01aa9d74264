//! A listener, from bind to the last call's end.

use std::{
    convert::Infallible,
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::TcpListener,
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport;
use tracing::{debug, info, warn};

use super::{
    Error, GRACE, Metrics, Reports, Security, Services, Settings,
    admission::Admission,
    certificates::{Certificates, Source},
    connection::Severable,
    deadline::Deadlines,
    handshakes::{Failing, Handshakes},
    health::Health,
};
use crate::{crowd::Crowd, descriptors, feed::chain, repeats::Repeats, tls};

const REFUSED: &str = "connections are refused";
const ACCEPTED_AGAIN: &str = "connections are accepted again";

/// Handshakes done and not yet served; serving one only spawns its task.
const ACCEPTED: usize = 16;

/// Lets connections in that are within the process: whoever has it says who is at the other end.
pub type Entrance = mpsc::Sender<tls::Handshake<DuplexStream>>;

/// A bound gRPC listener.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    entered: Option<mpsc::Receiver<tls::Handshake<DuplexStream>>>,
    socket: TcpListener,
    address: SocketAddr,
    /// Without TLS if `None`.
    certificates: Option<Certificates>,
    settings: Settings,
    metrics: Metrics,
}

impl Listener {
    /// Loads the certificates and binds the address.
    ///
    /// # Errors
    /// The certificates cannot be used, or the address cannot be bound.
    #[expect(
        clippy::unused_async,
        reason = "a socket wants a runtime, which who awaits is sure to have"
    )]
    pub async fn bind(
        address: SocketAddr,
        settings: Settings,
        reports: Reports<'_>,
    ) -> Result<Self, Error> {
        let certificates = match settings.security.clone() {
            Security::Plaintext => None,
            Security::Tls {
                identity,
                clients,
                certificates_every: every,
            } => {
                let source = Source { identity, clients };
                let loaded =
                    Certificates::load(source, every, reports.feeds, reports.certificates)?;
                Some(loaded)
            }
        };
        let socket = descriptors::listen(address).map_err(Error::Bind)?;
        reports.metrics.begin(reports.listener);
        Ok(Self {
            name: reports.listener,
            entered: None,
            address: socket.local_addr().map_err(Error::Bind)?,
            socket,
            certificates,
            settings,
            metrics: reports.metrics.clone(),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Another way in than the socket, for peers within the process.
    pub fn entrance(&mut self) -> Entrance {
        let (entrance, entered) = mpsc::channel(ACCEPTED);
        self.entered = Some(entered);
        entrance
    }

    /// Serves until `shutdown`, and calls itself healthy from `ready` on. In the end connections say GOAWAY, and those
    /// that are still open when the grace period is over are cut.
    pub async fn serve(
        self,
        services: Services,
        ready: impl Future<Output = ()>,
        shutdown: CancellationToken,
    ) {
        let health = Health::new();
        let routes = services.with_health_and_reflection(&health);
        let services = Deadlines::new(routes, self.settings.answer_within);
        let builder = builder(&self.settings);
        let name = self.name;
        let cut = CancellationToken::new();
        let (accepting, incoming) = self.accept(&cut, &shutdown);
        let end = shutdown.clone().cancelled_owned();
        let serving = builder.serve_with_incoming_shutdown(services, incoming, end);
        tokio::join!(
            accepting,
            health.follow(ready, shutdown.clone()),
            drained(name, serving, cut, shutdown),
        );
    }

    /// What accepts connections, and those that it has accepted.
    fn accept(
        self,
        cut: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> (
        BoxFuture<'static, ()>,
        BoxStream<'static, Result<Severable, Infallible>>,
    ) {
        let Settings {
            half_open,
            max_connections,
            connections_per_address,
            bytes,
            ..
        } = self.settings;
        let admission = Admission::new(max_connections, connections_per_address, bytes);
        let (admission, crowd) = (Arc::new(admission), Crowd::new(half_open));
        let told = Told {
            refused: Repeats::warn(REFUSED, self.name),
            accepted: Repeats::info(ACCEPTED_AGAIN, self.name),
        };
        let acceptor = |metrics| Acceptor {
            listener: self.name,
            handshakes: Handshakes::new(self.name, metrics),
            refused: Failing::default(),
            told: told.clone(),
            admission: admission.clone(),
            cut: cut.clone(),
        };
        let entered = match self.entered {
            Some(entered) => acceptor(self.metrics.clone()).admit(entered).boxed(),
            None => stream::pending().boxed(),
        };
        let acceptor = acceptor(self.metrics);
        let shutdown = shutdown.clone();
        let (accepting, connections) = match self.certificates {
            None => {
                let (accepted, connections) = mpsc::channel(ACCEPTED);
                let accepting = tls::accept_plaintext(self.socket, crowd, accepted, shutdown);
                (accepting.boxed(), acceptor.admit(connections).boxed())
            }
            Some(certificates) => {
                let (accepted, connections) = mpsc::channel(ACCEPTED);
                let config = certificates.config();
                let accepting = tls::accept(self.socket, config, crowd, accepted, shutdown.clone());
                let accepting = async {
                    tokio::join!(accepting, certificates.follow(shutdown));
                };
                (accepting.boxed(), acceptor.admit(connections).boxed())
            }
        };
        (accepting, stream::select(connections, entered).boxed())
    }
}

fn builder(settings: &Settings) -> transport::Server {
    let calls = u32::try_from(settings.calls_per_connection).unwrap_or(u32::MAX);
    let builder = transport::Server::builder()
        .http2_keepalive_interval(Some(settings.keepalive_interval))
        .http2_keepalive_timeout(Some(settings.keepalive_timeout))
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_concurrent_streams(calls);
    // Without a grace period of its own: that one would cut the connection and never say GOAWAY. Long streams end
    // themselves at the same age.
    match settings.max_connection_age {
        Some(age) => builder.max_connection_age(age),
        None => builder,
    }
}

/// What was said of connections, however often an address is refused and accepted again.
#[derive(Debug, Clone)]
struct Told {
    refused: Repeats<IpAddr>,
    accepted: Repeats<IpAddr>,
}

/// Lets connections in that end with `cut`, as many as there is room for.
struct Acceptor {
    listener: &'static str,
    handshakes: Handshakes,
    refused: Failing,
    told: Told,
    admission: Arc<Admission>,
    cut: CancellationToken,
}

impl Acceptor {
    fn admit<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        mut self,
        connections: mpsc::Receiver<tls::Handshake<S>>,
    ) -> impl Stream<Item = Result<Severable, Infallible>> {
        ReceiverStream::new(connections).filter_map(move |handshake| {
            let connection = self.handshakes.conclude(handshake);
            let severable = connection.and_then(|connection| self.severable(connection));
            std::future::ready(severable.map(Ok))
        })
    }

    fn severable<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &mut self,
        connection: tls::Connection<S>,
    ) -> Option<Severable> {
        let address = connection.peer.address;
        match self.admission.admit(address.ip()) {
            Ok(admitted) => {
                if self.refused.ends(address.ip()) && self.told.accepted.begins(address.ip()) {
                    info!(listener = self.listener, %address, "{ACCEPTED_AGAIN}");
                }
                Some(Severable::new(connection, self.cut.child_token(), admitted))
            }
            Err(full) => {
                let is_told = self.told.refused.begins(address.ip());
                if self.refused.begins(address.ip()) && is_told {
                    warn!(listener = self.listener, %address, "{REFUSED}: {full}");
                } else {
                    debug!(listener = self.listener, %address, "connection refused: {full}");
                }
                None
            }
        }
    }
}

/// Serves to the end, which is enforced when the grace period after `shutdown` is over.
async fn drained<E: std::error::Error>(
    listener: &'static str,
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
        biased;
        served = &mut serving => served,
        () = overdue => {
            cut.cancel();
            serving.await
        }
    };
    if let Err(error) = served {
        warn!(listener, error = chain(&error), "the listener has failed");
    }
}
