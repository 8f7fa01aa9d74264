//! Instances of apps: small servers on addresses of their own that say who they are, and count what they are asked.

mod answer;
mod record;
mod socket;

use std::{
    net::SocketAddr,
    path::PathBuf,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use copilot::{
    crowd::Crowd,
    tls::{self, Connection, Handshake, Identity, Peer, ServerFiles},
};
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::{either::Either, sync::CancellationToken, task::TaskTracker};

use self::socket::{Socket, Stream};
pub use self::{answer::Answer, record::Record};

/// Connections that may wait to be served; an ingress opens a few at a time.
const BACKLOG: usize = 64;
/// Handshakes that run at once.
const HALF_OPEN: usize = 1024;

/// The gRPC method that every instance of HTTP/2 has: unary, a string in, an [`Answer`] as JSON out.
pub const GRPC_METHOD: &str = "/interop.Echo/Say";

/// The header that has a call answered with the status of this number.
pub const ANSWER_WITH: &str = "answer-with";

/// More headers than any client sends.
const MAX_HEADERS: usize = 1000;

/// What an app speaks on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, HTTP/1.0 and WebSocket.
    Http1,
    /// HTTP/2, without a negotiation, and gRPC.
    Http2,
    /// A line with its app and its guid, and then what it is sent.
    Tcp,
}

/// Who an instance is.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its app, by a name that its answers have.
    pub app: String,
    /// Its guid in Diego.
    pub guid: String,
}

/// Where an instance is reached.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The container port that is behind it.
    pub port: u16,
    /// What the app speaks there.
    pub protocol: Protocol,
    /// Where it listens.
    pub address: SocketAddr,
    /// TLS, as the proxy in a container has it; none on the app's own port.
    pub tls: Option<Credentials>,
}

/// What the proxy in a container presents, and whom it admits.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The instance's identity, with its guid as a DNS name.
    pub identity: Identity,
    /// Without this everybody, with a certificate or without.
    pub clients: Option<Clients>,
}

/// Whom a proxy admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// The CA that signs routers' certificates.
    pub ca: PathBuf,
    /// One of these has to be among the client certificate's names.
    pub names: Vec<String>,
}

/// What an endpoint leads to.
#[derive(Debug, Clone, Copy)]
struct Behind {
    port: u16,
    protocol: Protocol,
    /// Whether it is reached over TLS.
    is_tls: bool,
}

/// Why an instance cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be bound.
    #[error("binding an instance to {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Its identity cannot be used.
    #[error("preparing an instance's TLS")]
    Tls(#[from] tls::Error),
}

/// A running instance. It is gone, port and connections, when this is dropped.
#[derive(Debug)]
pub struct Instance {
    shared: Arc<Shared>,
    acceptors: JoinSet<()>,
    /// What each endpoint with TLS greets with, and whom it admits.
    rotations: Vec<(Option<Clients>, watch::Sender<Arc<ServerConfig>>)>,
}

#[derive(Debug)]
struct Shared {
    spec: Spec,
    record: Arc<Record>,
    crashed: Arc<AtomicBool>,
    /// No more connections.
    closed: CancellationToken,
    /// No more requests on those that there are.
    draining: CancellationToken,
    /// An end to all of them.
    cut: CancellationToken,
    conversations: TaskTracker,
}

