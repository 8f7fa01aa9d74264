//! What an update is based on: it decides what is believed of it.

use tokio::time::Instant;

use super::Update;

/// An update, and what its feed bases it on.
#[derive(Debug)]
pub struct Report {
    /// What is reported.
    pub update: Update,
    /// On what grounds.
    pub basis: Basis,
    /// When it was said: it may wait.
    pub since: Instant,
}

/// The grounds for an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Each item was told by itself: by an event of the BBS, an audit event that names the route, a push.
    Told,
    /// Some items were asked for by name. That one is not found proves nothing by itself.
    Asked,
    /// Everything was read.
    Read(Reading),
}

/// A complete read. Two confirm each other if the later one began after the earlier one had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When it was asked for.
    pub began: Instant,
    /// When its last byte was there.
    pub ended: Instant,
    /// Whether it says which routes are restricted: those that are not may be all the same.
    pub restrictions: bool,
}

/// Whose complete reads an update belongs to: only those confirm what it takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Routes, with their destinations, restrictions and associations.
    Routes,
    /// Instances, and what they are instances of.
    Instances,
    /// Network policies.
    Policies,
    /// TCP routes, which are a list of their own.
    TcpRoutes,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Routes,
        Self::Instances,
        Self::Policies,
        Self::TcpRoutes,
    ];

    /// Its name: a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Instances => "instances",
            Self::Policies => "policies",
            Self::TcpRoutes => "tcp_routes",
        }
    }
}

/// When a complete read of each source can confirm a loss that is held; `None` where nothing is. A feed reads then, on
/// a connection of its own, however long its interval is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confirmations {
    /// Nothing is served yet, so that there is nothing with which a read could be compared.
    pub is_starting: bool,
    /// Of all routes.
    pub routes: Option<Instant>,
    /// Of all instances.
    pub instances: Option<Instant>,
    /// Of all policies.
    pub policies: Option<Instant>,
    /// Of all TCP routes.
    pub tcp_routes: Option<Instant>,
}

impl Update {
    /// The update on these grounds.
    pub fn on(self, basis: Basis) -> Report {
        Report {
            update: self,
            basis,
            since: Instant::now(),
        }
    }

    /// Whose complete reads it belongs to.
    pub fn source(&self) -> Source {
        match self {
            Self::AllRoutes(_)
            | Self::Routes { .. }
            | Self::Unmapped(..)
            | Self::Refused(_)
            | Self::Enforced(_)
            | Self::AllPushed { .. }
            | Self::Associations { .. } => Source::Routes,
            Self::Processes { .. } | Self::AllInstances(_) | Self::Instances { .. } => {
                Source::Instances
            }
            Self::AllPolicies(_) => Source::Policies,
            Self::AllTcpRoutes(_) => Source::TcpRoutes,
        }
    }
}

impl Basis {
    /// A complete read that was asked for at a time and ends now.
    pub fn read_since(began: Instant) -> Self {
        let ended = Instant::now();
        Self::Read(Reading {
            began,
            ended,
            restrictions: true,
        })
    }
}
