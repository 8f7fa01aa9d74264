//! From the table to Istio's resources: one pure function for each kind, and the validation of what they make.
//!
//! A route is a service with a name of our own, and an external hostname a VirtualService that says which path leads to
//! which. Names of the other resources are those of the original Copilot, so that the two are interchangeable. An
//! internal hostname's are in the namespace `internal`, the others in none.

mod certificate;
mod defaults;
mod destination_rule;
mod division;
mod gateway;
mod http_routes;
mod instance_tls;
mod internal;
mod matches;
mod nameless;
mod refused;
mod service;
mod service_entry;
mod settings;
mod shares;
mod sidecar;
mod tcp;
pub mod validate;
mod virtual_service;

use std::{collections::BTreeSet, net::SocketAddrV4, sync::Arc};

use crate::{
    model::Hostname,
    snapshot::{Encoded, Resource},
    table::{HostView, Part, Pool, Tls},
};

pub use crate::snapshot::{Era, Eras, Kind};

pub use self::{
    certificate::{
        CHAIN_FILE, CertificateRoot, FrontendCertificate, KEY_FILE, NotAbsolute, Place, places,
    },
    defaults::{Defaults, Ejection, HttpsRedirect, Requests},
    division::{Division, Held, division, narrowed, published_divisions},
    gateway::{Served, gateway},
    instance_tls::{
        BackendTls, Ended, InternalTls, NoProxyPath, NoVerify, ProxyIdentity, ProxyPath, Verify,
    },
    service::{is_of, may_lead_to, service, undivided, whole},
    sidecar::{DEFAULT_SIDECAR, default_sidecar, sidecar},
    tcp::TCP_GATEWAY,
};
use self::{
    defaults::Elsewhere,
    nameless::Nameless,
    validate::{Invalid, Validate},
};

/// The ingress gateway, which the external hostnames' VirtualServices name.
pub const GATEWAY: &str = "cloudfoundry-ingress";

/// Where what comes without TLS is sent to HTTPS but for some hostnames, port 80 of these, and of the others: an istiod sends
/// all on to HTTPS that has both in one gateway.
pub const PLAIN_GATEWAYS: [&str; 2] = [
    "cloudfoundry-ingress-plain",
    "cloudfoundry-ingress-redirect",
];

/// The one port of a route's service. Nobody but VirtualServices of ours sends to it.
const PORT: u32 = 80;

/// How many of what is not served are named; more are only counted.
const MAX_NAMED: usize = 10;

/// What is generated for each hostname or route.
pub const OF_HOSTS: [Kind; 3] = [
    Kind::VirtualService,
    Kind::DestinationRule,
    Kind::ServiceEntry,
];

/// 2018-01-01: what stands for no route is as old as the project. Constant, because sinks order by it.
const CREATED_AT: i64 = 1_514_764_800;

impl Kind {
    /// The name of a resource of this kind: of a hostname; where that is external and has a service for each route, of
    /// the route without a path. There is one gateway for all, and one Sidecar for those who have none of their own.
    pub fn name(self, host: &Hostname, internal: bool) -> String {
        let namespace = if internal { "internal/" } else { "" };
        let prefix = match self {
            Self::Gateway => return GATEWAY.to_owned(),
            Self::Sidecar => return DEFAULT_SIDECAR.to_owned(),
            Self::VirtualService if !internal && let Some((domain, port)) = host.tcp() => {
                return format!("copilot-tcp-service-for-{domain}-{port}");
            }
            Self::VirtualService => "copilot-service-for",
            Self::DestinationRule | Self::ServiceEntry if !internal => return service(host, ""),
            Self::DestinationRule => "copilot-rule-for",
            Self::ServiceEntry => "copilot-service-entry-for",
        };
        format!("{namespace}{prefix}-{host}")
    }
}

/// What decides, beside the table, how resources are made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether istiods are served services without endpoints, which Pilots discard.
    pub keep_empty: bool,
    /// How instances of external routes are reached that have an endpoint over TLS.
    pub backend_tls: Option<BackendTls>,
    /// The same of internal ones.
    pub internal_tls: Option<InternalTls>,
    /// What routes get whose owners ask for nothing else.
    pub defaults: Defaults,
}

