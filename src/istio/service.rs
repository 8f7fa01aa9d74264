//! The names of services: hostnames of our own, which no route can have.
//!
//! ```text
//! shop.example.com             shop.example.com.routes.cloudfoundry
//! shop.example.com/cart/items  cart.items.cf--path.shop.example.com.routes.cloudfoundry
//! *.example.com                cf--any.example.com.routes.cloudfoundry
//! tcp.example.com:1024         1024.cf--tcp.tcp.example.com.routes.cloudfoundry
//! ```
//!
//! A name follows from hostname and path alone, so a route that is deleted and made anew is the same service. What is no
//! DNS label, or leaves no room, stands there as a hash. Ours are the labels with `cf--` at the beginning: names of the
//! Internet have no two hyphens there, unless in `xn--` (RFC 5891, section 4.2.3.1).

use ring::digest::{Context, SHA256};

use super::validate::is_dns_label;
use crate::{
    model::{AppPort, Destination, Hostname, Protocol},
    table::{Target, Which},
};

/// A domain that is nobody's: names of routes end in domains of Cloud Controller, which has no such one.
const DOMAIN: &str = "routes.cloudfoundry";
/// The beginning of our own labels.
const OURS: &str = "cf--";
/// The labels of parts.
const HTTP2: &str = "cf--h2.";
const TO: &str = "cf--to-";
const TLS: &str = "cf--tls.";

/// Envoys of Istio 1.1 refuse clusters with names over 189 bytes, and Pilot makes `outbound|80||` and the name of it. A
/// label for a part of the route may come in front, and one for TLS before that.
const MAX: usize = 140;

/// The service of a hostname and the key of a path.
pub fn service(host: &Hostname, key: &str) -> String {
    let named = |path: String| Some(format!("{path}{}.{DOMAIN}", readable_host(host)?));
    let fits = |name: &String| name.len() <= MAX;
    let readable = readable_path(key).and_then(named).filter(fits);
    readable
        .or_else(|| named(hashed_path(key)).filter(fits))
        .unwrap_or_else(|| format!("{OURS}{:032x}.{DOMAIN}", hash(&[host.as_str(), key])))
}

/// The service of a part of a route's requests.
///
/// Whether its instances take TLS is in the name, and so never changes for a service: the endpoints and the rule that
/// says how they are reached would not arrive at the same moment.
pub(super) fn of_part(service: &str, which: &Which, is_tls: bool) -> String {
    let tls = if is_tls { TLS } else { "" };
    match which {
        Which::Whole => format!("{tls}{service}"),
        Which::Http2 => format!("{tls}{HTTP2}{service}"),
        Which::To(target) => format!("{tls}{TO}{}.{service}", hash_target(target)),
    }
}

/// Whether a route's service, for all of its requests or a part of them, may have had the instances of a destination.
pub fn may_lead_to(name: &str, service: &str, to: &Destination) -> bool {
    let is_for = |which| {
        [false, true]
            .iter()
            .any(|tls| name == of_part(service, &which, *tls))
    };
    match to.protocol {
        _ if is_for(Which::Whole) => true,
        Protocol::Http2 if is_for(Which::Http2) => true,
        Protocol::Http1 | Protocol::Http2 | Protocol::Tcp => is_for(Which::To(Target::of(to))),
    }
}

/// Whether a service is a route's, for all of its requests or a part of them.
pub fn is_of(name: &str, service: &str) -> bool {
    whole(name) == service
}

/// The service that a route has undivided, by the name of one for all of its requests or a part of them.
pub fn whole(name: &str) -> &str {
    let name = name.strip_prefix(TLS).unwrap_or(name);
    let target = name.strip_prefix(TO).and_then(|rest| rest.split_once('.'));
    match target {
        Some((_, whole)) => whole,
        None => name.strip_prefix(HTTP2).unwrap_or(name),
    }
}

/// The services that a route can have while nothing divides its requests: in plaintext, and over TLS.
pub fn undivided(host: &Hostname, key: &str) -> [String; 2] {
    let service = service(host, key);
    [false, true].map(|is_tls| of_part(&service, &Which::Whole, is_tls))
}

/// The hostname, if that is a part of a domain name: of a wildcard, with our label for its star; of TCP routes, with the port
/// in front and our label between.
fn readable_host(host: &Hostname) -> Option<String> {
    let (prefix, name) = match (host.tcp(), host.as_str().strip_prefix("*.")) {
        (Some((domain, port)), _) => (format!("{port}.cf--tcp."), domain),
        (None, Some(domain)) => ("cf--any.".to_owned(), domain),
        (None, None) => (String::new(), host.as_str()),
    };
    name.split('.')
        .all(is_free)
        .then(|| format!("{prefix}{name}"))
}

/// The segments of a path as labels in front of the hostname, if they are labels.
fn readable_path(key: &str) -> Option<String> {
    let Some(segments) = key.strip_prefix('/') else {
        return Some(String::new());
    };
    let is_readable = segments.split('/').all(is_free);
    is_readable.then(|| format!("{}.{OURS}path.", segments.replace('/', ".")))
}

fn hashed_path(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!("{OURS}{:032x}.{OURS}path.", hash(&[key]))
    }
}

/// A label that is none of ours.
fn is_free(label: &str) -> bool {
    is_dns_label(label) && !label.starts_with(OURS)
}

fn hash_target(target: &Target) -> String {
    let port = match target.port {
        AppPort::Number(number) => number.to_string(),
        AppPort::Main => "main".to_owned(),
    };
    let protocol = match target.protocol {
        Protocol::Http1 => "http1",
        Protocol::Http2 => "http2",
        Protocol::Tcp => "tcp",
    };
    let app = target.workload.app.to_string();
    let process_type = target.workload.process_type.as_str();
    format!(
        "{:016x}",
        hash(&[&app, process_type, &port, protocol]) >> 64
    )
}

