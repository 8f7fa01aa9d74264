//! Cloud Controller's objects, read leniently: what is not needed is skipped, what is not known is tolerated.

mod annotations;
mod at_most;
mod options;

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use smallvec::SmallVec;

pub use self::annotations::{AnnotationPrefix, NoPrefix};
pub(super) use self::at_most::AtMost;
use super::timestamp::Timestamp;
use crate::{
    feed::{Dropped, INVALID_ANNOTATIONS},
    model::{
        AppGuid, AppPort, Asked, CapiProcessGuid, Destination, DomainGuid, Hostname, Process,
        ProcessType, Protocol, Route, RouteGuid, Weight, Workload,
    },
    outbound::InvalidJson,
};

/// Why a destination is left out.
pub(super) const INVALID_DESTINATION: &str = "invalid_destination";
/// Why an item is dropped that is not what the API promises.
pub(super) const MALFORMED: &str = "malformed";
/// Why options are left out.
pub(super) const INVALID_OPTIONS: &str = "invalid_options";
/// Why nothing is known of a route's annotations.
const UNCLEAR_ANNOTATIONS: &str = "unclear_annotations";
/// No guid, and no process type, of Cloud Controller is longer.
const MAX_GUID: usize = 255;
/// A domain has `http` or `tcp`.
const MAX_PROTOCOLS: usize = 16;
/// Cloud Controller allows a route a hundred.
const MAX_DESTINATIONS: usize = 1000;

/// What identifies something. What is longer than any guid is none: it would be kept, and compared, for long.
#[derive(Deserialize)]
#[serde(try_from = "Cow<'a, str>")]
pub(super) struct WireGuid<'a>(Cow<'a, str>);

/// A guid of a size that Cloud Controller gives to none.
#[derive(Debug, thiserror::Error)]
#[error("a guid of {0} bytes")]
pub(super) struct TooLong(usize);

impl<'a> TryFrom<Cow<'a, str>> for WireGuid<'a> {
    type Error = TooLong;

    fn try_from(text: Cow<'a, str>) -> Result<Self, TooLong> {
        if text.len() > MAX_GUID {
            return Err(TooLong(text.len()));
        }
        Ok(Self(text))
    }
}

impl std::ops::Deref for WireGuid<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow)]
    guid: WireGuid<'a>,
}

/// The guid of a resource, if that much can be read.
pub(super) fn guid(raw: &RawValue) -> Option<Cow<'_, str>> {
    let identified: Identified = serde_json::from_str(raw.get()).ok()?;
    Some(identified.guid.0)
}

fn dropped(raw: &RawValue, reason: &'static str, error: &dyn std::error::Error) -> Dropped {
    Dropped {
        name: guid(raw).map_or_else(|| "?".to_owned(), Cow::into_owned),
        reason,
        detail: error.to_string(),
    }
}

fn malformed<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Dropped> {
    serde_json::from_str(raw.get())
        .map_err(|error| dropped(raw, MALFORMED, &InvalidJson::from(error)))
}

/// What goes over a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DomainKind {
    Http,
    Internal,
    Tcp,
}

/// A domain.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Domain {
    pub(super) guid: DomainGuid,
    pub(super) name: Hostname,
    /// `None` where it does not say whether it is internal.
    pub(super) kind: Option<DomainKind>,
    /// Whether only callers that a route policy names pass (RFC-0055).
    pub(super) enforced: bool,
}

#[derive(Deserialize)]
struct WireDomain<'a> {
    #[serde(borrow)]
    guid: WireGuid<'a>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    internal: Option<bool>,
    router_group: Option<IgnoredAny>,
    /// Since API 3.85.
    #[serde(borrow)]
    supported_protocols: Option<AtMost<Cow<'a, str>, MAX_PROTOCOLS>>,
    /// Since API 3.225, and only where it is true; so is the scope.
    #[serde(borrow)]
    enforce_route_policies: Option<&'a RawValue>,
    route_policies_scope: Option<IgnoredAny>,
}

impl WireDomain<'_> {
    /// Whatever is not a plain no counts as a yes.
    fn is_enforced(&self) -> bool {
        match self.enforce_route_policies {
            Some(answer) => answer.get() != "false",
            None => self.route_policies_scope.is_some(),
        }
    }

    /// `None` where it says nothing of it.
    fn kind(&self) -> Option<DomainKind> {
        let is_tcp = match &self.supported_protocols {
            Some(protocols) => !protocols.first.iter().any(|protocol| protocol == "http"),
            None => self.router_group.is_some(),
        };
        match self.internal {
            _ if is_tcp => Some(DomainKind::Tcp),
            Some(true) => Some(DomainKind::Internal),
            Some(false) => Some(DomainKind::Http),
            None => None,
        }
    }
}

