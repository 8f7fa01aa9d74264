//! What outlives the process, and what is made of it at the next start.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use super::{Changes, Pool, RouteTable, Subject, routes::shared_key, served::Answer};
use crate::model::{Association, Policy, Process, Route, Served, Workload};

impl RouteTable {
    /// All routes.
    pub fn routes(&self) -> Vec<Arc<Route>> {
        self.facts.routes.all()
    }

    /// What Cloud Controller has said of processes.
    pub fn processes(&self) -> Vec<Process> {
        self.facts.instances.descriptions().collect()
    }

    /// All associations.
    pub fn associations(&self) -> Vec<Association> {
        self.facts.instances.associations()
    }

    /// All network policies, sorted.
    pub fn policies(&self) -> &[Policy] {
        self.sources.policies()
    }

    /// How many instances there are of each workload.
    pub fn instance_counts(&self) -> Vec<(Workload, u32)> {
        self.facts.instances.counts().collect()
    }

    /// Until the instances are read, so many count as there.
    pub fn expect(&mut self, instances: &[(Workload, u32)]) {
        self.expected = instances.iter().cloned().collect();
        self.settle_answers();
    }

    /// Nothing is expected but of these any more: of all others what there is counts.
    pub fn expect_only(&mut self, subjects: &BTreeSet<Subject>) {
        let mut expected = mem::take(&mut self.expected);
        expected.retain(|workload, _| {
            let mut routes = self.facts.routes.of_workload(workload);
            routes.any(|route| subjects.contains(&Subject::of(route)))
        });
        self.expected = expected;
        self.settle_answers();
    }

    /// What routes lack of what is expected of them.
    pub fn shortfall(&self) -> BTreeMap<Subject, Served> {
        let mut shortfall = BTreeMap::new();
        for route in self.facts.routes.all() {
            let key = shared_key(&route);
            let Some(pool) = self.host(&route.host).and_then(|host| host.pool(&key)) else {
                continue;
            };
            let endpoints = match Answer::of(&pool) {
                Answer::Refusal => continue,
                Answer::Nobody => 0,
                Answer::Endpoints(endpoints) => endpoints,
            };
            let missing = self.expected_of(&pool).saturating_sub(endpoints);
            if missing > 0 {
                let lost = Served {
                    routes: u64::from(endpoints == 0),
                    endpoints: missing.into(),
                    ..Served::default()
                };
                shortfall.insert(Subject::of(&route), lost);
            }
        }
        shortfall
    }

    /// How a route is answered, or was before the start where the instances are not read yet.
    pub(super) fn answer(&self, pool: &Pool<'_>) -> Answer {
        match (Answer::of(pool), self.expected_of(pool)) {
            (Answer::Nobody, expected @ 1..) => Answer::Endpoints(expected),
            (answer, _) => answer,
        }
    }

    fn expected_of(&self, pool: &Pool<'_>) -> u32 {
        if self.expected.is_empty() {
            return 0;
        }
        let expected = pool.destinations();
        let expected = expected.filter_map(|to| self.expected.get(&to.workload));
        expected.fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// What is different by what is expected is no loss.
    fn settle_answers(&mut self) {
        let mut changes = Changes::default();
        for route in self.facts.routes.all() {
            changes.touch_service(&route.host, &shared_key(&route));
        }
        self.touch_lookups(&mut changes);
        self.ledger.take_losses();
    }
}
