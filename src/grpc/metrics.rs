//! What the listeners count.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    listener: &'static str,
    reason: &'static str,
}

/// Counters of all listeners of the process. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    handshake_failures: Family<HandshakeLabels, Counter>,
}

impl Metrics {
    /// Registers the counters: once, whatever listeners there will be.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            handshake_failures: Family::default(),
        };
        registry.sub_registry_with_prefix("copilot_grpc").register(
            "handshake_failures",
            "Connections that ended with their TLS handshake",
            metrics.handshake_failures.clone(),
        );
        metrics
    }

    pub(super) fn handshake_failed(&self, listener: &'static str, reason: &'static str) {
        self.handshake_failures
            .get_or_create(&HandshakeLabels { listener, reason })
            .inc();
    }
}
