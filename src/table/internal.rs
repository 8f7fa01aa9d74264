//! The internal hostnames of apps.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem,
};

use crate::model::{AppGuid, AppPort, Destination, Hostname, ProcessType, Route, Workload};

/// Where processes of an app are reached by a destination of an internal route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Reached {
    pub(super) host: Hostname,
    process_type: ProcessType,
    pub(super) port: AppPort,
}

impl Reached {
    /// Whose instances are reached, of an app.
    pub(super) fn workload(&self, app: &AppGuid) -> Workload {
        Workload {
            app: app.clone(),
            process_type: self.process_type.clone(),
        }
    }
}

/// At which internal hostnames the processes of an app are reached.
#[derive(Debug, Default)]
pub(super) struct InternalHosts {
    /// How many routes make it so.
    by_app: HashMap<AppGuid, BTreeMap<Reached, usize>>,
    /// What is different since it was asked for last: what comes and goes, or goes and comes, is not.
    different: HashSet<(AppGuid, Reached)>,
}

impl InternalHosts {
    pub(super) fn of_app(&self, app: &AppGuid) -> impl Iterator<Item = &Reached> {
        self.by_app.get(app).into_iter().flat_map(BTreeMap::keys)
    }

    /// Where apps are reached now and were not at the last call, or the other way round.
    pub(super) fn take_different(&mut self) -> HashSet<(AppGuid, Reached)> {
        mem::take(&mut self.different)
    }

    pub(super) fn add(&mut self, route: &Route) {
        for (app, reached) in reached(route) {
            let all = self.by_app.entry(app.clone()).or_default();
            let routes = all.entry(reached.clone()).or_default();
            *routes += 1;
            if *routes == 1 {
                self.toggle(app, reached);
            }
        }
    }

    pub(super) fn remove(&mut self, route: &Route) {
        for (app, reached) in reached(route) {
            let Some(all) = self.by_app.get_mut(app) else {
                continue;
            };
            let Some(routes) = all.get_mut(&reached) else {
                continue;
            };
            *routes -= 1;
            if *routes > 0 {
                continue;
            }
            all.remove(&reached);
            if all.is_empty() {
                self.by_app.remove(app);
            }
            self.toggle(app, reached);
        }
    }

    fn toggle(&mut self, app: &AppGuid, reached: Reached) {
        let pair = (app.clone(), reached);
        if !self.different.remove(&pair) {
            self.different.insert(pair);
        }
    }
}

/// Where an internal route reaches apps, each once; nowhere where it is refused. Destinations are sorted, so equal ones
/// are neighbours.
pub(super) fn reached(route: &Route) -> impl Iterator<Item = (&AppGuid, Reached)> {
    let leads = route.internal && route.refused.is_none();
    let destinations = leads.then_some(&route.destinations);
    let same = |a: &Destination, b: &Destination| (&a.workload, a.port) == (&b.workload, b.port);
    destinations
        .into_iter()
        .flat_map(move |destinations| destinations.chunk_by(same))
        .map(|same| {
            let reached = Reached {
                host: route.host.clone(),
                process_type: same[0].workload.process_type.clone(),
                port: same[0].port,
            };
            (&same[0].workload.app, reached)
        })
}
