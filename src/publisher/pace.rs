//! How much of the time the publisher works, and what it makes of updates that have waited meanwhile.
//!
//! What one tenant's app does, be it on thousands of routes and many times a second, is paid for by waiting: in the long
//! run the publisher works for a quarter of the time of one processor. What comes meanwhile waits, and is taken in
//! together.
//!
//! Pure: it is told the time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::model::{Basis, Instance, InstanceGuid, Report, Update};

/// Work is paid with so many times as long, itself included.
const PRICE: u32 = 4;
/// So much may be owed before it has to be paid: a large read, once in a while, is followed by no rest.
const CREDIT: Duration = Duration::from_secs(1);
/// Nobody waits for longer, however long the work took.
const LONGEST: Duration = Duration::from_secs(1);

/// Until when the work that was done is paid.
#[derive(Debug)]
pub(super) struct Pace {
    paid: Option<Instant>,
    longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(LONGEST)
    }
}

impl Pace {
    /// Nobody waits for longer than that.
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            paid: None,
            longest,
        }
    }

    /// Some work took so long.
    pub(super) fn work(&mut self, began: Instant, ended: Instant) {
        let price = ended.duration_since(began) * PRICE;
        let from = self.paid.map_or(began, |paid| paid.max(began));
        self.paid = Some((from + price).min(ended + CREDIT + self.longest));
    }

    /// Before which time no more work is begun.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.paid?.checked_sub(CREDIT)
    }
}

/// Makes one of what was told of instances in a row: of each the last word counts.
pub(super) fn gathered(reports: impl IntoIterator<Item = Report>) -> Vec<Report> {
    let mut gathered = Vec::new();
    let mut told = Vec::new();
    for report in reports {
        match report {
            Report {
                update: Update::Instances { current, gone },
                basis: Basis::Told,
                since,
            } => told.push((current, gone, since)),
            other => {
                gathered.extend(last_words(&mut told));
                gathered.push(other);
            }
        }
    }
    gathered.extend(last_words(&mut told));
    gathered
}

type Told = (Vec<Arc<Instance>>, Vec<InstanceGuid>, Instant);

fn last_words(told: &mut Vec<Told>) -> Option<Report> {
    // What was said first has waited longest.
    let since = told.iter().map(|(_, _, since)| *since).min()?;
    if told.len() == 1 {
        return told
            .pop()
            .map(|(current, gone, _)| told_of(current, gone, since));
    }
    let mut last = BTreeMap::new();
    for (current, gone, _) in told.drain(..) {
        last.extend(gone.into_iter().map(|guid| (guid, None)));
        let current = current.into_iter();
        last.extend(current.map(|one| (one.guid.clone(), Some(one))));
    }
    Some(last_told(last, since))
}

/// What was told last of each instance; nothing of one that is gone.
pub(super) fn last_told(
    last: impl IntoIterator<Item = (InstanceGuid, Option<Arc<Instance>>)>,
    since: Instant,
) -> Report {
    let (mut current, mut gone) = (Vec::new(), Vec::new());
    for (guid, instance) in last {
        match instance {
            Some(instance) => current.push(instance),
            None => gone.push(guid),
        }
    }
    told_of(current, gone, since)
}

/// What was told of instances since then.
pub(super) fn told_of(
    current: Vec<Arc<Instance>>,
    gone: Vec<InstanceGuid>,
    since: Instant,
) -> Report {
    Report {
        update: Update::Instances { current, gone },
        basis: Basis::Told,
        since,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::sim::foundation;

    const MS: Duration = Duration::from_millis(1);

    proptest! {
        #[test]
        fn works_a_quarter_of_the_time_in_the_long_run_but_for_its_credit(
            works in vec((0u32..2_000, 0u32..330), 1..60),
        ) {
            let start = Instant::now();
            let mut pace = Pace::default();
            let (mut now, mut worked) = (start, Duration::ZERO);
            for (pause, took) in works {
                now = (now + MS * pause).max(pace.rests_until().unwrap_or(now));
                // What was done until here is paid, but for the credit.
                let allowed = (now.duration_since(start) + CREDIT) / PRICE;
                prop_assert!(worked <= allowed, "{worked:?} of {:?}", now - start);
                pace.work(now, now + MS * took);
                now += MS * took;
                worked += MS * took;
            }
        }

        #[test]
        fn what_is_gathered_ends_as_what_was_told_one_by_one(
            steps in vec((vec((0usize..4, 1u16..4), 0..3), vec(0usize..4, 0..3), 0u8..6), 0..12),
        ) {
            let reports = || steps.iter().cloned().map(|(current, gone, kind)| {
                let current = current.into_iter().map(|(n, port)| foundation::instance(n, 0, port));
                let gone = gone.into_iter().map(|n| foundation::instance(n, 0, 1).guid.clone());
                let current: Vec<_> = current.collect();
                if kind == 0 {
                    Update::AllInstances(current).on(Basis::Told)
                } else {
                    Update::Instances { current, gone: gone.collect() }.on(Basis::Told)
                }
            });
            let gathered = gathered(reports());
            let is_told = |report: &Report| matches!(report.update, Update::Instances { .. });
            prop_assert!(gathered.windows(2).all(|pair| !(is_told(&pair[0]) && is_told(&pair[1]))));
            prop_assert_eq!(end_of(gathered), end_of(reports()));
        }
    }

    fn end_of(reports: impl IntoIterator<Item = Report>) -> BTreeMap<InstanceGuid, Arc<Instance>> {
        let mut all = BTreeMap::new();
        for report in reports {
            let current = match report.update {
                Update::AllInstances(instances) => {
                    all.clear();
                    instances
                }
                Update::Instances { current, gone } => {
                    all.retain(|guid, _| !gone.contains(guid));
                    current
                }
                _ => continue,
            };
            all.extend(current.into_iter().map(|one| (one.guid.clone(), one)));
        }
        all
    }

    #[test]
    fn what_is_gathered_has_waited_since_the_first_of_it_was_told() {
        let told = |n| {
            let current = vec![foundation::instance(n, 0, 1)];
            let gone = Vec::new();
            Update::Instances { current, gone }.on(Basis::Told)
        };
        let reports = [0, 1].map(told);
        let first = reports[0].since;
        assert_eq!(gathered(reports)[0].since, first);
    }

    #[test]
    fn a_large_read_is_followed_by_no_rest_and_the_longest_work_by_a_second() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.work(start, start + MS * 250);
        assert!(pace.rests_until() <= Some(start + MS * 250));
        let ended = start + MS * 60_000;
        pace.work(start + MS * 250, ended);
        assert_eq!(pace.rests_until(), Some(ended + LONGEST));
    }
}
