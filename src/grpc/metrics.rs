//! What the listeners count.

use std::{net::IpAddr, time::SystemTime};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use serde::{Serialize, Serializer};
use tokio::sync::watch;

use crate::{metrics::add, tls::HandshakeError};

/// Peers that operators see; with more, the first of them are not there any more.
const SHOWN: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    listener: &'static str,
    reason: &'static str,
}

/// A peer whose last handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailingPeer {
    /// Where it tries to connect.
    pub listener: &'static str,
    /// Its address.
    pub address: IpAddr,
    /// From a small closed set: a metric label.
    pub reason: &'static str,
    /// The latest error with its sources.
    pub error: String,
    /// When it began to fail.
    #[serde(serialize_with = "timestamp")]
    pub since: SystemTime,
    /// When it failed last.
    #[serde(serialize_with = "timestamp")]
    pub last: SystemTime,
}

fn timestamp<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_seconds(*time))
}

/// What is counted of all listeners of the process, and who fails at them. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    handshake_failures: Family<HandshakeLabels, Counter>,
    failing: watch::Sender<Vec<FailingPeer>>,
}

impl Metrics {
    /// Registers the counters: once, whatever listeners there will be.
    pub fn new(registry: &mut Registry) -> Self {
        Self {
            handshake_failures: add(
                registry.sub_registry_with_prefix("copilot_grpc"),
                "handshake_failures",
                "Connections that ended with their TLS handshake",
            ),
            failing: watch::Sender::default(),
        }
    }

    /// There is a listener: what can fail at it is there before it does.
    pub(super) fn begin(&self, listener: &'static str) {
        for reason in HandshakeError::KINDS {
            let labels = HandshakeLabels { listener, reason };
            drop(self.handshake_failures.get_or_create(&labels));
        }
    }

    /// Who fails at present, the first to begin at the front.
    pub fn failing(&self) -> watch::Receiver<Vec<FailingPeer>> {
        self.failing.subscribe()
    }

    /// A peer fails; `since` is when it began if it did not before.
    pub(super) fn fails(&self, peer: FailingPeer) {
        self.failing.send_modify(|failing| {
            let same = |known: &&mut FailingPeer| {
                (known.listener, known.address) == (peer.listener, peer.address)
            };
            if let Some(known) = failing.iter_mut().find(same) {
                (known.reason, known.error) = (peer.reason, peer.error);
                known.last = peer.last;
                return;
            }
            if failing.len() == SHOWN {
                failing.remove(0);
            }
            failing.push(peer);
        });
    }

    /// A peer fails no longer.
    pub(super) fn succeeds(&self, listener: &'static str, address: IpAddr) {
        self.failing.send_if_modified(|failing| {
            let before = failing.len();
            failing.retain(|known| (known.listener, known.address) != (listener, address));
            failing.len() != before
        });
    }

    pub(super) fn handshake_failed(&self, listener: &'static str, reason: &'static str) {
        self.handshake_failures
            .get_or_create(&HandshakeLabels { listener, reason })
            .inc();
    }
}
