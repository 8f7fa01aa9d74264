//! Remembers for a while which instances are gone, so that a list that lags behind does not bring them back.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::{bbs::observation::Tag, model::InstanceGuid};

/// Longer than a container takes to stop. A row that is still listed after that did not stop, and is taken back.
pub(super) const KEPT: Duration = Duration::from_mins(5);

/// As many as a large foundation has instances; beyond that the oldest are forgotten first.
const MAX: usize = 250_000;

/// Not an instance: one that was removed may be reported again under another incarnation, when its cell brings it back.
/// Under the same it never is, whatever is said of it later: a retired one may change until it has stopped.
type Incarnation = (InstanceGuid, u64);

/// What is gone.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    inserted: HashMap<Incarnation, Instant>,
    /// In the order of insertion; an older entry of an incarnation that was renewed has no effect.
    order: VecDeque<(Instant, Incarnation)>,
}

impl Tombstones {
    /// The incarnation of the tag is gone.
    pub(super) fn insert(&mut self, guid: InstanceGuid, tag: Tag, now: Instant) {
        let incarnation = (guid, tag.epoch);
        self.inserted.insert(incarnation.clone(), now);
        self.order.push_back((now, incarnation));
        if self.order.len() > MAX {
            self.forget_first();
        }
    }

    /// Whether the incarnation of the tag is known to be gone.
    pub(super) fn covers(&self, guid: &InstanceGuid, tag: Tag) -> bool {
        self.inserted.contains_key(&(guid.clone(), tag.epoch))
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
        let Some((inserted, incarnation)) = self.order.pop_front() else {
            return;
        };
        if self.inserted.get(&incarnation) == Some(&inserted) {
            self.inserted.remove(&incarnation);
        }
    }
}
