//! Merges lists and events, in any order, into the set of running instances: pure, the caller brings the time.
//!
//! Events overtake each other and lists: the BBS emits them from unordered tasks after the commit, and a list may
//! have been read before an event that arrived earlier. Each row therefore carries a modification tag, which decides
//! within one incarnation (epoch) of the row; between incarnations the BBS's clock does.

mod known;
mod processes;
mod tombstones;
mod unplaced;

#[cfg(test)]
mod tests;

use std::{mem, sync::Arc};

use smallvec::SmallVec;
use tokio::time::Instant;

use self::{
    known::{Heard, Known, Limit},
    tombstones::Tombstones,
    unplaced::Places,
};
use super::observation::{Desired, Event, List, Observation, Tag, Unclear};
use crate::{
    guids::{GuidMap, GuidSet},
    model::{DiegoProcessGuid, Instance, InstanceGuid},
};

/// The events up to a point in time: a list that is requested then knows all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

/// What a list said of rows that no event had said by then.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The events until then.
    mark: Mark,
    changed: Vec<InstanceGuid>,
    gone: Vec<(InstanceGuid, Tag)>,
}

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
    /// The events by the last list of which the BBS vouches that nothing of it is to run, whatever its containers say.
    unwanted: Option<Mark>,
    members: SmallVec<[InstanceGuid; 1]>,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub(super) struct Merge {
    instances: GuidMap<InstanceGuid, Known>,
    processes: GuidMap<DiegoProcessGuid, Process>,
    tombstones: Tombstones,
    /// What of the processes has no instance at present: for people alone.
    unplaced: Places,
    events: Mark,
    served: usize,
    /// Instances whose rows lack ports that their containers have.
    kept: Vec<InstanceGuid>,
    /// The processes of which an event removed an older state of a row than is known: it may be gone all the same.
    doubtful: Vec<DiegoProcessGuid>,
    news: News,
    /// What lists lacked of late, by process: it may be served all the same.
    lost: GuidMap<DiegoProcessGuid, Vec<InstanceGuid>>,
}

// === impl Merge ===

impl Merge {
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

    /// Takes out the instances of which rows lacked ports since this was asked last.
    pub(super) fn take_kept(&mut self) -> Vec<InstanceGuid> {
        mem::take(&mut self.kept)
    }

    /// Whether anything is known of an instance.
    pub(super) fn knows(&self, guid: &InstanceGuid) -> bool {
        self.instances.contains_key(guid)
    }

    /// How many processes have to be read: a row of theirs may be gone.
    pub(super) fn doubtful(&self) -> usize {
        self.doubtful.len()
    }

    /// Takes out one of them.
    pub(super) fn next_doubtful(&mut self) -> Option<DiegoProcessGuid> {
        self.doubtful.pop()
    }

    /// All are read instead.
    pub(super) fn forget_doubtful(&mut self) {
        self.doubtful.clear();
    }

    /// Takes out what the last list said first.
    pub(super) fn take_news(&mut self) -> Option<News> {
        let news = mem::take(&mut self.news);
        (!news.changed.is_empty() || !news.gone.is_empty()).then_some(news)
    }

    /// Whether events have said all of it since.
    pub(super) fn is_announced(&self, news: &News) -> bool {
        let is_heard_of = |guid| {
            let known: Option<&Known> = self.instances.get(guid);
            known.is_none_or(|known| known.last_event > news.mark)
        };
        let is_removed = |(guid, tag): &(InstanceGuid, Tag)| self.tombstones.has_ended(guid, *tag);
        news.changed.iter().all(is_heard_of) && news.gone.iter().all(is_removed)
    }

    /// What lists lacked until now is served no longer.
    pub(super) fn forget_lost(&mut self) {
        self.lost.clear();
    }

    /// What an event ends, although it is not served any more by all that is known: others may have held it.
    pub(super) fn repeat_end(&self, event: &Event, changes: &mut InstanceChanges) {
        let (members, from) = match event {
            Event::Observed(observed) => (std::slice::from_ref(&observed.guid), 0),
            Event::Desired(desired) => (self.members_of(&desired.process), desired.instances),
            Event::DesiredRemoved(desired) => (self.members_of(&desired.process), 0),
            _ => return,
        };
        for guid in members {
            let known = self.instances.get(guid);
            let Some(known) = known.filter(|known| known.index() >= from) else {
                continue;
            };
            match &known.served {
                Some(instance) if instance.routable => {}
                Some(instance) => {
                    changes.current.retain(|one| one.guid != *guid);
                    changes.current.push(Arc::clone(instance));
                }
                None if changes.gone.contains(guid) => {}
                None => changes.gone.push(guid.clone()),
            }
        }
    }

