//! What routes get whose owners ask for nothing else.

use std::{collections::BTreeSet, str::FromStr, sync::Arc, time::Duration};

use crate::{
    config::reader::{Longest, Section},
    istio::{Defaults, Ejection, HttpsRedirect, Requests},
    model::{Cookie, Hostname, LoadBalancing, Retries, is_plain_name, whole_millis},
};

/// As for what owners ask for.
const HOUR: Longest = Longest {
    duration: Duration::from_hours(1),
    written: "1h",
};
/// From there on Envoy lets an instance back all the same.
const FIVE_MINUTES: Longest = Longest {
    duration: Duration::from_mins(5),
    written: "5m",
};

/// As many as the gorouter makes, beside the first.
const ATTEMPTS: u8 = 2;
const MAX_ATTEMPTS: u64 = 10;

/// `Defaults`, whether it is there or not: what Istio does where nothing is said would surprise who comes from the gorouter.
pub(crate) fn read(root: &mut Section<'_>, has_https: bool) -> Defaults {
    let object = root.object("Defaults").unwrap_or_default();
    let mut section = root.section("Defaults", object);
    let attempts = section.count("RetryAttempts", 0..=MAX_ATTEMPTS, ATTEMPTS);
    let external = Requests {
        timeout: time(&mut section, "Timeout", HOUR),
        retries: Some(Retries::of_unsent(attempts)),
        retry_resets: section.flag("RetryResets", false),
    };
    let is_tried = section.has("InternalRetryAttempts");
    let attempts = section.count("InternalRetryAttempts", 0..=MAX_ATTEMPTS, 0);
    let internal = Requests {
        timeout: time(&mut section, "InternalTimeout", HOUR),
        retries: is_tried.then(|| Retries::of_server_errors(attempts)),
        retry_resets: false,
    };
    let connect_timeout = time(&mut section, "ConnectTimeout", HOUR);
    let ejection = ejection(&mut section);
    let load_balancing = affinity(&mut section);
    let region = section.parsed("Region").map(|Region(region)| region);
    let https_redirect = https_redirect(&mut section, has_https);
    section.end();
    Defaults {
        external,
        internal,
        connect_timeout,
        ejection,
        load_balancing,
        region,
        https_redirect,
    }
}

/// In whole milliseconds: Istio discards what says it otherwise.
fn time(section: &mut Section<'_>, key: &str, longest: Longest) -> Option<Duration> {
    let time = section.duration_up_to(key, longest, Duration::ZERO);
    if time.is_zero() {
        return None;
    }
    if !whole_millis(time) {
        section.problem(key, "must be of whole milliseconds");
        return None;
    }
    Some(time)
}

fn ejection(section: &mut Section<'_>) -> Option<Ejection> {
    let object = section.object("OutlierDetection")?;
    let mut section = section.section("OutlierDetection", object);
    let failures = section.count("ConnectionFailures", 1..=1_000, 3);
    let duration = time(&mut section, "EjectionTime", FIVE_MINUTES);
    section.end();
    Some(Ejection {
        failures,
        // The gorouter's.
        duration: duration.unwrap_or(Duration::from_mins(2)),
    })
}

/// The cookie by which a client is known again, by the rules of owners' annotations.
fn affinity(section: &mut Section<'_>) -> Option<LoadBalancing> {
    let object = section.object("SessionAffinity")?;
    let mut section = section.section("SessionAffinity", object);
    let name = section.required("Cookie", |section, key| {
        read_by(section, key, Cookie::read_name)
    });
    let ttl = read_by(&mut section, "TTL", Cookie::read_ttl);
    section.end();
    Some(LoadBalancing::Cookie(Cookie {
        name: name?,
        ttl: ttl.unwrap_or_default(),
    }))
}

fn read_by<T>(
    section: &mut Section<'_>,
    key: &str,
    parse: fn(&str) -> Result<T, String>,
) -> Option<T> {
    let text = section.string(key)?;
    parse(&text).map_err(|why| section.problem(key, why)).ok()
}

/// A region, as Istio has it in front of a zone.
struct Region(Arc<str>);

#[derive(Debug, thiserror::Error)]
#[error("expected 1 to 64 letters, digits, dashes, dots and underscores")]
struct NoRegion;

impl FromStr for Region {
    type Err = NoRegion;

    fn from_str(text: &str) -> Result<Self, NoRegion> {
        if is_plain_name(text) {
            Ok(Self(text.into()))
        } else {
            Err(NoRegion)
        }
    }
}

fn https_redirect(section: &mut Section<'_>, has_https: bool) -> Option<HttpsRedirect> {
    const KEY: &str = "HTTPSRedirect";
    const EXCEPT: &str = "HTTPSRedirectExcept";
    let is_on = section.flag(KEY, false);
    let names = section.strings(EXCEPT).unwrap_or_default();
    if !is_on {
        if !names.is_empty() {
            section.problem(EXCEPT, "is for HTTPSRedirect, which is off");
        }
        return None;
    }
    if !has_https {
        section.problem(
            KEY,
            "needs a certificate in TLSPems: nothing takes what is sent on",
        );
    }
    let mut except = BTreeSet::new();
    for name in names {
        match Hostname::parse(&name) {
            Ok(host) => {
                except.insert(host);
            }
            Err(error) => section.problem(EXCEPT, format_args!("{name:?}: {error}")),
        }
    }
    Some(HttpsRedirect { except })
}
