//! Cloud Controller and UAA, simulated: one HTTPS server that answers as they do, faults included.

mod faults;
mod list;
mod log;
mod objects;
mod server;
mod state;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;

pub use self::{
    faults::Fault,
    log::{Endpoint, Request},
    objects::{Destination, DomainKind, DomainSpec, RouteSpec},
    state::State,
};
use self::{faults::Script, log::Log};
use crate::{
    sim::pki::{self, Pki},
    tls,
};

/// The client that the simulated UAA knows.
pub const CLIENT_ID: &str = "copilot";
/// Its secret.
pub const CLIENT_SECRET: &str = "copilot-secret";

/// Why the simulator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No certificate.
    #[error("preparing the certificate of the simulated cloud controller")]
    Pki(#[from] pki::Error),
    /// The certificate cannot be used.
    #[error("preparing TLS of the simulated cloud controller")]
    Tls(#[from] tls::Error),
    /// The address is taken.
    #[error("binding the simulated cloud controller to {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A simulated Cloud Controller. Clones are the same one; it ends with the runtime, or when told to.
#[derive(Debug, Clone)]
pub struct Capi(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    tls: Arc<rustls::ServerConfig>,
    state: Mutex<State>,
    script: Mutex<Script>,
    log: Log,
    server: Mutex<Option<Server>>,
}

#[derive(Debug)]
struct Server {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Capi {
    /// Starts on `address`, with a certificate of `pki`.
    ///
    /// # Errors
    /// There is no certificate, or the address is taken.
    pub async fn start(pki: &Pki, address: SocketAddr) -> Result<Self, Error> {
        let identity = pki.issue("capi", &["127.0.0.1", "localhost"])?;
        let tls = Arc::new(tls::server(&identity)?);
        let listener = bind(address).await?;
        let address = listener
            .local_addr()
            .map_err(|source| Error::Bind { address, source })?;
        let capi = Self(Arc::new(Shared {
            address,
            tls,
            state: Mutex::new(State::default()),
            script: Mutex::new(Script::default()),
            log: Log::default(),
            server: Mutex::new(None),
        }));
        capi.serve(listener);
        Ok(capi)
    }

    /// Where it is.
    pub fn url(&self) -> Url {
        let url = format!("https://{}/", self.0.address);
        url.parse().expect("an address makes a URL")
    }

    /// What it holds, to look at and to change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Answers the requests to `endpoint` with `fault`: not the next `after` ones, but the `times` that follow.
    pub fn inject(&self, endpoint: Endpoint, after: usize, times: usize, fault: Fault) {
        lock(&self.0.script).inject(endpoint, after, times, fault);
    }

    /// Changes the state just before the request to `endpoint` that comes after the next `after` ones is answered.
    pub fn before(
        &self,
        endpoint: Endpoint,
        after: usize,
        change: impl FnOnce(&mut State) + Send + 'static,
    ) {
        lock(&self.0.script).before(endpoint, after, Box::new(change));
    }

    /// Forgets all faults and changes that are still to come.
    pub fn clear(&self) {
        *lock(&self.0.script) = Script::default();
    }

    /// Resolves once `endpoint` was asked at least `count` times in all, and each of these was being answered.
    pub async fn requested(&self, endpoint: Endpoint, count: usize) {
        self.0.log.reached(endpoint, count).await;
    }

    /// How often `endpoint` was asked.
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.0.log.count(endpoint)
    }

    /// The latest requests to `endpoint`, oldest first.
    pub fn requests(&self, endpoint: Endpoint) -> Vec<Request> {
        self.0.log.requests(endpoint)
    }

    /// Stops listening and closes all connections.
    pub async fn stop(&self) {
        let server = lock(&self.0.server).take();
        if let Some(server) = server {
            server.shutdown.cancel();
            // A panic of the server was reported where it happened.
            drop(server.task.await);
        }
    }

    /// Listens again, on the same address, with the same state.
    ///
    /// # Errors
    /// The address was taken meanwhile.
    pub async fn resume(&self) -> Result<(), Error> {
        self.serve(bind(self.0.address).await?);
        Ok(())
    }

    fn serve(&self, listener: TcpListener) {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(server::run(self.clone(), listener, shutdown.clone()));
        *lock(&self.0.server) = Some(Server { shutdown, task });
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Bind { address, source })
}

/// A panic while the lock was held is a failed test; the others go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
