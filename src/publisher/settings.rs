//! How and when snapshots are made, and of what.

use std::{collections::BTreeSet, time::Duration};

use ipnet::Ipv4Net;

use crate::{
    guard,
    istio::{
        BackendTls, CertificateRoot, Defaults, FrontendCertificate, InternalTls, validate::Invalid,
    },
    model::{Hostname, Route},
    store,
    table::{self, Join},
};

/// What must have been read completely before anything is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// The routes of the mesh's domains.
    Routes,
    /// The TCP routes, for which the others wait for half a minute at the most.
    TcpRoutes,
    /// The running instances.
    Instances,
    /// What the running instances are instances of.
    Processes,
}

/// How long a service lingers, if nothing else is set: Pilots and istiods push at most ten seconds after a change.
pub const LINGER: Duration = Duration::from_secs(15);

/// The part of that for which routes wait for services that are new, and for which services that linger keep their last
/// instances: as long as it takes to push a change and to make a cluster ready.
const SETTLING: u32 = 3;

/// How and when snapshots are made. By default each change is published at once, nothing is waited for, and there are no
/// certificates, virtual addresses or policies.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How long to wait for more changes after one.
    pub debounce_after: Duration,
    /// How long a change waits at most, however many follow it.
    pub debounce_max: Duration,
    /// How long a service is still served that no VirtualService names any more.
    pub linger: Duration,
    /// What to wait for before the first snapshot.
    pub required: BTreeSet<Input>,
    /// Where the router has its certificates.
    pub certificate_root: CertificateRoot,
    /// The router's certificates.
    pub certificates: Vec<FrontendCertificate>,
    /// Those that cannot be used, by their keys, and why.
    pub left_out: Vec<(String, Invalid)>,
    /// How proxies reach instances that are reached over TLS; where there is nothing, nobody does.
    pub backend_tls: Option<BackendTls>,
    /// How apps' proxies reach other apps' instances over TLS; where there is nothing, in plaintext.
    pub internal_tls: Option<InternalTls>,
    /// What routes get whose owners ask for nothing else.
    pub defaults: Defaults,
    /// The ports of the ingress for TCP routes.
    pub tcp_ports: BTreeSet<u16>,
    /// The domains of the mesh that these are of.
    pub tcp_domains: BTreeSet<Hostname>,
    /// Where internal hostnames get their virtual addresses from, if they come without.
    pub vip_range: Option<Ipv4Net>,
    /// Whether istiods are served the ServiceEntries of hostnames without endpoints, which Pilots discard.
    pub keep_empty_service_entries: bool,
    /// How it is known what an instance is an instance of.
    pub join: Join,
    /// Where what is served is written down, if it is.
    pub store: Option<store::Settings>,
    /// How much of one hostname and of one app is served.
    pub limits: table::Limits,
    /// What may go by a read at once.
    pub guard: guard::Settings,
    /// How long after the first snapshot the first network policies may come; `None` where nobody tells them.
    pub policies: Option<Duration>,
    /// Whether what changes is logged at `info`, and not at `debug` alone.
    pub log_changes: bool,
}

impl Settings {
    /// For how long a service that is published first is not sent to yet, where something else is.
    pub(super) fn settling(&self) -> Duration {
        self.linger / SETTLING
    }

    /// Whether a route that was served before the start is one that would be read now.
    pub(super) fn wants(&self, route: &Route) -> bool {
        let is_wanted = |(domain, port)| {
            let mut domains = self.tcp_domains.iter();
            self.tcp_ports.contains(&port) && domains.any(|wanted| wanted.as_str() == domain)
        };
        route.host.tcp().is_none_or(is_wanted)
    }
}
