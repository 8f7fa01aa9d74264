//! The listener for Pilots, and what sinks may use.

use std::time::Duration;

use super::{grpc::Server, tls::ca};
use crate::{
    config::reader::{Longest, Section},
    mcp,
    tls::Clients,
};

/// Whoever waits for a route for longer takes it for broken.
const LONGEST_DISTANCE: Longest = Longest {
    duration: Duration::from_secs(30),
    written: "30s",
};

/// What sinks may use, be they Pilots or istiods.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SinkLimits {
    streams: usize,
    streams_per_peer: usize,
    requests_per_second: u32,
    connection_age: Option<Duration>,
}

impl SinkLimits {
    pub(crate) fn read(root: &mut Section<'_>) -> Self {
        let defaults = mcp::Limits::default();
        let connection_age = root.duration("MaxSinkConnectionAge", Duration::ZERO);
        Self {
            streams: root.count("MaxSinkStreams", 1..=1_000_000, defaults.streams_total),
            streams_per_peer: root.count(
                "MaxSinkStreamsPerPeer",
                1..=1_000_000,
                defaults.streams_per_peer,
            ),
            requests_per_second: root.count(
                "MaxSinkRequestsPerSecond",
                1..=100_000,
                defaults.requests_per_second,
            ),
            connection_age: (!connection_age.is_zero()).then_some(connection_age),
        }
    }

    /// Of one listener, whose other limits are `defaults`.
    pub(super) fn of(self, defaults: mcp::Limits) -> mcp::Limits {
        mcp::Limits {
            streams_total: self.streams,
            connections: self.streams,
            streams_per_peer: self.streams_per_peer,
            requests_per_second: self.requests_per_second,
            max_connection_age: self.connection_age,
            ..defaults
        }
    }
}

/// The listener for Pilots.
pub(crate) fn read(
    root: &mut Section<'_>,
    server: &Server,
    limits: SinkLimits,
) -> Option<mcp::Settings> {
    let ca = ca(root, "PilotClientCAPath");
    let burst_distance =
        root.duration_up_to("MCPPushInterval", LONGEST_DISTANCE, mcp::BURST_DISTANCE);
    let names = root.names("AllowedSinkNames");
    Some(mcp::Settings {
        identity: server.identity.clone()?,
        clients: Clients { ca: ca?, names },
        certificates_every: server.every,
        limits: mcp::Limits {
            burst_distance,
            ..limits.of(mcp::Limits::default())
        },
    })
}
