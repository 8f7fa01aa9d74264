//! Reads a whole BulkSync, one item after the other: an invalid one is left out by itself, and what is held in memory
//! is what is kept.

use prost::{DecodeError, Message as _};

use super::{
    Pushed, Refused, Unclear,
    change::{Change, Invalid, MAX_WEIGHT, echo, guid},
};
use crate::{
    feed::Dropped,
    proto::{
        api,
        fields::{Field, LENGTH_DELIMITED},
    },
};

/// A few invalid items are left out by themselves; with more than this it is the sender that has to be looked at.
const MAX_DROPPED: usize = 10_000;
/// Fewer invalid routes than this are left out whatever their share: a small foundation has few others.
const MANY_ROUTES: usize = 10;
/// Of so many routes one may be invalid; with more it is the sender that has to be looked at.
const ROUTES_PER_INVALID: usize = 5;

/// No valid item is longer: a hundred guids of the longest.
const MAX_ITEM: usize = 32 << 10;

/// Fields of `api.BulkSyncRequest`.
const ROUTE_MAPPINGS: u64 = 1;
const ROUTES: u64 = 2;
const ASSOCIATIONS: u64 = 3;

impl Pushed {
    /// Reads an encoded `api.BulkSyncRequest`; also what had to be left out of it, and whose that is. Of items with the
    /// same guids the last one counts.
    ///
    /// # Errors
    /// The bytes are no such message, or too much of it is invalid, or it does not fit.
    pub fn from_bulk_sync(message: &[u8]) -> Result<(Self, Unclear, Vec<Dropped>), Refused> {
        let (mut pushed, mut dropped) = (Self::default(), Vec::new());
        let mut unclear = Unclear::default();
        let (mut routes, mut invalid_routes) = (0, 0);
        let mut rest = message;
        while let Some((number, content)) = field(&mut rest)? {
            let item = item(number, content)?;
            if number == ROUTES {
                routes += 1;
                invalid_routes += usize::from(matches!(item, Some(Err(_))));
            }
            match item {
                Some(Ok(change)) => {
                    pushed.take(change)?;
                }
                Some(Err(invalid)) => {
                    dropped.push(invalid);
                    unclear.note(number, content)?;
                }
                None => {}
            }
            if dropped.len() > MAX_DROPPED {
                return Err(unreadable(&dropped));
            }
        }
        if is_believable(routes, invalid_routes) {
            Ok((pushed, unclear, dropped))
        } else {
            Err(unreadable(&dropped))
        }
    }
}

impl Unclear {
    /// An item says nothing that is understood. Whose it is, it may say.
    fn note(&mut self, number: u64, item: &[u8]) -> Result<(), DecodeError> {
        let readable = |text: &str| guid("guid", text).is_ok();
        match number {
            ROUTE_MAPPINGS => {
                let mapping = api::RouteMapping::decode(item)?;
                let guids = [&mapping.route_guid, &mapping.capi_process_guid];
                if guids.iter().all(|text| readable(text)) {
                    let [route, process] = guids.map(String::as_str);
                    self.mappings.insert((route.into(), process.into()));
                }
            }
            ROUTES => {
                let route = api::Route::decode(item)?;
                if readable(&route.guid) {
                    self.routes.insert(route.guid.as_str().into());
                }
            }
            _ => {
                let association = api::CapiDiegoProcessAssociation::decode(item)?;
                let process = &association.capi_process_guid;
                if readable(process) {
                    self.associations.insert(process.as_str().into());
                }
            }
        }
        Ok(())
    }
}

/// Nothing but invalid routes is a format that we do not understand, and not the end of all routes; so are many of
/// them, and not the end of these.
fn is_believable(routes: usize, invalid: usize) -> bool {
    let is_nothing_else = invalid > 0 && invalid == routes;
    let is_too_much = invalid >= MANY_ROUTES && invalid * ROUTES_PER_INVALID > routes;
    !is_nothing_else && !is_too_much
}

fn unreadable(dropped: &[Dropped]) -> Refused {
    let first = dropped.first();
    Refused::Unreadable {
        invalid: dropped.len(),
        first: first.map_or_else(String::new, |first| {
            format!("{}: {}", first.name, first.detail)
        }),
    }
}

/// One item of the lists; `None` for what later versions of the message may have.
fn item(number: u64, content: &[u8]) -> Result<Option<Result<Change, Dropped>>, DecodeError> {
    Ok(match number {
        ROUTE_MAPPINGS..=ASSOCIATIONS if content.len() > MAX_ITEM => Some(Err(dropped(
            format!("an item of field {number}"),
            &Invalid::TooLong {
                field: "the item",
                len: content.len(),
                max: MAX_ITEM,
            },
        ))),
        ROUTE_MAPPINGS => Some(mapping(api::RouteMapping::decode(content)?)),
        ROUTES => Some(route(&api::Route::decode(content)?)),
        ASSOCIATIONS => Some(association(&api::CapiDiegoProcessAssociation::decode(
            content,
        )?)),
        _ => None,
    })
}

fn route(route: &api::Route) -> Result<Change, Dropped> {
    Change::upsert_route(Some(route)).map_err(|invalid| {
        let (guid, host) = (echo(&route.guid), echo(&route.host));
        dropped(format!("route {guid} {host}"), &invalid)
    })
}

fn association(association: &api::CapiDiegoProcessAssociation) -> Result<Change, Dropped> {
    Change::associate(Some(association)).map_err(|invalid| {
        let process = echo(&association.capi_process_guid);
        dropped(format!("association {process}"), &invalid)
    })
}

/// Cloud Controller means 1 where it sends no weight; a weight beyond its own limit is nearer to that limit than to
/// no share at all.
fn mapping(mut mapping: api::RouteMapping) -> Result<Change, Dropped> {
    mapping.route_weight = mapping.route_weight.clamp(1, MAX_WEIGHT);
    Change::map(Some(&mapping)).map_err(|invalid| {
        let (route, process) = (echo(&mapping.route_guid), echo(&mapping.capi_process_guid));
        dropped(format!("mapping {route} {process}"), &invalid)
    })
}

fn dropped(name: String, invalid: &Invalid) -> Dropped {
    Dropped {
        name,
        reason: invalid.kind(),
        detail: invalid.to_string(),
    }
}

/// Takes the next length-delimited field off the message: its number and its content. Fields of the message are never
/// of another wire type: passed over, they would make a BulkSync of nothing of bytes that are none.
fn field<'a>(rest: &mut &'a [u8]) -> Result<Option<(u64, &'a [u8])>, Refused> {
    while !rest.is_empty() {
        let first = Field::first(rest, usize::MAX)?;
        let Field {
            number,
            wire_type,
            content,
        } = first.ok_or(Refused::Truncated)?;
        let is_known = (ROUTE_MAPPINGS..=ASSOCIATIONS).contains(&number);
        if number == 0 || is_known && wire_type != LENGTH_DELIMITED {
            return Err(Refused::WireType { number, wire_type });
        }
        let (field, after) = rest.split_at(content.end);
        *rest = after;
        if wire_type == LENGTH_DELIMITED {
            return Ok(Some((number, &field[content])));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
