//! How the requests for a route are divided among its services: as the table has it, and as it is published.

use std::{collections::HashMap, sync::Arc};

use prost::Message as _;

use super::{
    service::{is_of, of_part, service},
    shares::percentages,
};
use crate::{proto::istio::networking::v1alpha3::VirtualService, snapshot::Resource, table::Pool};

/// The services that take the requests for a route, each with its part of them in percent.
pub type Division = Vec<(String, u32)>;

/// What is published of routes in place of what the table has, by the services that they have undivided.
pub type Held = HashMap<Arc<str>, Division>;

/// The division of a route as the table has it, without those that get nothing.
pub fn division(pool: &Pool<'_>) -> Division {
    let service = service(pool.host().name, &pool.key());
    let parts = pool.parts();
    let shares: Vec<_> = parts.iter().map(|part| part.share).collect();
    let parts = std::iter::zip(&parts, percentages(&shares));
    parts
        .filter(|(_, percentage)| *percentage > 0)
        .map(|(part, percentage)| {
            let name = of_part(&service, &part.which, part.is_tls);
            (name, percentage)
        })
        .collect()
}

/// The division of the route with this service as a published VirtualService has it. Empty if it does not send there.
pub fn published_division(served: Resource<'_>, service: &str) -> Division {
    let body = served.decode().body.unwrap_or_default();
    let Ok(routes) = VirtualService::decode(&*body.value) else {
        return Division::new();
    };
    let divisions = routes.http.into_iter().map(|http| {
        let to = http.route.into_iter();
        let to = to.filter_map(|to| {
            let host = to.destination?.host;
            let percentage = to.weight.try_into().ok()?;
            is_of(&host, service).then_some((host, percentage))
        });
        to.collect::<Division>()
    });
    let mut divisions = divisions.filter(|division| !division.is_empty());
    divisions.next().unwrap_or_default()
}

/// A division without the services that are not wanted: the others take their part.
pub fn narrowed(mut division: Division, wanted: impl Fn(&str) -> bool) -> Division {
    division.retain(|(name, _)| wanted(name));
    let shares: Vec<_> = division
        .iter()
        .map(|(_, share)| u64::from(*share))
        .collect();
    for ((_, share), percentage) in std::iter::zip(&mut division, percentages(&shares)) {
        *share = percentage;
    }
    division
}
