//! Where the requests for a path go.

use super::{
    Defaults, Era, Held, PORT, division::current_division, matches::matches, refused, settings,
};
use crate::{
    proto::istio::networking::v1alpha3::{
        Destination, HttpRoute, HttpRouteDestination, PortSelector,
    },
    table::Pool,
};

/// The requests for a pool's path, whatever their hostname, and where they go.
pub(super) fn http_routes(
    pool: &Pool<'_>,
    era: Era,
    held: &Held,
    defaults: &Defaults,
) -> Vec<HttpRoute> {
    let matches = matches(&pool.key(), era);
    if let Some(refusal) = pool.refused() {
        return vec![refused::answer(matches, refusal.status())];
    }
    let route = HttpRoute {
        r#match: matches,
        route: destinations(pool, held),
        ..HttpRoute::default()
    };
    settings::asked_for(
        route,
        pool,
        era,
        &defaults.external,
        defaults.elsewhere(pool),
    )
}

fn destinations(pool: &Pool<'_>, held: &Held) -> Vec<HttpRouteDestination> {
    let division = current_division(pool, held).into_iter();
    division
        .map(|(name, percentage)| to(name, String::new(), PORT, percentage))
        .collect()
}

/// A part of the requests to a service.
pub(super) fn to(host: String, subset: String, port: u32, percentage: u32) -> HttpRouteDestination {
    HttpRouteDestination {
        destination: Some(Destination {
            host,
            subset,
            port: Some(PortSelector { number: port }),
        }),
        weight: i32::try_from(percentage).expect("at most 100"),
    }
}
