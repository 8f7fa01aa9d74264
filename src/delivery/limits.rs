//! What peers may use.

use std::time::Duration;

use crate::grpc::Bytes;

/// What peers may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most open streams.
    pub streams_total: usize,
    /// Most open streams of one address, which may have twice as many connections: the old ones of a peer that comes
    /// again live on for a while.
    pub streams_per_peer: usize,
    /// Most connections.
    pub connections: usize,
    /// Most connections that have not begun to speak.
    pub half_open: usize,
    /// Requests a second of one stream, in the long run; more wait. A peer with several streams has it for each:
    /// what it may have in all is this times `streams_per_peer`.
    pub requests_per_second: u32,
    /// Requests of one stream at once.
    pub request_burst: u32,
    /// Largest request.
    pub max_request_bytes: usize,
    /// How long a request may take from its first byte to its last.
    pub request_within: Duration,
    /// Most bytes that are kept of requests: of those that are not complete, and of the names in them.
    pub bytes: Bytes,
    /// The least time from one burst of full states on a stream to the next, which grows with their size; nothing waits
    /// if it is zero. Deltas never wait.
    pub burst_distance: Duration,
    /// How long a connection may be idle before its peer is pinged.
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take before the connection ends.
    pub keepalive_timeout: Duration,
    /// How old a connection may become before its sink is asked to open another; for ever if `None`.
    pub max_connection_age: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // istio-release puts a Pilot on every cell, each with a stream or two.
            streams_total: 4096,
            streams_per_peer: 64,
            connections: 4096,
            half_open: 1024,
            // An ACK for each of 20 collections, ten times a second.
            requests_per_second: 200,
            request_burst: 400,
            // The names and versions of 300,000 resources.
            max_request_bytes: 32 << 20,
            // Half a megabyte a second for the largest.
            request_within: Duration::from_mins(1),
            bytes: Bytes::default(),
            burst_distance: Duration::ZERO,
            // Finds a dead peer in less than a minute, and keeps middleboxes from forgetting the connection.
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            max_connection_age: None,
        }
    }
}
