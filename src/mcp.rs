//! The Mesh Configuration Protocol: serves named, versioned collections to sinks such as Pilot.
//!
//! `connection` is how its requests are understood; what it shares with other protocols is in [`delivery`].
//!
//! [`delivery`]: crate::delivery

mod collections;
mod connection;
mod server;
mod service;
mod sizes;

use std::time::Duration;

pub use self::server::Server;
pub use crate::delivery::{CollectionStatus, Limits, NackStatus, PendingStatus, SinkStatus, Sinks};
use crate::tls;
#[cfg(feature = "sim")]
use crate::{
    delivery::Dialogue,
    proto::istio::mcp::v1alpha1::{RequestResources, Resources},
};

/// How far bursts on a stream are from each other, if nothing else is set. A Pilot pushes 100 ms after the last change, and
/// each push is a full one: up to 1.2 it takes a second of CPU at 500 routes and ten at 2,000.
pub const BURST_DISTANCE: Duration = Duration::from_millis(500);

/// How to serve, and whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the server presents.
    pub identity: tls::Identity,
    /// Who may connect.
    pub clients: tls::Clients,
    /// How often these files are looked at.
    pub certificates_every: Duration,
    /// What a peer may use.
    pub limits: Limits,
}

/// The server's end of a stream, without transport or clock.
#[cfg(feature = "sim")]
pub fn dialogue() -> Dialogue<RequestResources, Resources> {
    Dialogue::new::<connection::Mcp>(BURST_DISTANCE)
}
