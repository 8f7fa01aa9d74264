//! Requests to an ingress, as its clients send them: any protocol, any host, with TLS or without.

mod ask;
mod connection;
mod websocket;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use copilot::tls;
use http::{
    HeaderMap, StatusCode, Uri,
    uri::{Authority, Scheme},
};
use http_body_util::{BodyExt as _, Limited};
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

pub use self::ask::{Ask, Over, Sni};
use self::connection::{Connection, Sender};
use super::instances::{Answer, GRPC_METHOD};

/// How long a request may take, its connection included: a machine that is busy with something else is no failure.
const PATIENCE: Duration = Duration::from_secs(30);
/// An answer is this long at most.
const MAX_ANSWER: usize = 1 << 20;

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status; of a call 200, whatever it says of itself.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What an instance says of itself, if one has answered.
    pub answer: Option<Answer>,
    /// The server's own certificate, where there was TLS.
    pub certificate: Option<Bytes>,
    /// How long it took, with the connection if it was new.
    pub took: Duration,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("connecting")]
    Connect(#[source] std::io::Error),
    /// No TLS.
    #[error("shaking hands")]
    Handshake(#[source] std::io::Error),
    /// The client's own certificates cannot be used.
    #[error("preparing TLS")]
    Tls(#[from] tls::Error),
    /// The connection ended before the answer did.
    #[error("the connection broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A call was answered with an error.
    #[error("the call was answered with {:?}", .0.code())]
    Call(#[source] Box<tonic::Status>),
    /// What was said came back as something else.
    #[error("the echo is {0:?}")]
    Echo(String),
    /// No answer in time.
    #[error("no answer within {PATIENCE:?}")]
    Timeout,
    /// There is no such request.
    #[error("a request that cannot be sent")]
    Unsendable(#[source] http::Error),
}

impl Failure {
    /// From a small closed set, to count by.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Handshake(_) | Self::Tls(_) => "tls",
            Self::Broken(_) => "broken",
            Self::Call(_) => "call",
            Self::Echo(_) => "echo",
            Self::Timeout => "timeout",
            Self::Unsendable(_) => "unsendable",
        }
    }
}

fn unsendable(error: impl Into<http::Error>) -> Failure {
    Failure::Unsendable(error.into())
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::Broken(error.into())
}

/// Whether it speaks HTTP/2, and what TLS was for.
type Key = (bool, Option<String>, Sni);

/// A client of one ingress.
#[derive(Debug)]
pub struct Client {
    ingress: SocketAddr,
    /// Where its connections come from, if that matters.
    from: Option<Ipv4Addr>,
    /// CA certificates; without them it speaks no TLS.
    roots: Option<PathBuf>,
    keep: usize,
    kept: Mutex<Vec<(Key, Connection)>>,
}

impl Client {
    /// Sends each request over a new connection without TLS.
    pub fn new(ingress: SocketAddr) -> Self {
        Self {
            ingress,
            from: None,
            roots: None,
            keep: 0,
            kept: Mutex::default(),
        }
    }

    /// The same with TLS, trusting the CAs in this file.
    pub fn with_roots(mut self, roots: impl Into<PathBuf>) -> Self {
        self.roots = Some(roots.into());
        self
    }

    /// The same with connections from this address.
    pub fn coming_from(mut self, address: Ipv4Addr) -> Self {
        self.from = Some(address);
        self
    }

    /// The same keeping so many connections for later requests.
    pub fn keeping(mut self, connections: usize) -> Self {
        self.keep = connections;
        self
    }

    /// Sends a request and reads all of the answer.
    pub async fn ask(&self, ask: &Ask) -> Result<Reply, Failure> {
        let begun = Instant::now();
        let asked = timeout(PATIENCE, Box::pin(self.converse(ask))).await;
        let mut reply = asked.map_err(|_| Failure::Timeout)??;
        reply.took = begun.elapsed();
        Ok(reply)
    }

    async fn converse(&self, ask: &Ask) -> Result<Reply, Failure> {
        match ask.over {
            Over::WebSocket => websocket::converse(self.connect(ask).await?, ask).await,
            Over::Grpc => self.call(ask).await,
            Over::Http10 | Over::Http11 | Over::Http2 => self.exchange(ask).await,
        }
    }

    async fn exchange(&self, ask: &Ask) -> Result<Reply, Failure> {
        let mut request = ask.request(self.scheme())?;
        let (mut connection, response) = loop {
            let (mut connection, new) = match self.take(ask) {
                Some(kept) => (kept, false),
                None => (self.connect(ask).await?, true),
            };
            match connection.sender.send(request).await {
                Ok(response) => break (connection, response),
                // A kept connection that was closed meanwhile: nothing was sent over it.
                Err((_, Some(unsent))) if !new => request = unsent,
                Err((error, _)) => return Err(broken(error)),
            }
        };
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(Failure::Broken)?.to_bytes();
        let certificate = connection.certificate.clone();
        if ask.over != Over::Http10 && connection.sender.ready().await.is_ok() {
            self.give_back(ask, connection);
        }
        Ok(Reply::new(parts.status, parts.headers, body, certificate))
    }

    async fn call(&self, ask: &Ask) -> Result<Reply, Failure> {
        let connection = match self.take(ask) {
            Some(kept) => kept,
            None => self.connect(ask).await?,
        };
        let Sender::Http2(sender) = &connection.sender else {
            unreachable!("calls go over HTTP/2")
        };
        let sender = sender.clone();
        let service = tower::service_fn(move |request| sender.clone().send_request(request));
        let authority = ask.host.parse::<Authority>().map_err(unsendable)?;
        let origin = Uri::builder().scheme(self.scheme()).authority(authority);
        let origin = origin.path_and_query("").build().map_err(unsendable)?;
        let mut request = tonic::Request::new(ask.body.clone());
        *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(ask.more_headers()?);
        let method = GRPC_METHOD.parse().expect("a path");
        let mut grpc = Grpc::with_origin(service, origin);
        let codec = ProstCodec::<String, String>::default();
        grpc.ready().await.map_err(broken)?;
        let response = grpc.unary(request, method, codec).await;
        let (headers, body, _) = response
            .map_err(|status| Failure::Call(status.into()))?
            .into_parts();
        let certificate = connection.certificate.clone();
        self.give_back(ask, connection);
        let headers = headers.into_headers();
        Ok(Reply::new(
            StatusCode::OK,
            headers,
            body.into(),
            certificate,
        ))
    }

    async fn connect(&self, ask: &Ask) -> Result<Connection, Failure> {
        let tls = match &self.roots {
            Some(roots) => Some((tls::client(roots, None)?, ask.host_name())),
            None => None,
        };
        connection::open((self.from, self.ingress), tls, ask).await
    }

    fn scheme(&self) -> Scheme {
        match self.roots {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        }
    }

    /// Which connections will do: without TLS, those for one host are as good as those for another.
    fn key(&self, ask: &Ask) -> Key {
        let http2 = matches!(ask.over, Over::Http2 | Over::Grpc);
        let host = self.roots.as_ref().map(|_| ask.host_name().to_owned());
        (http2, host, ask.sni.clone())
    }

    fn take(&self, ask: &Ask) -> Option<Connection> {
        let key = self.key(ask);
        let mut kept = self.kept();
        let at = kept.iter().position(|(held, _)| *held == key)?;
        match kept[at].1.share() {
            Some(shared) => Some(shared),
            None => Some(kept.swap_remove(at).1),
        }
    }

    fn give_back(&self, ask: &Ask, connection: Connection) {
        let key = self.key(ask);
        let mut kept = self.kept();
        let shared = connection.share().is_some() && kept.iter().any(|(held, _)| *held == key);
        if kept.len() < self.keep && !shared {
            kept.push((key, connection));
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Key, Connection)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reply {
    fn new(
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
        certificate: Option<Bytes>,
    ) -> Self {
        Self {
            status,
            headers,
            answer: serde_json::from_slice(&body).ok(),
            body,
            certificate,
            took: Duration::ZERO,
        }
    }
}
