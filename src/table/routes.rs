//! Routes by guid, by hostname and by what they point at.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use smallvec::SmallVec;

use super::{changes::Changes, internal::InternalHosts};
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
    /// Routes that are gone or changed, as they were.
    pub(super) displaced: Vec<Arc<Route>>,
}

impl Routes {
    pub(super) fn len(&self) -> usize {
        self.guids.len()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Route>> {
        self.guids.values().cloned().collect()
    }

    pub(super) fn get(&self, guid: &RouteGuid) -> Option<&Route> {
        self.guids.get(guid).map(Arc::as_ref)
    }

    pub(super) fn host_count(&self) -> usize {
        self.hosts.len()
    }

    pub(super) fn of_host(&self, host: &str) -> &[Arc<Route>] {
        self.hosts.get(host).map_or(&[], SmallVec::as_slice)
    }

    /// The routes with a destination of that workload.
    pub(super) fn of_workload(&self, workload: &Workload) -> impl Iterator<Item = &Route> {
        let routes = self.workloads.get(workload).into_iter().flatten();
        routes.map(Arc::as_ref)
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
        let known = self.guids.get(&route.guid);
        if known.is_some_and(|known| **known == route) {
            return;
        }
        let is_in_place = known.is_some_and(|known| has_same_place(known, &route));
        let keeps_options = known.is_some_and(|known| has_same_options(known, &route));
        changes.of(&route.host).options |= !keeps_options;
        if is_in_place {
            self.unlink(&route.guid, changes);
        } else {
            self.remove(&route.guid, changes);
        }
        touch(&route, !is_in_place, changes);
        let route = Arc::new(route);
        let siblings = self.hosts.entry(route.host.clone()).or_default();
        let at = siblings.partition_point(|sibling| precedes(sibling, &route));
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

    /// The routes of domains: those that have one for their hostname, or beside one label.
    pub(super) fn of_domains(&self, domains: &BTreeSet<Hostname>) -> Vec<RouteGuid> {
        let is_of = |host: &Hostname| {
            let domain = host.as_str().split_once('.').map(|(_, domain)| domain);
            let mut domains = domains.iter();
            domains.any(|one| one == host || Some(one.as_str()) == domain)
        };
        let hosts = self.hosts.iter().filter(|(host, _)| is_of(host));
        let routes = hosts.flat_map(|(_, routes)| routes);
        routes.map(|route| route.guid.clone()).collect()
    }

    pub(super) fn remove(&mut self, guid: &RouteGuid, changes: &mut Changes) {
        if let Some(route) = self.unlink(guid, changes) {
            touch(&route, true, changes);
        }
    }

    fn unlink(&mut self, guid: &RouteGuid, changes: &mut Changes) -> Option<Arc<Route>> {
        let route = self.guids.remove(guid)?;
        changes.leave(&route);
        self.displaced.push(route.clone());
        self.internal.remove(&route);
        forget(&mut self.hosts, &route.host, guid);
        for workload in workloads(&route) {
            forget(&mut self.workloads, workload, guid);
        }
        Some(route)
    }
}

/// A route is another; `place` says whether it is one in the lookup.
fn touch(route: &Route, place: bool, changes: &mut Changes) {
    let touched = changes.of(&route.host);
    touched.routes = true;
    // What an internal hostname is divided by is in its VirtualService.
    touched.lookup |= place || route.internal;
    changes.touch_service(&route.host, &shared_key(route));
}

/// The key of a route; nearly all have it for their path.
pub(super) fn shared_key(route: &Route) -> Arc<str> {
    match route.key() {
        Cow::Borrowed(key) if key.len() == route.path.len() => route.path.clone(),
        key => key.into(),
    }
}

/// Whether a route is found where another one was, and as old.
pub(super) fn has_same_place(one: &Route, other: &Route) -> bool {
    let place = |route: &Route| (route.internal, route.created_at);
    place(one) == place(other) && one.host == other.host && one.key() == other.key()
}

/// Whether a route asks for the same as another one, and counts as that did among routes that are spelled alike.
fn has_same_options(one: &Route, other: &Route) -> bool {
    let counts = |route: &Route| (route.refused, route.destinations.is_empty());
    one.load_balancing == other.load_balancing
        && one.path == other.path
        && counts(one) == counts(other)
}

/// The longest path first, so that the most exact match wins; then by bytes, so that the order is always the same.
pub(super) fn by_key(key: &str) -> (Reverse<usize>, &str) {
    (Reverse(key.len()), key)
}

/// Of what is looked up alike, what is spelled alike together. A hostname and path are unique in Cloud Controller: of
/// two routes with both, one is gone, and we do not know it yet. The older has it; but one that is refused comes first
/// whatever its age, so that nobody gets in by the other.
fn precedes(one: &Route, other: &Route) -> bool {
    let (key, other_key) = (one.key(), other.key());
    let rank = |route: &Route| (route.refused.is_none(), route.created_at);
    let order = by_key(&key).cmp(&by_key(&other_key));
    let order = order.then_with(|| one.path.cmp(&other.path));
    let order = order.then_with(|| rank(one).cmp(&rank(other)));
    order.then_with(|| one.guid.cmp(&other.guid)).is_lt()
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
