//! One change as Cloud Controller sends it, parsed, or refused with what is wrong.

use std::{net::Ipv4Addr, sync::Arc};

use smallvec::{SmallVec, smallvec};

use crate::{
    model::{
        Association, CapiProcessGuid, DiegoProcessGuid, Hostname, InvalidHostname, InvalidPath,
        Route, RouteGuid, Update, Workload, path::MAX_PATH,
    },
    proto::api,
};

/// A UUID has 36 bytes, a Diego process guid twice that.
const MAX_GUID: usize = 200;
/// No DNS name is longer.
const MAX_HOST: usize = 253;
/// An IPv4 address.
const MAX_VIP: usize = 15;
/// Cloud Controller sends one, the present version.
const MAX_DIEGO_PROCESSES: usize = 100;
/// Cloud Controller allows owners no larger weight.
pub(super) const MAX_WEIGHT: u32 = 128;
/// How much of a bad value an answer or a report repeats.
const MAX_ECHO: usize = 64;

/// The push API does not say when a route was created, and the time of its arrival would differ between replicas and
/// after a restart. All have the day on which a Cloud Controller pushed its first one, 2018-02-26, in Unix time.
const CREATED_AT: i64 = 1_519_603_200;

/// A route and a process that it is mapped to.
pub(super) type Pair = (RouteGuid, CapiProcessGuid);

/// What a call asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The route is as given now. Its destinations are its mappings.
    UpsertRoute(Route),
    /// There is no such route.
    DeleteRoute(RouteGuid),
    /// The route leads to the process, with this weight.
    Map(Pair, u32),
    /// The route does not lead to the process.
    Unmap(Pair),
    /// The process has these processes in Diego.
    Associate(Association),
    /// The process has none.
    Dissociate(CapiProcessGuid),
}

impl Change {
    /// What it takes away, whether or not that is known.
    pub(super) fn deletion(&self) -> Option<Update> {
        match self {
            Self::DeleteRoute(guid) => Some(Update::Routes {
                current: Vec::new(),
                gone: vec![guid.clone()],
            }),
            Self::Unmap((route, process)) => {
                Some(Update::Unmapped(route.clone(), Workload::pushed(process)))
            }
            Self::Dissociate(process) => Some(Update::Associations {
                current: Vec::new(),
                gone: vec![process.clone()],
            }),
            Self::UpsertRoute(_) | Self::Map(..) | Self::Associate(_) => None,
        }
    }
}

/// What is wrong with a call or an item of a BulkSync. No value is repeated at length: it may be a megabyte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    /// Not there, or empty.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// No such value is that long.
    #[error("{field} has {len} bytes, at most {max} fit")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its length.
        len: usize,
        /// The longest that is allowed.
        max: usize,
    },
    /// Not printable.
    #[error("{0} has a control character")]
    ControlCharacter(&'static str),
    /// A character that no hostname has.
    #[error("route.host has the character {0:?}")]
    Host(char),
    /// A path is absolute.
    #[error("route.path {0:?} does not begin with a slash")]
    Path(String),
    /// Not an IPv4 address.
    #[error("route.vip {0:?} is no IPv4 address")]
    Vip(String),
    /// Nothing, or more than Cloud Controller allows.
    #[error("route_mapping.route_weight is {0}, not from 1 to 128")]
    Weight(u32),
    /// More than a process can have.
    #[error("{ASSOCIATED} has {0} elements, at most {MAX_DIEGO_PROCESSES} fit")]
    TooManyDiegoProcesses(usize),
}

const ASSOCIATED: &str = "capi_diego_process_association.diego_process_guids";

impl Invalid {
    /// From a small closed set: a metric label.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::TooLong { .. } => "too_long",
            Self::ControlCharacter(_) => "control_character",
            Self::Host(_) => "hostname",
            Self::Path(_) => "path",
            Self::Vip(_) => "vip",
            Self::Weight(_) => "weight",
            Self::TooManyDiegoProcesses(_) => "too_many_diego_processes",
        }
    }
}

impl Change {
    /// What `UpsertRoute` asks for.
    pub(super) fn upsert_route(route: Option<&api::Route>) -> Result<Self, Invalid> {
        let route = route.ok_or(Invalid::Missing("route"))?;
        Ok(Self::UpsertRoute(Route {
            guid: RouteGuid::from(guid("route.guid", &route.guid)?),
            host: host(&route.host)?,
            path: path(&route.path)?,
            internal: route.internal,
            vip: vip(&route.vip)?,
            load_balancing: None,
            settings: None,
            refused: None,
            created_at: CREATED_AT,
            destinations: SmallVec::new(),
        }))
    }

    /// What `DeleteRoute` asks for.
    pub(super) fn delete_route(route: &str) -> Result<Self, Invalid> {
        Ok(Self::DeleteRoute(guid("guid", route)?.into()))
    }