/// Reads a domain.
pub(super) fn domain(raw: &RawValue) -> Result<Domain, Dropped> {
    let wire: WireDomain = malformed(raw)?;
    Ok(Domain {
        guid: (&*wire.guid).into(),
        name: Hostname::parse(&wire.name)
            .map_err(|error| dropped(raw, "invalid_hostname", &error))?,
        kind: wire.kind(),
        enforced: wire.is_enforced(),
    })
}

#[derive(Deserialize)]
struct ToOne<'a> {
    #[serde(borrow)]
    data: Identified<'a>,
}

#[derive(Deserialize)]
struct WireRoute<'a> {
    #[serde(borrow)]
    guid: WireGuid<'a>,
    created_at: Timestamp,
    /// Since API 3.85.
    #[serde(borrow)]
    protocol: Option<Cow<'a, str>>,
    #[serde(borrow)]
    host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
    port: Option<i64>,
    #[serde(borrow)]
    destinations: AtMost<&'a RawValue, MAX_DESTINATIONS>,
    /// Since API 3.184.
    #[serde(borrow)]
    options: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    relationships: RouteRelationships<'a>,
}

#[derive(Deserialize)]
struct RouteRelationships<'a> {
    #[serde(borrow)]
    domain: ToOne<'a>,
}

#[derive(Deserialize)]
struct WireDestination<'a> {
    #[serde(borrow)]
    app: DestinationApp<'a>,
    weight: Option<u32>,
    port: Option<u16>,
    /// Since API 3.104.
    #[serde(borrow)]
    protocol: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct DestinationApp<'a> {
    #[serde(borrow)]
    guid: WireGuid<'a>,
    #[serde(borrow)]
    process: DestinationProcess<'a>,
}

#[derive(Deserialize)]
struct DestinationProcess<'a> {
    #[serde(rename = "type", borrow)]
    process_type: WireGuid<'a>,
}

/// A domain of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MeshDomain {
    pub(super) name: Hostname,
    pub(super) kind: DomainKind,
}

/// What is known of the domain of a route.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KnownDomain<'a> {
    Mesh(&'a MeshDomain),
    Outside,
    Unknown,
}

/// A route, and the name of the domain that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) route: Route,
    pub(super) domain: Hostname,
    /// Whether its annotations could not be read, so that what was known of them stays.
    pub(super) settings_unclear: bool,
}

/// What an item of the list of routes is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ParsedRoute {
    /// A route of the mesh; its invalid destinations, options and annotations are left out. Whether it is refused, it does
    /// not say itself.
    Mesh(Located, Option<Box<Dropped>>),
    /// One of a domain outside the mesh, or a TCP route of one that is not known.
    Elsewhere,
    /// To be read again when its domain is known.
    UnknownDomain(DomainGuid),
}

/// A route of an HTTP domain cannot be one.
#[derive(Debug, thiserror::Error)]
#[error("a TCP route of an HTTP domain")]
struct TcpRoute;

/// A route of a TCP domain has one.
#[derive(Debug, thiserror::Error)]
#[error("a route of a TCP domain without a port")]
struct NoPort;

