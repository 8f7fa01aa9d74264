//! MCP-over-xDS: serves istiod, by Envoy's aggregated discovery service, what [`mcp`] serves Pilot.
//!
//! `types` says which of our collections a type URL means; `state_of_the_world` and `delta` are how the requests of the
//! service's two methods are understood. What they share with other protocols is in [`delivery`].
//!
//! [`mcp`]: crate::mcp
//! [`delivery`]: crate::delivery

mod delta;
mod server;
mod service;
mod state_of_the_world;
mod types;

use std::time::Duration;

pub use self::{server::Server, types::MESH_CONFIG};
pub use crate::delivery::{Limits, Sinks};
use crate::grpc::Security;
#[cfg(feature = "sim")]
use crate::{
    delivery::Dialogue,
    proto::envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    },
};

/// How far bursts on a stream are from each other, if nothing else is set: longer than istiod waits for more before it
/// pushes, and than a push takes it at some thousand routes.
pub const BURST_DISTANCE: Duration = Duration::from_millis(500);

/// How to serve.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who may connect. istiod has no client certificate to show.
    pub security: Security,
    /// What a peer may use.
    pub limits: Limits,
}

impl Settings {
    /// Usual limits.
    pub fn new(security: Security) -> Self {
        let limits = Limits {
            // The names and versions of 150,000 resources, for a sink that takes deltas. istiod's requests are short,
            // and whoever can reach the listener can send one.
            max_request_bytes: 16 << 20,
            burst_distance: BURST_DISTANCE,
            ..Limits::default()
        };
        Self { security, limits }
    }
}

/// The server's end of a stream of full states, without transport or clock.
#[cfg(feature = "sim")]
pub fn dialogue() -> Dialogue<DiscoveryRequest, DiscoveryResponse> {
    Dialogue::new::<state_of_the_world::StateOfTheWorld>(BURST_DISTANCE)
}

/// The same of a stream of deltas.
#[cfg(feature = "sim")]
pub fn delta_dialogue() -> Dialogue<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
    Dialogue::new::<delta::Delta>(BURST_DISTANCE)
}
