//! Accepts connections and shakes hands with each peer in a task of its own.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{NotAllowed, cause, refuses_certificate, subject_alt_names};
use crate::{
    crowd::{Crowd, Place},
    repeats::Repeats,
};

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
    /// Its place among those of whom nothing is known yet, to be given up once it speaks what its listener serves; none
    /// if it has not come by a socket.
    pub place: Option<Place>,
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
    /// The peer's certificate is good, and its names are none of those that are served.
    #[error(transparent)]
    Name(NotAllowed),
    /// The peer speaks no TLS, or none that we speak.
    #[error("no TLS that both sides speak")]
    Protocol(#[source] rustls::Error),
    /// The peer takes too long.
    #[error("the handshake took longer than {HANDSHAKE:?}")]
    Timeout,
    /// The peer had to make room for others, being of those who have the most unfinished handshakes.
    #[error("too many handshakes are unfinished, most of them from there")]
    Crowded,
    /// The peer has gone.
    #[error("the connection broke")]
    Io(#[source] io::Error),
}

impl HandshakeError {
    /// All that [`Self::kind`] can be.
    pub const KINDS: [&'static str; 6] = [
        "certificate",
        "name",
        "protocol",
        "timeout",
        "crowded",
        "io",
    ];

    /// From a small closed set: a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::Name(_) => "name",
            Self::Protocol(_) => "protocol",
            Self::Timeout => "timeout",
            Self::Crowded => "crowded",
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
        if let Some(refused) = NotAllowed::cause(&source) {
            return Self::Name(refused.clone());
        }
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

/// Accepts connections until `shutdown`, and sends to `accepted` what becomes of each. A handshake has the config that
/// is the newest when it begins.
///
/// A peer that is slow, silent or speaks no TLS holds up nobody else: it is given up after ten seconds, or when the
/// `crowd` of those who are not done has no room for it.
pub async fn accept(
    listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    crowd: Crowd,
    accepted: mpsc::Sender<Handshake>,
    shutdown: CancellationToken,
) {
    let open = |stream, address| {
        let acceptor = TlsAcceptor::from(Arc::clone(&config.borrow()));
        shake_hands(acceptor, stream, address)
    };
    accept_each(listener, open, crowd, accepted, shutdown).await;
}

/// Accepts connections that stay as they are until `shutdown`, and sends them to `accepted`.
pub async fn accept_plaintext(
    listener: TcpListener,
    crowd: Crowd,
    accepted: mpsc::Sender<Handshake<TcpStream>>,
    shutdown: CancellationToken,
) {
    accept_each(listener, without_handshake, crowd, accepted, shutdown).await;
}

async fn accept_each<S, F>(
    listener: TcpListener,
    open: impl Fn(TcpStream, SocketAddr) -> F,
    crowd: Crowd,
    accepted: mpsc::Sender<Handshake<S>>,
    shutdown: CancellationToken,
) where
    S: Send + 'static,
    F: Future<Output = Handshake<S>> + Send + 'static,
{
    let failing = Repeats::warn(ACCEPTING, "a listener");
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        // Whoever has lost its place needs a moment to go.
        let is_full = handshakes.len() > 2 * crowd.room();
        let (stream, address) = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = handshakes.join_next(), if is_full => continue,
            connection = listener.accept(), if !is_full => match connection {
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
        let place = crowd.enter(address.ip());
        let (opening, accepted) = (open(stream, address), accepted.clone());
        handshakes.spawn(async move {
            let outcome = in_place(place, opening, address).await;
            // A closed receiver means that the server is shutting down.
            if accepted.send(outcome).await.is_err() {
                debug!(%address, "connection refused: shutting down");
            }
        });
    }
}

/// What comes of a handshake for as long as it keeps its place.
async fn in_place<S>(
    place: Place,
    opening: impl Future<Output = Handshake<S>>,
    address: SocketAddr,
) -> Handshake<S> {
    let opened = tokio::select! {
        biased;
        () = place.lost() => return Err(FailedHandshake {
            address,
            error: HandshakeError::Crowded,
        }),
        opened = opening => opened?,
    };
    Ok(Connection {
        place: Some(place),
        ..opened
    })
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
        place: None,
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
        place: None,
    })
}
