//! What the server counts.

mod streams;

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use tonic::Code;

use self::streams::Streams;
use super::sinks::Sinks;
use crate::metrics::SECONDS;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CollectionLabel {
    collection: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NackLabels {
    collection: &'static str,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponseLabels {
    collection: &'static str,
    incremental: &'static str,
}

/// gRPC's name of a code. There are seventeen, so it may be a label; a number beyond them is `Unknown`.
fn code(code: Code) -> String {
    format!("{code:?}")
}

/// What the names of the metrics begin with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefixes {
    /// Of those that dashboards for Istio's own sources know.
    pub(crate) istio: &'static str,
    /// Of the others.
    pub(crate) own: &'static str,
}

/// Counters of all streams.
#[derive(Debug)]
pub(super) struct Metrics {
    acks: Family<CollectionLabel, Counter>,
    nacks: Family<NackLabels, Counter>,
    receive_failures: Family<CodeLabel, Counter>,
    send_failures: Family<CodeLabel, Counter>,
    responses: Family<ResponseLabels, Counter>,
    response_bytes: Family<CollectionLabel, Counter>,
    stale: Counter,
    throttled: Counter,
    unknown: Family<CollectionLabel, Counter>,
    refused: Family<CodeLabel, Counter>,
    cut: Counter,
    push_latency: Histogram,
}

impl Metrics {
    /// Registers the counters, and gauges that are read from `sinks` at each scrape.
    pub(super) fn new(registry: &mut Registry, prefixes: Prefixes, sinks: Sinks) -> Self {
        let metrics = Self {
            acks: Family::default(),
            nacks: Family::default(),
            receive_failures: Family::default(),
            send_failures: Family::default(),
            responses: Family::default(),
            response_bytes: Family::default(),
            stale: Counter::default(),
            throttled: Counter::default(),
            unknown: Family::default(),
            refused: Family::default(),
            cut: Counter::default(),
            push_latency: Histogram::new(SECONDS),
        };
        metrics.register_as_istio(registry.sub_registry_with_prefix(prefixes.istio));
        metrics.register_as_ours(registry.sub_registry_with_prefix(prefixes.own));
        registry.register_collector(Box::new(Streams { sinks, prefixes }));
        metrics
    }

    fn register_as_istio(&self, registry: &mut Registry) {
        registry.register("request_acks", "Responses acknowledged", self.acks.clone());
        registry.register("request_nacks", "Responses rejected", self.nacks.clone());
        registry.register(
            "recv_failures",
            "Streams that ended while receiving",
            self.receive_failures.clone(),
        );
        registry.register(
            "send_failures",
            "Streams that ended in the middle of a response",
            self.send_failures.clone(),
        );
    }

    fn register_as_ours(&self, registry: &mut Registry) {
        registry.register("responses", "Responses sent", self.responses.clone());
        registry.register_with_unit(
            "response",
            "Size of the responses sent",
            Unit::Bytes,
            self.response_bytes.clone(),
        );
        registry.register(
            "stale_requests",
            "Answers to responses that were not pending",
            self.stale.clone(),
        );
        registry.register(
            "throttled_requests",
            "Requests that had to wait, since their stream sends too many",
            self.throttled.clone(),
        );
        registry.register(
            "unknown_collections",
            "Subscriptions to collections that nobody publishes",
            self.unknown.clone(),
        );
        registry.register(
            "refused_streams",
            "Streams refused or ended by the server",
            self.refused.clone(),
        );
        registry.register(
            "cut_connections",
            "Connections cut because the peer did not read the end of its stream",
            self.cut.clone(),
        );
        registry.register_with_unit(
            "push_latency",
            "From publishing a state to its ACK",
            Unit::Seconds,
            self.push_latency.clone(),
        );
    }

    pub(super) fn acked(&self, collection: &'static str, latency: Duration) {
        self.acks
            .get_or_create(&CollectionLabel { collection })
            .inc();
        self.push_latency.observe(latency.as_secs_f64());
    }

    pub(super) fn nacked(&self, collection: &'static str, status: i32) {
        let code = code(Code::from(status));
        self.nacks
            .get_or_create(&NackLabels { collection, code })
            .inc();
    }

    pub(super) fn stale(&self) {
        self.stale.inc();
    }

    /// A request came too early, and had to wait.
    pub(super) fn throttled(&self) {
        self.throttled.inc();
    }

    pub(super) fn unknown(&self, collection: &'static str) {
        self.unknown
            .get_or_create(&CollectionLabel { collection })
            .inc();
    }

    pub(super) fn sent(&self, collection: &'static str, incremental: bool, bytes: u32) {
        let labels = ResponseLabels {
            collection,
            incremental: if incremental { "true" } else { "false" },
        };
        self.responses.get_or_create(&labels).inc();
        self.response_bytes
            .get_or_create(&CollectionLabel { collection })
            .inc_by(bytes.into());
    }

    pub(super) fn refused(&self, status: &tonic::Status) {
        let code = code(status.code());
        self.refused.get_or_create(&CodeLabel { code }).inc();
    }

    pub(super) fn cut(&self) {
        self.cut.inc();
    }

    pub(super) fn receive_failed(&self, status: &tonic::Status) {
        let code = code(status.code());
        self.receive_failures
            .get_or_create(&CodeLabel { code })
            .inc();
    }

    pub(super) fn send_failed(&self) {
        let code = code(Code::Cancelled);
        self.send_failures.get_or_create(&CodeLabel { code }).inc();
    }
}
