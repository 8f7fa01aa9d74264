//! What an update put aside, so that some of it can be put back.

use std::{collections::BTreeSet, sync::Arc};

use super::{RouteTable, changes::Changes, served::Subject, workloads::Workloads};
use crate::model::{Association, Instance, Policy, Route, Workload};

/// Items as they were before an update removed or changed them.
#[derive(Debug, Default)]
pub struct Displaced {
    pub(super) routes: Vec<Arc<Route>>,
    /// With what they were instances of.
    pub(super) instances: Vec<(Arc<Instance>, Workloads)>,
    pub(super) associations: Vec<Association>,
    pub(super) policies: Vec<Policy>,
}

impl RouteTable {
    /// Puts back what these subjects were served by, as it was.
    pub fn restore(&mut self, displaced: Displaced, subjects: &BTreeSet<Subject>) -> Changes {
        let mut changes = Changes::default();
        self.restore_routes(displaced.routes, subjects, &mut changes);
        let associations = displaced.associations.into_iter();
        let (associations, instances) = {
            let leads = |workloads: &Workloads| self.lead_to(workloads, subjects);
            let of =
                |association: &Association| leads(&[Workload::pushed(&association.process)].into());
            let associations: Vec<_> = associations.filter(of).collect();
            let instances = displaced.instances.into_iter();
            let instances = instances.filter(|(_, workloads)| leads(workloads));
            let instances: Vec<_> = instances.map(|(instance, _)| instance).collect();
            (associations, instances)
        };
        let mut touched = self.facts.instances.associate(associations, Vec::new());
        touched.extend(self.facts.instances.upsert(instances));
        self.touch_endpoints(touched, &mut changes);
        let is_held = |policy: &Policy| subjects.contains(&Subject::Source(policy.source.clone()));
        let policies = displaced.policies.into_iter().filter(is_held).collect();
        self.sources.restore(policies, &self.facts, &mut changes);
        self.conclude(&mut changes);
        changes
    }

    /// Of a route that was changed several times, what it was first.
    fn restore_routes(
        &mut self,
        routes: Vec<Arc<Route>>,
        subjects: &BTreeSet<Subject>,
        changes: &mut Changes,
    ) {
        let holds_sidecars = subjects
            .iter()
            .any(|subject| matches!(subject, Subject::Source(_)));
        for route in routes.into_iter().rev() {
            if subjects.contains(&Subject::of(&route)) || route.internal && holds_sidecars {
                self.facts.routes.upsert(Route::clone(&route), changes);
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
