//! The table and what is made of it, without the clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::Instant,
};

use tracing::{info, warn};

use super::{Input, Metrics, Settings};
use crate::{
    istio::{
        self, GATEWAY, GATEWAYS, Kind, Served,
        validate::{Invalid, Rejected},
    },
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
        let Served { gateway, left_out } = istio::gateway(&settings.certificates)?;
        let mut rejected = Arc::default();
        for (host, invalid) in left_out {
            reject(&mut rejected, (GATEWAYS, host), Some(invalid));
        }
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
            rejected,
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
        if !self.missing.contains(&Input::Instances) && self.table.is_answered() {
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

    /// Whether this input is still to come.
    pub fn is_missing(&self, input: Input) -> bool {
        self.missing.contains(&input)
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
        self.metrics.generated(started.elapsed());
        self.metrics.rejected(self.rejected.len());
        changed.then(|| self.collections.clone())
    }

    fn regenerate(&mut self, name: &Hostname, touched: Touched, edits: &mut BTreeMap<Kind, Edits>) {
        let Some(host) = self.table.host(name) else {
            return self.withdraw(name, edits);
        };
        let internal = host.is_internal();
        for kind in Kind::ALL
            .into_iter()
            .filter(|kind| kind.depends_on(touched, &host))
        {
            let (encoded, reason) = match kind.generate(&host) {
                Some(Ok(encoded)) => (Some(encoded), kind.remark(&host)),
                Some(Err(invalid)) => (None, Some(invalid)),
                None => (None, kind.remark(&host)),
            };
            self.metrics.encoded(encoded.is_some());
            let edits = edits.entry(kind).or_default();
            edits.insert(kind.name(name, internal).into(), encoded);
            if touched == Touched::Routing {
                // Its domain may have been of the other sort before.
                edits.insert(kind.name(name, !internal).into(), None);
            }
            reject(
                &mut self.rejected,
                (kind.collection(), name.to_string()),
                reason,
            );
        }
    }

    /// No route has the hostname any more.
    fn withdraw(&mut self, name: &Hostname, edits: &mut BTreeMap<Kind, Edits>) {
        for kind in Kind::ALL {
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
