//! The vocabulary: what Cloud Controller and Diego know, parsed, and the updates that feeds send.
//!
//! ```text
//! Route ─ Destination ─▶ (app, process type) ◀─ Process ◀─ Instance
//! ```

mod guid;
mod hostname;

use std::{fmt, net::IpAddr, sync::Arc};

use smallvec::SmallVec;

pub use self::{
    guid::{AppGuid, CapiProcessGuid, DiegoProcessGuid, DomainGuid, InstanceGuid, RouteGuid},
    hostname::{Hostname, InvalidHostname},
};

/// A process type of an app; `web` for nearly all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProcessType {
    /// The type that routes go to by default.
    Web,
    /// Any other.
    Other(Arc<str>),
}

impl ProcessType {
    /// Its name in Cloud Controller.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Web => "web",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for ProcessType {
    fn from(name: &str) -> Self {
        match name {
            "web" => Self::Web,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for ProcessType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a destination points at: all processes of a type of an app. During a rolling deployment that is several.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    /// The app.
    pub app: AppGuid,
    /// The process type.
    pub process_type: ProcessType,
}

/// The protocol that an app speaks on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Where a route sends its requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Whose instances.
    pub workload: Workload,
    /// The container port.
    pub port: u16,
    /// The share of the route's requests in proportion to the other destinations' weights; `None` where Cloud
    /// Controller leaves the split to the number of instances.
    pub weight: Option<u32>,
    /// What is spoken on the port.
    pub protocol: Protocol,
}

/// A hostname with an optional path, and its destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The route's guid in Cloud Controller.
    pub guid: RouteGuid,
    /// The full name: host and domain.
    pub host: Hostname,
    /// Empty, or begins with a slash. Case matters.
    pub path: Arc<str>,
    /// Whether the domain is internal: reached by container address from other apps, not through the router.
    pub internal: bool,
    /// When it was created, in seconds since the Unix epoch.
    pub created_at: i64,
    /// Sorted, without duplicates.
    pub destinations: SmallVec<[Destination; 1]>,
}

/// A process of an app, as Cloud Controller describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The process's guid in Cloud Controller. It equals the app's guid until the app's first rolling deployment.
    pub guid: CapiProcessGuid,
    /// What it is a process of.
    pub workload: Workload,
}

/// Where a container port of an instance is reached from other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortMapping {
    /// The port inside the container.
    pub container: u16,
    /// The port on the cell; 0 where the cell does not lead there, and only the container's own address does.
    pub host: u16,
}

/// A running, routable instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The instance's guid.
    pub guid: InstanceGuid,
    /// The process it is an instance of, in the version that it runs.
    pub process: DiegoProcessGuid,
    /// What it is an instance of, where the BBS says so.
    pub workload: Option<Workload>,
    /// The cell's address, where the host ports are.
    pub host_address: IpAddr,
    /// The container's overlay address, where the container ports are.
    pub container_address: Option<IpAddr>,
    /// One for each container port, in the order of the container ports.
    pub ports: SmallVec<[PortMapping; 2]>,
}

/// What a feed tells the owner of the table. Complete reads replace, partial ones change.
#[derive(Debug)]
pub enum Update {
    /// These are all the routes of the mesh's domains.
    AllRoutes(Vec<Route>),
    /// These routes are as given now; others stay.
    Routes {
        /// New or changed, or the same as before.
        current: Vec<Route>,
        /// Deleted.
        gone: Vec<RouteGuid>,
    },
    /// What Cloud Controller says of processes that the BBS does not describe.
    Processes {
        /// Described.
        known: Vec<Process>,
        /// Cloud Controller does not know them either.
        unknown: Vec<CapiProcessGuid>,
    },
    /// These are all the running instances.
    AllInstances(Vec<Arc<Instance>>),
    /// These instances are as given now; others stay.
    Instances {
        /// New or changed, or the same as before.
        current: Vec<Arc<Instance>>,
        /// Stopped, or no longer routable.
        gone: Vec<InstanceGuid>,
    },
}
