//! Which routes are bound to a route service. What binds counts at once; what releases is doubted where nothing but its
//! absence from a list says so.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, de::IgnoredAny};
use tokio::time::Instant;
use tracing::info;

use crate::{
    capi::{
        doubt::Doubt,
        error::Error,
        http::{Client, Keyset, List, filter},
        wire,
    },
    feed::{Dropped, Drops},
    guids::{GuidMap, GuidSet},
    model::RouteGuid,
    outbound::json,
};

const PATH: &str = "/v3/service_route_bindings";
/// Lists, by their names, what an API has.
const ROOT: &str = "/v3";
/// Of more unreadable rows than this, smaller parts tell no more.
const MAX_UNREADABLE: usize = 9;

/// How it is known that a route is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// A list had its binding.
    Listed,
    /// An event said so.
    Announced,
    /// An event said that it is no longer, maybe before that was committed.
    Released,
    /// A list did not have it any more, then for the first time.
    Doubted(Instant),
}

/// What Cloud Controller can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Support {
    /// Nothing was read yet.
    Unknown,
    /// It lists bindings.
    Lists,
    /// It is from before August 2020, and does not.
    TooOld,
}

/// What a read says of the bindings of some routes, or of all.
#[derive(Debug, Default)]
pub(crate) struct FoundBindings {
    /// Those that were asked for, if not all were.
    asked: Option<BTreeSet<RouteGuid>>,
    bound: GuidSet<RouteGuid>,
    /// Their binding could not be set up.
    failed: GuidSet<RouteGuid>,
    unreadable: usize,
    /// What was left out.
    pub(crate) dropped: Drops,
}

/// What is different after a read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BindingChanges {
    /// Bound, and were not.
    pub(crate) bound: Vec<RouteGuid>,
    /// Bound no longer.
    pub(crate) unbound: Vec<RouteGuid>,
    /// To be asked for again, since one read that lacks them is not enough.
    pub(crate) unsure: BTreeSet<RouteGuid>,
}

/// The bindings as last believed.
#[derive(Debug)]
pub(crate) struct Bindings {
    page_size: u32,
    confirm_after: Duration,
    support: Support,
    routes: GuidMap<RouteGuid, Bound>,
    /// Why the last list of all was not believed.
    doubt: Option<Doubt>,
}

impl Bindings {
    pub(crate) fn new(page_size: u32, confirm_after: Duration) -> Self {
        Self {
            page_size,
            confirm_after,
            support: Support::Unknown,
            routes: GuidMap::default(),
            doubt: None,
        }
    }

    /// Whether they were read at all.
    pub(crate) fn are_known(&self) -> bool {
        self.support != Support::Unknown
    }

    /// Whether there are bindings to be asked for.
    pub(crate) fn are_listed(&self) -> bool {
        self.support == Support::Lists
    }

    /// Whether a route is bound.
    pub(crate) fn has(&self, route: &RouteGuid) -> bool {
        self.routes.contains_key(route)
    }

    /// How many routes are bound.
    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether a list lacked some that another one has to lack too.
    pub(crate) fn has_unsure(&self) -> bool {
        let mut bound = self.routes.values();
        self.doubt.is_none() && bound.any(|bound| matches!(bound, Bound::Doubted(_)))
    }

    /// Why the last list of all was not believed.
    pub(crate) fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// Reads all of them.
    pub(crate) async fn list(&mut self, client: &mut Client) -> Result<FoundBindings, Error> {
        let mut found = FoundBindings::default();
        match self.read(client, Vec::new(), &mut found).await {
            Ok(()) if self.support == Support::Unknown && found.unreadable > 0 => {
                // Whose they are is not known, so any route may be bound.
                let unreadable = found.unreadable;
                return Err(Doubt::UnreadableBindings { unreadable }.into());
            }
            Ok(()) => self.support = Support::Lists,
            Err(error) if error.is_unknown_path() => {
                self.support = self.without_path(client, error).await?;
                found = FoundBindings {
                    dropped: too_old().into(),
                    ..FoundBindings::default()
                };
            }
            Err(error) => return Err(error),
        }
        Ok(found)
    }

    /// Cloud Controller does not know the path: whether it is too old for it. Once it had it, or where it says that it
    /// has it, the answer is wrong.
    async fn without_path(&self, client: &mut Client, error: Error) -> Result<Support, Error> {
        if self.support == Support::Unknown {
            let body = client.get(ROOT, &[]).await?;
            let root: Root = json(&client.url(ROOT), &body)?;
            if root.links.routes.is_some() && root.links.service_route_bindings.is_none() {
                info!("cloud controller is too old to list route service bindings");
                return Ok(Support::TooOld);
            }
        }
        match self.support {
            Support::TooOld => Ok(Support::TooOld),
            Support::Unknown | Support::Lists => Err(error),
        }
    }

