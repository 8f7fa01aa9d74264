//! What has changed of late in what is served, and what brought that about.

use std::{collections::VecDeque, fmt, time::SystemTime};

use serde::Serialize;

use super::timestamp;
use crate::model::{Basis, Hostname, Update};

/// Changes that are remembered: of a busy foundation some minutes, of others a night.
const MOST: usize = 4096;

/// What made a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// All routes were read.
    RoutesRead,
    /// Cloud Controller was asked for some routes, or named them in an event.
    RoutesNamed,
    /// Cloud Controller restricts a route.
    RouteRestricted,
    /// Cloud Controller pushed.
    RoutesPushed,
    /// Cloud Controller described processes.
    ProcessesRead,
    /// All instances were read.
    InstancesRead,
    /// An event of the BBS.
    InstanceEvent,
    /// Network policies were read.
    PoliciesRead,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::RoutesRead,
        Self::RoutesNamed,
        Self::RouteRestricted,
        Self::RoutesPushed,
        Self::ProcessesRead,
        Self::InstancesRead,
        Self::InstanceEvent,
        Self::PoliciesRead,
    ];

    /// Its name: a metric label, the same as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoutesRead => "routes_read",
            Self::RoutesNamed => "routes_named",
            Self::RouteRestricted => "route_restricted",
            Self::RoutesPushed => "routes_pushed",
            Self::ProcessesRead => "processes_read",
            Self::InstancesRead => "instances_read",
            Self::InstanceEvent => "instance_event",
            Self::PoliciesRead => "policies_read",
        }
    }

    /// The cause that an update is.
    pub fn of(update: &Update, basis: Basis) -> Self {
        match update {
            Update::AllRoutes(_) | Update::AllTcpRoutes(_) => Self::RoutesRead,
            Update::Routes { .. } | Update::Unmapped(..) => Self::RoutesNamed,
            Update::Refused(_) | Update::Enforced(_) => Self::RouteRestricted,
            Update::AllPushed { .. } | Update::Associations { .. } => Self::RoutesPushed,
            Update::Processes { .. } => Self::ProcessesRead,
            Update::Instances { .. } if basis == Basis::Told => Self::InstanceEvent,
            Update::AllInstances(_) | Update::Instances { .. } => Self::InstancesRead,
            Update::AllPolicies(_) => Self::PoliciesRead,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoutesRead => "full read of routes",
            Self::RoutesNamed => "route of Cloud Controller",
            Self::RouteRestricted => "restriction of a route",
            Self::RoutesPushed => "push of Cloud Controller",
            Self::ProcessesRead => "process of Cloud Controller",
            Self::InstancesRead => "list of the BBS",
            Self::InstanceEvent => "event of the BBS",
            Self::PoliciesRead => "network policies",
        })
    }
}

/// What became different for a hostname.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// When it was published.
    #[serde(serialize_with = "timestamp")]
    pub at: SystemTime,
    /// The hostname.
    pub host: String,
    /// What came last of what brought it about; `None` where it was time that passed.
    pub cause: Option<Cause>,
    /// How many endpoints it had.
    pub endpoints_before: usize,
    /// How many it has.
    pub endpoints_after: usize,
    /// Whether its requests are looked up or shared otherwise.
    pub lookup: bool,
    /// How many other hostnames changed at the same moment and are not named.
    pub others: usize,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = humantime::format_rfc3339_seconds(self.at);
        let (before, after) = (self.endpoints_before, self.endpoints_after);
        write!(f, "{at}  {}  endpoints {before} -> {after}", self.host)?;
        if self.lookup {
            f.write_str(", requests are led otherwise")?;
        }
        if let Some(cause) = self.cause {
            write!(f, "  ({cause})")?;
        }
        if self.others > 0 {
            write!(f, "  and {} other hostnames", self.others)?;
        }
        Ok(())
    }
}

/// The latest changes, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Journal(VecDeque<Change>);

impl Journal {
    /// Remembers a change, and forgets the oldest if they are too many.
    pub(crate) fn add(&mut self, change: Change) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(change);
    }

    /// The changes of a hostname, or all.
    pub(crate) fn of(&self, host: Option<&Hostname>) -> Vec<Change> {
        let is_of = |change: &&Change| host.is_none_or(|host| host.as_str() == change.host);
        self.0.iter().filter(is_of).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(host: String) -> Change {
        Change {
            at: SystemTime::UNIX_EPOCH,
            host,
            cause: Some(Cause::InstanceEvent),
            endpoints_before: 2,
            endpoints_after: 1,
            lookup: false,
            others: 0,
        }
    }

    #[test]
    fn remembers_the_latest_changes_and_no_more() {
        let mut journal = Journal::default();
        for n in 0..=MOST {
            journal.add(change(format!("host-{n}.example.com")));
        }
        let host = |name: &str| Hostname::parse(name).unwrap();
        assert_eq!(journal.of(None).len(), MOST);
        assert!(journal.of(Some(&host("host-0.example.com"))).is_empty());
        assert_eq!(journal.of(Some(&host("host-1.example.com"))).len(), 1);
    }

    #[test]
    fn a_change_says_when_where_how_much_and_why() {
        assert_eq!(
            change("shop.example.com".to_owned()).to_string(),
            "1970-01-01T00:00:00Z  shop.example.com  endpoints 2 -> 1  (event of the BBS)"
        );
    }
}
