//! What a route's owner asks of the mesh, in annotations: parsed and bounded, so that no text makes a resource that Istio
//! would refuse.

mod cookie;
mod headers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

pub use self::headers::HeaderChanges;
use super::{Cookie, HeaderName, LoadBalancing, Route, path::MAX_PATH};

/// What the requests of a route get that is not Istio's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RouteSettings {
    /// How long a request may take with all its attempts.
    pub timeout: Option<Duration>,
    /// What is tried again.
    pub retries: Option<Retries>,
    /// What stands in place of the route's path: it begins with a slash and does not end with one, or is empty.
    pub rewrite: Option<Arc<str>>,
    /// What an app gets otherwise than it was sent.
    pub request: HeaderChanges,
    /// What a client gets otherwise than the app answered.
    pub response: HeaderChanges,
}

/// How often a request is tried again, and when.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Retries {
    /// How often beside the first time. 0: never, which is not what Istio does by default.
    pub attempts: u8,
    /// How long each may take.
    pub per_try: Option<Duration>,
    /// Why, in Envoy's words, of those that all Istios take.
    pub conditions: BTreeSet<&'static str>,
}

impl Retries {
    /// As the gorouter: what was not sent is tried again, what an app has answered is not.
    pub fn of_unsent(attempts: u8) -> Self {
        Self::of(attempts, UNSENT)
    }

    /// Whether what was not sent is tried again, and nothing else.
    pub fn is_of_unsent(&self) -> bool {
        self.conditions == UNSENT.into()
    }

    /// As the original of internal routes: what an app answers with 5xx is tried again, too.
    pub fn of_server_errors(attempts: u8) -> Self {
        Self::of(attempts, ["5xx"])
    }

    /// Conditions of what is never tried again are refused by Istio.
    fn of<const N: usize>(attempts: u8, conditions: [&'static str; N]) -> Self {
        Self {
            attempts,
            per_try: None,
            conditions: conditions.into_iter().filter(|_| attempts > 0).collect(),
        }
    }
}

/// What a route's annotations ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// What its requests get.
    pub settings: RouteSettings,
    /// By what a client is known again.
    pub affinity: Option<Cookie>,
    /// What cannot be followed, each alone.
    pub wrong: Vec<Wrong>,
}

/// An annotation that is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {name:?}: {why}")]
pub struct Wrong {
    /// Its name, without the prefix.
    pub name: String,
    /// Why.
    pub why: String,
}

impl Wrong {
    /// An annotation by its name without the prefix, and why it is left out.
    pub fn new(name: &str, why: impl Into<String>) -> Self {
        Self {
            name: shown(name),
            why: why.into(),
        }
    }
}

const TIMEOUT: &str = "timeout";
const ATTEMPTS: &str = "retry-attempts";
const PER_TRY: &str = "retry-per-try-timeout";
const CONDITIONS: &str = "retry-on";
const REWRITE: &str = "path-rewrite";
const AFFINITY: &str = "session-affinity";
const AFFINITY_TTL: &str = "session-affinity-ttl";
const REQUEST: [&str; 2] = ["request-headers-set", "request-headers-remove"];
const RESPONSE: [&str; 2] = ["response-headers-set", "response-headers-remove"];

const MAX_ATTEMPTS: u8 = 10;
const MAX_TIMEOUT: Duration = Duration::from_hours(1);
/// What settings take in a VirtualService at the most, each time that they are there: once for each hostname that goes on to
/// the route.
pub const MAX_BYTES: usize = 2048;
/// What is around the texts of them.
const AROUND: usize = 96;
/// What is shown of a text.
const MAX_SHOWN: usize = 64;

/// What every Istio since 1.1 takes of what Envoy can look at.
const KNOWN_CONDITIONS: [&str; 9] = [
    "5xx",
    "cancelled",
    "connect-failure",
    "deadline-exceeded",
    "gateway-error",
    "refused-stream",
    "resource-exhausted",
    "retriable-4xx",
    "unavailable",
];

/// With which Envoy tries again what has taken too long.
const TIMED: [&str; 2] = ["5xx", "gateway-error"];

/// What failed before a request was sent: what the gorouter tries again.
const UNSENT: [&str; 2] = ["connect-failure", "refused-stream"];

impl Asked {
    /// Reads annotations, by their names without the prefix. What is wrong with one leaves out that one.
    pub fn parse<'a>(annotations: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut reader = Reader {
            texts: annotations.into_iter().collect(),
            wrong: Vec::new(),
        };
        let mut settings = RouteSettings {
            timeout: reader.read(TIMEOUT, |text| duration(text, MAX_TIMEOUT)),
            retries: reader.retries(),
            rewrite: reader.read(REWRITE, path),
            request: reader.headers(REQUEST),
            response: reader.headers(RESPONSE),
        };
        reader.bound(&mut settings);
        let affinity = reader.affinity();
        let unknown = std::mem::take(&mut reader.texts).into_keys();
        for name in unknown {
            reader.wrong(name, "there is no such setting");
        }
        Self {
            settings,
            affinity,
            wrong: reader.wrong,
        }
    }
}

