//! What an update made different.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use crate::model::{AppGuid, Hostname};

/// How much of a hostname is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Only which instances are behind it.
    Endpoints,
    /// Its routes or their destinations.
    Routing,
}

/// The hostnames and source apps that an update, or several in a row, made different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    hosts: BTreeMap<Hostname, Touched>,
    sources: BTreeSet<AppGuid>,
}

impl Changes {
    pub(super) fn touch(&mut self, host: &Hostname, touched: Touched) {
        match self.hosts.entry(host.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(touched);
            }
            Entry::Occupied(mut entry) => {
                let before = *entry.get();
                entry.insert(before.max(touched));
            }
        }
    }

    pub(super) fn touch_source(&mut self, app: &AppGuid) {
        if !self.sources.contains(app) {
            self.sources.insert(app.clone());
        }
    }

    /// Adds the changes of a later update.
    pub fn merge(&mut self, later: Self) {
        if self.is_empty() {
            *self = later;
            return;
        }
        for (host, touched) in &later.hosts {
            self.touch(host, *touched);
        }
        self.sources.extend(later.sources);
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.sources.is_empty()
    }

    /// The hostnames in their order.
    pub fn hosts(&self) -> impl Iterator<Item = (&Hostname, Touched)> {
        self.hosts.iter().map(|(host, touched)| (host, *touched))
    }

    /// The apps, in their order, that may by their policies reach other internal hostnames now.
    pub fn sources(&self) -> impl Iterator<Item = &AppGuid> {
        self.sources.iter()
    }

    /// The hostnames whose routes are different.
    pub(super) fn routed(&self) -> impl Iterator<Item = &Hostname> {
        self.hosts()
            .filter(|(_, touched)| *touched == Touched::Routing)
            .map(|(host, _)| host)
    }
}
