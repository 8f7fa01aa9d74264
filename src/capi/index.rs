//! Which routes of the mesh an app has: what to look at again when the app is touched.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::{
    guids::{GuidMap, GuidSet},
    model::{AppGuid, Route, RouteGuid},
};

/// The routes as last sent, by guid and by app.
#[derive(Debug, Default)]
pub(super) struct Index {
    apps: GuidMap<RouteGuid, SmallVec<[AppGuid; 1]>>,
    /// Without duplicates.
    routes: GuidMap<AppGuid, SmallVec<[RouteGuid; 1]>>,
}

impl Index {
    /// Holds nothing but these routes.
    pub(super) fn rebuild<'a>(&mut self, routes: impl IntoIterator<Item = &'a Route>) {
        self.apps.clear();
        self.routes.clear();
        for route in routes {
            self.upsert(route);
        }
    }

    /// Adds a route or changes it.
    pub(super) fn upsert(&mut self, route: &Route) {
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
        self.apps.insert(route.guid.clone(), apps);
    }

    /// Removes a route; whether it was there.
    pub(super) fn remove(&mut self, guid: &RouteGuid) -> bool {
        let Some(apps) = self.apps.remove(guid) else {
            return false;
        };
        for app in apps {
            if let Some(routes) = self.routes.get_mut(&app) {
                routes.retain(|route| route != guid);
                if routes.is_empty() {
                    self.routes.remove(&app);
                }
            }
        }
        true
    }

    /// How many routes there are.
    pub(super) fn len(&self) -> usize {
        self.apps.len()
    }

    /// The routes that are not among `present`.
    pub(super) fn missing_from<T>(&self, present: &GuidMap<RouteGuid, T>) -> GuidSet<RouteGuid> {
        self.apps
            .keys()
            .filter(|guid| !present.contains_key(guid))
            .cloned()
            .collect()
    }

    /// Adds to `routes` those that are mapped to an app.
    pub(super) fn collect_routes_of(&self, app: &AppGuid, routes: &mut BTreeSet<RouteGuid>) {
        if let Some(of_app) = self.routes.get(app) {
            routes.extend(of_app.iter().cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{AppPort, Destination, Hostname, ProcessType, Protocol, Weight, Workload};

    fn route(guid: &str, apps: &[&str]) -> Route {
        let destination = |app: &&str| Destination {
            workload: Workload {
                app: AppGuid::from(*app),
                process_type: ProcessType::Web,
            },
            port: AppPort::Number(8080),
            weight: Weight::Instances,
            protocol: Protocol::Http1,
        };
        Route {
            guid: guid.into(),
            host: Hostname::parse("a.example.com").unwrap(),
            path: Arc::default(),
            internal: false,
            vip: None,
            created_at: 0,
            load_balancing: None,
            refused: None,
            destinations: apps.iter().map(destination).collect(),
        }
    }

    fn routes_of(index: &Index, app: &str) -> Vec<String> {
        let mut routes = BTreeSet::new();
        index.collect_routes_of(&app.into(), &mut routes);
        routes.iter().map(ToString::to_string).collect()
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
        assert!(index.routes.is_empty() && index.apps.is_empty());
    }

    #[test]
    fn names_what_a_read_misses() {
        let mut index = Index::default();
        index.rebuild([&route("r", &["a"]), &route("s", &[])]);
        let read = GuidMap::from_iter([(RouteGuid::from("s"), 1), (RouteGuid::from("t"), 2)]);
        assert_eq!(index.missing_from(&read), GuidSet::from_iter(["r".into()]));
    }
}
