//! What outlives the process, and what is made of it at the next start.

use std::{collections::BTreeMap, sync::Arc};

use super::{Changes, RouteTable, Subject, routes::shared_key, served::Answer};
use crate::{
    guids::GuidMap,
    model::{Association, Hostname, Policy, Process, Route, Served, Workload},
};

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

    /// Of the routes that are there: how many endpoints each had, by how many instances its destinations had. Until the
    /// instances are read, they count as there.
    pub fn expect(&mut self, instances: &[(Workload, u32)]) {
        let counts: GuidMap<_, _> = instances.iter().cloned().collect();
        let routes = self.facts.routes.all();
        let mut expected: BTreeMap<(Hostname, Arc<str>), u32> = BTreeMap::new();
        for route in routes.iter().filter(|route| route.refused.is_none()) {
            let counts = route.destinations.iter().map(|to| counts.get(&to.workload));
            let endpoints: u32 = counts.flatten().sum();
            let key = shared_key(route);
            *expected.entry((route.host.clone(), key)).or_default() += endpoints;
        }
        for ((host, key), endpoints) in expected {
            if endpoints > 0 {
                self.ledger.expect(&host, &key, endpoints);
                let mut changes = Changes::default();
                changes.touch_service(&host, &key);
                self.touch_lookups(&mut changes);
            }
        }
        self.ledger.take_losses();
    }

    /// What routes that are there lack of what is expected of them.
    pub fn shortfall(&self) -> BTreeMap<Subject, Served> {
        let lacks = |(host, key, expected): (&Hostname, &Arc<str>, u32)| {
            let pool = self.host(host)?.pool(key)?;
            let endpoints = match Answer::of(&pool) {
                Answer::Refusal => return None,
                Answer::Nobody => 0,
                Answer::Endpoints(endpoints) => endpoints,
            };
            let lost = Served {
                routes: u64::from(endpoints == 0),
                endpoints: expected.saturating_sub(endpoints).into(),
                ..Served::default()
            };
            let subject = Subject::Route(host.clone(), key.clone());
            (lost.endpoints > 0).then_some((subject, lost))
        };
        self.ledger.expected().filter_map(lacks).collect()
    }

    /// The instances are read: from now on what there is counts.
    pub fn expect_nothing(&mut self) {
        let expected = self.ledger.expected();
        let expected: Vec<_> = expected
            .map(|(host, key, _)| (host.clone(), key.clone()))
            .collect();
        self.ledger.expect_nothing();
        let mut changes = Changes::default();
        for (host, key) in &expected {
            changes.touch_service(host, key);
        }
        self.touch_lookups(&mut changes);
        self.ledger.take_losses();
    }
}
