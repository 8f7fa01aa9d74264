//! What VirtualServices see of the pools, so that it is known when it is another.

use std::{collections::HashMap, sync::Arc};

use super::{
    host::HostView,
    pool::{Pool, Which},
};
use crate::model::{Hostname, Refusal, RouteSettings};

/// All that a VirtualService can see of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shape {
    refused: Option<Refusal>,
    is_empty: bool,
    /// Whether its instances are reached in another way than is usual, all of them.
    is_unusual: bool,
    /// What its owner asks for.
    settings: Option<Arc<RouteSettings>>,
    /// Whether its owner's way of picking an instance keeps clients at one, which what is tried again has to know; where
    /// there is none the operator's counts.
    keeps: Option<bool>,
    /// With their endpoints and shares, if it is divided.
    parts: Vec<(Which, bool, u64)>,
}

/// What of a hostname decides how its pools look: the same for all of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Sort {
    /// A service for each pool.
    #[default]
    External,
    /// One service.
    Internal {
        /// Whether something tells its requests apart.
        is_divided: bool,
        /// Whether it should be reached over TLS and is not.
        is_unusual: bool,
    },
}

impl Sort {
    pub(super) fn of(host: HostView<'_>) -> Self {
        if host.is_internal() {
            Self::Internal {
                is_divided: host.is_divided(),
                is_unusual: host.facts.tls.internal && !host.has_internal_tls(),
            }
        } else {
            Self::External
        }
    }

    pub(super) fn is_internal(self) -> bool {
        matches!(self, Self::Internal { .. })
    }
}

impl Shape {
    pub(super) fn of(pool: &Pool<'_>, sort: Sort) -> Self {
        let parts = match sort {
            Sort::Internal {
                is_divided: true, ..
            } => pool.by_target(),
            Sort::Internal { .. } => Vec::new(),
            Sort::External => pool.parts(),
        };
        let is_unusual = match sort {
            Sort::Internal { is_unusual, .. } => is_unusual,
            Sort::External => parts.len() == 1 && parts[0].is_tls != pool.host().expects_tls(),
        };
        let parts = if parts.len() > 1 { parts } else { Vec::new() };
        Self {
            is_unusual,
            refused: pool.refused(),
            settings: pool.settings().map(|(_, settings)| settings),
            keeps: pool
                .load_balancing()
                .filter(|_| !sort.is_internal())
                .map(|(_, choice)| choice.keeps()),
            // An internal hostname has nothing to go on to.
            is_empty: !sort.is_internal() && pool.is_empty(),
            parts: parts
                .into_iter()
                .map(|part| (part.which, part.is_tls, part.share))
                .collect(),
        }
    }
}

impl Shape {
    /// Whether they are the same, but perhaps for an instance.
    fn is_like(&self, other: &Self) -> bool {
        let seen = |shape: &Self| (shape.refused, shape.is_unusual, shape.keeps);
        seen(self) == seen(other) && self.settings == other.settings && self.parts == other.parts
    }
}

/// What became of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that a VirtualService sees.
    Nothing,
    /// It has its first instance, or its last one is gone.
    Emptiness,
    /// It is divided or answered otherwise.
    Division,
}

/// The shapes of the pools that are not whole, open and reached, as nearly all are.
#[derive(Debug, Default)]
pub(super) struct Shapes(HashMap<(Hostname, Arc<str>), Shape>);

impl Shapes {
    /// Takes in how a pool is now. Of one that has just been created or deleted, the answer says nothing.
    pub(super) fn update(&mut self, host: &Hostname, key: &Arc<str>, shape: Shape) -> Change {
        let place = (host.clone(), key.clone());
        let usual = Shape::default();
        let before = self.0.get(&place).unwrap_or(&usual);
        let change = if *before == shape {
            return Change::Nothing;
        } else if before.is_like(&shape) {
            Change::Emptiness
        } else {
            Change::Division
        };
        if shape == usual {
            self.0.remove(&place);
        } else {
            self.0.insert(place, shape);
        }
        change
    }

    /// Whether some requests for the hostname find nobody that takes them.
    pub(super) fn goes_on(&self, host: HostView<'_>) -> bool {
        if host.pool("").is_none() {
            return true;
        }
        let shape = self.0.get(&(host.name.clone(), Arc::default()));
        shape.is_some_and(|shape| shape.is_empty)
    }
}
