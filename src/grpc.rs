//! What every gRPC listener has: mutual TLS with certificates that may change, health, reflection, deadlines, and an
//! end.
//!
//! A [`Listener`] is bound with [`Settings`] and serves [`Services`]. It knows none of them.

mod admission;
mod certificates;
mod channel;
mod connection;
mod deadline;
mod handshakes;
mod health;
mod listener;
mod metrics;
mod services;

use std::time::Duration;

pub use self::{
    admission::{Allowance, Bytes, Exhausted, Share},
    channel::{connect, connect_in_the_clear},
    connection::Caller,
    listener::{Entrance, Listener},
    metrics::{FailingPeer, Metrics},
    services::Services,
};
use crate::{feed::Feeds, tls};

/// How long peers have to end what is in flight, once they were told to, before their connections are cut.
pub const GRACE: Duration = Duration::from_secs(3);

/// How often certificates are looked at, where nothing else is asked for: whoever replaces one waits for it.
pub const CERTIFICATES_EVERY: Duration = Duration::from_secs(10);

/// How to listen, and what a peer may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who may connect.
    pub security: Security,
    /// How long a connection may be idle before its peer is pinged.
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take before the connection ends.
    pub keepalive_timeout: Duration,
    /// How old a connection may become before its peer is asked to open another; for ever if `None`.
    pub max_connection_age: Option<Duration>,
    /// Most connections of which nothing is known yet: with more, the oldest make room of the addresses that have the
    /// most.
    pub half_open: usize,
    /// Most connections; more are closed at once.
    pub max_connections: usize,
    /// Most connections of one address, or of one network of IPv6.
    pub connections_per_address: usize,
    /// Most bytes that are kept of requests.
    pub bytes: Bytes,
    /// Most calls in flight on one connection; more wait at the client.
    pub calls_per_connection: usize,
    /// How long a call may take until its response begins, its request included; what a stream then says may take
    /// for ever.
    pub answer_within: Duration,
    /// Bytes of one call's requests in flight.
    pub stream_window: u32,
    /// Bytes of requests in flight on one connection.
    pub connection_window: u32,
}

impl Settings {
    /// What suits a listener for a few clients with small requests.
    pub fn new(security: Security) -> Self {
        Self {
            security,
            // Finds a dead peer in less than a minute, and keeps middleboxes from forgetting the connection.
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            max_connection_age: None,
            // As many as can shake hands within a few seconds.
            half_open: 1024,
            // A few processes of Cloud Controller or Envoy on each of a thousand machines.
            max_connections: 4096,
            connections_per_address: 128,
            bytes: Bytes::default(),
            calls_per_connection: 64,
            // Twice as long as a BulkSync may be on its way. Who begins a request and never ends it holds memory.
            answer_within: Duration::from_mins(2),
            // What the transport takes in unasked, times the connections.
            stream_window: 64 << 10,
            connection_window: 128 << 10,
        }
    }
}

/// Who may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Everybody who can reach the address, in the clear.
    Plaintext,
    /// Peers that accept our certificate, and of which we accept theirs.
    Tls {
        /// What the listener presents.
        identity: tls::Identity,
        /// Who has to show a certificate, and of whom; nobody if `None`.
        clients: Option<tls::Clients>,
        /// How often the files are looked at.
        certificates_every: Duration,
    },
}

/// Where a listener says how it fares.
#[derive(Debug)]
pub struct Reports<'a> {
    /// Its name, a metric label.
    pub listener: &'static str,
    /// The name of the feed of its certificates, which it registers if it has any.
    pub certificates: &'static str,
    /// The feeds of the process.
    pub feeds: &'a mut Feeds,
    /// The metrics of all listeners.
    pub metrics: &'a Metrics,
}

/// Why a listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificates cannot be used.
    #[error("loading the certificates")]
    Tls(#[from] tls::Error),
    /// The address is taken, or not ours.
    #[error("cannot be bound")]
    Bind(#[source] std::io::Error),
}
