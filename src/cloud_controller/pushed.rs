//! What was pushed, and what each change of it means to the table.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use crate::model::{
    AppPort, Association, CapiProcessGuid, Destination, Protocol, Route, RouteGuid, Update, Weight,
    Workload,
};

use super::change::{Change, Pair};

/// Most routes, mappings and associations, of each: four times what the largest foundations have.
const MAX_ITEMS: usize = 1_000_000;

/// Routes, their mappings, and the associations of processes.
///
/// A mapping may come before its route, and outlives it: Cloud Controller sends no order, and never deletes a route by
/// a call of its own. What no BulkSync names is gone with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Without destinations: these are in the mappings.
    routes: BTreeMap<RouteGuid, Route>,
    /// The weights, by route and process.
    mappings: BTreeMap<Pair, u32>,
    associations: BTreeMap<CapiProcessGuid, Association>,
}

/// The items of a BulkSync that say nothing that is understood, but for whose they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unclear {
    /// Routes.
    pub(super) routes: BTreeSet<RouteGuid>,
    /// Mappings.
    pub(super) mappings: BTreeSet<Pair>,
    /// Associations.
    pub(super) associations: BTreeSet<CapiProcessGuid>,
}

/// How much was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Routes.
    pub routes: usize,
    /// Mappings, also of routes that are not there.
    pub mappings: usize,
    /// Processes with processes in Diego.
    pub associations: usize,
}

/// There is no room for another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_ITEMS} {what} are known, and there is no room for more")]
pub struct Full {
    what: &'static str,
}

/// What a change made different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Affected {
    Route(RouteGuid),
    Association(CapiProcessGuid),
}

impl Pushed {
    /// Takes in a change; the answer is what the table has to know, if anything is different.
    pub(super) fn apply(&mut self, change: Change) -> Result<Option<Update>, Full> {
        let affected = self.take(change)?;
        Ok(affected.map(|affected| self.update(affected)))
    }

    /// Takes in a change; the answer names what the table sees differently now.
    pub(super) fn take(&mut self, change: Change) -> Result<Option<Affected>, Full> {
        Ok(match change {
            Change::UpsertRoute(route) => {
                let guid = route.guid.clone();
                put(&mut self.routes, guid.clone(), route, "routes")?
                    .then_some(Affected::Route(guid))
            }
            Change::DeleteRoute(guid) => {
                let known = self.routes.remove(&guid);
                known.map(|_| Affected::Route(guid))
            }
            // The same pair again is a new weight, never a second share.
            Change::Map(pair, weight) => {
                let guid = pair.0.clone();
                put(&mut self.mappings, pair, weight, "mappings")?
                    .then(|| self.affect(guid))
                    .flatten()
            }
            // Cloud Controller unmaps every destination twice.
            Change::Unmap(pair) => {
                let known = self.mappings.remove(&pair);
                known.and_then(|_| self.affect(pair.0))
            }
            Change::Associate(association) => {
                let process = association.process.clone();
                put(
                    &mut self.associations,
                    process.clone(),
                    association,
                    "associations",
                )?
                .then_some(Affected::Association(process))
            }
            Change::Dissociate(process) => {
                let known = self.associations.remove(&process);
                known.map(|_| Affected::Association(process))
            }
        })
    }

    fn affect(&self, guid: RouteGuid) -> Option<Affected> {
        self.routes
            .contains_key(&guid)
            .then_some(Affected::Route(guid))
    }

    fn update(&self, affected: Affected) -> Update {
        match affected {
            Affected::Route(guid) => match self.routes.get(&guid) {
                Some(route) => Update::Routes {
                    current: vec![self.with_destinations(route)],
                    gone: vec![],
                },
                None => Update::Routes {
                    current: vec![],
                    gone: vec![guid],
                },
            },
            Affected::Association(process) => match self.associations.get(&process) {
                Some(association) => Update::Associations {
                    current: vec![association.clone()],
                    gone: vec![],
                },
                None => Update::Associations {
                    current: vec![],
                    gone: vec![process],
                },
            },
        }
    }

