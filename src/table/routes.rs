//! Routes by guid, by hostname and by what they point at.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use smallvec::SmallVec;

use super::{
    changes::Changes,
    crowds::{Crowd, Crowds, Limit, Limits},
    internal::InternalHosts,
    key::{by_key, shared_key},
};
use crate::{
    guids::{GuidMap, GuidSet},
    model::{Hostname, Refusal, Route, RouteGuid, Workload},
};

#[derive(Debug)]
pub(super) struct Routes {
    /// All of them, as they were told.
    guids: GuidMap<RouteGuid, Arc<Route>>,
    /// Those that count, in their order. Most hostnames have one route, most workloads are on one hostname.
    hosts: HashMap<Hostname, SmallVec<[Arc<Route>; 1]>>,
    /// Those that lead there, in the order of their guids.
    workloads: GuidMap<Workload, SmallVec<[Arc<Route>; 1]>>,
    by_host: Crowds<Hostname>,
    by_workload: Crowds<Workload>,
    pub(super) internal: InternalHosts,
    /// Routes that are gone or changed, as they were.
    pub(super) displaced: Vec<Arc<Route>>,
}

impl Default for Routes {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Routes {
    pub(super) fn new(limits: Limits) -> Self {
        let by_host = Limit {
            routes: limits.host_routes,
            bytes: limits.host_bytes,
        };
        let by_workload = Limit {
            routes: limits.app_routes,
            bytes: usize::MAX,
        };
        Self {
            guids: GuidMap::default(),
            hosts: HashMap::new(),
            workloads: GuidMap::default(),
            by_host: Crowds::new(by_host),
            by_workload: Crowds::new(by_workload),
            internal: InternalHosts::default(),
            displaced: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.guids.len()
    }

    /// How many lead to an app, but for those of TCP.
    pub(super) fn leading(&self) -> usize {
        let routes = self.guids.values();
        let leads = |route: &&Arc<Route>| !route.is_tcp() && !route.destinations.is_empty();
        routes.filter(leads).count()
    }

    /// How many do not count, of a hostname or to a workload, because there are too many.
    pub(super) fn left_out_count(&self) -> usize {
        self.by_host.count() + self.by_workload.count()
    }

    /// How many routes of a crowd count, and those that do not, the newest first.
    pub(super) fn left_out(&self, crowd: &Crowd) -> (usize, Vec<&Route>) {
        let (kept, guids): (_, Vec<_>) = match crowd {
            Crowd::Host(host) => self.by_host.left_out(host),
            Crowd::Workload(workload) => self.by_workload.left_out(workload),
        };
        let routes = guids.iter().map(|guid| self.guids[guid].as_ref());
        (kept, routes.collect())
    }

    /// The routes of a hostname that have not what their owners ask for, the newest first.
    pub(super) fn without_settings(&self, host: &Hostname) -> Vec<&Route> {
        let guids = self.by_host.without_settings(host).into_iter();
        guids.map(|guid| self.guids[&guid].as_ref()).collect()
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

    /// How many routes have a destination of that workload.
    pub(super) fn count_of_workload(&self, workload: &Workload) -> usize {
        self.workloads.get(workload).map_or(0, SmallVec::len)
    }

    /// The routes with a destination of that workload.
    pub(super) fn of_workload(&self, workload: &Workload) -> impl Iterator<Item = &Route> {
        let routes = self.workloads.get(workload).into_iter().flatten();
        routes.map(Arc::as_ref)
    }

    /// These are all the routes of their kind: TCP routes, or all others.
    pub(super) fn replace(&mut self, are_tcp: bool, routes: Vec<Route>, changes: &mut Changes) {
        let current: GuidSet<_> = routes.iter().map(|route| &route.guid).collect();
        let known = self.guids.values();
        let gone =
            known.filter(|route| route.is_tcp() == are_tcp && !current.contains(&route.guid));
        let gone: Vec<_> = gone.map(|route| route.guid.clone()).collect();
        for guid in gone {
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
        // Also what does not count is told of with the lookup.
        let asks_otherwise = known.is_some_and(|known| known.settings != route.settings);
        changes.of(&route.host).options |= !keeps_options;
        if is_in_place {
            self.exit(&route.guid, changes);
        } else {
            self.remove(&route.guid, changes);
        }
        touch(&route, !is_in_place || asks_otherwise, changes);
        self.enter(&Arc::new(route), changes);
    }

    pub(super) fn unmap(&mut self, guid: &RouteGuid, workload: &Workload, changes: &mut Changes) {
        if let Some(route) = self.guids.get(guid) {
            let mut route = Route::clone(route);
            route.destinations.retain(|to| to.workload != *workload);
            self.upsert(route, changes);
        }
    }

    pub(super) fn refuse(&mut self, guid: &RouteGuid, why: Refusal, changes: &mut Changes) {
        // A route service is for requests, and the TCP router passes it by, too.
        let is_passed_by = |route: &Route| route.is_tcp() && why == Refusal::RouteService;
        let route = self.guids.get(guid);
        if let Some(route) = route.filter(|route| !is_passed_by(route)) {
            let mut route = Route::clone(route);
            route.refused = Some(why);
            self.upsert(route, changes);
        }
    }

    /// The routes of domains: those that have one for their hostname, or beside one label or a port.
    pub(super) fn of_domains(&self, domains: &BTreeSet<Hostname>) -> Vec<RouteGuid> {
        let is_of = |host: &Hostname| {
            let below = || host.as_str().split_once('.').map(|(_, domain)| domain);
            let domain = host.tcp().map(|(domain, _)| domain).or_else(below);
            let mut domains = domains.iter();
            domains.any(|one| one == host || Some(one.as_str()) == domain)
        };
        let routes = self.guids.values().filter(|route| is_of(&route.host));
        routes.map(|route| route.guid.clone()).collect()
    }

    pub(super) fn remove(&mut self, guid: &RouteGuid, changes: &mut Changes) {
        if let Some(route) = self.exit(guid, changes) {
            touch(&route, true, changes);
        }
    }

    /// Takes in a route that is not known. Others may have to make room.
    fn enter(&mut self, route: &Arc<Route>, changes: &mut Changes) {
        let beside = self.hosts.get(&route.host);
        let beside = beside.map_or(&[][..], SmallVec::as_slice).iter();
        let beside = beside.map(|other| &self.guids[&other.guid]);
        let mut moved = self.by_host.join(&route.host, route, beside);
        self.guids.insert(route.guid.clone(), route.clone());
        for workload in workloads(route) {
            let beside = self.workloads.get(workload);
            let beside = beside.map_or(&[][..], SmallVec::as_slice).iter();
            let others = self.by_workload.join(workload, route, beside);
            for guid in &others {
                self.lead(guid, workload);
            }
            moved.extend(others);
            self.lead(&route.guid, workload);
        }
        self.link(route);
        self.move_all(moved, route, changes);
    }

    /// Forgets a route. Others may have room then.
    fn exit(&mut self, guid: &RouteGuid, changes: &mut Changes) -> Option<Arc<Route>> {
        let route = self.guids.remove(guid)?;
        self.displaced.push(route.clone());
        if let Some(linked) = self.unlink(&route) {
            changes.leave(&linked);
        }
        let mut moved = self.by_host.leave(&route.host, &route);
        for workload in workloads(&route) {
            forget(&mut self.workloads, workload, guid);
            let others = self.by_workload.leave(workload, &route);
            for guid in &others {
                self.lead(guid, workload);
            }
            moved.extend(others);
        }
        self.move_all(moved, &route, changes);
        Some(route)
    }

    /// These have to make room for a route that comes, or have room for one that goes.
    fn move_all(&mut self, moved: Vec<RouteGuid>, by: &Route, changes: &mut Changes) {
        if !self.by_host.is_few(&by.host) {
            changes.touch_crowd(Crowd::Host(by.host.clone()));
        }
        for workload in workloads(by).filter(|workload| !self.by_workload.is_few(workload)) {
            changes.touch_crowd(Crowd::Workload(workload.clone()));
        }
        for guid in moved {
            let route = self.guids[&guid].clone();
            let before = self.unlink(&route);
            self.link(&route);
            if let Some(before) = &before {
                changes.leave(before);
            }
            changes.of(&route.host).options = true;
            touch(&route, true, changes);
        }
    }

    /// Takes in whether a route leads to a workload.
    fn lead(&mut self, guid: &RouteGuid, workload: &Workload) {
        let route = &self.guids[guid];
        if self.by_workload.keeps(workload, route) {
            let routes = self.workloads.entry(workload.clone()).or_default();
            if let Err(at) = position(routes, guid) {
                routes.insert(at, route.clone());
            }
        } else {
            forget(&mut self.workloads, workload, guid);
        }
    }

    /// Puts a route where it is looked up, as far as it counts.
    fn link(&mut self, route: &Arc<Route>) {
        if !self.by_host.keeps(&route.host, route) {
            return;
        }
        let is_kept = |workload: &Workload| self.by_workload.keeps(workload, route);
        let mut linked = route.clone();
        if !workloads(route).all(is_kept) {
            let destinations = &mut Arc::make_mut(&mut linked).destinations;
            destinations.retain(|to| is_kept(&to.workload));
        }
        if linked.settings.is_some() && !self.by_host.keeps_settings(&route.host, route) {
            Arc::make_mut(&mut linked).settings = None;
        }
        self.internal.add(&linked);
        let siblings = self.hosts.entry(route.host.clone()).or_default();
        let at = siblings.partition_point(|sibling| precedes(sibling, route));
        siblings.insert(at, linked);
    }

    fn unlink(&mut self, route: &Route) -> Option<Arc<Route>> {
        let siblings = self.hosts.get_mut(&route.host)?;
        let at = siblings.partition_point(|sibling| precedes(sibling, route));
        let is_there = siblings.get(at).is_some_and(|at| at.guid == route.guid);
        let linked = is_there.then(|| siblings.remove(at))?;
        if siblings.is_empty() {
            self.hosts.remove(&route.host);
        }
        self.internal.remove(&linked);
        Some(linked)
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

/// Where a route is among others in the order of their guids, or belongs.
fn position(routes: &[Arc<Route>], guid: &RouteGuid) -> Result<usize, usize> {
    routes.binary_search_by(|route| route.guid.cmp(guid))
}

fn forget(
    index: &mut GuidMap<Workload, SmallVec<[Arc<Route>; 1]>>,
    workload: &Workload,
    guid: &RouteGuid,
) {
    if let Some(routes) = index.get_mut(workload) {
        if let Ok(at) = position(routes, guid) {
            routes.remove(at);
        }
        if routes.is_empty() {
            index.remove(workload);
        }
    }
}