impl RouteSettings {
    /// At most what they take in a VirtualService, each time that they are there.
    pub fn bytes(&self) -> usize {
        let rewrite = self.rewrite.as_ref().map_or(0, |path| path.len());
        let conditions = self.retries.iter().flat_map(|retries| &retries.conditions);
        let conditions: usize = conditions.map(|condition| condition.len() + 1).sum();
        AROUND + rewrite + conditions + self.request.bytes() + self.response.bytes()
    }

    /// How many routes of a VirtualService one route of ours becomes: where its path is replaced, what is below it has one
    /// of its own.
    pub fn multiplies(&self) -> usize {
        let is_replaced = self.rewrite.as_ref().is_some_and(|path| !path.is_empty());
        if is_replaced { 2 } else { 1 }
    }

    /// The same, but that the path stays.
    #[must_use]
    pub fn without_rewrite(&self) -> Self {
        Self {
            rewrite: None,
            ..self.clone()
        }
    }

    /// The annotations that ask for it.
    fn to_annotations(&self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        let mut add = |name: &str, text: Option<String>| {
            texts.extend(text.map(|text| (name.to_owned(), text)));
        };
        let millis = |duration: Duration| format!("{}ms", duration.as_millis());
        add(TIMEOUT, self.timeout.map(millis));
        if let Some(retries) = &self.retries {
            let conditions: Vec<_> = retries.conditions.iter().copied().collect();
            add(ATTEMPTS, Some(retries.attempts.to_string()));
            add(PER_TRY, retries.per_try.map(millis));
            add(
                CONDITIONS,
                (!conditions.is_empty()).then(|| conditions.join(",")),
            );
        }
        let rewrite = self.rewrite.as_deref();
        add(
            REWRITE,
            rewrite.map(|path| if path.is_empty() { "/" } else { path }.to_owned()),
        );
        for ([set, removed], changes) in [(REQUEST, &self.request), (RESPONSE, &self.response)] {
            let lines = changes.set.iter();
            let lines: Vec<_> = lines
                .map(|(name, value)| format!("{name}: {value}"))
                .collect();
            let names: Vec<_> = changes.removed.iter().map(HeaderName::as_str).collect();
            add(set, (!lines.is_empty()).then(|| lines.join("\n")));
            add(removed, (!names.is_empty()).then(|| names.join(",")));
        }
        texts
    }
}

/// Takes annotations one after the other, so that what is left is known to be none.
struct Reader<'a> {
    texts: BTreeMap<&'a str, &'a str>,
    wrong: Vec<Wrong>,
}

impl<'a> Reader<'a> {
    fn read<T>(&mut self, name: &str, parse: impl Fn(&'a str) -> Result<T, String>) -> Option<T> {
        let text = self.texts.remove(name)?;
        let parsed = parse(text);
        parsed.map_err(|why| self.wrong(name, why)).ok()
    }

    fn wrong(&mut self, name: &str, why: impl Into<String>) {
        self.wrong.push(Wrong::new(name, why));
    }

    fn retries(&mut self) -> Option<Retries> {
        let attempts = self.read(ATTEMPTS, attempts);
        let per_try = self.read(PER_TRY, |text| duration(text, MAX_TIMEOUT));
        let conditions = self.read(CONDITIONS, conditions);
        let Some(attempts) = attempts.filter(|attempts| *attempts > 0) else {
            for (name, is_there) in [
                (PER_TRY, per_try.is_some()),
                (CONDITIONS, conditions.is_some()),
            ] {
                if is_there {
                    self.wrong(name, format!("nothing is tried again without {ATTEMPTS}"));
                }
            }
            return attempts.map(|attempts| Retries {
                attempts,
                per_try: None,
                conditions: BTreeSet::new(),
            });
        };
        let conditions = conditions.unwrap_or_else(|| UNSENT.into());
        let is_of_use = TIMED.iter().any(|timed| conditions.contains(timed));
        if per_try.is_some() && !is_of_use {
            let why = format!(
                "an attempt that takes longer is tried again with {CONDITIONS} 5xx or gateway-error alone"
            );
            self.wrong(PER_TRY, why);
        }
        Some(Retries {
            attempts,
            per_try: per_try.filter(|_| is_of_use),
            conditions,
        })
    }

    fn affinity(&mut self) -> Option<Cookie> {
        let name = self.read(AFFINITY, Cookie::read_name);
        let ttl = self.read(AFFINITY_TTL, Cookie::read_ttl);
        if name.is_none() && ttl.is_some() {
            self.wrong(AFFINITY_TTL, format!("of no cookie without {AFFINITY}"));
        }
        Some(Cookie {
            name: name?,
            ttl: ttl.unwrap_or_default(),
        })
    }

    fn headers(&mut self, [set, removed]: [&str; 2]) -> HeaderChanges {
        let mut changes = HeaderChanges {
            set: self.read(set, headers::set).unwrap_or_default(),
            removed: self.read(removed, headers::removed).unwrap_or_default(),
        };
        let both = |name: &HeaderName| changes.set.contains_key(name);
        if let Some(name) = changes.removed.iter().find(|name| both(name)) {
            let why = format!("header {name} is in {set}, too");
            self.wrong(removed, why);
            changes.removed.clear();
        }
        changes
    }

    /// Leaves out all headers of settings that are too large: nothing else can be.
    fn bound(&mut self, settings: &mut RouteSettings) {
        let bytes = settings.bytes();
        if bytes <= MAX_BYTES {
            return;
        }
        for ([set, removed], changes) in [
            (REQUEST, &mut settings.request),
            (RESPONSE, &mut settings.response),
        ] {
            for (name, is_there) in [
                (set, !changes.set.is_empty()),
                (removed, !changes.removed.is_empty()),
            ] {
                if is_there {
                    let why = format!("all settings take {bytes} bytes, of at most {MAX_BYTES}");
                    self.wrong(name, why);
                }
            }
            *changes = HeaderChanges::default();
        }
    }
}

impl Route {
    /// Takes in what its owner asks for. Who wants clients to be known again does not want them told apart otherwise.
    pub fn ask(&mut self, asked: Asked) {
        let is_said = asked.settings != RouteSettings::default();
        self.settings = is_said.then(|| Arc::new(asked.settings));
        if let Some(cookie) = asked.affinity {
            self.load_balancing = Some(Box::new(LoadBalancing::Cookie(cookie)));
        }
    }

