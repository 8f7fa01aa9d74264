//! Merges lists and events, in any order, into the set of running instances: pure, the caller brings the time.
//!
//! Events overtake each other and lists: the BBS emits them from unordered tasks after the commit, and a list may
//! have been read before an event that arrived earlier. Each row therefore carries a modification tag, which decides
//! within one incarnation (epoch) of the row; between incarnations the BBS's clock does.

mod known;
mod tombstones;

#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use self::{
    known::{Known, Limit},
    tombstones::Tombstones,
};
use super::observation::{Desired, Event, List, Observation};
use crate::{
    guids::{GuidMap, GuidSet},
    model::{DiegoProcessGuid, Instance, InstanceGuid},
};

/// How long what a list lacks must have been lacking before it is believed all the same. Cells report what they
/// run every 30 s, so that a BBS that lost its database has most of it back by then.
const CONFIRM_AFTER: Duration = Duration::from_mins(1);

/// So few instances may go at once without a question: a small foundation loses a third with one app.
const FREE_REMOVALS: usize = 10;

/// The events up to a point in time: a list that is requested then knows all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

/// What changed for those who route.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct InstanceChanges {
    pub(super) current: Vec<Arc<Instance>>,
    pub(super) gone: Vec<InstanceGuid>,
}

impl InstanceChanges {
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_empty() && self.gone.is_empty()
    }
}

#[derive(Debug, Default)]
struct Process {
    desired: Option<Limit>,
    members: SmallVec<[InstanceGuid; 1]>,
}

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Merge {
    max_removed_share: f64,
    instances: GuidMap<InstanceGuid, Known>,
    processes: GuidMap<DiegoProcessGuid, Process>,
    tombstones: Tombstones,
    events: Mark,
    served: usize,
}

// === impl Merge ===

impl Merge {
    /// Knows nothing yet. A list that lacks more than `max_removed_share` of what is served removes nothing at once.
    pub(super) fn new(max_removed_share: f64) -> Self {
        Self {
            max_removed_share,
            instances: GuidMap::default(),
            processes: GuidMap::default(),
            tombstones: Tombstones::default(),
            events: Mark(0),
            served: 0,
        }
    }

    /// Taken when a list is requested.
    pub(super) fn mark(&self) -> Mark {
        self.events
    }

    /// All that runs.
    pub(super) fn all(&self) -> Vec<Arc<Instance>> {
        self.instances
            .values()
            .filter_map(|known| known.served.clone())
            .collect()
    }

    /// How many instances are routable.
    pub(super) fn served(&self) -> usize {
        self.served
    }

    /// How many instances are served although the last list lacks them.
    pub(super) fn held(&self) -> usize {
        self.instances
            .values()
            .filter(|known| known.is_routed() && known.missing_since.is_some())
            .count()
    }

    /// Takes an event.
    pub(super) fn event(&mut self, event: Event, now: Instant) -> InstanceChanges {
        self.events.0 += 1;
        let mut changes = InstanceChanges::default();
        match event {
            Event::Observed(observation) => {
                let guid = observation.guid.clone();
                self.observe(observation, self.events);
                self.settle(&guid, &mut changes);
            }
            Event::Removed(observation) => self.remove_observed(&observation, now, &mut changes),
            Event::Desired(desired) => self.limit(desired, None, &mut changes),
            Event::DesiredRemoved(desired) => self.limit(desired, Some(now), &mut changes),
        }
        changes
    }

    /// Takes a list that was requested at `mark`.
    pub(super) fn list(&mut self, list: List, mark: Mark, now: Instant) -> InstanceChanges {
        self.tombstones.expire(now);
        self.list_desired(list.desired, mark, now);
        let listed = latest(&list.instances);
        let missing: Vec<_> = self
            .instances
            .iter()
            .filter(|(guid, known)| !listed.contains_key(*guid) && known.last_event <= mark)
            .map(|(guid, _)| guid.clone())
            .collect();
        let mut changes = InstanceChanges::default();
        for (index, observation) in list.instances.into_iter().enumerate() {
            if listed[&observation.guid].0 != index {
                continue;
            }
            if let Some(known) = self.instances.get_mut(&observation.guid) {
                known.missing_since = None;
            }
            self.observe(observation, Mark(0));
        }
        drop(listed);
        self.remove_missing(missing, list.fresh, now, &mut changes);
        let guids: Vec<_> = self.instances.keys().cloned().collect();
        for guid in guids {
            self.settle(&guid, &mut changes);
        }
        self.processes
            .retain(|_, process| process.desired.is_some() || !process.members.is_empty());
        changes
    }

    fn observe(&mut self, observation: Observation, last_event: Mark) {
        if self.tombstones.covers(&observation.guid, observation.tag) {
            return;
        }
        if let Some(known) = self.instances.get_mut(&observation.guid) {
            known.observe(observation, last_event);
            return;
        }
        let guid = observation.guid.clone();
        let process = self.processes.entry(observation.process.clone());
        process.or_default().members.push(guid.clone());
        self.instances
            .insert(guid, Known::new(observation, last_event));
    }

