//! Cloud Controller and UAA, simulated: one HTTPS server that answers as they do, faults included.

mod faults;
mod lies;
mod list;
mod log;
mod objects;
mod server;
mod state;
mod table;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio_util::sync::CancellationToken;
use url::Url;

pub use self::{
    faults::Fault,
    lies::Lie,
    log::{Endpoint, Request},
    objects::{Destination, DomainKind, DomainSpec, Operation, RouteSpec},
    state::State,
};
use self::{faults::Script, log::Log};
use crate::{
    outbound,
    sim::{
        https::{self, Https, lock},
        pki::{self, Pki},
    },
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
    /// Where there are sockets.
    https: Option<Https>,
    /// Its name and port, as links have them.
    authority: String,
    state: Mutex<State>,
    script: Mutex<Script>,
    log: Log,
}

impl Capi {
    /// Starts on `address`, with a certificate of `pki`.
    ///
    /// # Errors
    /// There is no certificate, or the address is taken.
    pub async fn start(pki: &Pki, address: SocketAddr) -> Result<Self, Error> {
        let identity = pki.issue("capi", &["127.0.0.1", "localhost"])?;
        let (https, listener) = Https::bind(address, tls::server(&identity)?)
            .await
            .map_err(|source| Error::Bind { address, source })?;
        let capi = Self(Arc::new(Shared {
            authority: https.address().to_string(),
            https: Some(https),
            state: Mutex::default(),
            script: Mutex::default(),
            log: Log::default(),
        }));
        let answering = capi.clone();
        let router = |shutdown| server::router(answering, shutdown);
        capi.https().serve(listener, router);
        Ok(capi)
    }

    /// One that has no socket and is asked by [`Capi::answer`]; `authority` is what its links name.
    pub fn within(authority: &str) -> Self {
        Self(Arc::new(Shared {
            https: None,
            authority: authority.to_owned(),
            state: Mutex::default(),
            script: Mutex::default(),
            log: Log::default(),
        }))
    }

    /// What it answers to a request that no socket carries.
    pub async fn answer(&self, request: outbound::Request) -> outbound::Response {
        let router = server::router(self.clone(), CancellationToken::new());
        https::ask(router, request).await
    }

    fn https(&self) -> &Https {
        self.0.https.as_ref().expect("it was started")
    }

    /// Where it is.
    pub fn url(&self) -> Url {
        self.https().url()
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
        self.https().stop().await;
    }

    /// Listens again, on the same address, with the same state.
    ///
    /// # Errors
    /// The address was taken meanwhile.
    pub async fn resume(&self) -> Result<(), Error> {
        let router = |shutdown| server::router(self.clone(), shutdown);
        let address = self.https().address();
        self.https()
            .resume(router)
            .await
            .map_err(|source| Error::Bind { address, source })
    }
}
