//! How much is served: what a loss is measured by.

use std::ops::{Add, AddAssign, SubAssign};

/// Amounts of what sinks are served, or of what they would lose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Routes, each a hostname with a path, that lead to somebody or are restricted.
    pub routes: u64,
    /// The endpoints of all of them.
    pub endpoints: u64,
    /// Those of them that are withheld because Cloud Foundry restricts who may use them.
    pub restrictions: u64,
    /// Internal hostnames in the Sidecars of all apps.
    pub sidecar_hosts: u64,
}

impl Served {
    /// Each amount by its name, a metric label.
    pub fn named(self) -> [(&'static str, u64); 4] {
        [
            ("routes", self.routes),
            ("endpoints", self.endpoints),
            ("restrictions", self.restrictions),
            ("sidecar_hosts", self.sidecar_hosts),
        ]
    }

    /// Whether there is nothing of any.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// What there is more of than of another.
    #[must_use]
    pub fn beyond(self, other: Self) -> Self {
        Self {
            routes: self.routes.saturating_sub(other.routes),
            endpoints: self.endpoints.saturating_sub(other.endpoints),
            restrictions: self.restrictions.saturating_sub(other.restrictions),
            sidecar_hosts: self.sidecar_hosts.saturating_sub(other.sidecar_hosts),
        }
    }

    /// Each amount beside the same one of another. Restrictions are among the routes.
    pub fn beside(self, other: Self) -> [(u64, u64); 3] {
        [
            (self.routes, other.routes),
            (self.endpoints, other.endpoints),
            (self.sidecar_hosts, other.sidecar_hosts),
        ]
    }
}

impl AddAssign for Served {
    fn add_assign(&mut self, other: Self) {
        self.routes += other.routes;
        self.endpoints += other.endpoints;
        self.restrictions += other.restrictions;
        self.sidecar_hosts += other.sidecar_hosts;
    }
}

impl Add for Served {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl SubAssign for Served {
    fn sub_assign(&mut self, other: Self) {
        self.routes = self.routes.saturating_sub(other.routes);
        self.endpoints = self.endpoints.saturating_sub(other.endpoints);
        self.restrictions = self.restrictions.saturating_sub(other.restrictions);
        self.sidecar_hosts = self.sidecar_hosts.saturating_sub(other.sidecar_hosts);
    }
}