    fn members_of(&self, process: &DiegoProcessGuid) -> &[InstanceGuid] {
        let process = self.processes.get(process);
        process.map_or(&[], |process| &process.members)
    }

    /// What lists lacked of what an event ends.
    pub(super) fn ended(&mut self, event: &Event) -> Vec<InstanceGuid> {
        let (process, of) = match event {
            Event::Removed(gone) => (&gone.process, Some(&gone.guid)),
            Event::DesiredRemoved(desired) => (&desired.process, None),
            Event::Desired(desired) if desired.instances == 0 => (&desired.process, None),
            _ => return Vec::new(),
        };
        let Some(lost) = self.lost.get_mut(process) else {
            return Vec::new();
        };
        let ended = lost.extract_if(.., |guid| of.is_none_or(|of| of == guid));
        ended
            .filter(|guid| !self.instances.contains_key(guid))
            .collect()
    }

    /// Takes an event.
    pub(super) fn event(&mut self, event: Event, now: Instant) -> InstanceChanges {
        self.events.0 += 1;
        let mut changes = InstanceChanges::default();
        match event {
            Event::Unplaced(place) => self.unplaced.insert(place),
            Event::PlaceRemoved(process, index) => self.unplaced.remove(&process, index),
            Event::Observed(observation) => {
                self.unplaced
                    .remove(&observation.process, observation.index);
                let guid = observation.guid.clone();
                self.observe(observation, Heard::event(self.events));
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
        self.take_list(list, Heard::list(mark, false), now)
    }

    /// The same while an earlier one is in doubt: its rows and tags may be wrong ones, so that whatever a later one says
    /// counts, but for what was heard of since.
    pub(super) fn list_after_doubt(
        &mut self,
        list: List,
        mark: Mark,
        now: Instant,
    ) -> InstanceChanges {
        self.take_list(list, Heard::list(mark, true), now)
    }

    fn take_list(&mut self, list: List, heard: Heard, now: Instant) -> InstanceChanges {
        let List {
            instances,
            desired,
            unplaced,
            fresh,
            unclear,
        } = list;
        self.unplaced.replace(unplaced);
        self.tombstones.expire(now);
        let members: Vec<_> = self.instances.keys().cloned().collect();
        let mut changes = self.list_instances(instances, &unclear, members, heard);
        // Last, when all processes are known.
        self.list_desired(desired, fresh, &unclear, heard, now);
        let guids: Vec<_> = self.instances.keys().cloned().collect();
        for guid in guids {
            self.settle(&guid, &mut changes);
        }
        self.processes
            .retain(|_, process| process.desired.is_some() || !process.members.is_empty());
        changes
    }

    /// Takes a list of one process that was requested at `mark`.
    pub(super) fn list_process(
        &mut self,
        guid: &DiegoProcessGuid,
        list: List,
        mark: Mark,
    ) -> InstanceChanges {
        let process = self.processes.get(guid);
        let members = process.map_or_else(Vec::new, |process| process.members.to_vec());
        let heard = Heard::list(mark, false);
        let mut changes = self.list_instances(list.instances, &list.unclear, members, heard);
        let process = self.processes.get(guid);
        let members = process.map_or_else(Vec::new, |process| process.members.to_vec());
        for guid in members {
            self.settle(&guid, &mut changes);
        }
        changes
    }

    /// These are all the rows of what the members are of. Those that it lacks are gone, unless they were heard of since
    /// the request, or have a row that cannot be read.
    fn list_instances(
        &mut self,
        rows: Vec<Observation>,
        unclear: &Unclear,
        members: Vec<InstanceGuid>,
        heard: Heard,
    ) -> InstanceChanges {
        let mark = heard.known_until;
        let mut changes = InstanceChanges::default();
        let listed = latest(&rows);
        let is_gone = |guid: &InstanceGuid| {
            let is_there = listed.contains_key(guid) || unclear.instances.contains_key(guid);
            let known = self.instances.get(guid);
            !is_there && known.is_some_and(|known| known.last_event <= mark)
        };
        let mut gone = members;
        gone.retain(is_gone);
        // Any of them may have one of the rows that do not say whose they are; but no more of them than there are rows.
        if gone.len() <= unclear.nameless_instances {
            gone.clear();
        }
        self.news = News {
            mark: self.events,
            ..News::default()
        };
        for (index, observation) in rows.into_iter().enumerate() {
            if listed[&observation.guid].0 == index {
                let (guid, tag) = (observation.guid.clone(), observation.tag);
                let before = self.instances.get(&guid).map(|known| known.tag);
                self.observe(observation, heard);
                let now = self.instances.get(&guid).map(|known| known.tag);
                if before != now && now == Some(tag) {
                    self.news.changed.push(guid);
                }
            }
        }
        for guid in gone {
            if let Some(known) = self.instances.get(&guid) {
                self.news.gone.push((guid.clone(), known.tag));
                let lost = self.lost.entry(known.process().clone()).or_default();
                lost.push(guid.clone());
            }
            self.remove(&guid, &mut changes);
        }
        changes
    }

    fn observe(&mut self, observation: Observation, heard: Heard) {
        if self.tombstones.covers(&observation) {
            return;
        }
        if let Some(known) = self.instances.get_mut(&observation.guid) {
            let guid = observation.guid.clone();
            if known.observe(observation, heard) {
                self.kept.push(guid);
            }
            return;
        }
        let guid = observation.guid.clone();
        let process = self.processes.entry(observation.process.clone());
        process.or_default().members.push(guid.clone());
        self.instances
            .insert(guid, Known::new(observation, heard.last_event));
    }

    /// The tombstone outlives the instance: a retired one stays in the lists, running, until its container has
    /// stopped.
    fn remove_observed(&mut self, gone: &Observation, now: Instant, changes: &mut InstanceChanges) {
        match self.instances.get(&gone.guid) {
            // The events of a row have no order among themselves: its later state may be gone, or come after this.
            Some(known) if !known.precedes(gone) => {
                if !self.doubtful.contains(known.process()) {
                    self.doubtful.push(known.process().clone());
                }
                return;
            }
            Some(_) => self.remove(&gone.guid, changes),
            None => {}
        }
        let guid = gone.guid.clone();
        self.tombstones.insert(guid, gone.tag, gone.since, now);
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

    /// Scaling down and stopping show in the desired state at once, in the instances only when their containers have
    /// stopped.
    fn limit(
        &mut self,
        desired: Desired,
        removed_at: Option<Instant>,
        changes: &mut InstanceChanges,
    ) {
        let process = desired.process.clone();
        self.desire(desired, removed_at, Heard::event(self.events));
        let members = self
            .processes
            .get(&process)
            .map(|process| process.members.clone())
            .unwrap_or_default();
        for guid in &members {
            self.settle(guid, changes);
        }
    }

    /// Believes `desired`, unless something newer is known.
    fn desire(&mut self, desired: Desired, removed_at: Option<Instant>, heard: Heard) {
        let process = self.processes.entry(desired.process.clone()).or_default();
        process.unwanted = None;
        let known = process.desired.as_mut();
        if known.is_some_and(|known| !known.precedes(&desired, heard)) {
            return;
        }
        let mut limit = Limit::new(desired, heard.last_event, removed_at);
        let before = process.desired.take();
        limit.workload = limit.workload.or(before.and_then(|before| before.workload));
        process.desired = Some(limit);
    }

    /// Nothing is to run of a process that is not listed, if the BBS vouches for that, or has; else it has no limit that we
    /// know of. Those that an event removed keep theirs for as long as their instances may still stop.
    fn list_desired(
        &mut self,
        desired: Vec<Desired>,
        fresh: bool,
        unclear: &Unclear,
        heard: Heard,
        now: Instant,
    ) {
        let mark = heard.known_until;
        let mut listed = GuidSet::default();
        listed.reserve(desired.len());
        for desired in desired {
            listed.insert(desired.process.clone());
            self.desire(desired, None, heard);
        }
        for (guid, process) in &mut self.processes {
            let is_listed = unclear.has_nameless_processes
                || listed.contains(guid)
                || unclear.processes.contains(guid);
            let is_older = |limit: &Limit| limit.last_event <= mark;
            if is_listed || !process.desired.as_ref().is_none_or(is_older) {
                continue;
            }
            process.desired.take_if(|limit| {
                let removed_at = limit.removed_at;
                removed_at.is_none_or(|at| now.duration_since(at) >= tombstones::KEPT)
            });
            if fresh {
                process.unwanted = Some(mark);
            }
        }
    }

    /// Compares what is served of an instance with what is to be served.
    fn settle(&mut self, guid: &InstanceGuid, changes: &mut InstanceChanges) {
        let Some(known) = self.instances.get_mut(guid) else {
            return;
        };
        let process = self.processes.get(known.process());
        let limit = process.and_then(|process| process.desired.as_ref());
        let unwanted = process.and_then(|process| process.unwanted);
        let serves = known.instance(limit, unwanted);
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
