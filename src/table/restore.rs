//! Puts back some of what an update took away.

use std::{collections::BTreeSet, sync::Arc};

use smallvec::SmallVec;

use super::{
    RouteTable,
    changes::Changes,
    losses::{Displaced, Subject},
    routes::has_same_place,
    workloads::Workloads,
};
use crate::model::{Association, Destination, Policy, Route, Weight, Workload};

impl RouteTable {
    /// Puts back what these subjects were served by, where what is there now serves less of it.
    pub fn restore(&mut self, displaced: Displaced, subjects: &BTreeSet<Subject>) -> Changes {
        let mut changes = Changes::default();
        self.restore_routes(displaced.routes, subjects, &mut changes);
        let associations = displaced.associations.into_iter();
        let of = |association: &Association| {
            let workload = Workload::pushed(&association.process);
            self.lead_to(&[workload].into(), subjects)
        };
        let associations: Vec<_> = associations.filter(of).collect();
        let mut instances = displaced.instances;
        instances.retain(|(before, workloads)| {
            self.lead_to(workloads, subjects) && !self.facts.instances.serves(before, workloads)
        });
        let mut touched = self.facts.instances.associate(associations, Vec::new());
        touched.extend(self.facts.instances.restore(instances));
        self.touch_endpoints(touched, &mut changes);
        let is_held = |policy: &Policy| subjects.contains(&Subject::Source(policy.source.clone()));
        let policies = displaced.policies.into_iter().filter(is_held).collect();
        self.sources.restore(policies, &self.facts, &mut changes);
        self.conclude(&mut changes);
        changes
    }

    /// Puts back the routes that are gone or lead nowhere any more.
    pub fn restore_emptied(&mut self, mut displaced: Displaced) -> Changes {
        displaced.routes.retain(|route| {
            let now = self.facts.routes.get(&route.guid);
            now.is_none_or(|now| now.destinations.is_empty())
        });
        let emptied = displaced.routes.iter().map(|route| Subject::of(route));
        let emptied = emptied.collect();
        self.restore(displaced, &emptied)
    }

    /// Of a route that was changed several times, what it was first. A route that nobody answers at the moment is no loss,
    /// and may be answered the next: it stays with those that are held. While anything of TCP is held no port goes over to
    /// another domain: its clients would be another tenant's.
    fn restore_routes(
        &mut self,
        routes: Vec<Arc<Route>>,
        subjects: &BTreeSet<Subject>,
        changes: &mut Changes,
    ) {
        let holds_sidecars = subjects
            .iter()
            .any(|subject| matches!(subject, Subject::Source(_)));
        let holds_ports = subjects
            .iter()
            .any(|subject| matches!(subject, Subject::Route(host, _) if host.port().is_some()));
        for route in routes.into_iter().rev() {
            let is_gone = self.facts.routes.get(&route.guid).is_none();
            if is_gone
                || subjects.contains(&Subject::of(&route))
                || route.internal && holds_sidecars
                || holds_ports && self.facts.ports.has_heir(&route.host)
            {
                let now = self.facts.routes.get(&route.guid);
                if let Some(restored) = restored(&route, now) {
                    self.facts.routes.upsert(restored, changes);
                }
            }
        }
    }

    /// Whether a route that is among the subjects leads to one of these.
    fn lead_to(&self, workloads: &Workloads, subjects: &BTreeSet<Subject>) -> bool {
        workloads.iter().any(|workload| {
            let mut routes = self.facts.routes.of_workload(workload);
            routes.any(|route| subjects.contains(&Subject::of(route)))
        })
    }
}

/// A route with what it led to and does not any more; `None` where it leads there. A new restriction stays.
fn restored(before: &Route, now: Option<&Route>) -> Option<Route> {
    let Some(now) = now.filter(|now| has_same_place(before, now)) else {
        return Some(before.clone());
    };
    if now.refused.is_some() {
        return None;
    }
    let gone = before.destinations.iter().filter(|to| !now.leads_to(to));
    let mut destinations: SmallVec<_> = gone.cloned().collect();
    if before.refused.is_none() && destinations.is_empty() {
        return None;
    }
    destinations.extend(now.destinations.iter().cloned());
    let is_fixed = |to: &Destination| matches!(to.weight, Weight::Fixed(_));
    // Shares that were given for others do not add up.
    if before.refused.is_some() || destinations.iter().any(is_fixed) {
        return Some(before.clone());
    }
    destinations.sort_unstable();
    Some(Route {
        destinations,
        ..now.clone()
    })
}
