//! What an update takes away, so that some of it can be put back.

use std::{fmt, sync::Arc};

use super::{key::shared_key, workloads::Workloads};
use crate::model::{AppGuid, Association, Hostname, Instance, Policy, Route};

/// Something whose loss would be felt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A route, by its hostname and its key: whether it is answered, restricted, and by how many.
    Route(Hostname, Arc<str>),
    /// What an app may connect to.
    Source(AppGuid),
    /// The instances that run at a start, none of which a route leads to.
    EveryInstance,
}

impl Subject {
    /// The route that another one is, or shares its place with.
    pub(super) fn of(route: &Route) -> Self {
        Self::Route(route.host.clone(), shared_key(route))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(host, key) => write!(f, "{host}{key}"),
            Self::Source(app) => write!(f, "the Sidecar of {app}"),
            Self::EveryInstance => f.write_str("every instance that runs"),
        }
    }
}

/// Items as they were before an update removed or changed them.
#[derive(Debug, Default)]
pub struct Displaced {
    pub(super) routes: Vec<Arc<Route>>,
    /// With what they were instances of.
    pub(super) instances: Vec<(Arc<Instance>, Workloads)>,
    pub(super) associations: Vec<Association>,
    pub(super) policies: Vec<Policy>,
}