    /// Everything at once; `leads` says whether a route of the message that it comes from does.
    pub fn all(&self, leads: bool) -> Update {
        let routes = self.routes.values();
        Update::AllPushed {
            routes: routes.map(|route| self.with_destinations(route)).collect(),
            associations: self.associations.values().cloned().collect(),
            leads,
        }
    }

    /// Whether a route leads to an app.
    pub(super) fn leads(&self) -> bool {
        let mut mappings = self.mappings.keys();
        mappings.any(|(route, process)| {
            self.routes.contains_key(route) && self.associations.contains_key(process)
        })
    }

    fn with_destinations(&self, route: &Route) -> Route {
        let destinations = self.mappings_of(&route.guid).map(|(process, weight)| {
            Destination {
                workload: Workload::pushed(process),
                // The push API knows no ports and no protocols.
                port: AppPort::Main,
                weight: Weight::Running(weight),
                protocol: Protocol::Http1,
            }
        });
        Route {
            destinations: destinations.collect(),
            ..route.clone()
        }
    }

    /// In the order of the processes, which is that of destinations.
    fn mappings_of(&self, route: &RouteGuid) -> impl Iterator<Item = (&CapiProcessGuid, u32)> {
        // No other guid sorts before it.
        let first = CapiProcessGuid::from("00000000-0000-0000-0000-000000000000");
        self.mappings
            .range((route.clone(), first)..)
            .take_while(move |((of, _), _)| of == route)
            .map(|((_, process), weight)| (process, *weight))
    }

    /// The routes, in the order of their guids.
    pub(super) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values()
    }

    /// The mappings and their weights.
    pub(super) fn mappings(&self) -> impl Iterator<Item = (&Pair, u32)> {
        self.mappings.iter().map(|(pair, weight)| (pair, *weight))
    }

    /// The associations, in the order of their processes in Cloud Controller.
    pub(super) fn associations(&self) -> impl Iterator<Item = &Association> {
        self.associations.values()
    }

    /// Adds what was known of items that say nothing that is understood, and are not there otherwise. How many.
    pub(super) fn keep(&mut self, unclear: &Unclear, known: &Self) -> Result<usize, Full> {
        let routes = unclear.routes.iter();
        let routes = routes.filter(|guid| !self.routes.contains_key(*guid));
        let routes = routes.filter_map(|guid| known.routes.get(guid).cloned());
        let mappings = unclear.mappings.iter();
        let mappings = mappings.filter(|pair| !self.mappings.contains_key(*pair));
        let mappings = mappings.filter_map(|pair| known.mappings.get_key_value(pair));
        let associations = unclear.associations.iter();
        let associations = associations.filter(|guid| !self.associations.contains_key(*guid));
        let associations = associations.filter_map(|guid| known.associations.get(guid).cloned());
        let changes: Vec<_> = routes
            .map(Change::UpsertRoute)
            .chain(mappings.map(|(pair, weight)| Change::Map(pair.clone(), *weight)))
            .chain(associations.map(Change::Associate))
            .collect();
        let count = changes.len();
        for change in changes {
            self.take(change)?;
        }
        Ok(count)
    }

    /// How many of each there are.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            routes: self.routes.len(),
            mappings: self.mappings.len(),
            associations: self.associations.len(),
        }
    }
}

/// Whether anything is different.
fn put<K: Ord, V: PartialEq>(
    map: &mut BTreeMap<K, V>,
    key: K,
    value: V,
    what: &'static str,
) -> Result<bool, Full> {
    let is_full = map.len() >= MAX_ITEMS;
    match map.entry(key) {
        Entry::Vacant(_) if is_full => Err(Full { what }),
        Entry::Vacant(entry) => {
            entry.insert(value);
            Ok(true)
        }
        Entry::Occupied(mut entry) => {
            let differs = *entry.get() != value;
            entry.insert(value);
            Ok(differs)
        }
    }
}

#[cfg(test)]
mod tests;