    /// The tombstone outlives the instance: a retired one stays in the lists, running, until its container has
    /// stopped.
    fn remove_observed(&mut self, gone: &Observation, now: Instant, changes: &mut InstanceChanges) {
        self.tombstones.insert(gone.guid.clone(), gone.tag, now);
        if self
            .instances
            .get(&gone.guid)
            .is_some_and(|known| known.precedes(gone))
        {
            self.remove(&gone.guid, changes);
        }
    }

    fn remove(&mut self, guid: &InstanceGuid, changes: &mut InstanceChanges) {
        let Some(known) = self.instances.remove(guid) else {
            return;
        };
        if let Some(process) = self.processes.get_mut(known.process()) {
            process.members.retain(|member| member != guid);
            if process.members.is_empty() && process.desired.is_none() {
                self.processes.remove(known.process());
            }
        }
        self.served -= usize::from(known.is_routed());
        if known.served.is_some() {
            changes.gone.push(guid.clone());
        }
    }

    /// Fails static: what an implausible list lacks stays until the lists have lacked it for a while.
    fn remove_missing(
        &mut self,
        missing: Vec<InstanceGuid>,
        fresh: bool,
        now: Instant,
        changes: &mut InstanceChanges,
    ) {
        let is_served = |guid| self.instances.get(guid).is_some_and(Known::is_routed);
        let lost = missing.iter().filter(|guid| is_served(guid)).count();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share needs no more precision"
        )]
        let implausible =
            lost > FREE_REMOVALS && lost as f64 > self.max_removed_share * self.served as f64;
        for guid in missing {
            let Some(known) = self.instances.get_mut(&guid) else {
                continue;
            };
            let since = *known.missing_since.get_or_insert(now);
            if (fresh && !implausible) || now.duration_since(since) >= CONFIRM_AFTER {
                self.remove(&guid, changes);
            }
        }
    }

    /// Scaling down and stopping show in the desired state at once, in the instances only when their containers have
    /// stopped.
    fn limit(
        &mut self,
        desired: Desired,
        removed_at: Option<Instant>,
        changes: &mut InstanceChanges,
    ) {
        let process = desired.process.clone();
        self.desire(desired, removed_at, Mark(u64::MAX), self.events);
        let members = self
            .processes
            .get(&process)
            .map(|process| process.members.clone())
            .unwrap_or_default();
        for guid in &members {
            self.settle(guid, changes);
        }
    }

    /// Believes `desired`, unless something newer is known; what was heard until `known_until` may be older.
    fn desire(
        &mut self,
        desired: Desired,
        removed_at: Option<Instant>,
        known_until: Mark,
        last_event: Mark,
    ) {
        let process = self.processes.entry(desired.process.clone()).or_default();
        let current = process.desired.take();
        process.desired = match current {
            Some(current) if !current.precedes(&desired, known_until) => Some(current),
            current => {
                let mut limit = Limit::new(desired, last_event, removed_at);
                limit.workload = limit
                    .workload
                    .or(current.and_then(|current| current.workload));
                Some(limit)
            }
        };
    }

    /// A process that is not listed has no limit that we know of. Those that an event removed keep theirs for as long
    /// as their instances may still stop.
    fn list_desired(&mut self, desired: Vec<Desired>, mark: Mark, now: Instant) {
        let mut listed = GuidSet::default();
        listed.reserve(desired.len());
        for desired in desired {
            listed.insert(desired.process.clone());
            self.desire(desired, None, mark, Mark(0));
        }
        for (guid, process) in &mut self.processes {
            process.desired.take_if(|limit| {
                let stopping = limit
                    .removed_at
                    .is_some_and(|at| now.duration_since(at) < tombstones::KEPT);
                !listed.contains(guid) && limit.last_event <= mark && !stopping
            });
        }
    }

    /// Compares what is served of an instance with what is to be served.
    fn settle(&mut self, guid: &InstanceGuid, changes: &mut InstanceChanges) {
        let Some(known) = self.instances.get_mut(guid) else {
            return;
        };
        let limit = self
            .processes
            .get(known.process())
            .and_then(|process| process.desired.as_ref());
        let serves = known.instance(limit);
        let is_same = match (&serves, &known.served) {
            (Some(now), Some(before)) => Arc::ptr_eq(now, before) || now == before,
            (None, None) => true,
            _ => false,
        };
        if is_same {
            return;
        }
        self.served -= usize::from(known.is_routed());
        known.served = serves;
        self.served += usize::from(known.is_routed());
        if let Some(instance) = &known.served {
            changes.current.push(Arc::clone(instance));
        } else {
            changes.gone.push(guid.clone());
        }
    }
}

/// While an instance is being evacuated it can have two rows in one list: the later one is true. Its place in the list,
/// and its time.
fn latest(rows: &[Observation]) -> GuidMap<InstanceGuid, (usize, i64)> {
    let mut latest: GuidMap<_, (usize, i64)> = GuidMap::default();
    latest.reserve(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let is_newest = latest
            .get(&row.guid)
            .is_none_or(|(_, since)| row.since >= *since);
        if is_newest {
            latest.insert(row.guid.clone(), (index, row.since));
        }
    }
    latest
}
