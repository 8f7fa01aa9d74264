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
use super::{OTHER, sinks::Sinks};
use crate::{
    metrics::{SECONDS, add, add_in},
    snapshot::Kind,
};

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

impl ResponseLabels {
    fn new(collection: &'static str, incremental: bool) -> Self {
        let incremental = if incremental { "true" } else { "false" };
        Self {
            collection,
            incremental,
        }
    }
}

/// gRPC's codes, by their numbers.
const CODES: std::ops::RangeInclusive<i32> = 0..=16;

/// gRPC's name of a code. There are seventeen, so it may be a label; a number beyond them is `Unknown`.
fn code(code: Code) -> String {
    format!("{code:?}")
}

/// How the metrics of a protocol are called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Naming {
    /// What the names of those begin with that dashboards for Istio's own sources know.
    pub(crate) istio: &'static str,
    /// What the others begin with.
    pub(crate) own: &'static str,
    /// The number of open streams. Istio's own name for it ends like a counter's.
    pub(crate) clients: &'static str,
    /// The labels of the collections that are known in advance, beside those of ours.
    pub(crate) others: &'static [&'static str],
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
    cause_to_ack: Histogram,
}

impl Metrics {
    /// Registers the counters, and gauges that are read from `sinks` at each scrape.
    pub(super) fn new(registry: &mut Registry, naming: Naming, sinks: Sinks) -> Self {
        let istio = registry.sub_registry_with_prefix(naming.istio);
        let acks = add(istio, "request_acks", "Responses acknowledged");
        let nacks = add(istio, "request_nacks", "Responses rejected");
        let receive_failures = add(istio, "recv_failures", "Streams that ended while receiving");
        let send_failures = add(
            istio,
            "send_failures",
            "Streams that ended in the middle of a response",
        );
        let own = registry.sub_registry_with_prefix(naming.own);
        let metrics = Self {
            acks,
            nacks,
            receive_failures,
            send_failures,
            responses: add(own, "responses", "Responses sent"),
            response_bytes: add_in(
                own,
                Unit::Bytes,
                "response",
                "Size of the responses sent",
                Family::default(),
            ),
            stale: add(
                own,
                "stale_requests",
                "Answers to responses that were not pending",
            ),
            throttled: add(
                own,
                "throttled_requests",
                "Requests that had to wait, since their stream sends too many",
            ),
            unknown: add(
                own,
                "unknown_collections",
                "Subscriptions to collections that nobody publishes",
            ),
            refused: add(
                own,
                "refused_streams",
                "Streams refused or ended by the server",
            ),
            cut: add(
                own,
                "cut_connections",
                "Connections cut because the peer did not read the end of its stream",
            ),
            push_latency: add_in(
                own,
                Unit::Seconds,
                "push_latency",
                "From publishing a state to its ACK",
                Histogram::new(SECONDS),
            ),
            cause_to_ack: add_in(
                own,
                Unit::Seconds,
                "cause_to_ack",
                "From what a source said to the ACK of the first response that has it",
                Histogram::new(SECONDS),
            ),
        };
        metrics.begin(naming.others);
        registry.register_collector(Box::new(Streams { sinks, naming }));
        metrics
    }

    /// What can be counted is there before it happens: else the first NACK would be no increase.
    fn begin(&self, others: &'static [&'static str]) {
        let ours = Kind::ALL.map(Kind::collection).into_iter();
        for collection in ours.chain(others.iter().copied()).chain([OTHER]) {
            let label = CollectionLabel { collection };
            drop(self.acks.get_or_create(&label));
            drop(self.response_bytes.get_or_create(&label));
            drop(self.unknown.get_or_create(&label));
            for code in CODES.map(Code::from).map(code) {
                drop(self.nacks.get_or_create(&NackLabels { collection, code }));
            }
            for incremental in [true, false] {
                let labels = ResponseLabels::new(collection, incremental);
                drop(self.responses.get_or_create(&labels));
            }
        }
        for code in CODES.map(Code::from).map(code) {
            let label = CodeLabel { code };
            drop(self.receive_failures.get_or_create(&label));
            drop(self.refused.get_or_create(&label));
        }
        let code = code(Code::Cancelled);
        drop(self.send_failures.get_or_create(&CodeLabel { code }));
    }

    pub(super) fn acked(
        &self,
        collection: &'static str,
        latency: Duration,
        since_cause: Option<Duration>,
    ) {
        self.acks
            .get_or_create(&CollectionLabel { collection })
            .inc();
        self.push_latency.observe(latency.as_secs_f64());
        if let Some(latency) = since_cause {
            self.cause_to_ack.observe(latency.as_secs_f64());
        }
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
        let labels = ResponseLabels::new(collection, incremental);
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
