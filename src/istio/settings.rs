//! What a route's owner asks for beside where its requests go: timeouts, retries, another path, other headers.

use super::{
    Elsewhere, Era, MAX_NAMED, Requests, defaults::duration, matches::has_case, validate::Invalid,
};
use crate::{
    model::{HeaderChanges, HeaderName, RouteSettings},
    proto::istio::networking::v1alpha3::{
        Headers, HttpMatchRequest, HttpRewrite, HttpRoute, headers::HeaderOperations,
        string_match::MatchType,
    },
    table::{HostView, Pool},
};

/// The requests for a pool as its owner wants them, and as all are where that says nothing. They are two routes where the path itself and what is below it are
/// replaced by different texts.
pub(super) fn asked_for(
    route: HttpRoute,
    pool: &Pool<'_>,
    era: Era,
    defaults: &Requests,
    elsewhere: Elsewhere,
) -> Vec<HttpRoute> {
    let asked = pool.settings();
    let asked = asked.as_ref().map(|(_, settings)| &**settings);
    let timeout = asked.and_then(|asked| asked.timeout);
    let tried = asked.and_then(|asked| asked.retries.as_ref());
    let route = HttpRoute {
        timeout: timeout.or(defaults.timeout).map(duration),
        retries: defaults.retries(tried, era, elsewhere),
        headers: asked.and_then(headers),
        ..route
    };
    match asked.and_then(|asked| asked.rewrite.as_deref()) {
        Some(path) if can_rewrite(&pool.key(), era) => rewritten(&route, path),
        _ => vec![route],
    }
}

/// Whether a path can be replaced. Of a pattern, which Pilots have for letters in any case, Envoy replaces all that matches:
/// the whole path of the request.
fn can_rewrite(key: &str, era: Era) -> bool {
    era == Era::Xds || !has_case(key)
}

/// What matches the path itself gets the other one; what is below it, that with a slash.
fn rewritten(route: &HttpRoute, path: &str) -> Vec<HttpRoute> {
    let is_exact = |request: &HttpMatchRequest| {
        let uri = request.uri.as_ref().and_then(|uri| uri.match_type.as_ref());
        matches!(uri, Some(MatchType::Exact(_)))
    };
    let below = format!("{path}/");
    let to = |uri: &str, r#match: Vec<HttpMatchRequest>| HttpRoute {
        rewrite: Some(HttpRewrite {
            uri: uri.to_owned(),
        }),
        r#match,
        ..route.clone()
    };
    let (exact, prefix): (Vec<_>, Vec<_>) = route.r#match.iter().cloned().partition(is_exact);
    if path.is_empty() || exact.is_empty() {
        return vec![to(&below, route.r#match.clone())];
    }
    vec![to(path, exact), to(&below, prefix)]
}

fn headers(settings: &RouteSettings) -> Option<Headers> {
    let [request, response] = [&settings.request, &settings.response].map(operations);
    (request.is_some() || response.is_some()).then_some(Headers { request, response })
}

fn operations(changes: &HeaderChanges) -> Option<HeaderOperations> {
    let set = changes.set.iter();
    let removed = changes.removed.iter();
    (!changes.is_empty()).then(|| HeaderOperations {
        set: set
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        remove: removed.map(HeaderName::to_string).collect(),
    })
}

/// What owners asked for and do not get: of two spellings of a URL one counts, and Pilots are not told of everything.
pub(super) fn remarks(host: HostView<'_>) -> impl Iterator<Item = Invalid> {
    let overruled = host.pools().flat_map(|pool| {
        let counts = pool.settings();
        let others = pool.mapped().filter_map(move |route| {
            let (older, settings) = counts.as_ref()?;
            let own = route.settings.as_ref()?;
            let guid = &route.guid;
            let detail = if own == settings {
                return None;
            } else if own.without_rewrite() == **settings {
                format!(
                    "route {guid} asks for another path, which another spelling of its URL does not"
                )
            } else {
                let older = &older.guid;
                format!(
                    "route {guid} asks for other settings than the older route {older}, which count"
                )
            };
            let rule = "settings";
            Some(Invalid { rule, detail })
        });
        others.collect::<Vec<_>>()
    });
    let not_for_pilots = host.pools().filter_map(|pool| {
        let (route, settings) = pool.settings()?;
        let is_told = settings.rewrite.is_none() || can_rewrite(&pool.key(), Era::Classic);
        (!is_told).then(|| Invalid {
            rule: "settings",
            detail: format!(
                "route {}{} ({}): its path is replaced by istiods, and by Pilots up to 1.8, if there are any, it is not: \
                 they match letters by a pattern",
                pool.host().name,
                pool.key(),
                route.guid
            ),
        })
    });
    overruled.chain(not_for_pilots).take(MAX_NAMED)
}
