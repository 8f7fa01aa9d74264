//! From the config file of the Go program to one for this daemon: what is left out of it, and what may be wanted.

use std::{fmt, net::SocketAddr, path::Path};

use serde_json::{Map, Value};

use super::{
    Config, Error, file,
    reader::{Findings, Ignored, Problem, Section},
};

/// In the original the time from one look at everything to the next.
const CONVERGE: &str = "MCPConvergeInterval";

/// What becomes of a config file.
#[derive(Debug)]
pub struct Migration {
    /// The file to write. It has all of the other one that still counts, secrets included.
    pub file: Map<String, Value>,
    /// What was left out, and what to think about.
    pub notes: Vec<Note>,
    /// What stops the daemon from starting with the file to write.
    pub problems: Vec<Problem>,
}

/// A key, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It is not in the file to write.
    LeftOut {
        /// The key, with the section that it is in.
        key: String,
        /// What became of what it was for.
        why: &'static str,
    },
    /// It is in the file to write, and what the daemon makes of it is not what was probably meant.
    Careful {
        /// The key, with the section that it is in.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// It is new, and nobody but an operator can say whether it is wanted.
    Consider {
        /// The key.
        key: &'static str,
        /// A value for it, as it is written in the file.
        value: &'static str,
        /// What it is good for.
        why: &'static str,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeftOut { key, why } => write!(f, "left out: {key}: {why}"),
            Self::Careful { key, what } => write!(f, "careful: {key}: {what}"),
            Self::Consider { key, value, why } => write!(f, "consider: \"{key}\": {value}: {why}"),
        }
    }
}

impl Migration {
    /// Reads a config file, and the certificates that it names.
    ///
    /// # Errors
    /// It cannot be read, or is no JSON object.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let (object, twice) = file::read(path)?;
        let mut migration = Self::of(object);
        migration
            .notes
            .extend(twice.into_iter().map(|problem| Note::Careful {
                what: format!("{}: the last value counts", problem.what),
                key: problem.key,
            }));
        Ok(migration)
    }

    fn of(mut file: Map<String, Value>) -> Self {
        let mut notes = Vec::new();
        for Ignored { key, why } in findings(&file).0.ignored {
            remove(&mut file, &key);
            notes.push(Note::LeftOut { key, why });
        }
        if remove(&mut file, CONVERGE) {
            let why = "it was the time from one full set to the next; that is MCPPushInterval here, 500 ms by default and more \
                       for large sets, and the first change after a rest does not wait";
            let key = CONVERGE.to_owned();
            notes.push(Note::LeftOut { key, why });
        }
        let wanted = CONSIDERED.iter().filter(|one| (one.is_wanted)(&file));
        notes.extend(wanted.map(|one| Note::Consider {
            key: one.key,
            value: one.value,
            why: one.why,
        }));
        let (Findings { problems, .. }, config) = findings(&file);
        let left_out = config.map_or_else(Vec::new, |config| config.left_out());
        notes.extend(left_out.into_iter().map(|(key, invalid)| Note::Careful {
            key,
            what: format!("{invalid}; the daemon would serve the rest"),
        }));
        Self {
            file,
            notes,
            problems,
        }
    }
}

/// What reading the file brings up, and what the daemon would make of it.
fn findings(file: &Map<String, Value>) -> (Findings, Option<Config>) {
    let mut findings = Findings::default();
    let mut root = Section::new("", file.clone(), &mut findings);
    let config = Config::read(&mut root);
    root.end();
    (findings, config)
}

/// Takes a key out, which may be in a section. Whether it was there.
fn remove(file: &mut Map<String, Value>, key: &str) -> bool {
    let (own, rest) = match key.split_once('.') {
        Some((section, rest)) => (section, Some(rest)),
        None => (key, None),
    };
    let Some(spelled) = spelled(file, own) else {
        return false;
    };
    match rest {
        None => file.remove(&spelled).is_some(),
        Some(rest) => {
            let section = file.get_mut(&spelled).and_then(Value::as_object_mut);
            section.is_some_and(|section| remove(section, rest))
        }
    }
}

