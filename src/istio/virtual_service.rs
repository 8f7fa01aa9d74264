//! VirtualServices of external hostnames.

use super::{
    Defaults, Era, Eras, Held, MAX_NAMED, gateway::gateways, http_routes::http_routes,
    matches::has_case, nameless::Nameless, refused, settings, shares::percentages,
    validate::Invalid,
};
use crate::{
    proto::istio::networking::v1alpha3::VirtualService,
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
