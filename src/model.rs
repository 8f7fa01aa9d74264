//! The vocabulary: what Cloud Controller and Diego know, parsed, and the updates that feeds send.
//!
//! ```text
//! Route ─ Destination ─▶ (app, process type) ◀─ Process ◀─ Instance
//! ```

#[cfg(test)]
mod examples;
mod guid;
pub mod hostname;
mod load_balancing;
pub mod path;
mod policy;
mod report;
mod route_settings;
mod served;

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use smallvec::SmallVec;

pub use self::{
    guid::{AppGuid, CapiProcessGuid, DiegoProcessGuid, DomainGuid, InstanceGuid, RouteGuid},
    hostname::{Hostname, InvalidHostname},
    load_balancing::{
        Cookie, CookieName, HeaderName, InvalidCookieName, InvalidHeaderName, LoadBalancing,
        is_plain_name,
    },
    path::InvalidPath,
    policy::{Policy, PortRange, Transport},
    report::{Basis, Confirmations, Reading, Report, Source},
    route_settings::{
        Asked, HeaderChanges, MAX_BYTES as MAX_SETTINGS_BYTES, Retries, RouteSettings, Wrong,
        whole_millis,
    },
    served::Served,
};

#[cfg(test)]
pub(crate) use self::route_settings::tests::annotations;

/// Where Diego's own SSH daemon listens in containers.
const SSH: u16 = 2222;

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

impl Workload {
    /// What the push API points at: one process, since it knows no apps. The process's guid stands for the app's,
    /// which it equals until the app's first rolling deployment.
    pub fn pushed(process: &CapiProcessGuid) -> Self {
        Self {
            app: AppGuid::standing_for(process),
            process_type: ProcessType::Web,
        }
    }
}

/// The protocol that an app speaks on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// Whatever it likes, over TCP: the protocol of TCP routes, and of no others.
    Tcp,
}

/// The container port that a destination leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AppPort {
    /// This one.
    Number(u16),
    /// Whichever an instance serves requests on: the push API names none.
    Main,
}

impl AppPort {
    /// Where Cloud Foundry expects an app that was told nothing else.
    pub const DEFAULT: u16 = 8080;

    /// The number by which clients know it.
    pub fn number(self) -> u16 {
        match self {
            Self::Number(number) => number,
            Self::Main => Self::DEFAULT,
        }
    }
}

/// What decides a destination's share of its route's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Weight {
    /// The number of its instances.
    #[default]
    Instances,
    /// This number in proportion to the other destinations', asked for by the route's owner.
    Fixed(u32),
    /// This number, while the destination has instances. The push API sends a weight of 1 for every mapping whose
    /// owner asked for none: an app that is stopped must not take its part of the requests with it.
    Running(u32),
}

/// Where a route sends its requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Whose instances.
    pub workload: Workload,
    /// The container port.
    pub port: AppPort,
    /// Its share of the route's requests.
    pub weight: Weight,
    /// What is spoken on the port.
    pub protocol: Protocol,
}

/// Why Cloud Foundry refuses, or guards, requests to a route in a way that a mesh cannot. Such a route is not served,
/// and keeps its place in the lookup: what is asked of it goes to no other route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Its domain enforces route policies (RFC-0055): only callers with an instance's certificate and a policy pass.
    RoutePolicies,
    /// It is bound to a route service, through which its requests have to go.
    RouteService,
}

impl Refusal {
    /// The HTTP status that requests get, as from the gorouter: what nobody may, and what cannot be passed on.
    pub fn status(self) -> u16 {
        match self {
            Self::RoutePolicies => 403,
            Self::RouteService => 502,
        }
    }
}

/// A hostname with an optional path, and its destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The route's guid in Cloud Controller.
    pub guid: RouteGuid,
    /// The full name: host and domain; of a TCP route, domain and port.
    pub host: Hostname,
    /// As its owner spelled it: empty, or begins with a slash. See [`Route::key`].
    pub path: Arc<str>,
    /// Whether the domain is internal: reached by container address from other apps, not through the router.
    pub internal: bool,
    /// The virtual address of an internal hostname, where Cloud Controller has assigned one.
    pub vip: Option<Ipv4Addr>,
    /// When it was created, in seconds since the Unix epoch.
    pub created_at: i64,
    /// What its owner asked for; boxed, since hardly any did.
    pub load_balancing: Option<Box<LoadBalancing>>,
    /// What its owner asked for beside that; hardly any did.
    pub settings: Option<Arc<RouteSettings>>,
    /// Why it is not served, if it is not.
    pub refused: Option<Refusal>,
    /// Sorted, without duplicates.
    pub destinations: SmallVec<[Destination; 1]>,
}

impl Route {
    /// Whether it has a port of a TCP domain, and no name of its own.
    pub fn is_tcp(&self) -> bool {
        self.host.port().is_some()
    }

    /// Whether it sends requests where a destination, of this route or another, does.
    pub fn leads_to(&self, to: &Destination) -> bool {
        let mut destinations = self.destinations.iter();
        destinations.any(|own| (&own.workload, own.port) == (&to.workload, to.port))
    }
}

/// A process of an app, as Cloud Controller describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The process's guid in Cloud Controller. It equals the app's guid until the app's first rolling deployment.
    pub guid: CapiProcessGuid,
    /// What it is a process of.
    pub workload: Workload,
}

