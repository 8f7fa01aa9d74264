//! Routes, and what becomes of their rows.

use std::{borrow::Cow, error::Error, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    AnnotationPrefix, AtMost, DomainKind, KnownDomain, MALFORMED, MeshDomain, ToOne, WireGuid,
    annotations,
    destination::{MAX_DESTINATIONS, destinations},
    dropped, malformed, options,
};
use crate::{
    capi::timestamp::Timestamp,
    feed::{Dropped, INVALID_ANNOTATIONS},
    model::{Asked, DomainGuid, Hostname, LoadBalancing, Route, RouteGuid},
};

/// Why options are left out.
const INVALID_OPTIONS: &str = "invalid_options";
/// Why nothing is known of a route's annotations.
const UNCLEAR_ANNOTATIONS: &str = "unclear_annotations";
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

/// A route, and the name of the domain that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) route: Route,
    pub(crate) domain: Hostname,
    /// Whether its annotations could not be read, so that what was known of them stays.
    pub(crate) settings_unclear: bool,
}

/// What an item of the list of routes is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ParsedRoute {
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

/// Reads a route. `domains` says what is known of its domain, `prefix` which annotations are for the mesh.
pub(crate) fn route<'d>(
    raw: &RawValue,
    prefix: &AnnotationPrefix,
    domains: impl FnOnce(&DomainGuid) -> KnownDomain<'d>,
) -> Result<ParsedRoute, Dropped> {
    let wire: WireRoute = malformed(raw)?;
    let domain_guid = DomainGuid::from(&*wire.relationships.domain.data.guid);
    let domain = match domains(&domain_guid) {
        KnownDomain::Mesh(domain) => domain,
        KnownDomain::Unknown if wire.is_tcp() => return Ok(ParsedRoute::Elsewhere),
        KnownDomain::Outside => return Ok(ParsedRoute::Elsewhere),
        KnownDomain::Unknown => return Ok(ParsedRoute::UnknownDomain(domain_guid)),
    };
    let row = Row { raw, wire, domain };
    let (host, path) = (row.host()?, row.path()?);
    let (destinations, mut invalid) = destinations(raw, &row.wire.destinations, row.is_of_tcp());
    if destinations.is_empty()
        && let Some(invalid) = invalid.pop()
    {
        // Served without destinations it would answer 503; what is known of it may still be good.
        let reason = MALFORMED;
        return Err(Dropped { reason, ..invalid });
    }
    let load_balancing = row.load_balancing().unwrap_or_else(|wrong| {
        invalid.push(wrong);
        None
    });
    let mut route = Route {
        guid: RouteGuid::from(&*row.wire.guid),
        host,
        path,
        internal: domain.kind == DomainKind::Internal,
        vip: None,
        created_at: row.wire.created_at.unix_seconds(),
        load_balancing,
        settings: None,
        refused: None,
        destinations,
    };
    let asked = row.asked(prefix, &mut invalid);
    let settings_unclear = asked.is_none();
    route.ask(asked.unwrap_or_default());
    let located = Located {
        route,
        domain: domain.name.clone(),
        settings_unclear,
    };
    Ok(ParsedRoute::Mesh(located, together(invalid)))
}

/// A route of the mesh as it is told.
struct Row<'a> {
    raw: &'a RawValue,
    wire: WireRoute<'a>,
    domain: &'a MeshDomain,
}

impl WireRoute<'_> {
    fn is_tcp(&self) -> bool {
        self.port.is_some() || self.protocol.as_deref() == Some("tcp")
    }
}

impl Row<'_> {
    fn is_of_tcp(&self) -> bool {
        self.domain.kind == DomainKind::Tcp
    }

    fn dropped(&self, reason: &'static str, error: &dyn Error) -> Dropped {
        dropped(self.raw, reason, error)
    }

    fn host(&self) -> Result<Hostname, Dropped> {
        let domain = &self.domain.name;
        let port = self.wire.port.and_then(|port| u16::try_from(port).ok());
        match (self.wire.host.as_deref(), port) {
            (_, Some(port)) if self.is_of_tcp() && port != 0 => return Ok(domain.with_port(port)),
            _ if self.is_of_tcp() => return Err(self.dropped("tcp_route", &NoPort)),
            // Its domain is one for HTTP: this says nothing that we understand.
            _ if self.wire.is_tcp() => return Err(self.dropped("tcp_route", &TcpRoute)),
            // A route on the bare domain.
            (None | Some(""), _) => Ok(domain.clone()),
            (Some(host), _) => Hostname::parse(&format!("{host}.{domain}")),
        }
        .map_err(|error| self.dropped("invalid_hostname", &error))
    }

    fn path(&self) -> Result<Arc<str>, Dropped> {
        let path = self.wire.path.as_deref().filter(|_| !self.is_of_tcp());
        Route::parse_path(path.unwrap_or_default())
            .map_err(|error| self.dropped("invalid_path", &error))
    }

    fn load_balancing(&self) -> Result<Option<Box<LoadBalancing>>, Dropped> {
        let choice = self.wire.options.map_or(Ok(None), options::load_balancing);
        let choice = choice.map_err(|error| self.dropped(INVALID_OPTIONS, &error))?;
        let keeps = choice.as_deref().is_some_and(LoadBalancing::keeps);
        if self.is_of_tcp() && keeps {
            return Err(self.dropped(INVALID_OPTIONS, &NoRequests("headers")));
        }
        Ok(choice)
    }

    /// What its annotations ask for, without what is wrong; `None` where that is not known. Whoever knows of annotations
    /// always says which there are.
    fn asked(&self, prefix: &AnnotationPrefix, invalid: &mut Vec<Dropped>) -> Option<Asked> {
        let asked = self.wire.metadata.map(|it| annotations::asked(it, prefix));
        let mut asked = match asked.transpose() {
            Ok(asked) => asked.flatten()?,
            Err(error) => {
                invalid.push(self.dropped(UNCLEAR_ANNOTATIONS, &error));
                return None;
            }
        };
        if self.is_of_tcp() && asked != Asked::default() {
            let why = NoRequests("requests to say anything of");
            invalid.push(self.dropped(INVALID_ANNOTATIONS, &why));
            asked = Asked::default();
        }
        let wrong = annotations::LeftOut::of(std::mem::take(&mut asked.wrong));
        invalid.extend(wrong.map(|error| self.dropped(INVALID_ANNOTATIONS, &error)));
        Some(asked)
    }
}

/// Whether what is left out for that reason has no bearing on what was known of the route.
pub(crate) fn is_alone(reason: &str) -> bool {
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
