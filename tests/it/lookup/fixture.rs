//! What a real gorouter answered, and what its routing table alone did.

use std::collections::{BTreeMap, BTreeSet};

use copilot::{
    model::{Hostname, Route},
    sim::foundation,
};
use serde::Deserialize;

use super::{
    envoy::Answer,
    foundation::Foundation,
    model::{Gorouter, Pool},
};

/// A foundation, and the requests to it.
#[derive(Debug, Deserialize)]
pub struct Recorded {
    pub seed: u64,
    apps: BTreeMap<String, RecordedApp>,
    routes: Vec<RecordedRoute>,
    /// Host header, target, app, status.
    pub requests: Vec<(String, String, Option<String>, u16)>,
}

#[derive(Debug, Deserialize)]
struct RecordedApp {
    instances: u8,
    running: bool,
}

#[derive(Debug, Deserialize)]
struct RecordedRoute {
    host: String,
    domain: String,
    path: String,
    app: String,
}

impl RecordedRoute {
    fn name(&self) -> String {
        format!("{}.{}", self.host, self.domain)
    }
}

/// All of them.
pub fn recorded() -> Vec<Recorded> {
    serde_json::from_str(include_str!("../../fixtures/gorouter/lookup.json")).unwrap()
}

/// What the routing table held, and what it found.
#[derive(Debug, Deserialize)]
pub struct Table {
    /// Host, path, and the app that is registered, if any.
    routes: Vec<(String, String, Option<String>)>,
    /// Host header, target, and the apps of the pool.
    pub requests: Vec<(String, String, BTreeSet<String>)>,
}

/// All of these.
pub fn tables() -> Vec<Table> {
    serde_json::from_str(include_str!("../../fixtures/gorouter/table.json")).unwrap()
}

impl Table {
    /// The model of it.
    pub fn gorouter(&self) -> Gorouter<Apps> {
        let mut gorouter = Gorouter::<Apps>::default();
        for (host, path, app) in &self.routes {
            gorouter.pool(host, path).0.extend(app.clone());
        }
        gorouter
    }
}

/// The apps that run behind a route.
#[derive(Debug, Clone, Default)]
pub struct Apps(pub BTreeSet<String>);

impl Pool for Apps {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Recorded {
    /// The model's table of its routes.
    pub fn gorouter(&self) -> Gorouter<Apps> {
        let mut gorouter = Gorouter::<Apps>::default();
        for route in &self.routes {
            let pool = gorouter.pool(&route.name(), &route.path);
            if self.apps[&route.app].running {
                pool.0.insert(route.app.clone());
            }
        }
        gorouter
    }

    /// It, as feeds would tell it.
    pub fn foundation(&self) -> Foundation {
        let mut foundation = Foundation::default();
        let number = |app: &str| self.apps.keys().position(|name| name == app).unwrap();
        for (name, app) in self.apps.iter().filter(|(_, app)| app.running) {
            for _ in 0..app.instances {
                foundation.start(number(name));
            }
        }
        for (n, route) in self.routes.iter().enumerate() {
            let at = foundation::route(n);
            let route = Route {
                host: Hostname::parse(&route.name()).unwrap(),
                path: route.path.as_str().into(),
                destinations: foundation::route(number(&route.app)).destinations,
                ..at
            };
            foundation.routes.insert(route.guid.clone(), route);
        }
        foundation
    }

    /// The app that answers; several where it is not always the same.
    pub fn answering(&self, foundation: &Foundation, answer: &Answer) -> BTreeSet<Option<&str>> {
        let Answer::Shared(targets) = answer else {
            return [None].into();
        };
        let app = |target: &super::envoy::Target| {
            let at = target.endpoint?;
            let reached = |port: u16| {
                foundation
                    .instances
                    .values()
                    .find(|one| one.ports.iter().any(|mapping| mapping.host == port))
            };
            let workload = reached(at.port()).unwrap().workload.as_ref().unwrap();
            let mut numbered = self.apps.keys().enumerate();
            let found = numbered.find(|(n, _)| foundation::app(*n) == workload.app);
            found.map(|(_, name)| name.as_str())
        };
        targets.iter().map(app).collect()
    }
}
