//! An HTTPS server on loopback that stops and resumes, and the ways in which bodies go wrong: what the simulators that
//! speak JSON have in common.

use std::{
    convert::Infallible,
    io::{self, ErrorKind::BrokenPipe},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::header,
    response::Response,
    serve::Listener,
};
use futures_util::{StreamExt as _, stream};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use url::Url;

use crate::{crowd::Crowd, outbound, tls};

/// How many connections may wait to be served; clients of a simulator are few.
const BACKLOG: usize = 16;
/// Handshakes that run at once.
const HALF_OPEN: usize = 1024;
/// How long requests may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(1);

/// An address, and the server that answers there unless it was stopped.
#[derive(Debug)]
pub(super) struct Https {
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Https {
    /// Binds the address. Nothing is answered before [`Https::serve`].
    pub(super) async fn bind(
        address: SocketAddr,
        mut tls: ServerConfig,
    ) -> io::Result<(Self, TcpListener)> {
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind(address).await?;
        let https = Self {
            address: listener.local_addr()?,
            tls: Arc::new(tls),
            running: Mutex::new(None),
        };
        Ok((https, listener))
    }

    /// Where it is bound.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is reached.
    pub(super) fn url(&self) -> Url {
        let url = format!("https://{}/", self.address);
        url.parse().expect("an address makes a URL")
    }

    /// Serves what `router` makes of the token that ends the server.
    pub(super) fn serve(
        &self,
        listener: TcpListener,
        router: impl FnOnce(CancellationToken) -> Router,
    ) {
        let shutdown = CancellationToken::new();
        let router = router(shutdown.clone());
        let (tls, address) = (Arc::clone(&self.tls), self.address);
        let task = tokio::spawn(run(listener, address, tls, router, shutdown.clone()));
        *lock(&self.running) = Some(Running { shutdown, task });
    }

    /// Stops listening and closes all connections.
    pub(super) async fn stop(&self) {
        let running = lock(&self.running).take();
        if let Some(running) = running {
            running.shutdown.cancel();
            // A panic of the server was reported where it happened.
            drop(running.task.await);
        }
    }

    /// Listens again, on the same address.
    pub(super) async fn resume(
        &self,
        router: impl FnOnce(CancellationToken) -> Router,
    ) -> io::Result<()> {
        self.serve(TcpListener::bind(self.address).await?, router);
        Ok(())
    }
}

/// What a router answers to a request that no socket carries.
pub(super) async fn ask(router: Router, request: outbound::Request) -> outbound::Response {
    let mut asked = axum::http::Request::new(Body::from(request.body));
    *asked.method_mut() = request.method;
    *asked.headers_mut() = request.headers;
    let target = request.url.as_str();
    *asked.uri_mut() = target.parse().expect("a URL is a URI");
    let Ok(answer) = router.oneshot(asked).await;
    answer.map(|body| {
        let body = body.into_data_stream();
        body.map(|piece| piece.map_err(io::Error::other)).boxed()
    })
}

/// A panic while the lock was held is a failed test; the others go on.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Accepted {
    connections: mpsc::Receiver<tls::Handshake>,
    address: SocketAddr,
}

impl Listener for Accepted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            match self.connections.recv().await {
                Some(Ok(connection)) => return (connection.stream, self.address),
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn run(
    listener: TcpListener,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    router: Router,
    shutdown: CancellationToken,
) {
    let (sender, connections) = mpsc::channel(BACKLOG);
    let tls = watch::Sender::new(tls).subscribe();
    let accepting = tls::accept(
        listener,
        tls,
        Crowd::new(HALF_OPEN),
        sender,
        shutdown.clone(),
    );
    let listener = Accepted {
        connections,
        address,
    };
    let server =
        axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let grace = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        _ = futures_util::future::join(accepting, server.into_future()) => {}
        () = grace => {}
    }
}

/// Announces the whole body, sends half of it and breaks off.
pub(super) async fn truncated(healthy: Response) -> Response {
    let body = axum::body::to_bytes(healthy.into_body(), usize::MAX)
        .await
        .unwrap_or_default();
    let (half, length) = (body.slice(..body.len() / 2), body.len());
    let broken = async {
        // Lets the server write the first half before it learns that there is no second one.
        tokio::task::yield_now().await;
        Err(io::Error::from(BrokenPipe))
    };
    let parts = stream::iter([Ok(half)]).chain(stream::once(broken));
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length.into());
    response
}

/// Breaks off before anything is sent.
pub(super) fn reset() -> Response {
    let broken: io::Result<Bytes> = Err(BrokenPipe.into());
    Response::new(Body::from_stream(stream::iter([broken])))
}

/// White space for ever: the beginning of well-formed JSON.
pub(super) fn endless() -> Response {
    let chunk = Bytes::from(vec![b' '; 1 << 20]);
    let chunks = stream::repeat(chunk).map(Ok::<_, Infallible>);
    Response::new(Body::from_stream(chunks))
}
