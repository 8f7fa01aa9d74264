//! The table and what is made of it, without the clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::Instant,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tracing::{info, warn};

use super::{Input, Settings};
use crate::{
    istio::{
        self, GATEWAY, GATEWAYS, Kind,
        validate::{Invalid, Rejected},
    },
    metrics,
    model::{CapiProcessGuid, Hostname, Update},
    snapshot::{Collection, Encoded},
    table::{Changes, RouteTable, Touched},
};

type Edits = BTreeMap<Arc<str>, Option<Encoded>>;

/// Takes in updates and makes collections of them.
#[derive(Debug)]
pub struct State {
    table: RouteTable,
    missing: BTreeSet<Input>,
    /// Whether anything was published yet; the first snapshot is due even if it is empty.
    published: bool,
    pending: Changes,
    collections: BTreeMap<&'static str, Arc<Collection>>,
    rejected: Arc<Rejected>,
    metrics: Metrics,
}

impl State {
    /// An empty table, and the gateway.
    ///
    /// # Errors
    /// Istio would discard the gateway.
    pub fn new(settings: &Settings, metrics: Metrics) -> Result<Self, Invalid> {
        let gateway = istio::gateway(&settings.certificates)?;
        let mut collections: BTreeMap<_, _> = Kind::ALL
            .iter()
            .map(|kind| (kind.collection(), Arc::default()))
            .collect();
        let gateways = Collection::default().edited(Edits::from([(GATEWAY.into(), Some(gateway))]));
        collections.insert(GATEWAYS, Arc::new(gateways));
        for (name, collection) in &collections {
            metrics.record_collection(name, collection);
        }
        Ok(Self {
            table: RouteTable::new(settings.vip_range),
            missing: settings.required.clone(),
            published: false,
            pending: Changes::default(),
            collections,
            rejected: Arc::default(),
            metrics,
        })
    }

    /// Takes in an update; cheap, since nothing is generated yet.
    pub fn apply(&mut self, update: Update) {
        let complete = match &update {
            Update::AllRoutes(_) => Some(Input::Routes),
            Update::AllInstances(_) => Some(Input::Instances),
            Update::Routes { .. } | Update::Instances { .. } | Update::Processes { .. } => None,
        };
        self.pending.merge(&self.table.apply(update));
        self.missing.retain(|input| Some(*input) != complete);
        // Known once the instances are, and every process of theirs was described or looked up in vain.
        if !self.missing.contains(&Input::Instances) && self.table.undescribed().is_empty() {
            self.missing.remove(&Input::Processes);
        }
        self.metrics.record_sizes(&self.table);
    }

    /// The processes of running instances that nobody has described yet.
    pub fn undescribed(&self) -> &BTreeSet<CapiProcessGuid> {
        self.table.undescribed()
    }

    /// What is withheld, and why.
    pub fn rejected(&self) -> Arc<Rejected> {
        self.rejected.clone()
    }

    /// Whether there is something to publish, and everything required is there.
    pub fn is_due(&self) -> bool {
        self.missing.is_empty() && (!self.published || !self.pending.is_empty())
    }

    /// Regenerates what changed. `None` where the result is the same as before.
    pub fn publish(&mut self) -> Option<BTreeMap<&'static str, Arc<Collection>>> {
        let started = Instant::now();
        let mut edits: BTreeMap<Kind, Edits> = BTreeMap::new();
        for (host, touched) in mem::take(&mut self.pending).hosts() {
            self.regenerate(host, touched, &mut edits);
        }
        let mut changed = !mem::replace(&mut self.published, true);
        for (kind, edits) in edits {
            changed |= self.edit(kind.collection(), edits);
        }
        self.metrics
            .generation
            .observe(started.elapsed().as_secs_f64());
        self.metrics.rejected.set(gauge(self.rejected.len()));
        changed.then(|| self.collections.clone())
    }

    fn regenerate(&mut self, name: &Hostname, touched: Touched, edits: &mut BTreeMap<Kind, Edits>) {
        let host = self.table.host(name);
        for kind in Kind::ALL {
            let Some(host) = &host else {
                for internal in [false, true] {
                    edits
                        .entry(kind)
                        .or_default()
                        .insert(kind.name(name, internal).into(), None);
                }
                reject(
                    &mut self.rejected,
                    (kind.collection(), name.to_string()),
                    None,
                );
                continue;
            };
            if !kind.depends_on(touched, host) {
                continue;
            }
            let (encoded, reason) = match kind.generate(host) {
                Some(Ok(encoded)) => (Some(encoded), None),
                Some(Err(invalid)) => (None, Some(invalid)),
                None => (None, None),
            };
            self.metrics.encoded.inc_by(u64::from(encoded.is_some()));
            edits
                .entry(kind)
                .or_default()
                .insert(kind.name(name, host.is_internal()).into(), encoded);
            let reason = reason.or_else(|| {
                (kind == Kind::ServiceEntry)
                    .then(|| unreachable(host))
                    .flatten()
            });
            reject(
                &mut self.rejected,
                (kind.collection(), name.to_string()),
                reason,
            );
        }
    }

    fn edit(&mut self, name: &'static str, edits: Edits) -> bool {
        let collection = self
            .collections
            .get_mut(name)
            .expect("every kind has its collection from the start");
        let edited = collection.edited(edits);
        let changed = edited.version() != collection.version();
        if changed {
            self.metrics.record_collection(name, &edited);
            *collection = Arc::new(edited);
        }
        changed
    }
}

fn reject(rejected: &mut Arc<Rejected>, key: (&'static str, String), reason: Option<Invalid>) {
    if rejected.get(&key) == reason.as_ref() {
        return;
    }
    let (collection, host) = (key.0, key.1.clone());
    let rejected = Arc::make_mut(rejected);
    if let Some(reason) = reason {
        warn!(
            collection,
            host,
            rule = reason.rule,
            reason.detail,
            "not served as it is"
        );
        rejected.insert(key, reason);
    } else {
        info!(collection, host, "no longer withheld");
        rejected.remove(&key);
    }
}

/// Some of the hostname's instances run, but no request can reach them.
fn unreachable(host: &crate::table::HostView<'_>) -> Option<Invalid> {
    let count = istio::unreachable(host);
    (count > 0).then(|| Invalid {
        rule: "unreachable",
        detail: format!("{count} instances without an IPv4 address or without a mapping of the destination's port"),
    })
}

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
    resources: Family<CollectionLabel, Gauge>,
    bytes: Family<CollectionLabel, Gauge>,
    changes: Family<CollectionLabel, Counter>,
}

impl Metrics {
    /// An empty table, and the gateway.
    ///
    /// # Errors
    /// Istio would discard the gateway.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            sizes: Family::default(),
            generation: Histogram::new(metrics::SECONDS),
            encoded: Counter::default(),
            rejected: Gauge::default(),
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

    fn record_sizes(&self, table: &RouteTable) {
        let sizes = table.sizes();
        for (item, count) in [
            ("routes", sizes.routes),
            ("hosts", sizes.hosts),
            ("instances", sizes.instances),
        ] {
            self.sizes
                .get_or_create(&ItemLabel { item })
                .set(gauge(count));
        }
    }

    fn record_collection(&self, name: &'static str, collection: &Collection) {
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