/// A header of a request, which there is none of.
#[derive(Debug, thiserror::Error)]
#[error("a TCP route has no {0}: its bytes pass as they are")]
struct NoRequests(&'static str);

/// Instances speak one of two.
#[derive(Debug, thiserror::Error)]
#[error("protocol {0:?}")]
struct UnknownProtocol(String);

/// A route has no place for them.
#[derive(Debug, thiserror::Error)]
#[error("{0} destinations beyond the first {MAX_DESTINATIONS}")]
struct TooMany(usize);

/// Port 0 cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("port 0")]
struct PortZero;

/// Reads a route. `domains` says what is known of its domain, `prefix` which annotations are for the mesh.
pub(super) fn route<'d>(
    raw: &RawValue,
    prefix: &AnnotationPrefix,
    domains: impl FnOnce(&DomainGuid) -> KnownDomain<'d>,
) -> Result<ParsedRoute, Dropped> {
    let wire: WireRoute = malformed(raw)?;
    let is_tcp = wire.port.is_some() || wire.protocol.as_deref() == Some("tcp");
    let domain_guid = DomainGuid::from(&*wire.relationships.domain.data.guid);
    let domain = match domains(&domain_guid) {
        KnownDomain::Mesh(domain) => domain,
        KnownDomain::Unknown if is_tcp => return Ok(ParsedRoute::Elsewhere),
        KnownDomain::Outside => return Ok(ParsedRoute::Elsewhere),
        KnownDomain::Unknown => return Ok(ParsedRoute::UnknownDomain(domain_guid)),
    };
    let is_of_tcp = domain.kind == DomainKind::Tcp;
    let port = wire.port.and_then(|port| u16::try_from(port).ok());
    let host = match (wire.host.as_deref(), port) {
        (_, Some(port)) if is_of_tcp && port != 0 => Ok(domain.name.with_port(port)),
        _ if is_of_tcp => return Err(dropped(raw, "tcp_route", &NoPort)),
        // Its domain is one for HTTP: this says nothing that we understand.
        _ if is_tcp => return Err(dropped(raw, "tcp_route", &TcpRoute)),
        // A route on the bare domain.
        (None | Some(""), _) => Ok(domain.name.clone()),
        (Some(host), _) => Hostname::parse(&format!("{host}.{}", domain.name)),
    }
    .map_err(|error| dropped(raw, "invalid_hostname", &error))?;
    let path = match wire.path.as_deref() {
        Some(path) if !is_of_tcp => Route::parse_path(path),
        _ => Route::parse_path(""),
    }
    .map_err(|error| dropped(raw, "invalid_path", &error))?;
    let (destinations, mut invalid) = destinations(raw, &wire.destinations, is_of_tcp);
    if destinations.is_empty()
        && let Some(invalid) = invalid.pop()
    {
        // Served without destinations it would answer 503; what is known of it may still be good.
        let reason = MALFORMED;
        return Err(Dropped { reason, ..invalid });
    }
    let load_balancing = match wire.options.map_or(Ok(None), options::load_balancing) {
        Ok(load_balancing) => load_balancing,
        Err(error) => {
            invalid.push(dropped(raw, INVALID_OPTIONS, &error));
            None
        }
    };
    let load_balancing = load_balancing.filter(|choice| {
        let is_fit = !is_of_tcp || !choice.keeps();
        if !is_fit {
            invalid.push(dropped(raw, INVALID_OPTIONS, &NoRequests("headers")));
        }
        is_fit
    });
    let mut route = Route {
        guid: RouteGuid::from(&*wire.guid),
        host,
        path,
        internal: domain.kind == DomainKind::Internal,
        vip: None,
        created_at: wire.created_at.unix_seconds(),
        load_balancing,
        settings: None,
        refused: None,
        destinations,
    };
    let asked = wire.metadata.map(|it| annotations::asked(it, prefix));
    let asked = asked.transpose().map(Option::flatten);
    // Whoever knows of annotations always says which there are.
    let settings_unclear = !matches!(asked, Ok(Some(_)));
    match asked {
        Ok(asked) => {
            let mut asked = asked.unwrap_or_default();
            if is_of_tcp && asked != Asked::default() {
                let why = NoRequests("requests to say anything of");
                invalid.push(dropped(raw, INVALID_ANNOTATIONS, &why));
                asked = Asked::default();
            }
            let wrong = std::mem::take(&mut asked.wrong);
            let wrong = annotations::LeftOut::of(wrong);
            invalid.extend(wrong.map(|error| dropped(raw, INVALID_ANNOTATIONS, &error)));
            route.ask(asked);
        }
        Err(error) => invalid.push(dropped(raw, UNCLEAR_ANNOTATIONS, &error)),
    }
    let located = Located {
        route,
        domain: domain.name.clone(),
        settings_unclear,
    };
    Ok(ParsedRoute::Mesh(located, together(invalid)))
}

/// Whether what is left out for that reason has no bearing on what was known of the route.
pub(super) fn is_alone(reason: &str) -> bool {
    matches!(reason, INVALID_OPTIONS | INVALID_ANNOTATIONS)
}