/// The beginning of a hash of the texts.
fn hash(texts: &[&str]) -> u128 {
    let mut context = Context::new(&SHA256);
    for text in texts {
        // Lengths keep neighbours apart.
        context.update(&text.len().to_le_bytes());
        context.update(text.as_bytes());
    }
    let digest = context.finish();
    let begin = digest.as_ref().iter().take(16);
    begin.fold(0, |hash, byte| hash << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::model::{AppGuid, Workload};

    fn named(url: &str) -> String {
        let (host, key) = url.split_at(url.find('/').unwrap_or(url.len()));
        service(&Hostname::parse(host).unwrap(), key)
    }

    #[test]
    fn a_service_is_named_after_its_hostname_and_path() {
        for (url, name) in [
            ("shop.example.com", "shop.example.com"),
            ("example.com/v2/items-1", "v2.items-1.cf--path.example.com"),
            ("*.example.com", "cf--any.example.com"),
            ("*.example.com/p", "p.cf--path.cf--any.example.com"),
        ] {
            assert_eq!(named(url), format!("{name}.routes.cloudfoundry"));
        }
    }

    #[test]
    fn what_is_no_label_or_leaves_no_room_is_a_hash() {
        let long = format!("{}.example.com", ["a"; 60].join("."));
        for (url, readable) in [
            (
                "shop.example.com/a%20b".to_owned(),
                ".cf--path.shop.example.com",
            ),
            (
                "shop.example.com/p//q".to_owned(),
                ".cf--path.shop.example.com",
            ),
            (
                format!("shop.example.com/{}", "a".repeat(64)),
                ".cf--path.shop.example.com",
            ),
            ("under_score.example.com".to_owned(), ""),
            ("cf--any.example.com".to_owned(), ""),
            (long, ""),
        ] {
            let name = named(&url);
            let hash = name.strip_prefix("cf--").unwrap();
            let hash = hash
                .strip_suffix(&format!("{readable}.routes.cloudfoundry"))
                .unwrap();
            assert!(
                hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
                "{name}"
            );
        }
    }

    fn target(process_type: &str, port: AppPort, protocol: Protocol) -> Which {
        Which::To(Target {
            workload: Workload {
                app: AppGuid::from("app"),
                process_type: process_type.into(),
            },
            port,
            protocol,
        })
    }

    #[test]
    fn the_parts_of_a_route_have_different_names() {
        let parts = [
            Which::Whole,
            Which::Http2,
            target("web", AppPort::Main, Protocol::Http1),
            target("web", AppPort::Number(8080), Protocol::Http1),
            target("web", AppPort::Number(8080), Protocol::Http2),
            target("a\nb", AppPort::Number(8080), Protocol::Http1),
            target("worker", AppPort::Number(8081), Protocol::Http1),
        ];
        let names = parts.iter().flat_map(|which| {
            [false, true].map(|is_tls| of_part("a.b.routes.cloudfoundry", which, is_tls))
        });
        let names: std::collections::BTreeSet<_> = names.collect();
        assert_eq!(names.len(), 2 * parts.len());
        for part in ["cf--h2.", "cf--tls.", "cf--tls.cf--h2."] {
            assert!(names.contains(&format!("{part}a.b.routes.cloudfoundry")));
        }
        let is_own = |name: &String| is_of(name, "a.b.routes.cloudfoundry");
        assert!(names.iter().all(is_own));
        for other in [
            "c.a.b",
            "cf--any.a.b",
            "c.cf--path.a.b",
            "cf--to-0.c.cf--path.a.b",
            "b",
        ] {
            assert!(!is_own(&format!("{other}.routes.cloudfoundry")), "{other}");
        }
    }

    fn any_host() -> impl Strategy<Value = Hostname> {
        let label = "[a-c_-]{1,3}|cf--(any|path|h2|tls|to-0)|xn--a|wildcard|routes|cloudfoundry|[a-z]{60,64}";
        let name = (any::<bool>(), vec(label, 1..6)).prop_map(|(wildcard, labels)| {
            let star = if wildcard { "*." } else { "" };
            format!("{star}{}", labels.join("."))
        });
        name.prop_filter_map("too long", |name| Hostname::parse(&name).ok())
    }

    fn any_key() -> impl Strategy<Value = String> {
        let segment = "[a-c%.~-]{0,3}|cf--path|[a-z]{60,64}";
        vec(segment, 0..5).prop_map(|segments| {
            segments
                .iter()
                .fold(String::new(), |key, segment| key + "/" + segment)
        })
    }

    proptest! {
        #[test]
        fn any_name_is_one_of_dns_and_no_two_routes_have_one(
            urls in vec((any_host(), any_key()), 1..40),
        ) {
            let mut names = HashMap::new();
            for (host, key) in urls {
                let whole = service(&host, &key);
                let to = target("web", AppPort::Main, Protocol::Http1);
                let parts = [Which::Whole, Which::Http2, to].into_iter();
                for (which, is_tls) in parts.flat_map(|which| [(which.clone(), false), (which, true)]) {
                    let name = of_part(&whole, &which, is_tls);
                    prop_assert!(name.len() <= 189 - "outbound|80||".len(), "{}", name);
                    prop_assert!(name.split('.').all(is_dns_label), "{}", name);
                    prop_assert!(name.ends_with(".routes.cloudfoundry"));
                    let place = (host.clone(), key.clone(), which, is_tls);
                    let other = names.insert(name.clone(), place.clone());
                    prop_assert!(other.is_none() || other == Some(place), "{} of {:?}", name, other);
                }
            }
        }
    }
}
