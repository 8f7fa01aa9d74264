//! How many bytes a route takes in a VirtualService, at the most.

use crate::model::{MAX_SETTINGS_BYTES, Route, RouteSettings, path::MAX_PATH};

/// A destination in a VirtualService: the longest name of a service, of a part of it, and what is around.
const DESTINATION_BYTES: usize = 200;
/// More destinations than those get no whole percent.
const MAX_DESTINATIONS: usize = 100;
/// What is around the path and the destinations.
const ROUTE_BYTES: usize = 32;
/// A timeout and retries, as the operator has them for all routes that lead anywhere.
const DEFAULTS_BYTES: usize = 80;

/// A pool without weights has so many parts at the most: by protocol, and each of those over TLS or not.
const UNWEIGHTED_PARTS: usize = 4;

/// The most that a route takes: twice, where another path stands in the place of its own.
pub(super) const MAX_ROUTE_BYTES: usize = 2
    * (ROUTE_BYTES
        + DEFAULTS_BYTES
        + 4 * MAX_PATH
        + DESTINATION_BYTES * MAX_DESTINATIONS
        + MAX_SETTINGS_BYTES);

/// At most what a route takes in a VirtualService, beside what its owner asks for. One that is refused leads nowhere but to
/// an answer.
pub(super) fn of_route(route: &Route) -> usize {
    match route.refused {
        Some(_) => size(route.path.len(), 1),
        None => DEFAULTS_BYTES + size(route.path.len(), route.destinations.len()),
    }
}

/// At most what its owner asks for takes there.
pub(super) fn asked_of_route(route: &Route) -> usize {
    let is_served = route.refused.is_none() && !route.destinations.is_empty();
    let settings = route.settings.as_ref().filter(|_| is_served);
    settings.map_or(0, |settings| added(settings, of_route(route)))
}

/// At most what its owner asks for of a pool takes there. `targets` is how many destinations it has, if it is divided by them.
pub(super) fn asked_of_pool(settings: &RouteSettings, path: usize, targets: usize) -> usize {
    // Each over TLS or not. Whether the only one has a weight is not seen.
    let parts = UNWEIGHTED_PARTS.max(2 * targets);
    added(settings, DEFAULTS_BYTES + size(path, parts))
}

/// In a pattern for any case, a letter is four characters.
fn size(path: usize, destinations: usize) -> usize {
    ROUTE_BYTES + 4 * path + DESTINATION_BYTES * destinations.clamp(1, MAX_DESTINATIONS)
}

/// At most what settings add to a route of so many bytes.
fn added(settings: &RouteSettings, bytes: usize) -> usize {
    (bytes + settings.bytes()) * settings.multiplies() - bytes
}
