//! What the foundation says: which routes lead to which apps, and what of them runs.

use std::collections::{BTreeMap, BTreeSet};

use copilot::model::{AppGuid, RouteGuid};

use crate::oracle::Oracle;

/// The foundation, as far as an oracle needs it.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Hostname and apps of each route.
    routes: BTreeMap<RouteGuid, (String, BTreeSet<AppGuid>)>,
    /// How many instances run, by app and by the name that they answer with.
    running: BTreeMap<AppGuid, BTreeMap<String, usize>>,
}

impl Truth {
    pub(super) fn create(&mut self, route: &RouteGuid, host: String, apps: BTreeSet<AppGuid>) {
        self.routes.insert(route.clone(), (host, apps));
    }

    pub(super) fn delete(&mut self, route: &RouteGuid, oracle: &Oracle) {
        if let Some((host, _)) = self.routes.remove(route) {
            self.tell(&host, oracle);
        }
    }

    pub(super) fn map(&mut self, route: &RouteGuid, app: &AppGuid) {
        if let Some((_, apps)) = self.routes.get_mut(route) {
            apps.insert(app.clone());
        }
    }

    /// The host that has one app less.
    pub(super) fn unmap(&mut self, route: &RouteGuid, app: &AppGuid) -> Option<String> {
        let (host, apps) = self.routes.get_mut(route)?;
        apps.remove(app);
        Some(host.clone())
    }

    pub(super) fn start(&mut self, app: &AppGuid, name: &str) {
        let names = self.running.entry(app.clone()).or_default();
        *names.entry(name.to_owned()).or_default() += 1;
    }

    pub(super) fn stop(&mut self, app: &AppGuid, name: &str) {
        let names = self.running.get_mut(app);
        if let Some(count) = names.and_then(|names| names.get_mut(name)) {
            *count -= 1;
        }
    }

    /// Tells who answers every host that leads to an app.
    pub(super) fn tell_of(&self, app: &AppGuid, oracle: &Oracle) {
        let routes = self.routes.values().filter(|(_, apps)| apps.contains(app));
        for host in routes.map(|(host, _)| host).collect::<BTreeSet<_>>() {
            self.tell(host, oracle);
        }
    }

    /// Tells who answers a host, whatever the path.
    pub(super) fn tell(&self, host: &str, oracle: &Oracle) {
        let routes = self.routes.values().filter(|(of, _)| of == host);
        let apps = routes.flat_map(|(_, apps)| apps);
        let names = apps.filter_map(|app| self.running.get(app)).flatten();
        let answering = names.filter(|(_, count)| **count > 0);
        oracle.set(host, answering.map(|(name, _)| name.as_str()));
    }
}
