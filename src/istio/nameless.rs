//! What the VirtualService of a wildcard says of the hostnames below it that cannot have one of their own.

use super::{
    Defaults, Era, Held, MAX_NAMED,
    http_routes::http_routes,
    matches::{authority, for_host, for_nameless},
    refused,
    validate::Invalid,
};
use crate::{
    model::Hostname,
    proto::istio::networking::v1alpha3::HttpRoute,
    table::{HostView, Pool},
};

/// Proxies hold each request below the wildcard against all of these, one after the other.
const MAX_PLACES: usize = 1000;
/// What their owners ask for is in one VirtualService, beside the wildcard's own routes.
const MAX_BYTES: usize = 2 << 20;

/// As the gorouter answers where nobody can be asked.
const UNAVAILABLE: u16 = 503;

/// How many routes of a VirtualService a pool becomes.
fn routes(pool: &Pool<'_>) -> usize {
    let settings = pool.settings();
    settings.map_or(1, |(_, settings)| settings.multiplies())
}

/// A path is matched by so many requests, each of which says the hostname.
const MAX_REQUESTS: usize = 2;

/// At most what is there for the sake of what is asked for, with the hostname that it is said for.
fn asked_bytes(host: &Hostname, pool: &Pool<'_>) -> usize {
    match pool.asked_bytes() {
        0 => 0,
        asked => asked + MAX_REQUESTS * authority(host).len(),
    }
}

/// Hostnames that are no domain names.
pub(super) struct Nameless<'a> {
    served: Vec<(&'a Hostname, Pool<'a>)>,
    left_out: Vec<&'a Hostname>,
}

impl<'a> Nameless<'a> {
    /// Those of a wildcard.
    pub(super) fn of(wildcard: HostView<'a>) -> Self {
        let (mut served, mut left_out) = (Vec::new(), Vec::new());
        let (mut places, mut bytes) = (0, 0);
        for host in wildcard.behind() {
            // What they go on to follows as the wildcard's own.
            let pools = host.lookup().into_iter();
            let own = pools.take_while(|pool| pool.host().name == host.name);
            let own: Vec<_> = own.map(|pool| (host.name, pool)).collect();
            let more_places = places + own.iter().map(|(_, pool)| routes(pool)).sum::<usize>();
            let more_bytes = bytes
                + own
                    .iter()
                    .map(|(name, pool)| asked_bytes(name, pool))
                    .sum::<usize>();
            if more_places <= MAX_PLACES && more_bytes <= MAX_BYTES {
                (places, bytes) = (more_places, more_bytes);
                served.extend(own);
            } else {
                left_out.push(host.name);
            }
        }
        Self { served, left_out }
    }

    /// Whether that is so of a pool.
    pub(super) fn any(&self, is_so: impl Fn(&Pool<'_>) -> bool) -> bool {
        self.served.iter().any(|(_, pool)| is_so(pool))
    }

    /// What comes before the wildcard's own routes. Where there are too many, no such hostname is for the wildcard.
    pub(super) fn http_routes(&self, era: Era, held: &Held, defaults: &Defaults) -> Vec<HttpRoute> {
        let routes = self.served.iter().flat_map(|(host, pool)| {
            let routes = http_routes(pool, era, held, defaults).into_iter();
            routes.map(move |route| HttpRoute {
                r#match: for_host(host, route.r#match),
                ..route
            })
        });
        let rest = (!self.left_out.is_empty())
            .then(|| refused::answer(for_nameless(Vec::new()), UNAVAILABLE));
        routes.chain(rest).collect()
    }

    /// Which are left out.
    pub(super) fn left_out(&self) -> Option<Invalid> {
        let named = self.left_out.iter().take(MAX_NAMED);
        let named: Vec<_> = named.map(|host| host.as_str()).collect();
        let count = self.left_out.len();
        (count > 0).then(|| Invalid {
            rule: "host",
            detail: format!(
                "{count} hostnames that Istio refuses have no room among the first {MAX_PLACES} \
                 routes, and {MAX_BYTES} bytes that are asked for, of such: they and what is like them get {UNAVAILABLE}: {}",
                named.join(", ")
            ),
        })
    }
}
