//! The table and what is made of it, without the clock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::Arc,
    time::Instant,
};

use tracing::{info, warn};

use super::{
    Input, Metrics, Settings,
    collections::Edits,
    generation::{self, Generated},
    linger::{Linger, Member},
    withdrawn::Withdrawn,
};
use crate::{
    istio::{
        self, DEFAULT_SIDECAR, Era, Eras, GATEWAY, GATEWAYS, Kind, Made, SIDECARS, Served,
        Services,
        validate::{Invalid, Rejected},
    },
    model::{AppGuid, CapiProcessGuid, Destination, Hostname, Update},
    snapshot::{Collection, Encoded, Snapshot, Vips},
    table::{Changes, HostView, RouteTable, Touched},
};

/// Hostnames that are generated before their resources move into the collections: what is generated is there twice
/// until then, which for a whole foundation at once would be as much memory again.
const BATCH: usize = 1024;

/// What a service is made of.
const SERVICE_KINDS: [Kind; 2] = [Kind::ServiceEntry, Kind::DestinationRule];

/// The edits of each collection.
type AllEdits = BTreeMap<&'static str, Edits>;

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
    collections: BTreeMap<&'static str, Eras<Arc<Collection>>>,
    /// The services of each route that has others than it has undivided.
    divided: HashMap<(Hostname, Arc<str>), Vec<Arc<str>>>,
    /// The services that no VirtualService names any more, by the one that is named after their route.
    linger: Linger,
    /// Those that no stream keeps.
    withdrawn: Withdrawn,
    /// The number of the next snapshot.
    number: u64,
    /// The first one whose VirtualServices name nothing that has gone since.
    complete_since: u64,
    vips: Vips,
    rejected: Arc<Rejected>,
    metrics: Metrics,
}

impl State {
    /// An empty table, the gateway, and the Sidecar of apps without policies.
    ///
    /// # Errors
    /// Istio would discard the gateway.
    pub fn new(settings: &Settings, metrics: Metrics) -> Result<Self, Invalid> {
        let Served { gateway, left_out } =
            istio::gateway(&settings.certificate_root, &settings.certificates)?;
        let mut rejected = Arc::default();
        for (name, invalid) in left_out.into_iter().chain(settings.left_out.clone()) {
            reject(&mut rejected, GATEWAYS, &name, vec![invalid]);
        }
        let empty = || Eras::Same(Arc::new(Collection::default()));
        let mut collections: BTreeMap<_, _> = Kind::ALL
            .iter()
            .map(|kind| (kind.collection(), empty()))
            .collect();
        for (collection, name, resource) in [
            (GATEWAYS, GATEWAY, gateway),
            (SIDECARS, DEFAULT_SIDECAR, istio::default_sidecar()),
        ] {
            let mut edits = Edits::default();
            edits.set(name, Eras::Same(Some(resource)));
            collections.insert(collection, edits.apply(&empty()));
        }
        for (name, collection) in &collections {
            metrics.record_collection(name, collection.of(Era::Classic));
        }
        let options = istio::Options {
            keep_empty: settings.keep_empty_service_entries,
            backend_tls: settings.backend_tls.clone(),
            internal_tls: settings.internal_tls.clone(),
        };
        let table = RouteTable::new(settings.join, settings.vip_range);
        Ok(Self {
            table: table.with_tls(options.tls()),
            missing: settings.required.clone(),
            due: true,
            pending: Changes::default(),
            awaits_policies: settings.policies.is_some(),
            options,
            collections,
            divided: HashMap::new(),
            linger: Linger::new(settings.linger),
            withdrawn: Withdrawn::default(),
            number: 0,
            complete_since: 0,
            vips: Vips::default(),
            rejected,
            metrics,
        })
    }

