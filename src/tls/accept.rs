//! Accepts connections and shakes hands with each peer in a task of its own.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::repeats::Repeats;

use super::{cause, refuses_certificate, subject_alt_names};

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it connected from.
    pub address: SocketAddr,
    /// The subject alternative names of its own certificate, verified with the handshake; none without TLS.
    pub names: Arc<[String]>,
}

/// What becomes of a connection.
pub type Handshake<S = TlsStream<TcpStream>> = Result<Connection<S>, FailedHandshake>;

/// A connection after its handshake, if it has one.
#[derive(Debug)]
pub struct Connection<S = TlsStream<TcpStream>> {
    /// The stream, encrypted or not.
    pub stream: S,
    /// Who is at its other end.
    pub peer: Peer,
}

/// A connection that has ended with its handshake.
#[derive(Debug)]
pub struct FailedHandshake {
    /// Where the peer connected from.
    pub address: SocketAddr,
    /// Why.
    pub error: HandshakeError,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// One side does not accept the other's certificate, or there is none.
    #[error("a certificate is missing or not accepted")]
    Certificate(#[source] rustls::Error),
    /// The peer speaks no TLS, or none that we speak.
    #[error("no TLS that both sides speak")]
    Protocol(#[source] rustls::Error),
    /// The peer takes too long.
    #[error("the handshake took longer than {HANDSHAKE:?}")]
    Timeout,
    /// The peer has gone.
    #[error("the connection broke")]
    Io(#[source] io::Error),
}

impl HandshakeError {
    /// From a small closed set: a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::Protocol(_) => "protocol",
            Self::Timeout => "timeout",
            Self::Io(_) => "io",
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        use rustls::Error::{AlertReceived, InvalidCertificate, NoCertificatesPresented};

        let Some(source) = cause(&error).cloned() else {
            return Self::Io(error);
        };
        match source {
            InvalidCertificate(_) | NoCertificatesPresented => Self::Certificate(source),
            AlertReceived(alert) if refuses_certificate(alert) => Self::Certificate(source),
            _ => Self::Protocol(source),
        }
    }
}

/// How long a peer may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// From a connection that could not be accepted to the next attempt.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const ACCEPTING: &str = "accepting a connection";
/// How many handshakes run at once. More than this wait to be accepted, for ten seconds at worst.
const HANDSHAKES: usize = 1024;

/// Accepts connections until `shutdown`, and sends to `accepted` what becomes of each. A handshake has the config that
/// is the newest when it begins.
///
/// A peer that is slow, silent or speaks no TLS holds up nobody else, and is given up after ten seconds.
pub async fn accept(
    listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    accepted: mpsc::Sender<Handshake>,
    shutdown: CancellationToken,
) {
    let open = |stream, address| {
        let acceptor = TlsAcceptor::from(Arc::clone(&config.borrow()));
        shake_hands(acceptor, stream, address)
    };
    accept_each(listener, open, accepted, shutdown).await;
}

/// Accepts connections that stay as they are until `shutdown`, and sends them to `accepted`.
pub async fn accept_plaintext(
    listener: TcpListener,
    accepted: mpsc::Sender<Handshake<TcpStream>>,
    shutdown: CancellationToken,
) {
    accept_each(listener, without_handshake, accepted, shutdown).await;
}

async fn accept_each<S, F>(
    listener: TcpListener,
    open: impl Fn(TcpStream, SocketAddr) -> F,
    accepted: mpsc::Sender<Handshake<S>>,
    shutdown: CancellationToken,
) where
    S: Send + 'static,
    F: Future<Output = Handshake<S>> + Send + 'static,
{
    let failing = Repeats::warn(ACCEPTING, "a listener");
    let permits = Arc::new(Semaphore::new(HANDSHAKES));
    let mut handshakes = JoinSet::new();
    loop {
        let permit = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            permit = permits.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let (stream, address) = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            connection = listener.accept() => match connection {
                Ok(connection) => connection,
                Err(error) => {
                    // Out of file descriptors, most likely: trying at once again would only spin.
                    if failing.begins(error.kind()) {
                        warn!(%error, "{ACCEPTING}");
                    }
                    shutdown
                        .run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE))
                        .await;
                    continue;
                }
            },
        };
        while handshakes.try_join_next().is_some() {}
        let (opening, accepted) = (open(stream, address), accepted.clone());
        handshakes.spawn(async move {
            let outcome = opening.await;
            // A closed receiver means that the server is shutting down.
            if accepted.send(outcome).await.is_err() {
                debug!(%address, "connection refused: shutting down");
            }
            drop(permit);
        });
    }
}

async fn without_handshake(stream: TcpStream, address: SocketAddr) -> Handshake<TcpStream> {
    stream.set_nodelay(true).map_err(|error| FailedHandshake {
        address,
        error: HandshakeError::Io(error),
    })?;
    let names = Arc::default();
    Ok(Connection {
        stream,
        peer: Peer { address, names },
    })
}

async fn shake_hands(acceptor: TlsAcceptor, stream: TcpStream, address: SocketAddr) -> Handshake {
    let handshake = async {
        stream.set_nodelay(true)?;
        acceptor.accept(stream).await
    };
    let failed = |error| FailedHandshake { address, error };
    let stream = tokio::time::timeout(HANDSHAKE, handshake)
        .await
        .map_err(|_| failed(HandshakeError::Timeout))?
        .map_err(|error| failed(error.into()))?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    // The leaf alone: the peer has shown to hold its key. What else it sends only has to be a certificate, and may be
    // anybody's.
    let leaf = certificates.first();
    let names = leaf.and_then(|leaf| subject_alt_names(leaf).ok());
    Ok(Connection {
        peer: Peer {
            address,
            names: names.unwrap_or_default().into(),
        },
        stream,
    })
}