    /// What `MapRoute` asks for.
    pub(super) fn map(mapping: Option<&api::RouteMapping>) -> Result<Self, Invalid> {
        let (mapping, pair) = pair(mapping)?;
        match mapping.route_weight {
            weight @ 1..=MAX_WEIGHT => Ok(Self::Map(pair, weight)),
            weight => Err(Invalid::Weight(weight)),
        }
    }

    /// What `UnmapRoute` asks for. The weight that comes with it says nothing.
    pub(super) fn unmap(mapping: Option<&api::RouteMapping>) -> Result<Self, Invalid> {
        pair(mapping).map(|(_, pair)| Self::Unmap(pair))
    }

    /// What `UpsertCapiDiegoProcessAssociation` asks for.
    pub(super) fn associate(
        association: Option<&api::CapiDiegoProcessAssociation>,
    ) -> Result<Self, Invalid> {
        let association = association.ok_or(Invalid::Missing("capi_diego_process_association"))?;
        let process = guid(
            "capi_diego_process_association.capi_process_guid",
            &association.capi_process_guid,
        )?;
        Ok(Self::Associate(Association {
            process: process.into(),
            diego_processes: diego_processes(&association.diego_process_guids)?,
        }))
    }

    /// What `DeleteCapiDiegoProcessAssociation` asks for.
    pub(super) fn dissociate(process: &str) -> Result<Self, Invalid> {
        Ok(Self::Dissociate(guid("capi_process_guid", process)?.into()))
    }
}

fn pair(mapping: Option<&api::RouteMapping>) -> Result<(&api::RouteMapping, Pair), Invalid> {
    let mapping = mapping.ok_or(Invalid::Missing("route_mapping"))?;
    let route = guid("route_mapping.route_guid", &mapping.route_guid)?;
    let process = guid(
        "route_mapping.capi_process_guid",
        &mapping.capi_process_guid,
    )?;
    Ok((mapping, (route.into(), process.into())))
}

/// Sorted, without duplicates.
fn diego_processes(guids: &[String]) -> Result<SmallVec<[DiegoProcessGuid; 1]>, Invalid> {
    match guids {
        [] => Err(Invalid::Missing(ASSOCIATED)),
        [one] => Ok(smallvec![guid(ASSOCIATED, one)?.into()]),
        many if many.len() > MAX_DIEGO_PROCESSES => Err(Invalid::TooManyDiegoProcesses(many.len())),
        many => {
            let guids = many.iter().map(|text| guid(ASSOCIATED, text));
            let mut guids: SmallVec<_> = guids
                .map(|guid| guid.map(DiegoProcessGuid::from))
                .collect::<Result<_, _>>()?;
            guids.sort_unstable();
            guids.dedup();
            Ok(guids)
        }
    }
}

/// A guid, if it can be one.
pub(super) fn guid<'a>(field: &'static str, text: &'a str) -> Result<&'a str, Invalid> {
    if text.is_empty() {
        return Err(Invalid::Missing(field));
    }
    printable(field, text, MAX_GUID)
}

fn host(text: &str) -> Result<Hostname, Invalid> {
    const FIELD: &str = "route.host";
    Hostname::parse(text).map_err(|invalid| match invalid {
        InvalidHostname::Empty => Invalid::Missing(FIELD),
        InvalidHostname::TooLong(len) => Invalid::TooLong {
            field: FIELD,
            len,
            max: MAX_HOST,
        },
        InvalidHostname::Character { character, .. } => Invalid::Host(character),
    })
}

fn path(text: &str) -> Result<Arc<str>, Invalid> {
    const FIELD: &str = "route.path";
    Route::parse_path(text).map_err(|invalid| match invalid {
        InvalidPath::TooLong(len) => Invalid::TooLong {
            field: FIELD,
            len,
            max: MAX_PATH,
        },
        InvalidPath::ControlCharacter(_) => Invalid::ControlCharacter(FIELD),
        InvalidPath::Relative(path) => Invalid::Path(echo(&path)),
    })
}

/// An internal route without an address gets one later, as do those of Cloud Controllers that assign none.
fn vip(text: &str) -> Result<Option<Ipv4Addr>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    let vip = printable("route.vip", text, MAX_VIP)?;
    vip.parse().map(Some).map_err(|_| Invalid::Vip(echo(vip)))
}

fn printable<'a>(field: &'static str, text: &'a str, max: usize) -> Result<&'a str, Invalid> {
    if text.len() > max {
        return Err(Invalid::TooLong {
            field,
            len: text.len(),
            max,
        });
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::ControlCharacter(field));
    }
    Ok(text)
}

/// The beginning of a text, fit to be printed.
pub(super) fn echo(text: &str) -> String {
    let printed = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().take(MAX_ECHO).map(printed).collect()
}

#[cfg(test)]
mod tests;
