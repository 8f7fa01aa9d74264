//! What carries requests: sockets in the daemon, and whatever a test has in their place.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use http::{HeaderMap, Method};
use rustls::ClientConfig;
use url::Url;

/// A request with all of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// What is asked for.
    pub url: Url,
    /// What it says beside that.
    pub headers: HeaderMap,
    /// What is sent along.
    pub body: Bytes,
}

impl Request {
    /// Asks for something.
    pub fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// Sends something along.
    pub fn post(url: Url, body: impl Into<Bytes>) -> Self {
        Self {
            method: Method::POST,
            body: body.into(),
            ..Self::get(url)
        }
    }
}

/// The bytes of an answer as they arrive.
pub type Body = BoxStream<'static, io::Result<Bytes>>;

/// The beginning of an answer, with the rest to come.
pub type Response = http::Response<Body>;

/// To whom connections lead.
#[derive(Debug)]
pub struct Target<'a> {
    /// The name in its certificate.
    pub host: &'a str,
    /// Where it is.
    pub address: SocketAddr,
    /// What it is verified against, and what is presented to it.
    pub tls: &'a Arc<ClientConfig>,
    /// How long a connection may take, with its handshake.
    pub connect_timeout: Duration,
}

/// What carries requests.
pub trait Transport: fmt::Debug + Send + Sync {
    /// The addresses that a name has at present.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// Connections to one of them, none of which is made yet.
    fn pool(&self, target: &Target<'_>) -> io::Result<Arc<dyn Pool>>;
}

/// Connections to one address of a peer. What is dropped while it is awaited is not asked for any more.
pub trait Pool: fmt::Debug + Send + Sync {
    /// Sends a request and waits for the beginning of its answer.
    fn send(&self, request: Request) -> BoxFuture<'static, io::Result<Response>>;
}