    /// Takes in an update; cheap, since nothing is generated yet.
    pub fn apply(&mut self, update: Update) {
        if matches!(update, Update::AllPolicies(_)) {
            self.release_sidecars();
        }
        let complete = match &update {
            Update::AllRoutes(_) | Update::AllPushed { .. } => Some(Input::Routes),
            Update::AllInstances(_) => Some(Input::Instances),
            Update::Routes { .. }
            | Update::Refused(_)
            | Update::Instances { .. }
            | Update::Processes { .. }
            | Update::Associations { .. }
            | Update::AllPolicies(_) => None,
        };
        let mut changes = self.table.apply(update);
        let workloads = changes.take_workloads();
        self.linger.touch(&workloads);
        self.withdrawn.touch(&workloads);
        self.pending.merge(changes);
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

    /// Whether the Sidecars are kept back until policies are known.
    pub fn awaits_policies(&self) -> bool {
        self.awaits_policies
    }

    /// Publishes Sidecars from now on, of what policies there are.
    pub fn release_sidecars(&mut self) {
        self.due |= mem::take(&mut self.awaits_policies);
    }

    /// Whether there is something to publish, and everything required is there.
    pub fn is_due(&self) -> bool {
        let of_services = self.linger.is_touched() || self.withdrawn.is_changed();
        let is_different = self.due || !self.pending.is_empty() || of_services;
        self.missing.is_empty() && is_different
    }

    /// When the next service goes that no VirtualService names any more.
    pub fn next_end(&self) -> Option<Instant> {
        self.linger.next_end()
    }

    /// Regenerates what changed until now. `None` where the result is the same as before.
    pub fn publish(&mut self) -> Option<Snapshot> {
        self.publish_at(Instant::now())
    }

    /// The same at a time that the caller names.
    pub fn publish_at(&mut self, now: Instant) -> Option<Snapshot> {
        let started = Instant::now();
        let pending = mem::take(&mut self.pending);
        let due = mem::take(&mut self.due);
        let before = self.collections.clone();
        let leaving = Leaving {
            now,
            pending: &pending,
        };
        self.withdrawn.age(now);
        let mut edits = AllEdits::new();
        let hosts: Vec<_> = pending.hosts().collect();
        for hosts in hosts.chunks(BATCH) {
            let generated = generation::generate_all(&self.table, hosts, &self.options);
            for ((host, touched), generated) in hosts.iter().zip(generated) {
                self.take_in(host, touched, generated, leaving, &mut edits);
            }
            self.edit_all(&mut edits);
        }
        self.end_lingering(now, &mut edits);
        self.reduce_lingering(now, &mut edits);
        for app in pending.sources() {
            let edits = edits.entry(SIDECARS).or_default();
            self.regenerate_sidecar(app, edits);
        }
        self.edit_all(&mut edits);
        let edited = self.record_changes(&before);
        let withdrawn = self.withdrawn.take_changed();
        let changed = self.move_vips(&pending) || edited || withdrawn || due;
        self.metrics.generated(started.elapsed());
        self.metrics.rejected(self.rejected.len());
        self.metrics.lingering(self.linger.len());
        changed.then(|| self.snapshot())
    }

    fn snapshot(&mut self) -> Snapshot {
        let number = self.number;
        self.number += 1;
        let collections = self.collections.iter();
        let classic = collections.map(|(name, eras)| (*name, eras.of(Era::Classic).clone()));
        let collections = self.collections.iter();
        let differing = collections.filter_map(|(name, eras)| match eras {
            Eras::Same(_) => None,
            Eras::Each { xds, .. } => Some((*name, xds.clone())),
        });
        let snapshot = Snapshot::new(classic.collect())
            .numbered(number, self.complete_since)
            .withdrawing(self.withdrawn.names())
            .with_xds(differing.collect())
            .with_vips(self.vips.clone());
        if self.awaits_policies {
            snapshot.withholding(SIDECARS)
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

    fn regenerate_sidecar(&mut self, app: &AppGuid, edits: &mut Edits) {
        let made = istio::sidecar(app, self.table.reachable_from(app));
        let (encoded, reasons) = match made.transpose() {
            Ok(encoded) => (Eras::Same(encoded), Vec::new()),
            Err(invalid) => (Eras::Same(None), vec![invalid]),
        };
        self.metrics.encoded(&encoded);
        let name = app.to_string();
        // Which no app has for its own, whatever policies say.
        if name != DEFAULT_SIDECAR {
            edits.set(name.as_str(), encoded);
        }
        reject(&mut self.rejected, SIDECARS, &name, reasons);
    }

    fn take_in(
        &mut self,
        host: &Hostname,
        touched: &Touched,
        generated: Generated,
        leaving: Leaving<'_>,
        edits: &mut AllEdits,
    ) {
        let other_sort = match generated {
            Generated::External {
                virtual_service,
                routes,
            } => {
                if let Some(made) = virtual_service {
                    self.take_made(host.as_str(), made, edits);
                }
                for (key, services) in routes {
                    self.take_route(host, &key, services, leaving, edits);
                }
                true
            }
            Generated::Internal(made) => {
                for made in made {
                    self.take_made(host.as_str(), made, edits);
                }
                self.withdraw_internal(host, leaving.now);
                for key in touched.services() {
                    let pool = self.table.host(host).and_then(|host| host.pool(key));
                    let is_refused = pool.is_some_and(|pool| pool.refused().is_some());
                    self.retire(host, key, Vec::new(), is_refused, leaving, edits);
                }
                false
            }
            Generated::Gone => {
                for key in touched.services() {
                    self.take_route(host, key, None, leaving, edits);
                }
                self.remove_all_of(host, false, edits);
                for kind in Kind::ALL {
                    let collection = kind.collection();
                    reject(&mut self.rejected, collection, host.as_str(), Vec::new());
                }
                true
            }
        };
        if touched.routes() {
            // Its domain may have been of the other sort before.
            self.remove_all_of(host, other_sort, edits);
        }
    }

    /// Removes at once what there is of a hostname; not the services of an external one's routes, which go one by one.
    fn remove_all_of(&mut self, host: &Hostname, internal: bool, edits: &mut AllEdits) {
        let is_of_host = |kind: &Kind| internal || !SERVICE_KINDS.contains(kind);
        for kind in Kind::ALL.into_iter().filter(is_of_host) {
            self.remove(kind, kind.name(host, internal).into(), edits);
        }
    }

    /// Takes in the services of an external route; `None` where it is gone.
    fn take_route(
        &mut self,
        host: &Hostname,
        key: &Arc<str>,
        services: Option<Services>,
        leaving: Leaving<'_>,
        edits: &mut AllEdits,
    ) {
        let url = format!("{host}{key}");
        let is_refused = matches!(services, Some(Services::Refused));
        let mut current = Vec::new();
        if let Some(Services::Open { entries, rules }) = services {
            current.extend(entries.resources.iter().map(|(name, _)| name.clone()));
            for made in [Some(entries), rules].into_iter().flatten() {
                self.take_made(&url, made, edits);
            }
        } else {
            for kind in SERVICE_KINDS {
                reject(&mut self.rejected, kind.collection(), &url, Vec::new());
            }
        }
        self.retire(host, key, current, is_refused, leaving, edits);
    }

    /// Lets those services of a route go that are not among its current ones any more: after a while, or at once if it is
    /// refused.
    fn retire(
        &mut self,
        host: &Hostname,
        key: &Arc<str>,
        mut current: Vec<Arc<str>>,
        is_refused: bool,
        leaving: Leaving<'_>,
        edits: &mut AllEdits,
    ) {
        let whole: Arc<str> = istio::service(host, key).into();
        for name in &current {
            self.linger.forget(&(whole.clone(), name.clone()));
            self.withdrawn.forget(name);
        }
        let place = (host.clone(), key.clone());
        let undivided = istio::undivided(host, key).map(Arc::<str>::from);
        let before = self.divided.remove(&place).unwrap_or_default();
        let mut gone: Vec<_> = before.into_iter().chain(undivided.clone()).collect();
        gone.retain(|name| !current.contains(name));
        let Leaving { now, pending } = leaving;
        if is_refused {
            // Access fails closed: what still lingers of the route goes, too, and no stream keeps any of it.
            gone.extend(self.linger.of(&whole).map(|(_, name)| name.clone()));
            self.withdrawn.add_ended(&whole, now);
            for name in &gone {
                self.withdrawn.add(name.clone(), now);
            }
        }
        for name in gone {
            let member = (whole.clone(), name);
            match &member {
                _ if is_refused => self.drop_service(&member, edits),
                _ if self.linger.has(&member) => {}
                (_, name) if self.is_served(Kind::ServiceEntry, name) => {
                    let led_to = self.led_to(&place, &member, pending);
                    self.linger.leave(&member, self.number, now, led_to);
                }
                _ => self.drop_service(&member, edits),
            }
        }
        current.retain(|name| !undivided.contains(name));
        if !current.is_empty() {
            self.divided.insert(place, current);
        }
    }

    /// Takes a service out at once.
    fn drop_service(&mut self, member: &Member, edits: &mut AllEdits) {
        self.linger.forget(member);
        for kind in SERVICE_KINDS {
            self.remove(kind, member.1.clone(), edits);
        }
    }

    /// No stream keeps what there was of an internal hostname with a route that is refused.
    fn withdraw_internal(&mut self, host: &Hostname, now: Instant) {
        let view = self.table.host(host);
        let mut pools = view.into_iter().flat_map(HostView::pools);
        let is_refused = pools.any(|pool| pool.refused().is_some());
        for kind in SERVICE_KINDS {
            let name = kind.name(host, true).into();
            if is_refused {
                self.withdrawn.add(name, now);
            } else {
                self.withdrawn.forget(&name);
            }
        }
    }

    /// Removes the services that have lingered long enough.
    fn end_lingering(&mut self, now: Instant, edits: &mut AllEdits) {
        while let Some((member, since, led_to)) = self.linger.pop_ended(now) {
            self.complete_since = self.complete_since.max(since);
            for kind in SERVICE_KINDS {
                edits_of(kind, edits).remove(member.1.clone());
            }
            self.withdrawn.end(&member, &led_to, now);
        }
    }

    /// The destinations that a service of a route may have had, as it was published last.
    fn led_to(
        &self,
        (host, key): &(Hostname, Arc<str>),
        (whole, name): &Member,
        pending: &Changes,
    ) -> Vec<Destination> {
        let current = self.table.host(host).map_or(&[][..], |host| host.routes);
        let routes = pending.left(host).iter().chain(current);
        let routes = routes.filter(|route| route.key() == **key);
        let destinations = routes.flat_map(|route| &route.destinations);
        let mut destinations: Vec<_> = destinations
            .filter(|to| istio::may_lead_to(name, whole, to))
            .cloned()
            .collect();
        destinations.sort_unstable();
        destinations.dedup();
        destinations
    }

    /// Takes from the services that linger what is not reached there any more: the place may be somebody else's now.
    fn reduce_lingering(&mut self, now: Instant, edits: &mut AllEdits) {
        while let Some(((_, name), led_to)) = self.linger.pop_touched() {
            let entries = &self.collections[Kind::ServiceEntry.collection()];
            let Some(served) = entries.of(Era::Classic).get(&name) else {
                continue;
            };
            let reached = led_to.iter().flat_map(|to| self.table.reached(to));
            let reduced = istio::reduced(served, &reached.collect(), self.options.keep_empty);
            for (name, encoded) in reduced.into_iter().flat_map(|made| made.resources) {
                // A stream would keep it as it was.
                self.withdrawn.add(name.clone(), now);
                self.metrics.encoded(&encoded);
                edits_of(Kind::ServiceEntry, edits).set(name, encoded);
            }
        }
    }

    /// Removes a resource at once, though older VirtualServices may name it.
    fn remove(&mut self, kind: Kind, name: Arc<str>, edits: &mut AllEdits) {
        if SERVICE_KINDS.contains(&kind) && self.is_served(kind, &name) {
            self.complete_since = self.number;
        }
        edits_of(kind, edits).remove(name);
    }

    fn is_served(&self, kind: Kind, name: &str) -> bool {
        self.is_lost(kind, name, &Eras::Same(None))
    }

    /// Whether there is a resource for an era to which it is not served any more.
    fn is_lost(&self, kind: Kind, name: &str, now: &Eras<Option<Encoded>>) -> bool {
        let collections = &self.collections[kind.collection()];
        [Era::Classic, Era::Xds]
            .into_iter()
            .any(|era| now.of(era).is_none() && collections.of(era).get(name).is_some())
    }

    fn take_made(&mut self, subject: &str, made: Made, edits: &mut AllEdits) {
        for (name, encoded) in made.resources {
            if made.kind == Kind::DestinationRule && self.is_lost(made.kind, &name, &encoded) {
                // Older VirtualServices may name its subsets.
                self.complete_since = self.number;
            }
            self.metrics.encoded(&encoded);
            edits_of(made.kind, edits).set(name, encoded);
        }
        let collection = made.kind.collection();
        reject(&mut self.rejected, collection, subject, made.reasons);
    }

    fn edit_all(&mut self, edits: &mut AllEdits) {
        for (name, edits) in mem::take(edits) {
            let collection = self
                .collections
                .get_mut(name)
                .expect("every collection is there from the start");
            *collection = edits.apply(collection);
        }
    }

    /// Whether any collection is another than before. However many steps led there, it is one version more.
    fn record_changes(&self, before: &BTreeMap<&'static str, Eras<Arc<Collection>>>) -> bool {
        let mut changed = false;
        for (name, collection) in &self.collections {
            let differs = |era| !Arc::ptr_eq(before[name].of(era), collection.of(era));
            if differs(Era::Classic) {
                self.metrics
                    .record_collection(name, collection.of(Era::Classic));
            }
            changed |= differs(Era::Classic) || differs(Era::Xds);
        }
        changed
    }
}

fn edits_of(kind: Kind, edits: &mut AllEdits) -> &mut Edits {
    edits.entry(kind.collection()).or_default()
}

fn reject(
    rejected: &mut Arc<Rejected>,
    collection: &'static str,
    host: &str,
    reasons: Vec<Invalid>,
) {
    // As nearly always.
    if reasons.is_empty() && rejected.is_empty() {
        return;
    }
    let key = (collection, host.to_owned());
    let before = rejected.get(&key).map_or(&[][..], Vec::as_slice);
    if before == reasons {
        return;
    }
    for reason in reasons.iter().filter(|reason| !before.contains(reason)) {
        warn!(
            collection,
            host,
            rule = reason.rule,
            reason.detail,
            "not served as it is"
        );
    }
    let rejected = Arc::make_mut(rejected);
    if reasons.is_empty() {
        info!(collection, host, "no longer withheld");
        rejected.remove(&key);
    } else {
        rejected.insert(key, reasons);
    }
}
