//! Bindings of routes to route services.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{ToOne, malformed};
use crate::{feed::Dropped, model::RouteGuid};

/// That a route is bound to a route service, or is about to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) route: RouteGuid,
    /// Whether requests have to go through the service: not if it could never be set up.
    pub(crate) guards: bool,
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
pub(crate) fn binding(raw: &RawValue) -> Result<Binding, Dropped> {
    let wire: WireBinding = malformed(raw)?;
    let has_failed = wire
        .last_operation
        .is_some_and(|last| last.kind == "create" && last.state == "failed");
    Ok(Binding {
        route: RouteGuid::from(&*wire.relationships.route.data.guid),
        guards: wire.route_service_url.is_some() || !has_failed,
    })
}
