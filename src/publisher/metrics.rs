//! What the publisher measures.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    explain::Cause,
    guard::Verdict,
    istio::{Eras, Kind},
    metrics::{SECONDS, add, add_in},
    model::{Served, Source},
    snapshot::{Collection, Encoded},
    table::{RouteTable, Subject},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CollectionLabel {
    collection: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ItemLabel {
    item: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeldLabels {
    feed: &'static str,
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LossLabels {
    feed: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

/// What the publisher measures.
#[derive(Debug, Clone)]
pub struct Metrics {
    sizes: Family<ItemLabel, Gauge>,
    generation: Histogram,
    encoded: Counter,
    rejected: Gauge,
    lingering: Gauge,
    resources: Family<CollectionLabel, Gauge>,
    bytes: Family<CollectionLabel, Gauge>,
    changes: Family<CollectionLabel, Counter>,
    held: Family<HeldLabels, Gauge>,
    losses: Family<LossLabels, Counter>,
    cause_to_publish: Family<CauseLabel, Histogram>,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let registry = registry.sub_registry_with_prefix("copilot");
        Self {
            sizes: add(registry, "table_items", "What the table holds"),
            generation: add_in(
                registry,
                Unit::Seconds,
                "generation",
                "From changes in the table to a snapshot",
                Histogram::new(SECONDS),
            ),
            encoded: add(registry, "resources_encoded", "Resources that were encoded"),
            rejected: add(
                registry,
                "rejected_resources",
                "Resources that are withheld or incomplete, see /debug/rejected",
            ),
            lingering: add(
                registry,
                "lingering_services",
                "Services that no VirtualService names any more, and that are served a little longer",
            ),
            resources: add(
                registry,
                "collection_resources",
                "Resources of a collection",
            ),
            bytes: add_in(
                registry,
                Unit::Bytes,
                "collection_size",
                "Encoded size of a collection: a full response has it in one message",
                Family::default(),
            ),
            changes: add(registry, "collection_changes", "Versions of a collection"),
            held: add(
                registry,
                "held",
                "What reads lack and is served all the same until later reads agree",
            ),
            losses: add(
                registry,
                "held_losses",
                "Losses that were held, and what became of them",
            ),
            cause_to_publish: add_in(
                registry,
                Unit::Seconds,
                "cause_to_publish",
                "From what a source said to the snapshot that has it, by what it said",
                Family::new_with_constructor(histogram),
            ),
        }
    }

    /// All that can happen is there before it does.
    pub(super) fn begin(&self, table: &RouteTable) {
        self.record_sizes(table);
        for source in Source::ALL {
            self.holds(source, Served::default());
            for outcome in ["held", "confirmed", "refuted"] {
                drop(self.losses(source, outcome));
            }
        }
        for cause in Cause::ALL {
            drop(self.cause_to_publish(cause));
        }
    }

    fn cause_to_publish(&self, cause: Cause) -> impl std::ops::Deref<Target = Histogram> {
        let cause = cause.as_str();
        self.cause_to_publish.get_or_create(&CauseLabel { cause })
    }

    /// What was said has become a snapshot.
    pub(super) fn published(&self, cause: Cause, latency: Duration) {
        self.cause_to_publish(cause).observe(latency.as_secs_f64());
    }

    /// What became of losses of a source.
    pub(super) fn held(&self, source: Source, verdict: &Verdict<Subject>) {
        for (part, outcome) in [
            (&verdict.began, "held"),
            (&verdict.confirmed, "confirmed"),
            (&verdict.refuted, "refuted"),
        ] {
            let counter = self.losses(source, outcome);
            counter.inc_by(u64::from(!part.is_empty()));
        }
    }

    fn losses(&self, source: Source, outcome: &'static str) -> Counter {
        let feed = source.as_str();
        self.losses
            .get_or_create_owned(&LossLabels { feed, outcome })
    }

    /// What is held of a source now.
    pub(super) fn holds(&self, source: Source, amount: Served) {
        for (what, amount) in amount.named() {
            let label = HeldLabels {
                feed: source.as_str(),
                what,
            };
            let amount = i64::try_from(amount).unwrap_or(i64::MAX);
            self.held.get_or_create(&label).set(amount);
        }
    }

    pub(super) fn record_sizes(&self, table: &RouteTable) {
        let sizes = table.sizes();
        for (item, count) in [
            ("routes", sizes.routes),
            ("left_out_routes", sizes.left_out),
            ("hosts", sizes.hosts),
            ("instances", sizes.instances),
            ("displaced_instances", sizes.displaced),
            ("policies", sizes.policies),
        ] {
            self.sizes
                .get_or_create(&ItemLabel { item })
                .set(gauge(count));
        }
    }

    pub(super) fn generated(&self, took: Duration) {
        self.generation.observe(took.as_secs_f64());
    }

    pub(super) fn encoded(&self, resources: &Eras<Option<Encoded>>) {
        let count = resources.iter().flatten().count();
        self.encoded.inc_by(count as u64);
    }

    pub(super) fn rejected(&self, count: usize) {
        self.rejected.set(gauge(count));
    }

    pub(super) fn lingering(&self, count: usize) {
        self.lingering.set(gauge(count));
    }

    pub(super) fn record_collection(&self, kind: Kind, collection: &Collection) {
        let label = CollectionLabel {
            collection: kind.collection(),
        };
        self.resources
            .get_or_create(&label)
            .set(gauge(collection.len()));
        self.bytes
            .get_or_create(&label)
            .set(gauge(collection.encoded_len()));
        self.changes.get_or_create(&label).inc();
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
