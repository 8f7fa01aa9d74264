//! The ports of TCP routes. A proxy listens at a port for one of them, while TCP domains of two router groups may each have
//! it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Hostname, Route};

/// So many routes at ports that the ingress has not are known, to be named and explained. Nothing is made of them.
const MAX_OUTSIDE: usize = 1000;

/// The ports of the ingress, and who wants each.
#[derive(Debug, Default)]
pub(super) struct Ports {
    pub(super) of_ingress: BTreeSet<u16>,
    /// How many more routes than are known are at other ports.
    pub(super) more_outside: usize,
    wanted: BTreeMap<u16, BTreeSet<Hostname>>,
}

impl Ports {
    pub(super) fn of(&self, port: u16) -> impl Iterator<Item = &Hostname> {
        self.wanted.get(&port).into_iter().flatten()
    }

    /// Of a complete list, without what is not to be known: of very many routes at other ports than those of the ingress, the
    /// youngest.
    pub(super) fn limit(&mut self, routes: Vec<Route>) -> Vec<Route> {
        let is_outside = |route: &Route| {
            let port = route.host.port();
            port.is_some_and(|port| !self.of_ingress.contains(&port))
        };
        let (mut outside, mut routes): (Vec<_>, Vec<_>) = routes.into_iter().partition(is_outside);
        outside.sort_unstable_by(|one, other| {
            let by_age = one.created_at.cmp(&other.created_at);
            by_age.then_with(|| one.guid.cmp(&other.guid))
        });
        self.more_outside = outside.len().saturating_sub(MAX_OUTSIDE);
        outside.truncate(MAX_OUTSIDE);
        routes.append(&mut outside);
        routes
    }

    /// Whether another than this hostname wants its port.
    pub(super) fn has_heir(&self, host: &Hostname) -> bool {
        let hosts = host.port().into_iter().flat_map(|port| self.of(port));
        hosts.into_iter().any(|other| other != host)
    }

    pub(super) fn set(&mut self, host: &Hostname, port: u16, is_there: bool) {
        let hosts = self.wanted.entry(port).or_default();
        if is_there {
            hosts.insert(host.clone());
        } else {
            hosts.remove(host);
        }
        if hosts.is_empty() {
            self.wanted.remove(&port);
        }
    }
}