/// The processes in Diego that the push API names as those of a process in Cloud Controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// The process in Cloud Controller.
    pub process: CapiProcessGuid,
    /// Its processes in Diego: sorted, without duplicates.
    pub diego_processes: SmallVec<[DiegoProcessGuid; 1]>,
}

/// A container port of an instance, and the ports that lead there, 0 for each that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PortMapping {
    /// The port inside the container, where the app listens.
    pub container: u16,
    /// The port on the cell that leads to it.
    pub host: u16,
    /// The container's port where its proxy takes TLS for the app, with the instance's own certificate.
    pub container_tls: u16,
    /// The port on the cell that leads to that of the proxy.
    pub host_tls: u16,
    /// The container's port where its proxy takes TLS from other apps, with a certificate for the internal hostnames.
    pub internal_tls: u16,
}

impl PortMapping {
    /// Whether there is a port wherever another one has one.
    pub fn has_ports_of(&self, other: &Self) -> bool {
        let mut both = self.leading().into_iter().zip(other.leading());
        both.all(|(own, other)| own != 0 || other == 0)
    }

    fn leading(&self) -> [u16; 4] {
        let Self {
            container: _,
            host,
            container_tls,
            host_tls,
            internal_tls,
        } = *self;
        [host, container_tls, host_tls, internal_tls]
    }

    /// Where a container's proxy takes TLS from other apps (executor, `C2CTLSPort`), if the app listens at
    /// [`AppPort::DEFAULT`]. No port of the cell leads there.
    pub const INTERNAL_TLS: u16 = 61_443;

    /// A container port without a proxy in front of it.
    pub fn plain(container: u16, host: u16) -> Self {
        Self {
            container,
            host,
            ..Self::default()
        }
    }
}

/// A running instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The instance's guid.
    pub guid: InstanceGuid,
    /// The process it is an instance of, in the version that it runs.
    pub process: DiegoProcessGuid,
    /// What it is an instance of, where the BBS says so.
    pub workload: Option<Workload>,
    /// Whether requests may be sent to it. One to which none may has its addresses all the same.
    pub routable: bool,
    /// When the BBS last changed its row other than in its presence, in nanoseconds since the Unix epoch.
    pub since: i64,
    /// The cell's address, where the host ports are.
    pub host_address: IpAddr,
    /// The container's overlay address, where the container ports are.
    pub container_address: Option<IpAddr>,
    /// Whether the cell wants everyone to use the container's address.
    pub prefers_container: bool,
    /// The availability zone that it runs in, where the BBS says so.
    pub zone: Option<Box<str>>,
    /// One for each container port, in the order of the container ports.
    pub ports: SmallVec<[PortMapping; 2]>,
}

impl Instance {
    /// Where a container port is reached; `None` where the instance does not have it. Never another port: an app that
    /// was not restarted since a port was added to it does not listen there yet.
    ///
    /// If nobody said which, an app serves requests at the platform's default port, else at its lowest port that is not
    /// the platform's own for SSH. There nobody speaks HTTP.
    pub fn mapping(&self, port: AppPort) -> Option<&PortMapping> {
        let mut ports = self.ports.iter();
        match port {
            AppPort::Number(number) => ports.find(|mapping| mapping.container == number),
            AppPort::Main => self
                .mapping(AppPort::Number(AppPort::DEFAULT))
                .or_else(|| ports.find(|mapping| mapping.container != SSH)),
        }
    }

    /// Whether requests may be sent to it by every port that another one has, wherever these are.
    pub fn offers_as_much_as(&self, other: &Self) -> bool {
        let is_reached = self.container_address.is_some() || other.container_address.is_none();
        let mut ports = other.ports.iter();
        self.routable
            && is_reached
            && ports.all(|port| {
                let mut own = self.ports.iter();
                own.any(|own| own.container == port.container && own.has_ports_of(port))
            })
    }
}

/// What a feed tells the owner of the table. Complete reads replace, partial ones change.
#[derive(Debug)]
pub enum Update {
    /// These are all the routes of the mesh's domains, but for TCP routes.
    AllRoutes(Vec<Route>),
    /// These are all the TCP routes of the mesh's TCP domains.
    AllTcpRoutes(Vec<Route>),
    /// These routes are as given now; others stay.
    Routes {
        /// New or changed, or the same as before.
        current: Vec<Route>,
        /// Deleted.
        gone: Vec<RouteGuid>,
    },
    /// This route does not lead to this workload any more, wherever else it is known to lead.
    Unmapped(RouteGuid, Workload),
    /// These routes are refused from now on, whatever else is known of them, until they come again.
    Refused(Vec<(RouteGuid, Refusal)>),
    /// So are all routes of these domains, by [`Refusal::RoutePolicies`].
    Enforced(BTreeSet<Hostname>),
    /// These are all the routes and associations of the push API, at one moment.
    AllPushed {
        /// The routes with their destinations.
        routes: Vec<Route>,
        /// The associations.
        associations: Vec<Association>,
        /// Whether a route of the message leads to an app by itself, without what single calls have said lately.
        leads: bool,
    },
    /// These associations are as given now; others stay.
    Associations {
        /// New or changed, or the same as before.
        current: Vec<Association>,
        /// Deleted.
        gone: Vec<CapiProcessGuid>,
    },
    /// These are all the network policies.
    AllPolicies(Vec<Policy>),
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
