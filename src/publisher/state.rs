//! The table and what is made of it, without the clock.

mod explained;
mod held;
mod leaving;
mod left_out;
mod made;
mod remembered;
mod reviews;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::Arc,
    time::Instant,
};

use self::{held::Start, remembered::Remembered, told::Told};
use super::{
    Input, Metrics, Settings,
    collections::Edits,
    generation::{self, By},
    hold::Holds,
    linger::Linger,
    names::Names,
    withdrawn::Withdrawn,
};
use crate::{
    explain::{Cause, Journal},
    guard::Guard,
    istio::{
        self, DEFAULT_SIDECAR, Era, Eras, Kind, Served,
        validate::{Invalid, Rejected},
    },
    model::{Basis, CapiProcessGuid, Hostname, Instance, InstanceGuid, Report, Update},
    repeats::Repeats,
    snapshot::{ByKind, Collection, Encoded, Snapshot, Vips},
    table::{Changes, RouteTable, Subject},
};

/// Hostnames that are generated before their resources move into the collections: what is generated is there twice
/// until then, which for a whole foundation at once would be as much memory again.
const BATCH: usize = 1024;

/// What a service is made of.
const SERVICE_KINDS: [Kind; 2] = [Kind::ServiceEntry, Kind::DestinationRule];

/// What is told of an app on more routes waits for itself alone.
const MANY_ROUTES: usize = 1000;

/// The edits of each collection.
type AllEdits = ByKind<Edits>;

/// Every collection, as it is served.
type Collections = ByKind<Eras<Arc<Collection>>>;

/// Services that nothing names any more.
#[derive(Debug, Clone, Copy)]
struct Leaving<'a> {
    now: Instant,
    /// What says where they led to.
    pending: &'a Changes,
}

/// Takes in updates and makes collections of them.
#[derive(Debug)]
pub struct State {
    table: RouteTable,
    missing: BTreeSet<Input>,
    /// Whether a snapshot is due even if nothing in it is different: the first one, or the first with Sidecars.
    due: bool,
    pending: Changes,
    /// Whether the Sidecars are kept back until policies are known.
    awaits_policies: bool,
    options: istio::Options,
    collections: Collections,
    /// The services of each route that has others than it has undivided.
    divided: HashMap<(Hostname, Arc<str>), Vec<Arc<str>>>,
    /// The services that no VirtualService names any more, by the one that is named after their route.
    linger: Linger,
    /// The routes that VirtualServices send to the services that they had, until those that they have are ready.
    holds: Holds,
    /// The names of instances that have ended.
    names: Names,
    /// Those that no stream keeps.
    withdrawn: Withdrawn,
    /// The number of the next snapshot.
    number: u64,
    /// The first one whose VirtualServices name nothing that has gone since.
    complete_since: u64,
    vips: Vips,
    rejected: Arc<Rejected>,
    told: Told,
    /// What decides which losses are believed.
    guard: Guard<Subject>,
    /// What stands in for sources that are silent.
    remembered: Option<Remembered>,
    /// Whether the first list of instances is compared with what there was before the start.
    is_expecting: bool,
    start: Start,
    metrics: Metrics,
    /// What is to be published brought about what, by hostname; nothing before the first snapshot.
    causes: HashMap<Hostname, Cause>,
    /// What is to be published was said then, by cause.
    since: BTreeMap<Cause, tokio::time::Instant>,
    journal: Journal,
    /// The lines of changes, where they are wanted at `info`.
    told_changes: Option<Repeats<String>>,
}

impl State {
    /// An empty table, the gateway, and the Sidecar of apps without policies.
    ///
    /// # Errors
    /// Istio would discard the gateway.
    pub fn new(settings: &Settings, metrics: Metrics) -> Result<Self, Invalid> {
        let Served { gateways, left_out } = istio::gateway(
            &settings.certificate_root,
            &settings.certificates,
            settings.defaults.https_redirect.as_ref(),
            &settings.tcp_ports,
        )?;
        let (told, mut rejected) = (Told::default(), Arc::default());
        for (name, invalid) in left_out.into_iter().chain(settings.left_out.clone()) {
            told.reject(
                &mut rejected,
                Kind::Gateway.collection(),
                &name,
                vec![invalid],
            );
        }
        let collections = first_collections(gateways);
        for (kind, collection) in collections.iter() {
            metrics.record_collection(kind, collection.of(Era::Classic));
        }
        let options = istio::Options {
            keep_empty: settings.keep_empty_service_entries,
            backend_tls: settings.backend_tls.clone(),
            internal_tls: settings.internal_tls.clone(),
            defaults: settings.defaults.clone(),
        };
        let table = RouteTable::new(settings.join, settings.vip_range);
        let table = table.with_tls(options.tls()).with_limits(settings.limits);
        let table = table.with_ports(settings.tcp_ports.clone());
        metrics.begin(&table);
        Ok(Self {
            table,
            missing: settings.required.clone(),
            due: true,
            pending: Changes::default(),
            awaits_policies: settings.policies.is_some(),
            options,
            collections,
            divided: HashMap::new(),
            linger: Linger::new(settings.linger, settings.settling()),
            holds: Holds::new(settings.settling()),
            names: Names::new(settings.linger),
            withdrawn: Withdrawn::default(),
            number: 0,
            complete_since: 0,
            vips: Vips::default(),
            rejected,
            told,
            guard: Guard::new(settings.guard),
            remembered: None,
            is_expecting: false,
            start: Start::new(settings.required.contains(&Input::Instances)),
            metrics,
            causes: HashMap::new(),
            since: BTreeMap::new(),
            journal: Journal::default(),
            told_changes: settings
                .log_changes
                .then(|| Repeats::info(explained::PUBLISHED, "journal")),
        })
    }