/// A key as the file has it.
fn spelled(file: &Map<String, Value>, key: &str) -> Option<String> {
    let mut keys = file.keys();
    keys.find(|own| own.eq_ignore_ascii_case(key)).cloned()
}

fn value<'f>(file: &'f Map<String, Value>, key: &str) -> Option<&'f Value> {
    let value = file.get(&spelled(file, key)?);
    value.filter(|value| !value.is_null())
}

/// A key that the original did not have.
struct Considered {
    key: &'static str,
    value: &'static str,
    why: &'static str,
    is_wanted: fn(&Map<String, Value>) -> bool,
}

const CONSIDERED: [Considered; 10] = [
    Considered {
        key: "CAPI",
        value: r#"{"Address": "https://cloud-controller-ng.service.cf.internal:9024", "CACertPath": "…", "ClientID": "copilot", "ClientSecret": "…"}, "MeshDomains": ["…"]"#,
        why: "Cloud Controllers since November 2023 push no routes; with it they are read, from any version",
        is_wanted: |file| value(file, "CAPI").is_none(),
    },
    Considered {
        key: "BackendTLS",
        value: r#"{"Mode": "mutual", "ClientCertPath": "…", "ClientKeyPath": "…", "CACertPath": "…"}"#,
        why: "cells of today have no plain ports, and without it their instances are no endpoints",
        is_wanted: |file| value(file, "BackendTLS").is_none(),
    },
    Considered {
        key: "StateFile",
        value: r#""/var/vcap/store/copilot/state""#,
        why: "a start has what was served last to compare its first reads with, and to serve while others are silent",
        is_wanted: |file| value(file, "StateFile").is_none(),
    },
    Considered {
        key: "Defaults",
        value: r#"{"InternalTimeout": "15s", "InternalRetryAttempts": 3}"#,
        why: "the original had these figures for internal routes; external ones have the gorouter's retries by default",
        is_wanted: |file| value(file, "Defaults").is_none(),
    },
    Considered {
        key: "AdminListenAddress",
        value: r#""127.0.0.1:9003""#,
        why: "the default of an address that is new: health, metrics, what is not served and why",
        is_wanted: |file| value(file, "AdminListenAddress").is_none(),
    },
    Considered {
        key: "AllowedSinkNames",
        value: r#"["…"]"#,
        why: "whoever has a certificate of PilotClientCAPath may read the whole mesh",
        is_wanted: |file| value(file, "AllowedSinkNames").is_none(),
    },
    Considered {
        key: "AllowedCloudControllerNames",
        value: r#"["…"]"#,
        why: "whoever has a certificate of CloudControllerClientCAPath may change every route",
        is_wanted: |file| {
            value(file, "CAPI").is_none() && value(file, "AllowedCloudControllerNames").is_none()
        },
    },
    Considered {
        key: "VIPResolverTLS",
        value: "true",
        why: "ListenAddressForVIPResolver is in plaintext, and not on loopback",
        is_wanted: |file| {
            let address = value(file, "ListenAddressForVIPResolver").and_then(Value::as_str);
            let is_loopback = |address: SocketAddr| address.ip().is_loopback();
            let is_apart = address.is_some_and(|text| !text.parse().is_ok_and(is_loopback));
            is_apart && value(file, "VIPResolverTLS").is_none()
        },
    },
    Considered {
        key: "PolicyServerPollInterval",
        value: r#""5s""#,
        why: "the default: policies have an interval of their own, no longer that of the full sets",
        is_wanted: |file| {
            value(file, "PolicyServerAddress").is_some()
                && value(file, "PolicyServerDisabled") != Some(&Value::Bool(true))
                && value(file, "PolicyServerPollInterval").is_none()
        },
    },
    Considered {
        key: "LogLevel",
        value: r#""info""#,
        why: "fatal says nothing of sources that fail and of sinks that refuse",
        is_wanted: |file| value(file, "LogLevel").and_then(Value::as_str) == Some("fatal"),
    },
];