impl Instance {
    /// Listens at each of the endpoints.
    pub async fn start(spec: Spec, endpoints: &[Endpoint]) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            spec,
            record: Arc::default(),
            crashed: Arc::default(),
            closed: CancellationToken::new(),
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
            conversations: TaskTracker::new(),
        });
        let mut instance = Self {
            shared,
            acceptors: JoinSet::new(),
            rotations: Vec::new(),
        };
        for endpoint in endpoints {
            instance.open(endpoint).await?;
        }
        Ok(instance)
    }

    async fn open(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let closed = shared.closed.clone();
        let listener = TcpListener::bind(endpoint.address).await;
        let listener = listener.map_err(|source| Error::Bind {
            address: endpoint.address,
            source,
        })?;
        let crowd = Crowd::new(HALF_OPEN);
        let behind = Behind {
            port: endpoint.port,
            protocol: endpoint.protocol,
            is_tls: endpoint.tls.is_some(),
        };
        if let Some(credentials) = &endpoint.tls {
            let (accepted, connections) = mpsc::channel(BACKLOG);
            let config = watch::Sender::new(credentials.config()?);
            let accepting = tls::accept(listener, config.subscribe(), crowd, accepted, closed);
            self.acceptors.spawn(accepting);
            self.rotations.push((credentials.clients.clone(), config));
            let clients = credentials.clients.clone();
            let admit = move |peer: &Peer| {
                let is_among =
                    |names: &Vec<String>| peer.names.iter().any(|name| names.contains(name));
                clients
                    .as_ref()
                    .is_none_or(|clients| is_among(&clients.names))
            };
            let welcome = welcome(shared, behind, connections, Either::Right, admit);
            self.acceptors.spawn(welcome);
        } else {
            let (accepted, connections) = mpsc::channel(BACKLOG);
            let accepting = tls::accept_plaintext(listener, crowd, accepted, closed);
            self.acceptors.spawn(accepting);
            let welcome = welcome(shared, behind, connections, Either::Left, |_| true);
            self.acceptors.spawn(welcome);
        }
        Ok(())
    }

    /// What it was asked, also after its end.
    pub fn record(&self) -> Arc<Record> {
        Arc::clone(&self.shared.record)
    }

    /// Greets the next connections with other credentials, at the endpoints that are for the same clients.
    pub fn rotate(&self, credentials: &Credentials) -> Result<(), Error> {
        let config = credentials.config()?;
        for (clients, rotation) in &self.rotations {
            if *clients == credentials.clients {
                rotation.send_replace(Arc::clone(&config));
            }
        }
        Ok(())
    }

    /// Closes its ports, finishes what it was asked, and closes what has not ended by then.
    pub async fn drain(mut self, grace: Duration) {
        self.close().await;
        let shared = &self.shared;
        shared.draining.cancel();
        // Those that are not done are cut.
        drop(timeout(grace, shared.conversations.wait()).await);
        shared.cut.cancel();
        shared.conversations.wait().await;
    }

    /// Resets every connection and closes its ports, as a kernel does for a process that is gone.
    pub async fn crash(mut self) {
        self.shared.crashed.store(true, Relaxed);
        self.shared.cut.cancel();
        self.close().await;
        self.shared.conversations.wait().await;
    }

    async fn close(&mut self) {
        self.shared.closed.cancel();
        while self.acceptors.join_next().await.is_some() {}
        self.shared.conversations.close();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.shared.closed.cancel();
        self.shared.cut.cancel();
    }
}

impl Credentials {
    /// As an instance's proxy: TLS 1.2 and newer, a client certificate where it is for certain clients, and no preference
    /// for a protocol.
    fn config(&self) -> Result<Arc<ServerConfig>, Error> {
        let clients = self.clients.as_ref().map(|clients| tls::Clients {
            ca: clients.ca.clone(),
            names: None,
        });
        let files = ServerFiles::read(&self.identity, clients.as_ref())?;
        let mut config = files.config(b"")?;
        config.alpn_protocols.clear();
        Ok(Arc::new(config))
    }
}

/// Converses with everybody who is admitted, until no more connections come.
async fn welcome<S>(
    shared: Arc<Shared>,
    behind: Behind,
    mut connections: mpsc::Receiver<Handshake<S>>,
    stream: impl Fn(S) -> Stream,
    admit: impl Fn(&Peer) -> bool,
) {
    while let Some(handshake) = connections.recv().await {
        match handshake {
            Ok(Connection {
                stream: open, peer, ..
            }) if admit(&peer) => {
                shared.record.admit();
                let socket = Socket::new(stream(open), Arc::clone(&shared.crashed));
                let conversation = converse(socket, behind, Arc::clone(&shared));
                shared.conversations.spawn(conversation);
            }
            _ => shared.record.refuse(),
        }
    }
}

async fn converse(socket: Socket, behind: Behind, shared: Arc<Shared>) {
    let io = TokioIo::new(socket);
    let service = service_fn(|request| answer::answer(request, behind, Arc::clone(&shared)));
    match behind.protocol {
        Protocol::Http1 => {
            let mut builder = http1::Builder::new();
            let connection = builder
                .max_headers(MAX_HEADERS)
                .serve_connection(io, service);
            let connection = connection.with_upgrades();
            shared
                .serve(connection, http1::UpgradeableConnection::graceful_shutdown)
                .await;
        }
        Protocol::Http2 => {
            let builder = http2::Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(io, service);
            shared
                .serve(connection, http2::Connection::graceful_shutdown)
                .await;
        }
        Protocol::Tcp => echo(io.into_inner(), &shared).await,
    }
}

/// Says who it is before it is told anything, as a database does, and then what it hears.
async fn echo(mut socket: Socket, shared: &Shared) {
    let Spec { app, guid } = &shared.spec;
    let greeting = format!("{app} {guid}\n");
    if socket.write_all(greeting.as_bytes()).await.is_ok() {
        let (mut from, mut to) = tokio::io::split(socket);
        shared
            .serve(tokio::io::copy(&mut from, &mut to), |_| {})
            .await;
    }
}

impl Shared {
    /// How a connection ends is the client's affair, and seen there.
    async fn serve<C: Future>(&self, connection: C, finish: impl FnOnce(Pin<&mut C>)) {
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => drop(ended),
            () = self.cut.cancelled() => {}
            () = self.draining.cancelled() => {
                finish(connection.as_mut());
                drop(self.cut.run_until_cancelled(connection).await);
            }
        }
    }
}
