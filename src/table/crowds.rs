//! How many routes one hostname has and one app takes: so many, the oldest, and the others are left out. Those that are
//! refused are as many again, so that neither sort takes the other's places.
//!
//! All that is made of a hostname is one resource, and what an app does concerns all of its routes. Without an end to
//! both, one tenant's would be everybody's.
//!
//! What owners ask for beside that has the room that is left: no annotation takes the place of a route.
//!
//! Who is left out follows from the routes that there are, not from the order in which they came: replicas agree.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::Arc,
};

use super::bytes::{self, MAX_ROUTE_BYTES};
use crate::model::{Hostname, Route, RouteGuid, Workload};

/// The most that is served of one hostname, and of one app.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Routes of a hostname.
    pub host_routes: usize,
    /// Bytes of a hostname's routes in its VirtualService, about.
    pub host_bytes: usize,
    /// Routes that lead to an app, of one process type.
    pub app_routes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            host_routes: 10_000,
            // What a client of gRPC takes in one message, if nobody told it otherwise.
            host_bytes: 4 << 20,
            app_routes: 10_000,
        }
    }
}

/// Fewer routes are not counted, if they are within the limits in any case.
const FEW: usize = 100;
/// The oldest comes first.
type Rank = (i64, RouteGuid);

fn rank(route: &Route) -> Rank {
    (route.created_at, route.guid.clone())
}

/// The most of one crowd.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) routes: usize,
    pub(super) bytes: usize,
}

/// Whoever has so many routes that they are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Crowd {
    /// A hostname.
    Host(Hostname),
    /// What destinations point at.
    Workload(Workload),
}

/// The routes of each of those that have many.
#[derive(Debug)]
pub(super) struct Crowds<K> {
    limit: Limit,
    many: HashMap<K, Many>,
}

impl<K: Clone + Eq + Hash> Crowds<K> {
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            limit,
            many: HashMap::new(),
        }
    }

    fn few(&self) -> usize {
        let fit = self.limit.bytes / MAX_ROUTE_BYTES;
        self.limit.routes.min(FEW).min(fit)
    }

    /// Takes in a route, beside others that are all kept where nothing was counted until now. Answers with the others of
    /// which that changes whether they are kept.
    pub(super) fn join<'a>(
        &mut self,
        key: &K,
        route: &Route,
        others: impl ExactSizeIterator<Item = &'a Arc<Route>>,
    ) -> Vec<RouteGuid> {
        if !self.many.contains_key(key) {
            if others.len() < self.few() {
                return Vec::new();
            }
            let mut crowd = Many::default();
            for other in others {
                crowd
                    .of_mut(other)
                    .keep(rank(other), bytes::of_route(other));
                crowd.ask(other);
            }
            self.many.insert(key.clone(), crowd);
        }
        let crowd = self.many.get_mut(key);
        crowd.map_or_else(Vec::new, |crowd| crowd.join(route, self.limit))
    }

    /// Forgets a route. Answers as [`Crowds::join`].
    pub(super) fn leave(&mut self, key: &K, route: &Route) -> Vec<RouteGuid> {
        let few = self.few();
        let Some(crowd) = self.many.get_mut(key) else {
            return Vec::new();
        };
        let moved = crowd.leave(route, self.limit);
        // Half, so that one that comes and goes does not make all be counted each time.
        if crowd.left_out() == 0 && crowd.kept() <= few / 2 {
            self.many.remove(key);
        }
        moved
    }

    /// Whether its routes are not counted: they are all kept.
    pub(super) fn is_few(&self, key: &K) -> bool {
        !self.many.contains_key(key)
    }

    pub(super) fn keeps(&self, key: &K, route: &Route) -> bool {
        let crowd = self.many.get(key);
        crowd.is_none_or(|crowd| !crowd.of(route).left_out.contains_key(&rank(route)))
    }

    /// Whether it has what its owner asks for.
    pub(super) fn keeps_settings(&self, key: &K, route: &Route) -> bool {
        let crowd = self.many.get(key);
        crowd.is_none_or(|crowd| !crowd.asked.left_out.contains_key(&rank(route)))
    }

    /// The routes that have not what their owners ask for, the newest first.
    pub(super) fn without_settings(&self, key: &K) -> Vec<RouteGuid> {
        let crowd = self.many.get(key).into_iter();
        let left_out = crowd.flat_map(|crowd| crowd.asked.left_out.keys().rev());
        left_out.map(|(_, guid)| guid.clone()).collect()
    }

    /// How many routes are kept, and those that are left out, the newest first, and first those that are not refused.
    pub(super) fn left_out(&self, key: &K) -> (usize, Vec<RouteGuid>) {
        let crowd = self.many.get(key);
        let sorts = crowd
            .into_iter()
            .flat_map(|crowd| [&crowd.open, &crowd.refused]);
        let left_out = sorts.flat_map(|ranks| ranks.left_out.keys().rev());
        let guids = left_out.map(|(_, guid)| guid.clone());
        (crowd.map_or(0, Many::kept), guids.collect())
    }

    /// How many are left out in all.
    pub(super) fn count(&self) -> usize {
        self.many.values().map(Many::left_out).sum()
    }
}

