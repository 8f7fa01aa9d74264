//! Domains.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{AtMost, WireGuid, dropped, malformed};
use crate::{
    feed::Dropped,
    model::{DomainGuid, Hostname},
};

/// A domain has `http` or `tcp`.
const MAX_PROTOCOLS: usize = 16;
/// What goes over a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DomainKind {
    Http,
    Internal,
    Tcp,
}

/// A domain.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Domain {
    pub(crate) guid: DomainGuid,
    pub(crate) name: Hostname,
    /// `None` where it does not say whether it is internal.
    pub(crate) kind: Option<DomainKind>,
    /// Whether only callers that a route policy names pass (RFC-0055).
    pub(crate) enforced: bool,
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
pub(crate) fn domain(raw: &RawValue) -> Result<Domain, Dropped> {
    let wire: WireDomain = malformed(raw)?;
    Ok(Domain {
        guid: (&*wire.guid).into(),
        name: Hostname::parse(&wire.name)
            .map_err(|error| dropped(raw, "invalid_hostname", &error))?,
        kind: wire.kind(),
        enforced: wire.is_enforced(),
    })
}

/// A domain of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MeshDomain {
    pub(crate) name: Hostname,
    pub(crate) kind: DomainKind,
}

/// What is known of the domain of a route.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KnownDomain<'a> {
    Mesh(&'a MeshDomain),
    Outside,
    Unknown,
}
