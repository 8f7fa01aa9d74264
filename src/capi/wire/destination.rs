//! The destinations of routes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{AtMost, WireGuid, dropped};
use crate::{
    feed::Dropped,
    model::{AppGuid, AppPort, Destination, ProcessType, Protocol, Weight, Workload},
    outbound::InvalidJson,
};

/// Why a destination is left out.
pub(crate) const INVALID_DESTINATION: &str = "invalid_destination";
/// Cloud Controller allows a route a hundred.
pub(super) const MAX_DESTINATIONS: usize = 1000;

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

/// The destinations of a route, and what is left out of them.
pub(super) fn destinations(
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
