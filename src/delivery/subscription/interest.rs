//! Which resources of a collection a sink wants.

use std::collections::BTreeSet;

/// The name that stands for every resource.
const WILDCARD: &str = "*";
/// What a name costs beside its own bytes: its place in a set, and its allocation.
const OVERHEAD: usize = 64;

/// All resources, or some by name, or both: by name a sink also learns that there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Interest {
    everything: bool,
    names: BTreeSet<String>,
    /// What it costs to keep them.
    bytes: usize,
}

impl Interest {
    /// In every resource.
    pub(crate) fn everything() -> Self {
        Self {
            everything: true,
            ..Self::default()
        }
    }

    /// In what the first request names. One that names nothing wants everything.
    pub(crate) fn of(names: Vec<String>) -> Self {
        if names.is_empty() {
            return Self::everything();
        }
        let mut interest = Self::default();
        for name in names {
            interest.add(name);
        }
        interest
    }

    /// Adds a name, or the wildcard.
    pub(super) fn add(&mut self, name: String) {
        if name == WILDCARD {
            self.everything = true;
        } else {
            self.insert(name);
        }
    }

    /// Takes a name away, or the wildcard.
    pub(super) fn remove(&mut self, name: &str) {
        if name == WILDCARD {
            self.everything = false;
        } else if self.names.remove(name) {
            self.bytes -= cost(name);
        }
    }

    fn insert(&mut self, name: String) {
        let cost = cost(&name);
        if self.names.insert(name) {
            self.bytes += cost;
        }
    }

    /// Takes in what there is in another one and `wanted` covers.
    pub(super) fn extend(&mut self, other: Self, wanted: &Self) {
        self.everything |= other.everything && wanted.everything;
        let names = other.names.into_iter();
        for name in names.filter(|name| wanted.covers(name)) {
            self.insert(name);
        }
    }

    /// In those of its names only that are not known.
    pub(super) fn names_without(&self, is_known: impl Fn(&str) -> bool) -> Self {
        let mut others = Self::default();
        for name in self.names.iter().filter(|name| !is_known(name)) {
            others.insert(name.clone());
        }
        others
    }

    /// Whether a resource of that name is in it.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.everything || self.names.contains(name)
    }

    /// Whether no resource is in it, nor any name.
    pub(super) fn is_nothing(&self) -> bool {
        !self.everything && self.names.is_empty()
    }

    /// Whether every resource is.
    pub(super) fn is_everything(&self) -> bool {
        self.everything
    }

    /// What is in it by name.
    pub(super) fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// What it costs to keep the names.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn cost(name: &str) -> usize {
    name.len() + OVERHEAD
}
