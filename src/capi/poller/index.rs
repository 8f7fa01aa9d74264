//! Which routes of the mesh an app or a domain has: what to look at again, or to withhold, when it changes.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::{
    capi::{reads::batch::Batch, wire::Located},
    guids::{GuidMap, GuidSet},
    model::{AppGuid, Hostname, Refusal, RouteGuid},
};

/// The routes as last sent, by guid and by app: what they point at, and what is withheld of them.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: GuidMap<RouteGuid, Entry>,
    /// Without duplicates.
    routes: GuidMap<AppGuid, SmallVec<[RouteGuid; 1]>>,
}

#[derive(Debug)]
struct Entry {
    apps: SmallVec<[AppGuid; 1]>,
    domain: Hostname,
    refused: Option<Refusal>,
}

impl Index {
    /// Holds nothing but these routes.
    pub(super) fn rebuild<'a>(&mut self, routes: impl IntoIterator<Item = &'a Located>) {
        self.entries.clear();
        self.routes.clear();
        for located in routes {
            self.upsert(located);
        }
    }

    /// Adds a route or changes it.
    pub(super) fn upsert(&mut self, located: &Located) {
        let Located { route, domain } = located;
        self.remove(&route.guid);
        let apps = route.destinations.iter();
        let mut apps: SmallVec<[AppGuid; 1]> = apps
            .map(|destination| destination.workload.app.clone())
            .collect();
        // Destinations are sorted, so equal apps are neighbours.
        apps.dedup();
        for app in &apps {
            let routes = self.routes.entry(app.clone()).or_default();
            routes.push(route.guid.clone());
        }
        let entry = Entry {
            apps,
            domain: domain.clone(),
            refused: route.refused,
        };
        self.entries.insert(route.guid.clone(), entry);
    }

    /// A known route is refused from now on; whether that is news. Of two reasons the first one stays, unless the
    /// other is its domain's.
    pub(super) fn refuse(&mut self, guid: &RouteGuid, why: Refusal) -> bool {
        let Some(entry) = self.entries.get_mut(guid) else {
            return false;
        };
        let is_news = match entry.refused {
            None => true,
            Some(known) => why == Refusal::RoutePolicies && known != why,
        };
        if is_news {
            entry.refused = Some(why);
        }
        is_news
    }

    /// Removes a route; whether it was there.
    pub(super) fn remove(&mut self, guid: &RouteGuid) -> bool {
        let Some(entry) = self.entries.remove(guid) else {
            return false;
        };
        for app in entry.apps {
            if let Some(routes) = self.routes.get_mut(&app) {
                routes.retain(|route| route != guid);
                if routes.is_empty() {
                    self.routes.remove(&app);
                }
            }
        }
        true
    }

    /// Whether a route is known.
    pub(super) fn contains(&self, guid: &RouteGuid) -> bool {
        self.entries.contains_key(guid)
    }

    /// The routes of some domains.
    pub(super) fn of_domains(&self, names: &BTreeSet<Hostname>) -> BTreeSet<RouteGuid> {
        if names.is_empty() {
            return BTreeSet::new();
        }
        let of_domains = self.entries.iter();
        of_domains
            .filter(|(_, entry)| names.contains(&entry.domain))
            .map(|(guid, _)| guid.clone())
            .collect()
    }

    /// How many routes there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The routes that are not among `present`.
    pub(super) fn missing_from<T>(&self, present: &GuidMap<RouteGuid, T>) -> GuidSet<RouteGuid> {
        self.entries
            .keys()
            .filter(|guid| !present.contains_key(guid))
            .cloned()
            .collect()
    }

    /// Adds the routes that the apps of a batch have now: where one is gone afterwards, it is missed by its own guid.
    pub(super) fn expand(&self, batch: &mut Batch) {
        for app in &batch.apps {
            let of_app = self.routes.get(app).into_iter().flatten();
            batch.routes.extend(of_app.cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{AppPort, Destination, ProcessType, Protocol, Route, Weight, Workload};

    fn route(guid: &str, apps: &[&str]) -> Located {
        let destination = |app: &&str| Destination {
            workload: Workload {
                app: AppGuid::from(*app),
                process_type: ProcessType::Web,
            },
            port: AppPort::Number(8080),
            weight: Weight::Instances,
            protocol: Protocol::Http1,
        };
        let domain = Hostname::parse("example.com").unwrap();
        let route = Route {
            guid: guid.into(),
            host: Hostname::parse("a.example.com").unwrap(),
            path: Arc::default(),
            internal: false,
            vip: None,
            created_at: 0,
            load_balancing: None,
            refused: None,
            destinations: apps.iter().map(destination).collect(),
        };
        Located { route, domain }
    }

    fn routes_of(index: &Index, app: &str) -> Vec<String> {
        let mut batch = Batch {
            apps: BTreeSet::from([app.into()]),
            ..Batch::default()
        };
        index.expand(&mut batch);
        batch.routes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn follows_a_route_from_app_to_app() {
        let mut index = Index::default();
        index.upsert(&route("r", &["a", "b", "b"]));
        assert_eq!(routes_of(&index, "b"), ["r"]);
        index.upsert(&route("r", &["a"]));
        assert_eq!(routes_of(&index, "a"), ["r"]);
        assert!(routes_of(&index, "b").is_empty());
        assert!(index.remove(&"r".into()));
        assert!(!index.remove(&"r".into()));
        assert!(index.routes.is_empty() && index.entries.is_empty());
    }

    #[test]
    fn names_what_a_read_misses() {
        let mut index = Index::default();
        index.rebuild([&route("r", &["a"]), &route("s", &[])]);
        let read = GuidMap::from_iter([(RouteGuid::from("s"), 1), (RouteGuid::from("t"), 2)]);
        assert_eq!(index.missing_from(&read), GuidSet::from_iter(["r".into()]));
    }

    #[test]
    fn a_refusal_is_news_once_and_the_domains_outranks_the_routes() {
        let mut index = Index::default();
        let (guid, bound, enforced) = ("r".into(), Refusal::RouteService, Refusal::RoutePolicies);
        assert!(!index.refuse(&guid, bound), "not known");
        index.upsert(&route("r", &[]));
        assert!(index.refuse(&guid, bound) && !index.refuse(&guid, bound));
        assert!(index.refuse(&guid, enforced));
        assert!(!index.refuse(&guid, bound) && !index.refuse(&guid, enforced));
        let mut again = route("r", &[]);
        again.route.refused = Some(bound);
        index.upsert(&again);
        assert!(!index.refuse(&guid, bound));
    }

    #[test]
    fn knows_the_routes_of_a_domain() {
        let mut index = Index::default();
        index.upsert(&route("r", &[]));
        let names = |name| BTreeSet::from([Hostname::parse(name).unwrap()]);
        assert_eq!(
            index.of_domains(&names("example.com")),
            BTreeSet::from(["r".into()])
        );
        assert!(index.of_domains(&names("a.example.com")).is_empty());
    }
}
