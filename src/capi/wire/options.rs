//! The options of routes, as far as a mesh can follow them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    model::{HeaderName, InvalidHeaderName, LoadBalancing},
    outbound::InvalidJson,
};

/// Absent in old rows, empty in most. `hash_balance` is not read: no Istio has an equal.
#[derive(Deserialize)]
struct WireOptions<'a> {
    #[serde(borrow)]
    loadbalancing: Option<Cow<'a, str>>,
    #[serde(borrow)]
    hash_header: Option<Cow<'a, str>>,
}

/// Why the options of a route are left out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Not what the API promises.
    #[error(transparent)]
    Malformed(#[from] InvalidJson),
    /// One of a later Cloud Controller.
    #[error("unknown loadbalancing {0:?}")]
    Unknown(String),
    /// A hash of what?
    #[error("loadbalancing by hash without hash_header")]
    NoHeader,
    /// Istio would discard the hostname's whole rule because of it.
    #[error(transparent)]
    Header(#[from] InvalidHeaderName),
}

/// Reads the load balancing that a route's options ask for, if any.
pub(super) fn load_balancing(options: &RawValue) -> Result<Option<Box<LoadBalancing>>, Error> {
    let wire: WireOptions = serde_json::from_str(options.get()).map_err(InvalidJson::from)?;
    let Some(algorithm) = wire.loadbalancing else {
        return Ok(None);
    };
    let load_balancing = match &*algorithm {
        "round-robin" => LoadBalancing::RoundRobin,
        "least-connection" => LoadBalancing::LeastConnection,
        "hash" => {
            let header = wire.hash_header.ok_or(Error::NoHeader)?;
            LoadBalancing::Hash(HeaderName::parse(&header)?)
        }
        other => return Err(Error::Unknown(other.to_owned())),
    };
    Ok(Some(Box::new(load_balancing)))
}