impl Options {
    /// Whether the rules of services name their instances.
    pub fn names_instances(&self) -> bool {
        let backend = self.backend_tls.as_ref();
        backend.is_some_and(|tls| tls.verify == Verify::Instance)
    }

    /// Which endpoints over TLS are used.
    pub fn tls(&self) -> Tls {
        Tls {
            external: self.backend_tls.is_some(),
            internal: self.internal_tls.is_some(),
        }
    }
}

/// The resources of one kind that are made of a hostname or of one of its routes.
#[derive(Debug)]
pub struct Made {
    /// Of which kind.
    pub kind: Kind,
    /// By their names. `None`: there is nothing to serve.
    pub resources: Vec<(Arc<str>, Eras<Option<Encoded>>)>,
    /// Why something is not served, or not as the foundation has it.
    pub reasons: Vec<Invalid>,
}

/// What becomes of a route.
#[derive(Debug)]
pub enum Services {
    /// One, or several that its hostname's VirtualService divides the requests among.
    Open {
        /// The ServiceEntries.
        entries: Made,
        /// The DestinationRules, if they can be different.
        rules: Option<Made>,
    },
    /// None: the ingress answers in its place, and nobody may be sent to its instances any more.
    Refused,
}

/// Generates the VirtualService of an external hostname; none where a wildcard's speaks for it. Routes that are `held` are
/// divided as they were.
pub fn virtual_service(host: HostView<'_>, held: &Held, options: &Options) -> Made {
    let defaults = &options.defaults;
    let mut made = Made::new(Kind::VirtualService);
    let name = made.kind.name(host.name, false);
    if host.is_tcp() {
        let unserved = tcp::unserved(host);
        let body = unserved.is_none().then(|| tcp::virtual_service(host, held));
        made.add(&name, host.created_at(), Eras::Same(body.flatten()));
        made.remark(unserved.into_iter().chain(virtual_service::remarks(host)));
        return made;
    }
    let nameless = Nameless::of(host);
    if host.front().is_none() {
        let body = virtual_service::virtual_service(host, &nameless, held, defaults);
        made.add(&name, host.created_at(), body);
    }
    made.remark(virtual_service::remarks(host).chain(nameless.left_out()));
    made
}

/// Generates the services of an external route; the rules on how they are reached where these can be different.
pub fn services(pool: &Pool<'_>, options: &Options, rules: bool, ended: &Ended) -> Services {
    if pool.refused().is_some() {
        return Services::Refused;
    }
    let mut entries = Made::new(Kind::ServiceEntry);
    for (name, part) in served_parts(pool, &mut entries) {
        let entry = service_entry::service_entry(&name, pool, &part, options);
        entries.add(&name, pool.created_at(), entry);
    }
    entries.remark(service_entry::unreachable([*pool]));
    let rules = rules.then(|| self::rules(pool, options, ended));
    Services::Open { entries, rules }
}

/// Generates the rules on how the services of an external route are reached. They have the names of instances that have
/// `ended`, too.
pub fn rules(pool: &Pool<'_>, options: &Options, ended: &Ended) -> Made {
    let mut rules = Made::new(Kind::DestinationRule);
    for (name, part) in served_parts(pool, &mut rules) {
        let rule = destination_rule::destination_rule(&name, pool, &part, options, ended);
        rules.add(&name, pool.created_at(), rule);
    }
    rules.remark(destination_rule::overruled(pool));
    rules
}

/// The parts of a pool by their services' names. None where its VirtualService says that a port is not served.
fn served_parts<'a>(pool: &Pool<'a>, made: &mut Made) -> Vec<(String, Part<'a>)> {
    match pool.host().unserved() {
        Some(_) => Vec::new(),
        None => named_parts(pool, made),
    }
}

