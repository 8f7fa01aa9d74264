//! What an update made different.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::model::Hostname;

/// How much of a hostname is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Only which instances are behind it.
    Endpoints,
    /// Its routes or their destinations.
    Routing,
}

/// The hostnames that an update, or several in a row, made different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    hosts: BTreeMap<Hostname, Touched>,
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

    /// Adds the changes of a later update.
    pub fn merge(&mut self, later: &Self) {
        for (host, touched) in &later.hosts {
            self.touch(host, *touched);
        }
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The hostnames in their order.
    pub fn hosts(&self) -> impl Iterator<Item = (&Hostname, Touched)> {
        self.hosts.iter().map(|(host, touched)| (host, *touched))
    }

    /// The hostnames whose routes are different.
    pub(super) fn routed(&self) -> impl Iterator<Item = &Hostname> {
        self.hosts()
            .filter(|(_, touched)| *touched == Touched::Routing)
            .map(|(host, _)| host)
    }
}
