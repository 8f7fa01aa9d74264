//! Remembers for a while which instances are gone, so that a list that lags behind does not bring them back.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    time::Duration,
};

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{
    bbs::observation::{Observation, Tag},
    model::InstanceGuid,
};

/// Longer than a container takes to stop. A row that is still listed after that did not stop, and is taken back.
pub(super) const KEPT: Duration = Duration::from_mins(5);

/// As many as a large foundation has instances; beyond that the oldest are forgotten first.
const MAX: usize = 250_000;

/// An instance that is gone, and may be reported again under another incarnation, when its cell brings it back.
#[derive(Debug)]
struct Gone {
    /// Those under which it never is again, whatever is said of it later: a retired one may change until it has stopped.
    epochs: SmallVec<[u64; 1]>,
    /// When the latest of them was changed last. Nor is it again as it was before that: an evacuation gives it another
    /// incarnation, whose end may be heard of before what it was earlier.
    since: i64,
    inserted: Instant,
}

/// What is gone.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    instances: HashMap<InstanceGuid, Gone>,
    /// In the order of insertion; an older entry of an instance that was renewed has no effect.
    order: VecDeque<(Instant, InstanceGuid)>,
}

impl Tombstones {
    /// The incarnation of the tag is gone, which was changed last at `since`.
    pub(super) fn insert(&mut self, guid: InstanceGuid, tag: Tag, since: i64, now: Instant) {
        let gone = self.instances.entry(guid.clone()).or_insert(Gone {
            epochs: SmallVec::new(),
            since,
            inserted: now,
        });
        if !gone.epochs.contains(&tag.epoch) {
            gone.epochs.push(tag.epoch);
        }
        gone.since = gone.since.max(since);
        gone.inserted = now;
        self.order.push_back((now, guid));
        if self.order.len() > MAX {
            self.forget_first();
        }
    }

    /// Whether the incarnation of the tag is known to be gone.
    pub(super) fn has_ended(&self, guid: &InstanceGuid, tag: Tag) -> bool {
        let gone = self.instances.get(guid);
        gone.is_some_and(|gone| gone.epochs.contains(&tag.epoch))
    }

    /// Whether what was observed is of something that is known to be gone.
    pub(super) fn covers(&self, observed: &Observation) -> bool {
        let gone = self.instances.get(&observed.guid);
        gone.is_some_and(|gone| {
            observed.since < gone.since || gone.epochs.contains(&observed.tag.epoch)
        })
    }

    /// Forgets what was inserted long before `now`.
    pub(super) fn expire(&mut self, now: Instant) {
        while self
            .order
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) >= KEPT)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((inserted, guid)) = self.order.pop_front() else {
            return;
        };
        if let Entry::Occupied(gone) = self.instances.entry(guid)
            && gone.get().inserted == inserted
        {
            gone.remove();
        }
    }
}