/// What is left out of one row, under its name: for the reason that has a bearing on what was known, if there is one.
fn together(invalid: Vec<Dropped>) -> Option<Box<Dropped>> {
    let graver = invalid.iter().find(|item| !is_alone(item.reason));
    let reason = graver.or(invalid.first())?.reason;
    let mut invalid = invalid.into_iter();
    let mut all = invalid.next()?;
    all.reason = reason;
    for other in invalid {
        all.detail = format!("{}; {}", all.detail, other.detail);
    }
    Some(Box::new(all))
}

fn destinations(
    route: &RawValue,
    wire: &AtMost<&RawValue, MAX_DESTINATIONS>,
    are_of_tcp: bool,
) -> (SmallVec<[Destination; 1]>, Vec<Dropped>) {
    let mut destinations = SmallVec::new();
    // They have one name, that of the route: the last of them is the one that is told of.
    let mut wrong = None;
    for raw in &wire.first {
        match destination(raw, are_of_tcp) {
            Ok(destination) => destinations.push(destination),
            Err(error) => wrong = Some(error),
        }
    }
    if wire.more > 0 {
        wrong = Some(Box::new(TooMany(wire.more)));
    }
    let invalid = wrong.map(|error| dropped(route, INVALID_DESTINATION, &*error));
    destinations.sort_unstable();
    destinations.dedup();
    (destinations, invalid.into_iter().collect())
}

fn destination(raw: &RawValue, is_of_tcp: bool) -> Result<Destination, Box<dyn std::error::Error>> {
    let wire: WireDestination = serde_json::from_str(raw.get()).map_err(InvalidJson::from)?;
    let port = wire.port.unwrap_or(AppPort::DEFAULT);
    if port == 0 {
        return Err(Box::new(PortZero));
    }
    Ok(Destination {
        workload: Workload {
            app: AppGuid::from(&*wire.app.guid),
            process_type: ProcessType::from(&*wire.app.process.process_type),
        },
        port: AppPort::Number(port),
        weight: wire.weight.map_or(Weight::Instances, Weight::Fixed),
        protocol: match wire.protocol.as_deref() {
            _ if is_of_tcp => Protocol::Tcp,
            None | Some("http1") => Protocol::Http1,
            Some("http2") => Protocol::Http2,
            Some(other) => return Err(Box::new(UnknownProtocol(other.to_owned()))),
        },
    })
}

/// That a route is bound to a route service, or is about to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) route: RouteGuid,
    /// Whether requests have to go through the service: not if it could never be set up.
    pub(super) guards: bool,
}

#[derive(Deserialize)]
struct WireBinding<'a> {
    /// Not there until it is known; that of a service in front of the router never is.
    route_service_url: Option<IgnoredAny>,
    /// Not there where it was made through the v2 API.
    #[serde(borrow)]
    last_operation: Option<LastOperation<'a>>,
    #[serde(borrow)]
    relationships: BindingRelationships<'a>,
}

#[derive(Deserialize)]
struct LastOperation<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    state: Cow<'a, str>,
}

#[derive(Deserialize)]
struct BindingRelationships<'a> {
    #[serde(borrow)]
    route: ToOne<'a>,
}

/// Reads a binding of a route to a route service.
pub(super) fn binding(raw: &RawValue) -> Result<Binding, Dropped> {
    let wire: WireBinding = malformed(raw)?;
    let has_failed = wire
        .last_operation
        .is_some_and(|last| last.kind == "create" && last.state == "failed");
    Ok(Binding {
        route: RouteGuid::from(&*wire.relationships.route.data.guid),
        guards: wire.route_service_url.is_some() || !has_failed,
    })
}

#[derive(Deserialize)]
struct WireProcess<'a> {
    #[serde(borrow)]
    guid: WireGuid<'a>,
    #[serde(rename = "type", borrow)]
    process_type: WireGuid<'a>,
    #[serde(borrow)]
    relationships: ProcessRelationships<'a>,
}

#[derive(Deserialize)]
struct ProcessRelationships<'a> {
    #[serde(borrow)]
    app: ToOne<'a>,
}

/// Reads a process.
pub(super) fn process(raw: &RawValue) -> Result<Process, Dropped> {
    let wire: WireProcess = malformed(raw)?;
    Ok(Process {
        guid: CapiProcessGuid::from(&*wire.guid),
        workload: Workload {
            app: AppGuid::from(&*wire.relationships.app.data.guid),
            process_type: ProcessType::from(&*wire.process_type),
        },
    })
}

#[cfg(test)]
mod tests;