    /// Takes over what the owner of this route asked for as it was: what is asked for now is not known.
    pub fn ask_as(&mut self, before: &Self) {
        self.settings.clone_from(&before.settings);
        if let Some(LoadBalancing::Cookie(_)) = before.load_balancing.as_deref() {
            self.load_balancing.clone_from(&before.load_balancing);
        }
    }

    /// The annotations that ask for what its owner asks for.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let settings = self.settings.as_ref();
        let mut texts = settings.map_or_else(BTreeMap::new, |settings| settings.to_annotations());
        if let Some(LoadBalancing::Cookie(cookie)) = self.load_balancing.as_deref() {
            let ttl = format!("{}s", cookie.ttl.as_secs());
            texts.insert(AFFINITY.to_owned(), cookie.name.as_str().to_owned());
            texts.insert(AFFINITY_TTL.to_owned(), ttl);
        }
        texts
    }
}

fn attempts(text: &str) -> Result<u8, String> {
    let number = text
        .parse::<u8>()
        .ok()
        .filter(|number| *number <= MAX_ATTEMPTS);
    number.ok_or_else(|| format!("{:?} is no number from 0 to {MAX_ATTEMPTS}", shown(text)))
}

/// A whole number with its unit. Istio takes whole milliseconds, one at least.
fn duration(text: &str, longest: Duration) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(at.unwrap_or(text.len()));
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    let millis = number.zip(millis).and_then(|(n, unit)| n.checked_mul(unit));
    let duration = millis.map(Duration::from_millis);
    let duration = duration.filter(|duration| !duration.is_zero() && *duration <= longest);
    duration.ok_or_else(|| {
        let (text, seconds) = (shown(text), longest.as_secs());
        format!("{text:?} is no whole number with ms, s, m or h, up to {seconds}s")
    })
}

/// Whether Istio takes a duration: in whole milliseconds, one at least.
pub fn whole_millis(duration: Duration) -> bool {
    duration.subsec_nanos().is_multiple_of(1_000_000) && !duration.is_zero()
}

fn conditions(text: &str) -> Result<BTreeSet<&'static str>, String> {
    let known = |condition: &str| {
        let mut known = KNOWN_CONDITIONS.into_iter();
        let known = known.find(|known| *known == condition);
        known.ok_or_else(|| {
            let all = KNOWN_CONDITIONS.join(", ");
            format!("{:?} is none of {all}", shown(condition))
        })
    };
    text.split(',')
        .map(|condition| known(condition.trim()))
        .collect()
}

/// What every proxy takes for a path as it is: nothing that begins a query, or that is escaped once more.
fn path(text: &str) -> Result<Arc<str>, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte);
    let segments = || text.split('/');
    let is_path = text.starts_with('/')
        && text.len() <= MAX_PATH
        && text.bytes().all(allowed)
        && segments().all(|segment| !matches!(segment, "." | ".."))
        && !text.trim_end_matches('/').contains("//");
    if is_path {
        Ok(text.trim_end_matches('/').into())
    } else {
        let text = shown(text);
        Err(format!(
            "{text:?} is no path of at most {MAX_PATH} plain characters"
        ))
    }
}

/// As much of a text as is shown to whoever looks for what is wrong.
fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
pub(super) mod tests;
