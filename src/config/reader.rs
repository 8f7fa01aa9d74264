//! Reads a JSON object key by key and collects everything that is wrong with it, not only the first thing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use serde_json::{Map, Value};
use url::Url;

use super::go_duration;
use crate::near::{distance, is_near};
use crate::tls::{Certificates, Place};

/// What is wrong with a key that is not there.
const REQUIRED: &str = "is required";
/// What an address of a peer has to be.
const HTTPS: &str = "expected https://HOST:PORT and nothing more";

/// Nothing has to happen more often, and a loop that comes round all the time does nothing else.
const SHORTEST: Duration = Duration::from_millis(1);
/// A year: no interval is longer, and sums of them stay within what a clock can show.
const LONGEST: Longest = Longest {
    duration: Duration::from_hours(8760),
    written: "8760h",
};

/// How long a duration may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Longest {
    pub(super) duration: Duration,
    /// The same as a config file has it.
    pub(super) written: &'static str,
}

/// A key and what is wrong with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, with the sections that it is in: `BBS.Address`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// A key that is accepted because files of the original have it, and has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// The key, with the sections that it is in.
    pub key: String,
    /// What became of what it was for.
    pub why: &'static str,
}

/// What reading a file brings up beside its values.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) ignored: Vec<Ignored>,
    /// The certificates that are there or named.
    pub(super) certificates: Vec<Certificates>,
    /// Every key that was looked for, of no element of a list in particular.
    pub(super) keys: BTreeSet<String>,
}

/// One JSON object of the file. Every read takes its key out, so that [`Section::end`] knows the unknown ones.
///
/// Keys match without regard to case, as in the Go program whose files these are.
pub(super) struct Section<'p> {
    path: String,
    values: BTreeMap<String, (String, Value)>,
    findings: &'p mut Findings,
}

impl<'p> Section<'p> {
    pub(super) fn new(path: &str, object: Map<String, Value>, findings: &'p mut Findings) -> Self {
        let mut section = Self {
            path: path.to_owned(),
            values: BTreeMap::new(),
            findings,
        };
        for (key, value) in object {
            let twice = section.values.insert(key.to_lowercase(), (key, value));
            if let Some((key, _)) = twice {
                section.problem(&key, "is there twice");
            }
        }
        section
    }

    pub(super) fn problem(&mut self, key: &str, what: impl fmt::Display) {
        let problem = Problem {
            key: self.key(key),
            what: what.to_string(),
        };
        self.findings.problems.push(problem);
    }

    /// Whether nothing was wrong so far, here and in the sections before.
    pub(super) fn is_good(&self) -> bool {
        self.findings.problems.is_empty()
    }

    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Notes that a file may have the key.
    fn know(&mut self, key: &str) {
        let key = listed(self.key(key));
        self.findings.keys.insert(key);
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.know(key);
        self.values
            .remove(&key.to_lowercase())
            .map(|(_, value)| value)
            .filter(is_set)
    }

