//! Instances of apps on very many routes: what is told of them waits for as long as the last of it took, and waits by
//! itself, so that nobody else does.
//!
//! Pure: it is told the time, and who has many routes.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::pace::{Pace, last_told, told_of};
use crate::model::{Basis, Instance, InstanceGuid, Report, Update};

/// The most that they wait.
const LONGEST: Duration = Duration::from_secs(4);

/// What was told of them last and is still to be taken in.
#[derive(Debug)]
pub(super) struct Damped {
    pace: Pace,
    waiting: BTreeMap<InstanceGuid, Option<Arc<Instance>>>,
    /// When the first of that was told.
    since: Option<Instant>,
}

impl Default for Damped {
    fn default() -> Self {
        Self {
            pace: Pace::new(LONGEST),
            waiting: BTreeMap::new(),
            since: None,
        }
    }
}

impl Damped {
    /// Keeps what is told of such instances, of each the last word, and answers with all else. A read of instances
    /// follows what was told before it.
    pub(super) fn pass(
        &mut self,
        reports: Vec<Report>,
        is_on_many: impl Fn(&InstanceGuid, Option<&Instance>) -> bool,
    ) -> Vec<Report> {
        let mut passed = Vec::with_capacity(reports.len());
        for report in reports {
            match report {
                Report {
                    update: Update::Instances { current, gone },
                    basis: Basis::Told,
                    since,
                } => passed.extend(self.sort((current, gone), since, &is_on_many)),
                Report {
                    update: Update::AllInstances(_) | Update::Instances { .. },
                    ..
                } => passed.extend(self.release().into_iter().chain([report])),
                other => passed.push(other),
            }
        }
        passed
    }

    fn sort(
        &mut self,
        (current, gone): (Vec<Arc<Instance>>, Vec<InstanceGuid>),
        since: Instant,
        is_on_many: impl Fn(&InstanceGuid, Option<&Instance>) -> bool,
    ) -> Option<Report> {
        let current = current.into_iter().filter_map(|instance| {
            let guid = &instance.guid;
            if self.waiting.contains_key(guid) || is_on_many(guid, Some(&instance)) {
                self.waiting.insert(guid.clone(), Some(instance));
                return None;
            }
            Some(instance)
        });
        let current: Vec<_> = current.collect();
        let gone = gone.into_iter().filter(|guid| {
            let waits = self.waiting.contains_key(guid) || is_on_many(guid, None);
            if waits {
                self.waiting.insert(guid.clone(), None);
            }
            !waits
        });
        let gone: Vec<_> = gone.collect();
        if !self.waiting.is_empty() {
            self.since.get_or_insert(since);
        }
        let is_nothing = current.is_empty() && gone.is_empty();
        (!is_nothing).then(|| told_of(current, gone, since))
    }

    /// When what waits is due, if something does.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let is_waiting = !self.waiting.is_empty();
        is_waiting.then(|| self.pace.rests_until().unwrap_or(now))
    }

    /// What waits, to be taken in now.
    pub(super) fn release(&mut self) -> Option<Report> {
        let since = self.since.take()?;
        Some(last_told(mem::take(&mut self.waiting), since))
    }

    /// What was released took so long.
    pub(super) fn work(&mut self, began: Instant, ended: Instant) {
        self.pace.work(began, ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::foundation;

    fn told(current: Vec<Arc<Instance>>, gone: Vec<InstanceGuid>) -> Report {
        Update::Instances { current, gone }.on(Basis::Told)
    }

    /// The first two are on many routes.
    fn is_on_many(guid: &InstanceGuid, _: Option<&Instance>) -> bool {
        (0..2).any(|n| *guid == foundation::instance(n, 0, 1).guid)
    }

    fn words(report: &Report) -> (Vec<InstanceGuid>, Vec<InstanceGuid>) {
        match &report.update {
            Update::Instances { current, gone } => {
                let current = current.iter().map(|instance| instance.guid.clone());
                (current.collect(), gone.clone())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_those_on_many_routes_the_last_word_waits_and_all_else_passes() {
        let [first, second, other] = [0, 1, 2].map(|n| foundation::instance(n, 0, 1));
        let guids = [&first, &second, &other].map(|instance| instance.guid.clone());
        let mut damped = Damped::default();
        let reports = vec![
            told(vec![first, second.clone(), other], vec![]),
            told(vec![], guids.to_vec()),
            told(vec![second], vec![]),
        ];
        let told_first = reports[0].since;
        let passed = damped.pass(reports, is_on_many);
        let passed: Vec<_> = passed.iter().map(words).collect();
        let [first, second, other] = guids;
        assert_eq!(
            passed,
            [(vec![other.clone()], vec![]), (vec![], vec![other])]
        );
        let released = damped.release().unwrap();
        assert_eq!(words(&released), (vec![second], vec![first]));
        assert_eq!(released.since, told_first);
        assert!(damped.release().is_none());
    }

    #[test]
    fn what_was_told_before_a_read_is_taken_in_before_it() {
        let instance = foundation::instance(0, 0, 1);
        let mut damped = Damped::default();
        let all = Update::AllInstances(vec![]).on(Basis::Told);
        let passed = damped.pass(vec![told(vec![instance], vec![]), all], is_on_many);
        let is_read = |report: &Report| matches!(report.update, Update::AllInstances(_));
        assert_eq!(
            passed.iter().map(is_read).collect::<Vec<_>>(),
            [false, true]
        );
    }

    #[test]
    fn what_comes_after_work_waits_until_that_is_paid() {
        let now = Instant::now();
        let mut damped = Damped::default();
        damped.pass(
            vec![told(vec![foundation::instance(0, 0, 1)], vec![])],
            is_on_many,
        );
        assert_eq!(damped.due(now), Some(now), "nothing was done yet");
        damped.work(now, now + Duration::from_secs(1));
        let due = damped.due(now).unwrap();
        assert!(due > now + Duration::from_secs(2), "{:?}", due - now);
        damped.release();
        assert_eq!(damped.due(now), None);
    }
}
