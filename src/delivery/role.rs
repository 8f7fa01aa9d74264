//! What collections are to each other on a stream.

use std::{sync::Arc, time::Instant};

use crate::snapshot::{Changed, Collection, Kind};

/// What a collection is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Its resources are named by others, and say how the next are reached.
    Rules,
    /// Its resources are named by others.
    Services,
    /// Its resources name those.
    Naming,
    /// Neither.
    Apart,
}

impl Role {
    /// Of a collection, which may be none of ours.
    pub(super) fn of(kind: Option<Kind>) -> Self {
        match kind {
            Some(Kind::DestinationRule) => Self::Rules,
            Some(Kind::ServiceEntry) => Self::Services,
            Some(Kind::VirtualService) => Self::Naming,
            Some(Kind::Gateway | Kind::Sidecar) | None => Self::Apart,
        }
    }

    /// Where a full response has what is new in it.
    pub(super) fn changed(self) -> Changed {
        match self {
            Self::Rules | Self::Services => Changed::Last,
            Self::Naming | Self::Apart => Changed::First,
        }
    }

    pub(super) fn is_named(self) -> bool {
        matches!(self, Self::Rules | Self::Services)
    }
}

/// A collection as a sink is to hold it.
pub(super) struct Target {
    pub(super) collection: Arc<Collection>,
    /// When its state was published.
    pub(super) published: Instant,
    /// Nobody publishes it.
    pub(super) is_unknown: bool,
}