/// The parts of a pool by their services' names. None where no VirtualService says anything of its hostname, so that nobody
/// is sent there.
fn named_parts<'a>(pool: &Pool<'a>, made: &mut Made) -> Vec<(String, Part<'a>)> {
    let host = pool.host();
    if !host.is_tcp()
        && host.front().is_none()
        && let Err(invalid) = validate::domain(host.name.as_str())
    {
        made.reasons.push(invalid);
        return Vec::new();
    }
    let whole = service(host.name, &pool.key());
    let parts = pool.parts().into_iter();
    let named = parts.map(|part| (service::of_part(&whole, &part.which, part.is_tls), part));
    named.collect()
}

/// The parts of an external route by the names of their services.
pub fn parts<'a>(pool: &Pool<'a>) -> Vec<(String, Part<'a>)> {
    named_parts(pool, &mut Made::new(Kind::ServiceEntry))
}

/// The names of the instances of a part.
pub fn instance_names(pool: &Pool<'_>, part: &Part<'_>) -> Vec<String> {
    destination_rule::current_names(pool, part)
}

/// The names of instances that a rule has.
pub fn named(rule: Resource<'_>) -> Vec<String> {
    destination_rule::named(rule)
}

/// Where a service leads.
pub fn endpoints(served: Resource<'_>) -> BTreeSet<SocketAddrV4> {
    service_entry::places(served)
}

/// To how many endpoints a service leads.
pub fn endpoint_count(served: Resource<'_>) -> usize {
    service_entry::count(served)
}

/// Takes endpoints from a service that no route has any more: all but those that are still reached. `None` if it has no
/// others.
pub fn reduced(
    served: Resource<'_>,
    reached: &BTreeSet<SocketAddrV4>,
    keep_empty: bool,
) -> Option<Made> {
    let (created_at, entry) = service_entry::reduced(served, reached, keep_empty)?;
    let mut made = Made::new(Kind::ServiceEntry);
    made.add(served.name, created_at, entry);
    Some(made)
}

/// Generates the service of an internal hostname.
pub fn internal_service(host: HostView<'_>, options: &Options) -> Made {
    let mut made = Made::new(Kind::ServiceEntry);
    let name = made.kind.name(host.name, true);
    let body = internal::service_entry(host, options);
    made.add(&name, host.created_at(), body);
    made.remark(internal::remarks(host));
    made
}

/// Generates what says how the requests for an internal hostname are shared, and how its service is reached.
pub fn internal_lookup(host: HostView<'_>, options: &Options) -> [Made; 2] {
    let mut service = Made::new(Kind::VirtualService);
    let name = service.kind.name(host.name, true);
    service.add(
        &name,
        host.created_at(),
        internal::virtual_service(host, &options.defaults.internal),
    );
    service.remark(virtual_service::remarks(host));
    let mut rule = Made::new(Kind::DestinationRule);
    let name = rule.kind.name(host.name, true);
    let body = internal::destination_rule(host, options.internal_tls.as_ref());
    rule.add(&name, host.created_at(), body);
    rule.remark(internal::overruled(host));
    [service, rule]
}

impl Made {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            resources: Vec::new(),
            reasons: Vec::new(),
        }
    }

    /// Validates and encodes a resource. One that Istio would discard is withheld.
    fn add<M: Validate + prost::Message + prost::Name>(
        &mut self,
        name: &str,
        created_at: i64,
        bodies: Eras<Option<M>>,
    ) {
        let encode = |body: M, era| {
            body.validate(era)?;
            Ok(Encoded::new(name, created_at, &body))
        };
        let encoded = bodies.try_map(|body, era| body.map(|body| encode(body, era)).transpose());
        let encoded = encoded.unwrap_or_else(|invalid| {
            self.reasons.push(invalid);
            Eras::Same(None)
        });
        self.resources.push((name.into(), encoded));
    }

    /// Says what is wrong although everything is served.
    fn remark(&mut self, remarks: impl IntoIterator<Item = Invalid>) {
        if self.reasons.is_empty() {
            self.reasons.extend(remarks);
        }
    }
}

#[cfg(test)]
mod tests;
