//! What outlives the process, and what is made of it at the next start.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use super::{Changes, Pool, RouteTable, Subject, key::shared_key, served::Answer};
use crate::model::{Association, Instance, Policy, Process, Route, Served, Workload};

/// Of an app's routes, by which its instances are reached: they are hardly ever reached by some and not by others.
const LOOKED_AT: usize = 4;

impl RouteTable {
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

    /// How many instances requests may be sent to, of each workload that routes lead to.
    pub fn instance_counts(&self) -> Vec<(Workload, u32)> {
        let counts = self.facts.instances.routed().filter_map(|workload| {
            let routes = self.facts.routes.of_workload(workload).take(LOOKED_AT);
            let reached = routes.map(|route| self.reached_by(route, workload)).max()?;
            Some((workload.clone(), u32::try_from(reached).unwrap_or(u32::MAX)))
        });
        counts.collect()
    }

    fn reached_by(&self, route: &Route, workload: &Workload) -> usize {
        let Some(host) = self.host(&route.host) else {
            return 0;
        };
        let destinations = route.destinations.iter();
        let ports = destinations.filter(|to| to.workload == *workload);
        let reached = ports.map(|to| {
            let instances = host.instances(workload);
            let is_reached = |instance: &&Instance| host.reach(instance, to.port).is_ok();
            instances.filter(is_reached).count()
        });
        reached.max().unwrap_or_default()
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
                Answer::Refusal | Answer::Unserved => continue,
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