/// The routes of one crowd. Access fails closed: what the refused ones need of the bytes, up to half, the others have not.
#[derive(Debug, Default)]
struct Many {
    open: Ranks,
    refused: Ranks,
    /// What is asked for by owners of open ones. These are of the same order, so one that is left out takes nobody's room.
    asked: Ranks,
}

impl Many {
    fn of(&self, route: &Route) -> &Ranks {
        match route.refused {
            Some(_) => &self.refused,
            None => &self.open,
        }
    }

    fn of_mut(&mut self, route: &Route) -> &mut Ranks {
        match route.refused {
            Some(_) => &mut self.refused,
            None => &mut self.open,
        }
    }

    fn kept(&self) -> usize {
        self.open.kept.len() + self.refused.kept.len()
    }

    fn left_out(&self) -> usize {
        self.open.left_out.len() + self.refused.left_out.len()
    }

    fn ask(&mut self, route: &Route) {
        let bytes = bytes::asked_of_route(route);
        if bytes > 0 {
            self.asked.join(rank(route), bytes);
        }
    }

    fn join(&mut self, route: &Route, limit: Limit) -> Vec<RouteGuid> {
        let ranks = self.of_mut(route);
        ranks.join(rank(route), bytes::of_route(route));
        self.ask(route);
        let mut moved = self.settle(limit);
        moved.retain(|other| *other != route.guid);
        moved
    }

    fn leave(&mut self, route: &Route, limit: Limit) -> Vec<RouteGuid> {
        self.of_mut(route).leave(&rank(route));
        self.asked.leave(&rank(route));
        self.settle(limit)
    }

    /// Keeps as many as are within the limit. Answers with those that were not kept until now, or are not any more.
    fn settle(&mut self, limit: Limit) -> Vec<RouteGuid> {
        let bytes = limit.bytes / 2;
        let mut moved = self.refused.settle(Limit { bytes, ..limit });
        let bytes = limit.bytes - self.refused.bytes;
        moved.extend(self.open.settle(Limit { bytes, ..limit }));
        let bytes = bytes - self.open.bytes;
        moved.extend(self.asked.settle(Limit { bytes, ..limit }));
        moved
    }
}

/// Routes by their rank, with their bytes: as many of the first as are within the limit, and the others.
#[derive(Debug, Default)]
struct Ranks {
    kept: BTreeMap<Rank, usize>,
    bytes: usize,
    left_out: BTreeMap<Rank, usize>,
}

impl Ranks {
    fn keep(&mut self, rank: Rank, bytes: usize) {
        self.bytes += bytes;
        self.kept.insert(rank, bytes);
    }

    /// Takes in a route, for the moment whatever the limit is.
    fn join(&mut self, rank: Rank, bytes: usize) {
        let first = self.left_out.first_key_value();
        if first.is_some_and(|(first, _)| *first < rank) {
            self.left_out.insert(rank, bytes);
        } else {
            self.keep(rank, bytes);
        }
    }

    fn leave(&mut self, rank: &Rank) {
        match self.kept.remove(rank) {
            Some(bytes) => self.bytes -= bytes,
            // Where it was the first that did not fit, another may.
            None => drop(self.left_out.remove(rank)),
        }
    }

    /// Keeps as many as are within the limit. Answers with those that were not kept until now, or are not any more.
    fn settle(&mut self, limit: Limit) -> Vec<RouteGuid> {
        let mut moved = Vec::new();
        while (self.kept.len() > limit.routes || self.bytes > limit.bytes)
            && let Some((rank, bytes)) = self.kept.pop_last()
        {
            self.bytes -= bytes;
            moved.push(rank.1.clone());
            self.left_out.insert(rank, bytes);
        }
        while self.kept.len() < limit.routes
            && let Some(first) = self.left_out.first_entry()
            && self.bytes + first.get() <= limit.bytes
        {
            let (rank, bytes) = first.remove_entry();
            moved.push(rank.1.clone());
            self.keep(rank, bytes);
        }
        moved
    }
}
