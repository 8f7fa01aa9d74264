//! What becomes of requests beside where they go, in words.

use crate::proto::istio::networking::v1alpha3::{
    ClientTlsSettings, HttpRetry, HttpRoute, LoadBalancerSettings, OutlierDetection, TrafficPolicy,
    client_tls_settings::TlSmode,
    headers::HeaderOperations,
    load_balancer_settings::{
        ConsistentHashLb, LbPolicy,
        consistent_hash_lb::{HashKey, HttpCookie},
    },
};

/// A policy in words, without what changes with each instance.
pub(super) fn words(policy: &TrafficPolicy) -> Vec<String> {
    let TrafficPolicy {
        load_balancer,
        connection_pool,
        outlier_detection,
        tls,
    } = policy;
    let choice = load_balancer.as_ref().and_then(choice);
    let tls = tls.as_ref().filter(|tls| tls.mode() != TlSmode::Disable);
    let tcp = connection_pool.as_ref().and_then(|pool| pool.tcp.as_ref());
    let connect = tcp.and_then(|tcp| tcp.connect_timeout.as_ref());
    let connect = connect.map(|time| format!("{time} for a connection"));
    let ejection = outlier_detection.as_ref().map(ejected);
    [choice, connect, ejection, tls.map(verified)]
        .into_iter()
        .flatten()
        .collect()
}

fn ejected(detection: &OutlierDetection) -> String {
    let time = detection.base_ejection_time.unwrap_or_default();
    let failures = detection
        .consecutive_local_origin_failures
        .unwrap_or_default();
    format!("no requests for {time} after {failures} connections that failed")
}

/// What becomes of a route's requests beside where they go.
pub(super) fn asked_for(route: &HttpRoute) -> Vec<String> {
    let HttpRoute {
        rewrite,
        timeout,
        retries,
        headers,
        ..
    } = route;
    let said = [
        rewrite
            .as_ref()
            .map(|rewrite| format!("the path replaced by {}", rewrite.uri)),
        timeout
            .as_ref()
            .map(|timeout| format!("a timeout of {timeout}")),
        retries
            .as_ref()
            .filter(|retries| !is_default(retries))
            .map(tried_again),
    ];
    let said = said.into_iter().flatten();
    let sides = headers.iter().flat_map(|headers| {
        let sides = [
            ("request", &headers.request),
            ("response", &headers.response),
        ];
        sides.map(|(side, changes)| Some(changed_headers(side, changes.as_ref()?)))
    });
    said.chain(sides.flatten()).collect()
}

/// What this daemon says of every external route where nobody chose otherwise, and the Go Copilot of none.
fn is_default(retries: &HttpRetry) -> bool {
    let unsent = [
        "connect-failure,refused-stream",
        "connect-failure,refused-stream,reset-before-request",
    ];
    retries.attempts == 2
        && retries.per_try_timeout.is_none()
        && unsent.contains(&&*retries.retry_on)
}

fn tried_again(retries: &HttpRetry) -> String {
    let each = retries.per_try_timeout.as_ref();
    let each = each.map_or_else(String::new, |time| format!(", for {time} each"));
    format!("{} retries of {}{each}", retries.attempts, retries.retry_on)
}

fn changed_headers(side: &str, changes: &HeaderOperations) -> String {
    let set = changes.set.iter();
    let set = set.map(|(name, value)| format!("{name}: {value}"));
    let removed = changes.remove.iter().map(|name| format!("no {name}"));
    let all: Vec<_> = set.chain(removed).collect();
    format!("{side} headers {}", all.join(", "))
}

fn choice(settings: &LoadBalancerSettings) -> Option<String> {
    Some(match settings.lb_policy.as_ref()? {
        // One number each in old and new Istios.
        LbPolicy::Simple(0 | 4) => "picked in turn".to_owned(),
        LbPolicy::Simple(1 | 5) => "picked by fewest requests".to_owned(),
        LbPolicy::Simple(other) => format!("picked by {other}"),
        LbPolicy::ConsistentHash(ConsistentHashLb { hash_key }) => match hash_key.as_ref()? {
            HashKey::HttpHeaderName(header) => format!("picked by the header {header}"),
            HashKey::HttpCookie(HttpCookie { name, path, ttl }) => {
                let ttl = ttl
                    .as_ref()
                    .map_or_else(String::new, |ttl| format!(", kept for {ttl}"));
                format!("picked by the cookie {name} of {path}{ttl}")
            }
        },
    })
}

fn verified(tls: &ClientTlsSettings) -> String {
    let ClientTlsSettings {
        client_certificate,
        ca_certificates,
        subject_alt_names,
        ..
    } = tls;
    let names = if subject_alt_names.is_empty() {
        "any name"
    } else {
        "their names"
    };
    format!("verified by {ca_certificates} and {names}, client certificate {client_certificate:?}")
}
