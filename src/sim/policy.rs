//! The policy server, simulated: its internal API on loopback, over mutual TLS, faults included.

mod server;

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::https::{self, Https, lock};
use crate::{
    outbound,
    tls::{self, Identity},
};

/// What is answered instead of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An HTTP status, with the error that the policy server writes.
    Status(u16),
    /// 200 with something that is no JSON.
    Garbage,
    /// 200 with this text.
    Says(&'static str),
    /// A list that lacks a policy which the total counts.
    Short,
    /// A good answer that ends half-way, and with it the connection.
    Truncated,
    /// The connection ends before an answer.
    Reset,
    /// An answer without end.
    Endless,
    /// No answer at all.
    Hang,
}

/// Why the simulator could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its certificates cannot be used.
    #[error("reading the simulated policy server's certificates")]
    Tls(#[from] tls::Error),
    /// The address cannot be bound.
    #[error("binding the simulated policy server to {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A running simulator. Clones are the same one; it ends with the runtime, or when told to.
#[derive(Debug, Clone)]
pub struct PolicyServer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Where there are sockets.
    https: Option<Https>,
    state: Mutex<State>,
    /// How many requests there were.
    requested: watch::Sender<u64>,
    /// How many of them may be answered.
    released: watch::Sender<u64>,
}

/// A policy as the policy server stores it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Allowed {
    source: String,
    destination: String,
    protocol: &'static str,
    /// The first and the last.
    ports: (u16, u16),
}

#[derive(Debug, Default)]
struct State {
    policies: BTreeSet<Allowed>,
    /// Elements of the list that are no policies.
    raw: Vec<serde_json::Value>,
    fault: Option<Fault>,
}

impl PolicyServer {
    /// Listens on `address` as `identity`, and demands client certificates of `client_ca`.
    ///
    /// # Errors
    /// A certificate cannot be used, or the address is taken.
    pub async fn start(
        address: SocketAddr,
        identity: &Identity,
        client_ca: &Path,
    ) -> Result<Self, Error> {
        let (https, listener) = Https::bind(address, tls::mutual_server(identity, client_ca)?)
            .await
            .map_err(|source| Error::Bind { address, source })?;
        let server = Self(Arc::new(Shared {
            https: Some(https),
            state: Mutex::default(),
            requested: watch::Sender::new(0),
            released: watch::Sender::new(u64::MAX),
        }));
        let answering = server.clone();
        let router = |shutdown| server::router(answering, shutdown);
        server.https().serve(listener, router);
        Ok(server)
    }

    /// One that has no socket and is asked by [`PolicyServer::answer`].
    pub fn within() -> Self {
        Self(Arc::new(Shared {
            https: None,
            state: Mutex::default(),
            requested: watch::Sender::new(0),
            released: watch::Sender::new(u64::MAX),
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

    /// The same on a free port of the loopback interface.
    ///
    /// # Errors
    /// A certificate cannot be used.
    pub async fn start_on_loopback(identity: &Identity, client_ca: &Path) -> Result<Self, Error> {
        Self::start((Ipv4Addr::LOCALHOST, 0).into(), identity, client_ca).await
    }

    /// Where it is reached.
    pub fn url(&self) -> Url {
        self.https().url()
    }

    /// Stops listening and closes all connections.
    pub async fn stop(&self) {
        self.https().stop().await;
    }

    /// Listens again, on the same address, with the same policies.
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

/// What the policies are.
impl PolicyServer {
    /// An app may connect to a port of another by TCP.
    pub fn allow(&self, source: &str, destination: &str, port: u16) {
        self.allow_ports(source, destination, "tcp", (port, port));
    }

    /// An app may connect to ports of another, from the first to the last, by `tcp` or `udp`.
    pub fn allow_ports(
        &self,
        source: &str,
        destination: &str,
        protocol: &'static str,
        ports: (u16, u16),
    ) {
        lock(&self.0.state).policies.insert(Allowed {
            source: source.to_owned(),
            destination: destination.to_owned(),
            protocol,
            ports,
        });
    }

    /// An app may no longer connect to another, on any port.
    pub fn forbid(&self, source: &str, destination: &str) {
        lock(&self.0.state)
            .policies
            .retain(|policy| (&*policy.source, &*policy.destination) != (source, destination));
    }

    /// All policies are gone.
    pub fn clear(&self) {
        let mut state = lock(&self.0.state);
        state.policies.clear();
        state.raw.clear();
    }

    /// The list has one more element, whatever it is.
    pub fn add_raw(&self, element: serde_json::Value) {
        lock(&self.0.state).raw.push(element);
    }
}

/// What goes wrong, and what can be waited for.
impl PolicyServer {
    /// What is answered from now on: the truth, if there is no fault.
    pub fn fail(&self, fault: Option<Fault>) {
        lock(&self.0.state).fault = fault;
    }

    /// The next answers are prepared, but not sent until [`PolicyServer::answer_one`] or [`PolicyServer::release`].
    pub fn hold(&self) {
        let _no_request_comes_now = lock(&self.0.state);
        let requests = self.requests();
        self.0
            .released
            .send_modify(|released| *released = requests.min(*released));
    }

    /// One more answer is sent.
    pub fn answer_one(&self) {
        self.0.released.send_modify(|released| *released += 1);
    }

    /// Answers are sent at once again.
    pub fn release(&self) {
        self.0.released.send_replace(u64::MAX);
    }

    /// Resolves once a request waits for its answer.
    pub async fn holds_one(&self) {
        let released = *self.0.released.borrow();
        self.requested(released.saturating_add(1)).await;
    }

    /// How many requests there were, held ones among them.
    pub fn requests(&self) -> u64 {
        *self.0.requested.borrow()
    }

    /// Resolves once there were so many requests.
    pub async fn requested(&self, count: u64) {
        self.0
            .requested
            .subscribe()
            .wait_for(|requests| *requests >= count)
            .await
            .expect("self holds the sender");
    }
}
