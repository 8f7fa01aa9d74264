//! What is to be looked at again, and when.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::index::Index;
use crate::capi::reads::batch::Batch;

/// With more than this to look at, one full read is cheaper.
const MAX_PENDING: usize = 20_000;

/// Looks at a change at once, and at those that follow soon after it together: one request serves many.
#[derive(Debug)]
pub(super) struct Pending {
    gather: Duration,
    recheck_after: Vec<Duration>,
    /// By how much both are stretched.
    slowdown: u32,
    changed: Batch,
    announced: Batch,
    due: Option<Instant>,
    /// Until when further changes are gathered.
    gathers_until: Option<Instant>,
    rechecks: BTreeMap<Instant, Batch>,
}

impl Pending {
    pub(super) fn new(gather: Duration, recheck_after: Vec<Duration>) -> Self {
        Self {
            gather,
            recheck_after,
            slowdown: 1,
            changed: Batch::default(),
            announced: Batch::default(),
            due: None,
            gathers_until: None,
            rechecks: BTreeMap::new(),
        }
    }

    /// Stretches the times to come, to stay within a rate limit.
    pub(super) fn slow_down(&mut self, slowdown: u32) {
        self.slowdown = slowdown;
    }

    /// A change that is committed.
    pub(super) fn changed(&mut self, batch: Batch, now: Instant) {
        self.changed.merge(batch);
        self.arm(now);
    }

    /// A change that may be committed only later: it is looked at several times.
    pub(super) fn announced(&mut self, batch: Batch, now: Instant) {
        self.announced.merge(batch);
        self.arm(now);
    }

    /// What could not be looked at now is looked at again then.
    pub(super) fn postpone(&mut self, batch: Batch, until: Instant) {
        self.rechecks.entry(until).or_default().merge(batch);
    }

    fn arm(&mut self, now: Instant) {
        let due = self.gathers_until.map_or(now, |until| until.max(now));
        self.due.get_or_insert(due);
    }

    /// When announced changes are looked at again. In a slowdown, the last of several looks is left to full reads.
    fn rechecks(&self) -> Vec<Duration> {
        let count = match self.recheck_after.len() {
            0 | 1 => self.recheck_after.len(),
            count => count - usize::from(self.slowdown > 1),
        };
        let after = self.recheck_after.iter().take(count);
        after.map(|after| *after * self.slowdown).collect()
    }

    /// When there is something to look at.
    pub(super) fn next(&self) -> Option<Instant> {
        let recheck = self.rechecks.keys().next().copied();
        self.due.into_iter().chain(recheck).min()
    }

    /// What is to be looked at by now.
    pub(super) fn take(&mut self, now: Instant, index: &Index) -> Batch {
        let mut batch = Batch::default();
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.gathers_until = Some(now + self.gather * self.slowdown);
            let mut announced = std::mem::take(&mut self.announced);
            index.expand(&mut announced);
            if !announced.is_empty() {
                for after in self.rechecks() {
                    self.postpone(announced.clone(), now + after);
                }
            }
            batch = std::mem::take(&mut self.changed);
            index.expand(&mut batch);
            batch.merge(announced);
        }
        let later = self.rechecks.split_off(&(now + Duration::from_nanos(1)));
        for (_, recheck) in std::mem::replace(&mut self.rechecks, later) {
            batch.merge(recheck);
        }
        batch
    }

    /// Forgets everything if there is too much of it; whether it did.
    pub(super) fn overflow(&mut self) -> bool {
        let rechecks: usize = self.rechecks.values().map(Batch::len).sum();
        let overflows = self.changed.len() + self.announced.len() + rechecks > MAX_PENDING;
        if overflows {
            *self = Self {
                slowdown: self.slowdown,
                gathers_until: self.gathers_until,
                ..Self::new(self.gather, std::mem::take(&mut self.recheck_after))
            };
        }
        overflows
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{AppGuid, RouteGuid};

    fn batch(apps: &[&str], routes: &[&str]) -> Batch {
        Batch {
            apps: apps.iter().map(|guid| AppGuid::from(*guid)).collect(),
            routes: routes.iter().map(|guid| RouteGuid::from(*guid)).collect(),
        }
    }

    fn pending() -> Pending {
        let seconds = [2, 10].map(Duration::from_secs).to_vec();
        Pending::new(Duration::from_millis(200), seconds)
    }

    #[test]
    fn looks_at_once_and_gathers_what_follows() {
        let (mut pending, now, index) = (pending(), Instant::now(), Index::default());
        pending.changed(batch(&["a"], &[]), now);
        assert_eq!(pending.next(), Some(now));
        assert_eq!(pending.take(now, &index), batch(&["a"], &[]));

        let later = now + Duration::from_millis(200);
        for (name, after) in [("b", 1), ("c", 150)] {
            pending.changed(batch(&[name], &[]), now + Duration::from_millis(after));
            assert_eq!(pending.next(), Some(later));
        }
        let soon = now + Duration::from_millis(199);
        assert!(pending.take(soon, &index).is_empty());
        assert_eq!(pending.take(later, &index), batch(&["b", "c"], &[]));
        assert_eq!(pending.next(), None);
    }

    #[test]
    fn after_a_rest_it_looks_at_once_again() {
        let (mut pending, now, index) = (pending(), Instant::now(), Index::default());
        pending.changed(batch(&["a"], &[]), now);
        pending.take(now, &index);
        let later = now + Duration::from_secs(1);
        pending.changed(batch(&["a"], &[]), later);
        assert_eq!(pending.next(), Some(later));
    }

    #[test]
    fn what_is_announced_is_looked_at_again_and_again() {
        let (mut pending, now, index) = (pending(), Instant::now(), Index::default());
        pending.announced(batch(&["a"], &[]), now);
        assert_eq!(pending.take(now, &index), batch(&["a"], &[]));
        for seconds in [2, 10] {
            let next = pending.next().unwrap();
            assert_eq!(next, now + Duration::from_secs(seconds));
            assert_eq!(pending.take(next, &index), batch(&["a"], &[]));
        }
        assert_eq!(pending.next(), None);
    }

    #[test]
    fn a_slowdown_stretches_every_wait_and_spares_the_last_look() {
        let (mut pending, now, index) = (pending(), Instant::now(), Index::default());
        pending.slow_down(4);
        pending.announced(batch(&["a"], &[]), now);
        assert_eq!(pending.take(now, &index), batch(&["a"], &[]));
        pending.changed(batch(&["b"], &[]), now);
        let gathered = now + Duration::from_millis(800);
        assert_eq!(pending.next(), Some(gathered));
        assert_eq!(pending.take(gathered, &index), batch(&["b"], &[]));
        let second = now + Duration::from_secs(8);
        assert_eq!(pending.next(), Some(second));
        assert_eq!(pending.take(second, &index), batch(&["a"], &[]));
        assert_eq!(pending.next(), None);
    }

    #[test]
    fn too_much_is_forgotten_at_once() {
        let (mut pending, now) = (pending(), Instant::now());
        pending.changed(batch(&["a"], &[]), now);
        assert!(!pending.overflow());
        let routes = (0..=MAX_PENDING).map(|n| RouteGuid::from(n.to_string().as_str()));
        let many = Batch {
            apps: BTreeSet::new(),
            routes: routes.collect(),
        };
        pending.changed(many, now);
        assert!(pending.overflow());
        assert_eq!(pending.next(), None);
    }
}
