//! What people ask the owner of the table, and what it answers: typed, for programs and for people.
//!
//! A question about a hostname costs its owner microseconds, whatever the size of the foundation.

mod asked;
mod journal;

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};
use tokio::sync::oneshot;

pub(crate) use self::{
    asked::{Asked, Part},
    journal::{Cause, Change, Journal},
};
use crate::model::{Hostname, Instance, Route};

/// What is asked.
#[derive(Debug)]
pub enum Question {
    /// What becomes of the requests for a hostname and path.
    Host {
        /// The hostname.
        host: Hostname,
        /// The path, as a request has it.
        path: String,
        /// Told all that is known.
        reply: oneshot::Sender<Known>,
    },
    /// All routes and instances: shared, not copied.
    Everything(oneshot::Sender<Everything>),
    /// What has changed of late.
    Changes {
        /// Of this hostname alone.
        host: Option<Hostname>,
        /// Told the changes, the oldest first.
        reply: oneshot::Sender<Vec<Change>>,
    },
}

/// All routes and instances.
#[derive(Debug, Default)]
pub struct Everything {
    /// In no order.
    pub routes: Vec<Arc<Route>>,
    /// The same.
    pub instances: Vec<Arc<Instance>>,
}

/// What is known of a hostname and path.
#[derive(Debug, Default)]
pub struct Known {
    /// Where its requests are looked up, one after the other: they go to the first that takes them.
    pub lookups: Vec<Lookup>,
    /// Some of the paths that its hostname has, wherever its requests go.
    pub paths: Vec<String>,
    /// The longest path that covers what was asked for, of the routes of its hostname that are left out by limits.
    pub left_out: Option<String>,
    /// What has changed of late for its hostname.
    pub changes: Vec<Change>,
}

/// A hostname and path at which requests are looked up.
#[derive(Debug, Clone, Serialize)]
pub struct Lookup {
    /// The hostname, or a wildcard above it.
    pub host: String,
    /// The path.
    pub path: String,
    /// Whether apps reach it by container address, and not through the router.
    pub internal: bool,
    /// Its virtual address, of an internal one.
    pub vip: Option<Ipv4Addr>,
    /// Whether it takes requests: with an instance, or with a refusal.
    pub takes: bool,
    /// The status that requests get instead of an instance, and why.
    pub refused: Option<Refused>,
    /// The routes that have it.
    pub routes: Vec<RouteFacts>,
    /// The services that are made of it.
    pub services: Vec<String>,
    /// What reads lack of it, and is served all the same.
    pub held: Option<Held>,
    /// Whether its requests are still led as they were, until proxies know the new services.
    pub waits_for_services: bool,
}

/// Why an ingress answers in the place of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The rule, as it is called among what is rejected.
    pub rule: &'static str,
    /// What requests get.
    pub status: u16,
}

/// What the guard holds.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// Whose reads lack it.
    pub feed: &'static str,
    /// For how long they have.
    pub age_seconds: u64,
    /// When it could go.
    pub remaining_seconds: u64,
}

/// A route.
#[derive(Debug, Clone, Serialize)]
pub struct RouteFacts {
    /// Its guid in Cloud Controller.
    pub guid: String,
    /// The path as its owner spelled it.
    pub path: String,
    /// When it was created.
    #[serde(serialize_with = "timestamp")]
    pub created: SystemTime,
    /// The route that is served in its place.
    pub lost_to: Option<String>,
    /// Where it leads.
    pub destinations: Vec<DestinationFacts>,
}

/// A destination of a route.
#[derive(Debug, Clone, Serialize)]
pub struct DestinationFacts {
    /// The app's guid; where routes are pushed, the process's.
    pub app: String,
    /// The process type.
    pub process_type: String,
    /// The container port.
    pub port: u16,
    /// The weight that was asked for.
    pub weight: Option<u32>,
    /// What is spoken there.
    pub protocol: &'static str,
    /// The instances to which requests may be sent.
    pub instances: Vec<InstanceFacts>,
}

/// An instance as a destination sees it.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceFacts {
    /// Its guid.
    pub guid: String,
    /// The address of its cell.
    pub cell: String,
    /// Where it is reached, if it is.
    pub place: Option<String>,
    /// Whether it is reached over TLS.
    pub tls: bool,
    /// Why it is not reached.
    pub unreachable: Option<Unreached>,
    /// The container ports that it has.
    pub ports: Vec<u16>,
    /// When the BBS last changed its row.
    #[serde(serialize_with = "timestamp")]
    pub since: SystemTime,
}

/// Why an instance that runs is not reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unreached {
    /// It takes nothing but TLS, and nobody has said how proxies do that.
    TlsAlone,
    /// Its address is another instance's now.
    Taken(Option<String>),
    /// It has no such port.
    NoPort,
    /// It has no IPv4 address that could be used.
    NoAddress,
}

fn timestamp<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_seconds(*time))
}

/// A time that peers tell in seconds since the Unix epoch.
pub(crate) fn from_seconds(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or_default())
}

/// A time that the BBS tells in nanoseconds.
pub(crate) fn from_nanos(nanos: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos.try_into().unwrap_or_default())
}
