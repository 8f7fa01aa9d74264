//! What the publisher measures.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    istio::Eras,
    metrics::SECONDS,
    snapshot::{Collection, Encoded},
    table::RouteTable,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CollectionLabel {
    collection: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ItemLabel {
    item: &'static str,
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
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            sizes: Family::default(),
            generation: Histogram::new(SECONDS),
            encoded: Counter::default(),
            rejected: Gauge::default(),
            lingering: Gauge::default(),
            resources: Family::default(),
            bytes: Family::default(),
            changes: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("copilot");
        registry.register("table_items", "What the table holds", metrics.sizes.clone());
        registry.register_with_unit(
            "generation",
            "From changes in the table to a snapshot",
            Unit::Seconds,
            metrics.generation.clone(),
        );
        registry.register(
            "resources_encoded",
            "Resources that were encoded",
            metrics.encoded.clone(),
        );
        registry.register(
            "rejected_resources",
            "Resources that are withheld or incomplete, see /debug/rejected",
            metrics.rejected.clone(),
        );
        registry.register(
            "lingering_services",
            "Services that no VirtualService names any more, and that are served a little longer",
            metrics.lingering.clone(),
        );
        registry.register(
            "collection_resources",
            "Resources of a collection",
            metrics.resources.clone(),
        );
        registry.register_with_unit(
            "collection_size",
            "Encoded size of a collection: a full response has it in one message",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        registry.register(
            "collection_changes",
            "Versions of a collection",
            metrics.changes.clone(),
        );
        metrics
    }

    pub(super) fn record_sizes(&self, table: &RouteTable) {
        let sizes = table.sizes();
        for (item, count) in [
            ("routes", sizes.routes),
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

    pub(super) fn record_collection(&self, name: &'static str, collection: &Collection) {
        let label = CollectionLabel { collection: name };
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
