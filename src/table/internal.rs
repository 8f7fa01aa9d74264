//! The internal hostnames of apps.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem,
};

use crate::model::{AppGuid, Hostname, Route};

/// At which internal hostnames the processes of an app, of whatever type, are reached.
#[derive(Debug, Default)]
pub(super) struct InternalHosts {
    /// How many routes make it so.
    by_app: HashMap<AppGuid, BTreeMap<Hostname, usize>>,
    /// What is different since it was asked for last: what comes and goes, or goes and comes, is not.
    different: HashSet<(AppGuid, Hostname)>,
}

impl InternalHosts {
    pub(super) fn of_app(&self, app: &AppGuid) -> impl Iterator<Item = &Hostname> {
        self.by_app.get(app).into_iter().flat_map(BTreeMap::keys)
    }

    /// The apps whose hostnames are different since the last call.
    pub(super) fn take_different(&mut self) -> BTreeSet<AppGuid> {
        let different = mem::take(&mut self.different);
        different.into_iter().map(|(app, _)| app).collect()
    }

    pub(super) fn add(&mut self, route: &Route) {
        for app in apps(route) {
            let hosts = self.by_app.entry(app.clone()).or_default();
            let routes = hosts.entry(route.host.clone()).or_default();
            *routes += 1;
            if *routes == 1 {
                self.toggle(app, route);
            }
        }
    }

    pub(super) fn remove(&mut self, route: &Route) {
        for app in apps(route) {
            let Some(hosts) = self.by_app.get_mut(app) else {
                continue;
            };
            let Some(routes) = hosts.get_mut(&route.host) else {
                continue;
            };
            *routes -= 1;
            if *routes > 0 {
                continue;
            }
            hosts.remove(&route.host);
            if hosts.is_empty() {
                self.by_app.remove(app);
            }
            self.toggle(app, route);
        }
    }

    fn toggle(&mut self, app: &AppGuid, route: &Route) {
        let pair = (app.clone(), route.host.clone());
        if !self.different.remove(&pair) {
            self.different.insert(pair);
        }
    }
}

/// The apps that an internal route leads to, each once; none where it is refused. Destinations are sorted, so equal
/// ones are neighbours.
fn apps(route: &Route) -> impl Iterator<Item = &AppGuid> {
    let leads = route.internal && route.refused.is_none();
    let destinations = leads.then_some(&route.destinations);
    destinations
        .into_iter()
        .flat_map(|destinations| destinations.chunk_by(|a, b| a.workload.app == b.workload.app))
        .map(|same| &same[0].workload.app)
}