    /// Takes in an update that is told item by item, and therefore believed.
    pub fn apply(&mut self, update: Update) {
        self.take(update.on(Basis::Told), tokio::time::Instant::now());
    }

    /// Takes in an update; cheap, since nothing is generated yet.
    pub fn take(&mut self, report: Report, now: tokio::time::Instant) {
        let update = &report.update;
        if matches!(update, Update::AllPolicies(_)) {
            self.release_sidecars();
        }
        let complete = match update {
            Update::AllRoutes(_) | Update::AllPushed { .. } => Some(Input::Routes),
            Update::AllTcpRoutes(_) => Some(Input::TcpRoutes),
            Update::AllInstances(_) => Some(Input::Instances),
            Update::Routes { .. }
            | Update::Unmapped(..)
            | Update::Refused(_)
            | Update::Enforced(_)
            | Update::Instances { .. }
            | Update::Processes { .. }
            | Update::Associations { .. }
            | Update::AllPolicies(_) => None,
        };
        let cause = Cause::of(update, report.basis);
        let since = report.since;
        let has_places = matches!(update, Update::AllInstances(_) | Update::Instances { .. });
        let (mut changes, is_believed) = self.believe(report, now);
        let complete = complete.filter(|_| is_believed);
        let lacked_facts = self.lacks_facts();
        if has_places {
            self.linger.touch_patient();
        }
        let workloads = changes.take_workloads();
        self.linger.touch(&workloads);
        self.withdrawn.touch(&workloads);
        if self.has_published() {
            if !changes.is_empty() {
                let first = self.since.entry(cause).or_insert(since);
                *first = since.min(*first);
            }
            let hosts = changes.hosts().map(|(host, _)| host.clone());
            self.causes.extend(hosts.map(|host| (host, cause)));
        } else {
            self.move_vips(&changes);
        }
        self.pending.merge(changes);
        self.missing.retain(|input| Some(*input) != complete);
        // Known once the instances are, and every process of theirs was described or looked up in vain.
        if !self.missing.contains(&Input::Instances) && self.table.is_answered() {
            self.missing.remove(&Input::Processes);
        }
        if lacked_facts && !self.lacks_facts() {
            self.doubt_start(now);
        }
        self.metrics.record_sizes(&self.table);
    }

    /// Whether what is told of an instance concerns very many routes.
    pub fn is_on_many(&self, guid: &InstanceGuid, told: Option<&Instance>) -> bool {
        self.table.routes_of(guid, told) > MANY_ROUTES
    }

    /// The processes of running instances that nobody has described yet.
    pub fn undescribed(&self) -> &BTreeSet<CapiProcessGuid> {
        self.table.undescribed()
    }

    /// What is withheld, and why.
    pub fn rejected(&self) -> Arc<Rejected> {
        self.rejected.clone()
    }

    /// The virtual addresses as of the last snapshot; before the first one, of the routes that are known.
    pub fn vips(&self) -> &Vips {
        &self.vips
    }

    fn has_published(&self) -> bool {
        self.number > 0
    }

    /// Whether this input is still to come.
    pub fn is_missing(&self, input: Input) -> bool {
        self.missing.contains(&input)
    }

    /// Whether it is not known yet what runs and what routes lead to.
    fn lacks_facts(&self) -> bool {
        self.missing.iter().any(|input| *input != Input::TcpRoutes)
    }

    /// Whether nothing but the TCP routes is still to come.
    pub fn awaits_tcp_routes(&self) -> bool {
        self.missing.iter().eq([&Input::TcpRoutes])
    }

    /// Publishes from now on without TCP routes.
    pub fn forgo_tcp_routes(&mut self) {
        self.missing.remove(&Input::TcpRoutes);
    }

    /// Whether the Sidecars are kept back until policies are known.
    pub fn awaits_policies(&self) -> bool {
        self.awaits_policies
    }

    /// Publishes Sidecars from now on, of what policies there are.
    pub fn release_sidecars(&mut self) {
        self.due |= mem::take(&mut self.awaits_policies);
    }

