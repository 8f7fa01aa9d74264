//! Routes by guid, by hostname and by what they point at.

use std::{
    cmp::Reverse,
    collections::HashMap,
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use smallvec::SmallVec;

use super::{
    changes::{Changes, Touched},
    internal::InternalHosts,
};
use crate::{
    guids::{GuidMap, GuidSet},
    model::{Hostname, Refusal, Route, RouteGuid, Workload},
};

#[derive(Debug, Default)]
pub(super) struct Routes {
    guids: GuidMap<RouteGuid, Arc<Route>>,
    /// Most hostnames have one route, most workloads are on one hostname.
    hosts: HashMap<Hostname, SmallVec<[Arc<Route>; 1]>>,
    workloads: GuidMap<Workload, SmallVec<[Arc<Route>; 1]>>,
    pub(super) internal: InternalHosts,
}

impl Routes {
    pub(super) fn len(&self) -> usize {
        self.guids.len()
    }

    pub(super) fn host_count(&self) -> usize {
        self.hosts.len()
    }

    pub(super) fn of_host(&self, host: &Hostname) -> &[Arc<Route>] {
        self.hosts.get(host).map_or(&[], SmallVec::as_slice)
    }

    pub(super) fn hosts_of(&self, workload: &Workload) -> impl Iterator<Item = &Hostname> {
        self.workloads
            .get(workload)
            .into_iter()
            .flatten()
            .map(|route| &route.host)
    }

    /// These are all the routes.
    pub(super) fn replace(&mut self, routes: Vec<Route>, changes: &mut Changes) {
        let current: GuidSet<_> = routes.iter().map(|route| &route.guid).collect();
        let gone = self.guids.keys().filter(|guid| !current.contains(guid));
        for guid in gone.cloned().collect::<Vec<_>>() {
            self.remove(&guid, changes);
        }
        for route in routes {
            self.upsert(route, changes);
        }
    }

    pub(super) fn upsert(&mut self, route: Route, changes: &mut Changes) {
        if self
            .guids
            .get(&route.guid)
            .is_some_and(|known| **known == route)
        {
            return;
        }
        self.remove(&route.guid, changes);
        changes.touch(&route.host, Touched::Routing);

        let route = Arc::new(route);
        let siblings = self.hosts.entry(route.host.clone()).or_default();
        let at = siblings.partition_point(|sibling| precedence(sibling) < precedence(&route));
        siblings.insert(at, route.clone());
        for workload in workloads(&route) {
            self.workloads
                .entry(workload.clone())
                .or_default()
                .push(route.clone());
        }
        self.internal.add(&route);
        self.guids.insert(route.guid.clone(), route);
    }

    pub(super) fn refuse(&mut self, guid: &RouteGuid, why: Refusal, changes: &mut Changes) {
        if let Some(route) = self.guids.get(guid) {
            let mut route = Route::clone(route);
            route.refused = Some(why);
            self.upsert(route, changes);
        }
    }

    pub(super) fn remove(&mut self, guid: &RouteGuid, changes: &mut Changes) {
        let Some(route) = self.guids.remove(guid) else {
            return;
        };
        changes.touch(&route.host, Touched::Routing);
        self.internal.remove(&route);
        forget(&mut self.hosts, &route.host, guid);
        for workload in workloads(&route) {
            forget(&mut self.workloads, workload, guid);
        }
    }
}

/// The longest path first, so that the most exact match wins; then by bytes, so that the order is always the same. A
/// hostname and path are unique in Cloud Controller: of two routes with both, the older one is gone, and we do not
/// know it yet. One that is refused comes first whatever its age, so that nobody gets in by the other.
fn precedence(route: &Route) -> (Reverse<usize>, &str, bool, Reverse<i64>, &RouteGuid) {
    (
        Reverse(route.path.len()),
        &route.path,
        route.refused.is_none(),
        Reverse(route.created_at),
        &route.guid,
    )
}

/// The workloads that a route points at, each once. Destinations are sorted, so equal ones are neighbours.
fn workloads(route: &Route) -> impl Iterator<Item = &Workload> {
    route
        .destinations
        .chunk_by(|a, b| a.workload == b.workload)
        .map(|same| &same[0].workload)
}

fn forget<K: Hash + Eq, S: BuildHasher>(
    index: &mut HashMap<K, SmallVec<[Arc<Route>; 1]>, S>,
    key: &K,
    guid: &RouteGuid,
) {
    if let Some(routes) = index.get_mut(key) {
        routes.retain(|route| route.guid != *guid);
        if routes.is_empty() {
            index.remove(key);
        }
    }
}
