//! Apps and routes whose routes are to be read again.

use std::collections::BTreeSet;

use crate::model::{AppGuid, RouteGuid};

/// Apps whose routes may have changed, and routes that may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) apps: BTreeSet<AppGuid>,
    pub(crate) routes: BTreeSet<RouteGuid>,
}

impl Batch {
    /// These routes.
    pub(crate) fn of_routes(routes: BTreeSet<RouteGuid>) -> Self {
        Self {
            apps: BTreeSet::new(),
            routes,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.apps.is_empty() && self.routes.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.apps.len() + self.routes.len()
    }

    pub(crate) fn merge(&mut self, mut other: Self) {
        self.apps.append(&mut other.apps);
        self.routes.append(&mut other.routes);
    }
}
