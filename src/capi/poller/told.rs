//! What audit events said item by item: it is true of what they name, however much that is.

use std::{hash::Hash, time::Duration};

use tokio::time::Instant;

use crate::{
    capi::reads::tail::Said,
    guids::GuidMap,
    model::{AppGuid, RouteGuid},
};

/// Longer than announced changes are looked at again.
const LASTS: Duration = Duration::from_mins(2);
/// With more than this of one kind, what was said is forgotten: reads have to agree on it then.
const MAX: usize = 20_000;

/// What events of late named.
#[derive(Debug, Default)]
pub(super) struct Told {
    routes: Until<RouteGuid>,
    apps: Until<AppGuid>,
    unmapped: Until<(RouteGuid, AppGuid)>,
    unbound: Until<RouteGuid>,
}

#[derive(Debug)]
struct Until<T>(GuidMap<T, Instant>);

impl<T> Default for Until<T> {
    fn default() -> Self {
        Self(GuidMap::default())
    }
}

impl<T: Eq + Hash> Until<T> {
    fn expire(&mut self, now: Instant) {
        self.0.retain(|_, until| *until > now);
    }

    fn add(&mut self, item: T, now: Instant) {
        if self.0.len() >= MAX {
            self.0.clear();
        }
        self.0.insert(item, now + LASTS);
    }

    fn has(&self, item: &T, now: Instant) -> bool {
        self.0.get(item).is_some_and(|until| *until > now)
    }
}

impl Told {
    /// Takes in what events said.
    pub(super) fn add(&mut self, said: impl IntoIterator<Item = Said>, now: Instant) {
        self.routes.expire(now);
        self.apps.expire(now);
        self.unmapped.expire(now);
        for said in said {
            match said {
                Said::RouteDeleted(route) => self.routes.add(route, now),
                Said::AppDeleted(app) => self.apps.add(app, now),
                Said::Unmapped(route, app) => self.unmapped.add((route, app), now),
            }
        }
    }

    /// An event says that a route is bound to no route service any more.
    pub(super) fn add_unbound(&mut self, route: RouteGuid, now: Instant) {
        self.unbound.expire(now);
        self.unbound.add(route, now);
    }

    /// Whether an event said that a route is bound no longer.
    pub(super) fn is_unbound(&self, route: &RouteGuid, now: Instant) -> bool {
        self.unbound.has(route, now)
    }

    /// Whether an event said that a route is deleted.
    pub(super) fn is_deleted(&self, route: &RouteGuid, now: Instant) -> bool {
        self.routes.has(route, now)
    }

    /// Whether an event said that a route leads to an app no longer.
    pub(super) fn is_unmapped(&self, route: &RouteGuid, app: &AppGuid, now: Instant) -> bool {
        self.apps.has(app, now) || self.unmapped.has(&(route.clone(), app.clone()), now)
    }
}
