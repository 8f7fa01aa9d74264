//! How the requests for a route are divided among its services: as the table has it, and as it is published.

use std::{collections::HashMap, sync::Arc};

use prost::Message as _;

use super::{
    service::{of_part, service, whole},
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

/// How a pool is divided: if it is held, as it was.
pub(super) fn current_division(pool: &Pool<'_>, held: &Held) -> Division {
    let held = (!held.is_empty()).then(|| held.get(&*service(pool.host().name, &pool.key())));
    held.flatten().map_or_else(|| division(pool), Clone::clone)
}

/// The divisions of the routes that a published VirtualService sends somewhere, by the services that they have undivided.
pub fn published_divisions(served: Resource<'_>) -> HashMap<String, Division> {
    let body = served.decode().body.unwrap_or_default();
    let service = VirtualService::decode(&*body.value).unwrap_or_default();
    let http = service.http.into_iter().map(|route| {
        let route = route.route.into_iter();
        route.map(|to| (to.destination, to.weight)).collect()
    });
    let tcp = service.tcp.into_iter().map(|route| {
        let route = route.route.into_iter();
        route.map(|to| (to.destination, to.weight)).collect()
    });
    let mut divisions = HashMap::new();
    for route in http.chain(tcp) {
        let route: Vec<_> = route;
        let mut own: HashMap<_, Division> = HashMap::new();
        for (to, weight) in route {
            let host = to.map(|to| to.host).unwrap_or_default();
            if let Ok(percentage) = weight.try_into() {
                let division = own.entry(whole(&host).to_owned()).or_default();
                division.push((host, percentage));
            }
        }
        for (service, division) in own {
            divisions.entry(service).or_insert(division);
        }
    }
    divisions
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