    /// Reads those of some routes, as many as one request can name.
    pub(crate) async fn list_of(
        &self,
        client: &mut Client,
        routes: BTreeSet<RouteGuid>,
    ) -> Result<FoundBindings, Error> {
        let mut all = FoundBindings::default();
        let mut parts = vec![routes.clone()];
        while let Some(mut part) = parts.pop() {
            let mut found = FoundBindings::default();
            let names = vec![filter("route_guids", &part)];
            self.read(client, names, &mut found).await?;
            if (1..=MAX_UNREADABLE).contains(&found.unreadable) {
                // Whose binding it is that cannot be read, the smaller parts tell.
                if part.len() > 1 {
                    let middle = part.iter().nth(part.len() / 2).cloned();
                    let rest = middle.map(|middle| part.split_off(&middle));
                    parts.extend(rest.into_iter().chain([part]));
                    continue;
                }
                found.bound.extend(part);
                found.unreadable = 0;
            }
            all.merge(found);
        }
        Ok(FoundBindings {
            asked: Some(routes),
            ..all
        })
    }

    async fn read(
        &self,
        client: &mut Client,
        filter: Vec<(String, String)>,
        found: &mut FoundBindings,
    ) -> Result<(), Error> {
        let keyset = Keyset::new("created_at", self.page_size, None);
        List::new(PATH, filter, keyset)
            .read(client, |raw| match wire::binding(raw) {
                Ok(binding) if binding.guards => {
                    found.bound.insert(binding.route);
                }
                Ok(binding) => {
                    found.failed.insert(binding.route);
                }
                Err(dropped) => {
                    found.unreadable += 1;
                    found.dropped.push(dropped);
                }
            })
            .await
    }

    /// An event says that a route is bound. Whether that is news.
    pub(crate) fn announce(&mut self, route: &RouteGuid) -> bool {
        let before = self.routes.insert(route.clone(), Bound::Announced);
        before.is_none()
    }

    /// An event says that a route is not bound any more: the next read that lacks it is believed.
    pub(crate) fn release(&mut self, route: &RouteGuid) {
        if let Some(bound) = self.routes.get_mut(route) {
            *bound = Bound::Released;
        }
    }

    /// Takes in what a read says.
    pub(crate) fn take_in(&mut self, found: &FoundBindings, now: Instant) -> BindingChanges {
        let mut changes = BindingChanges::default();
        for route in &found.bound {
            match self.routes.get_mut(route) {
                // The event may have come before its commit.
                Some(Bound::Released) if found.asked.is_some() => {}
                Some(bound) => *bound = Bound::Listed,
                None => {
                    self.routes.insert(route.clone(), Bound::Listed);
                    changes.bound.push(route.clone());
                }
            }
        }
        for (route, bound) in self.lost(found) {
            let is_gone = match bound {
                _ if found.failed.contains(&route) => true,
                _ if found.unreadable > 0 => false,
                Bound::Released => true,
                Bound::Doubted(since) => now.duration_since(since) >= self.confirm_after,
                Bound::Listed | Bound::Announced => false,
            };
            if is_gone {
                self.routes.remove(&route);
                changes.unbound.push(route);
            } else if !matches!(bound, Bound::Doubted(_)) && found.unreadable == 0 {
                self.routes.insert(route.clone(), Bound::Doubted(now));
                changes.unsure.insert(route);
            }
        }
        if found.is_of_all() {
            // Another list of all settles these.
            changes.unsure.clear();
            let unreadable = found.unreadable;
            self.doubt = (unreadable > 0).then_some(Doubt::UnreadableBindings { unreadable });
        }
        changes
    }

    /// The routes that were bound and that a read, which should have them, does not have.
    fn lost(&self, found: &FoundBindings) -> Vec<(RouteGuid, Bound)> {
        let lacks = |(route, bound): (&RouteGuid, &Bound)| {
            let lacks = !found.bound.contains(route);
            lacks.then(|| (route.clone(), *bound))
        };
        match &found.asked {
            None => self.routes.iter().filter_map(lacks).collect(),
            Some(asked) => asked
                .iter()
                .filter_map(|route| self.routes.get_key_value(route))
                .filter_map(lacks)
                .collect(),
        }
    }
}

impl FoundBindings {
    fn is_of_all(&self) -> bool {
        self.asked.is_none()
    }

    /// Whether it is known of every route that it is about whether it is bound.
    pub(crate) fn is_complete(&self) -> bool {
        self.unreadable == 0
    }

    fn merge(&mut self, other: Self) {
        self.bound.extend(other.bound);
        self.failed.extend(other.failed);
        self.unreadable += other.unreadable;
        self.dropped.append(other.dropped);
    }
}

#[derive(Deserialize)]
struct Root {
    links: Links,
}

#[derive(Deserialize)]
struct Links {
    routes: Option<IgnoredAny>,
    service_route_bindings: Option<IgnoredAny>,
}

fn too_old() -> Dropped {
    Dropped {
        name: PATH.to_owned(),
        reason: "too_old",
        detail: "this cloud controller does not list bindings: routes are served past their route services".to_owned(),
    }
}

#[cfg(test)]
mod tests;
