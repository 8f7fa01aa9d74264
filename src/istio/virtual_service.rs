//! VirtualServices of external hostnames.

use super::{
    Defaults, Division, Era, Eras, Held, MAX_NAMED, PORT,
    division::division,
    gateway::gateways,
    matches::{has_case, matches},
    nameless::Nameless,
    refused,
    service::service,
    settings,
    shares::percentages,
    validate::Invalid,
};
use crate::{
    proto::istio::networking::v1alpha3::{
        Destination, HttpRoute, HttpRouteDestination, PortSelector, VirtualService,
    },
    table::{HostView, Pool},
};

/// Which path of a hostname leads to which service: its own routes, and those that the gorouter goes on to. Of a wildcard,
/// also those of the nameless hostnames for which it has to speak. Routes that are `held` are divided as they were.
pub(super) fn virtual_service(
    host: HostView<'_>,
    nameless: &Nameless<'_>,
    held: &Held,
    defaults: &Defaults,
) -> Eras<Option<VirtualService>> {
    let pools = host.lookup();
    let of = |era| {
        let own = pools
            .iter()
            .flat_map(|pool| http_routes(pool, era, held, defaults));
        Some(VirtualService {
            hosts: vec![host.name.to_string()],
            tcp: Vec::new(),
            gateways: gateways(host.name, defaults.https_redirect.as_ref()),
            http: nameless
                .http_routes(era, held, defaults)
                .into_iter()
                .chain(own)
                .collect(),
        })
    };
    let is_told_apart = |pool: &Pool<'_>| has_case(&pool.key()) || defaults.tells_apart(pool);
    if nameless.any(is_told_apart) || pools.iter().any(is_told_apart) {
        Eras::new(of(Era::Classic), of(Era::Xds))
    } else {
        Eras::Same(of(Era::Classic))
    }
}

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

/// How a pool is divided: if it is held, as it was.
pub(super) fn current_division(pool: &Pool<'_>, held: &Held) -> Division {
    let held = (!held.is_empty()).then(|| held.get(&*service(pool.host().name, &pool.key())));
    held.flatten().map_or_else(|| division(pool), Clone::clone)
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

/// What is wrong with the hostname's own routes: each that is refused, what owners asked for in vain, and at most one thing
/// besides.
pub(super) fn remarks(host: HostView<'_>) -> impl Iterator<Item = Invalid> {
    let other = hidden(host).or_else(|| rounded_away(host));
    let other = other.or_else(|| kept_from_others(host));
    let reasons = refused::reasons(host).chain(other);
    reasons.chain(settings::remarks(host))
}

/// The paths of a wildcard that are not for hostnames that go on to it.
fn kept_from_others(host: HostView<'_>) -> Option<Invalid> {
    let count = host.kept_from_others();
    (count > 0).then(|| Invalid {
        rule: "wildcard",
        detail: format!(
            "the {count} longest of its paths are not for the hostnames below it that go on to it"
        ),
    })
}

/// The routes whose hostname and path others have.
fn hidden(host: HostView<'_>) -> Option<Invalid> {
    let mut hidden = host.pools().flat_map(|pool| pool.hidden());
    let named: Vec<_> = hidden
        .by_ref()
        .take(MAX_NAMED)
        .map(|(route, holder)| {
            let (guid, path, other) = (&route.guid, &route.path, &holder.guid);
            format!("route {guid} has the path {path:?} of route {other}, which counts")
        })
        .collect();
    let more = match hidden.count() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    (!named.is_empty()).then(|| Invalid {
        rule: "shadowed",
        detail: named.join("; ") + &more,
    })
}

/// Destinations whose share of their route is less than Istio can tell: it takes whole percents.
fn rounded_away(host: HostView<'_>) -> Option<Invalid> {
    host.pools().find_map(|pool| {
        let shares: Vec<_> = pool.parts().iter().map(|part| part.share).collect();
        let lost = std::iter::zip(&shares, percentages(&shares));
        let lost = lost.filter(|(share, percentage)| **share > 0 && *percentage == 0);
        let count = lost.count();
        (count > 0).then(|| Invalid {
            rule: "share",
            detail: format!(
                "{count} of {} destinations of route {}{} get no whole percent of its requests",
                shares.len(),
                host.name,
                pool.key()
            ),
        })
    })
}
