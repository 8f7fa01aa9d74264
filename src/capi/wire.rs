//! Cloud Controller's objects, read leniently: what is not needed is skipped, what is not known is tolerated.

mod annotations;
mod at_most;
mod binding;
mod destination;
mod domain;
mod options;
mod route;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::annotations::{AnnotationPrefix, NoPrefix};
pub(super) use self::{
    at_most::AtMost,
    binding::binding,
    destination::INVALID_DESTINATION,
    domain::{Domain, DomainKind, KnownDomain, MeshDomain, domain},
    route::{Located, ParsedRoute, is_alone, route},
};
use crate::{
    feed::Dropped,
    model::{AppGuid, CapiProcessGuid, Process, ProcessType, Workload},
    outbound::InvalidJson,
};

/// Why an item is dropped that is not what the API promises.
pub(super) const MALFORMED: &str = "malformed";
/// No guid, and no process type, of Cloud Controller is longer.
const MAX_GUID: usize = 255;

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

#[derive(Deserialize)]
struct ToOne<'a> {
    #[serde(borrow)]
    data: Identified<'a>,
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