    /// Whether there is something to publish, and everything required is there and believed.
    pub fn is_due(&self) -> bool {
        let of_services = self.linger.is_touched() || self.withdrawn.is_changed();
        let is_different = self.due || !self.pending.is_empty() || of_services;
        self.missing.is_empty() && !self.is_start_doubted() && is_different
    }

    /// When something goes or changes though nothing else happens: a service that no VirtualService names any more, the
    /// name of an instance that has ended, a route that is held.
    pub fn next_end(&self) -> Option<Instant> {
        let ends = [
            self.linger.next_end(),
            self.holds.next_end(),
            self.names.next_end(),
        ];
        ends.into_iter().flatten().min()
    }

    /// Regenerates what changed until now. `None` where the result is the same as before.
    pub fn publish(&mut self) -> Option<Snapshot> {
        self.publish_at(Instant::now())
    }

    /// The same at a time that the caller names.
    pub fn publish_at(&mut self, now: Instant) -> Option<Snapshot> {
        let started = Instant::now();
        let mut pending = mem::take(&mut self.pending);
        let due = mem::take(&mut self.due);
        let before = self.collections.clone();
        self.withdrawn.age(now);
        self.review_holds(&mut pending, now);
        let mut renamed = self.review_names(&pending, now);
        // Afterwards: what still is in a rule and not known any more would be taken for newly ended.
        let without = self.names.age(now);
        renamed.extend(without.iter().cloned());
        let leaving = Leaving {
            now,
            pending: &pending,
        };
        let watched = self.watch(&pending);
        let mut edits = AllEdits::default();
        let hosts: Vec<_> = pending.hosts().collect();
        for hosts in hosts.chunks(BATCH) {
            let by = By {
                options: &self.options,
                held: self.holds.divisions(),
                ended: self.names.ended(),
                renamed: &renamed,
            };
            let generated = generation::generate_all(&self.table, hosts, by);
            for ((host, touched), generated) in hosts.iter().zip(generated) {
                self.take_in(host, touched, generated, leaving, &mut edits);
            }
            self.edit_all(&mut edits);
        }
        for crowd in pending.crowds() {
            self.tell_left_out(crowd);
        }
        self.tell_more_outside();
        self.end_names(&without, &pending, &mut edits);
        self.end_lingering(now, &mut edits);
        self.reduce_lingering(now, &mut edits);
        for app in pending.sources() {
            self.regenerate_sidecar(app, &mut edits[Kind::Sidecar]);
        }
        self.edit_all(&mut edits);
        self.note_changes(watched, hosts.len(), &before);
        let edited = self.record_changes(&before);
        let withdrawn = self.withdrawn.take_changed();
        let changed = self.move_vips(&pending) || edited || withdrawn || due;
        self.metrics.generated(started.elapsed());
        self.metrics.rejected(self.rejected.len());
        self.metrics.lingering(self.linger.len());
        let cause = self.note_causes(changed, now + started.elapsed());
        changed.then(|| self.snapshot().caused_at(cause))
    }

    /// How long what was said has taken until it is published; when the first of it was said.
    fn note_causes(&mut self, is_published: bool, now: Instant) -> Option<Instant> {
        let causes = mem::take(&mut self.since).into_iter();
        let causes = causes.filter(|_| is_published);
        let since = causes.map(|(cause, since)| {
            let since = since.into_std();
            self.metrics
                .published(cause, now.saturating_duration_since(since));
            since
        });
        since.min()
    }

    fn snapshot(&mut self) -> Snapshot {
        let number = self.number;
        self.number += 1;
        let snapshot = Snapshot::new(self.collections.clone())
            .numbered(number, self.complete_since)
            .withdrawing(self.withdrawn.names())
            .with_vips(self.vips.clone());
        if self.awaits_policies {
            snapshot.withholding(Kind::Sidecar)
        } else {
            snapshot
        }
    }

    /// Follows the virtual addresses of what changed; answers whether any is different.
    fn move_vips(&mut self, pending: &Changes) -> bool {
        let moved: Vec<_> = pending
            .hosts()
            .map(|(host, _)| (host, self.table.host(host).and_then(|host| host.vip())))
            .filter(|(host, vip)| self.vips.get(host) != *vip)
            .map(|(host, vip)| (host.clone(), vip))
            .collect();
        let changed = !moved.is_empty();
        if changed {
            self.vips = self.vips.edited(moved);
        }
        changed
    }
}

/// The gateways, and the Sidecar of apps without policies.
fn first_collections(gateways: Vec<(&'static str, Encoded)>) -> Collections {
    let mut edits = AllEdits::default();
    for (name, gateway) in gateways {
        edits[Kind::Gateway].set(name, Eras::Same(Some(gateway)));
    }
    let sidecar = Eras::Same(Some(istio::default_sidecar()));
    edits[Kind::Sidecar].set(DEFAULT_SIDECAR, sidecar);
    edits.map(|edits| edits.apply(&Eras::default()))
}