    /// Whether the key has a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values
            .get(&key.to_lowercase())
            .is_some_and(|(_, value)| is_set(value))
    }

    /// Takes keys out that mean nothing here, whatever their values.
    pub(super) fn skip(&mut self, keys: &[&str]) {
        for key in keys {
            self.know(key);
            self.values.remove(&key.to_lowercase());
        }
    }

    /// Accepts a key that set when one feed doubted a read: all losses are judged where it is known what is served.
    pub(super) fn ignore_doubt(&mut self, key: &str) {
        self.ignore(
            key,
            "MaxLoss and MaxLossPercent say what a read may take away",
        );
    }

    /// Accepts a key that has no effect any more.
    pub(super) fn ignore(&mut self, key: &str, why: &'static str) {
        if self.take(key).is_some() {
            let key = self.key(key);
            self.findings.ignored.push(Ignored { key, why });
        }
    }

    /// An optional value, converted; a value that does not convert is a problem and reads as absent.
    fn read<T, E: fmt::Display>(
        &mut self,
        key: &str,
        convert: impl FnOnce(Value) -> Result<T, E>,
    ) -> Option<T> {
        match convert(self.take(key)?) {
            Ok(value) => Some(value),
            Err(what) => {
                self.problem(key, what);
                None
            }
        }
    }

    /// Reports a missing key. A key that is there with a bad value was reported when it was read.
    pub(super) fn required<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Self, &str) -> Option<T>,
    ) -> Option<T> {
        let there = self.has(key);
        let value = read(self, key);
        if !there {
            self.problem(key, REQUIRED);
        }
        value
    }

    pub(super) fn string(&mut self, key: &str) -> Option<String> {
        self.read(key, |value| match value {
            Value::String(text) => Ok(text),
            other => Err(format!("expected a string, found {}", kind(&other))),
        })
    }

    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Option<T> {
        let text = self.string(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(key, format_args!("{text:?}: {error}"));
                None
            }
        }
    }

    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.string(key).map(PathBuf::from)?;
        if key.ends_with("CertPath") || key.ends_with("CAPath") {
            self.certificates(key, Place::File(path.clone()));
        }
        Some(path)
    }

    /// Notes that a key has or names certificates.
    pub(super) fn certificates(&mut self, key: &str, place: Place) {
        let certificates = Certificates {
            key: self.key(key),
            are_authorities: key.contains("CA"),
            place,
        };
        self.findings.certificates.push(certificates);
    }

    /// Where to listen, in the forms that Go takes: `IP:PORT`, `:PORT` for every IPv4 address of the machine,
    /// `HOST:PORT` for one that the name stands for, of IPv4 if there is one.
    pub(super) fn address(&mut self, key: &str) -> Option<SocketAddr> {
        let text = self.string(key)?;
        let address = match text.strip_prefix(':').map(str::parse) {
            Some(Ok(port)) => Some((Ipv4Addr::UNSPECIFIED, port).into()),
            Some(Err(_)) => None,
            None => text
                .to_socket_addrs()
                .ok()
                .and_then(|found| found.min_by_key(SocketAddr::is_ipv6)),
        };
        if address.is_none() {
            self.problem(
                key,
                format_args!("{text:?}: expected IP:PORT, :PORT or HOST:PORT of this machine"),
            );
        }
        address
    }

    /// An address of a peer that proves who it is.
    pub(super) fn https(&mut self, key: &str) -> Option<Url> {
        // Not printed: it may hold a password where none belongs.
        let text = self.string(key)?;
        let Ok(url) = Url::parse(&text) else {
            self.problem(key, HTTPS);
            return None;
        };
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none();
        if url.scheme() == "https" && url.has_host() && bare {
            return Some(url);
        }
        self.problem(key, HTTPS);
        None
    }

    pub(super) fn duration(&mut self, key: &str, default: Duration) -> Duration {
        self.duration_within(key, LONGEST, default)
    }

    /// A duration of at most `longest`, which is there as Go writes it, too. Zero is how Go writes one that is not set.
    pub(super) fn duration_within(
        &mut self,
        key: &str,
        longest: Longest,
        default: Duration,
    ) -> Duration {
        let read = self.duration_up_to(key, longest, default);
        if read.is_zero() { default } else { read }
    }

    /// The same, of a key that no Go program knows: zero is meant.
    pub(super) fn duration_up_to(
        &mut self,
        key: &str,
        longest: Longest,
        default: Duration,
    ) -> Duration {
        let read = self.string(key).map(|text| go_duration::parse(&text));
        match read {
            None => default,
            Some(Ok(Duration::ZERO)) => Duration::ZERO,
            Some(Ok(duration)) if (SHORTEST..=longest.duration).contains(&duration) => duration,
            Some(Ok(_)) => {
                self.problem(
                    key,
                    format_args!("must be at least 1ms and at most {}", longest.written),
                );
                default
            }
            Some(Err(error)) => {
                self.problem(key, error);
                default
            }
        }
    }

    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        let read = self.read(key, |value| {
            value
                .as_bool()
                .ok_or(format!("expected true or false, found {}", kind(&value)))
        });
        read.unwrap_or(default)
    }

    pub(super) fn count<T>(
        &mut self,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
        default: T,
    ) -> T
    where
        T: TryFrom<u64>,
    {
        let expected = format!(
            "expected a whole number from {} to {}",
            range.start(),
            range.end()
        );
        let read = self.read(key, |value| {
            let number = value.as_u64().filter(|number| range.contains(number));
            number
                .and_then(|number| T::try_from(number).ok())
                .ok_or(match value.as_u64() {
                    Some(number) => format!("{expected}, found {number}"),
                    None => format!("{expected}, found {}", kind(&value)),
                })
        });
        read.unwrap_or(default)
    }

    pub(super) fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        self.read(key, |value| {
            serde_json::from_value(value).map_err(|_| "expected a list of strings")
        })
    }

    pub(super) fn names(&mut self, key: &str) -> Option<BTreeSet<String>> {
        let names = self.strings(key)?;
        Some(names.into_iter().collect())
    }

    /// A list of objects; an element that is none is empty, and lacks all that it needs.
    pub(super) fn list(&mut self, key: &str) -> Vec<Map<String, Value>> {
        let read = self.read(key, |value| {
            serde_json::from_value::<Vec<Value>>(value).map_err(|_| "expected a list of objects")
        });
        let object = |value| match value {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        read.unwrap_or_default().into_iter().map(object).collect()
    }

    pub(super) fn object(&mut self, key: &str) -> Option<Map<String, Value>> {
        self.read(key, |value| match value {
            Value::Object(object) => Ok(object),
            other => Err(format!("expected an object, found {}", kind(&other))),
        })
    }

    /// The object of a key, as a section of its own.
    pub(super) fn section(&mut self, key: &str, object: Map<String, Value>) -> Section<'_> {
        let path = self.key(key);
        Section::new(&path, object, self.findings)
    }

    /// Elements of a list are sections too: `TLSPems[0]`.
    pub(super) fn element(
        &mut self,
        key: &str,
        index: usize,
        object: Map<String, Value>,
    ) -> Section<'_> {
        let path = self.key(&format!("{key}[{index}]"));
        Section::new(&path, object, self.findings)
    }

    /// Whatever was not read is unknown. Where it is nearly a key that is missing, that is one fault and not two.
    pub(super) fn end(mut self) {
        for (key, _) in std::mem::take(&mut self.values).into_values() {
            let Some(near) = self.nearest(&key) else {
                self.problem(&key, "unknown key");
                continue;
            };
            let missing = Problem {
                key: self.key(&near),
                what: REQUIRED.to_owned(),
            };
            let problems = &mut self.findings.problems;
            let count = problems.len();
            problems.retain(|problem| *problem != missing);
            if problems.len() < count {
                self.problem(
                    &key,
                    format_args!("unknown key; did you mean {near}, which {REQUIRED}?"),
                );
            } else {
                self.problem(&key, format_args!("unknown key; did you mean {near}?"));
            }
        }
    }

    /// The key of this section that is nearly this one.
    fn nearest(&self, key: &str) -> Option<String> {
        let key = key.to_lowercase();
        let prefix = listed(self.key(""));
        let known = self.findings.keys.iter();
        let own = known.filter_map(|known| known.strip_prefix(&*prefix));
        let own = own.filter(|own| !own.contains('.'));
        let near = own.map(|own| (distance(&key, &own.to_lowercase()), own));
        let near = near.filter(|(distance, own)| is_near(*distance, own));
        near.min().map(|(_, own)| own.to_owned())
    }
}

/// A key of any element of a list.
fn listed(key: String) -> String {
    match (key.split_once('['), key.split_once(']')) {
        (Some((list, _)), Some((_, rest))) => format!("{list}[]{rest}"),
        _ => key,
    }
}

/// Go writes what is not set as null or an empty text, and takes both for not set.
fn is_set(value: &Value) -> bool {
    !value.is_null() && value.as_str() != Some("")
}

/// What a value is. Never the value itself: it may be a secret under a wrong key or in a wrong form.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
