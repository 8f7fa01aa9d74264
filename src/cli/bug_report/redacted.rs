//! A config without its secrets, and texts without them.

mod patterns;

use std::{cmp::Reverse, collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::config::Config;

/// What stands for a secret.
const REDACTED: &str = "[redacted]";
/// The ends of keys whose values are secret.
const SECRET: [&str; 5] = ["secret", "key", "password", "token", "passphrase"];
/// A shorter text is in many others by chance.
const MIN_SECRET: usize = 4;

/// A shorter one of a key that nobody knows is looked for nowhere else.
const MIN_UNKNOWN: usize = 8;

/// The secrets of a config, which are nowhere in a report.
#[derive(Debug, Default)]
pub(super) struct Redacted(BTreeSet<String>);

/// The config without its secrets, as text, and the secrets, if it could be read. What is no JSON is left out whole.
pub(super) fn read(path: Option<&Path>) -> (String, Option<Redacted>) {
    let Some(path) = path else {
        return ("no config file was named: --config\n".to_owned(), None);
    };
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) => return (format!("{}: {error}\n", path.display()), None),
    };
    let Ok(config) = serde_json::from_slice(&text) else {
        let path = path.display();
        let why = format!("{path} is no JSON, and may have a secret anywhere\n");
        return (why, None);
    };
    let (config, redacted) = without_secrets(config);
    (format!("{config:#}\n"), Some(redacted))
}

fn without_secrets(mut config: Value) -> (Value, Redacted) {
    let keys = Config::keys();
    let mut known: BTreeSet<_> = keys.iter().map(|key| key.to_lowercase()).collect();
    // A section is no key by itself.
    for key in keys {
        let dots = key.match_indices('.').map(|(at, _)| &key[..at]);
        known.extend(dots.map(|section| section.trim_end_matches("[]").to_lowercase()));
    }
    let mut redacted = Redacted::default();
    redacted.value("", &mut config, &known);
    (config, redacted)
}

impl Redacted {
    /// A value may be shown if its key is known and none of a secret, and it looks like none.
    fn value(&mut self, key: &str, value: &mut Value, known: &BTreeSet<String>) {
        let is_shown = key.is_empty() || known.contains(key.trim_end_matches("[]"));
        let is_shown = is_shown || known.contains(key);
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    let inner = if key.is_empty() {
                        name.clone()
                    } else {
                        format!("{key}.{name}")
                    };
                    self.value(&inner.to_lowercase(), value, known);
                }
            }
            Value::Array(list) => {
                for value in list {
                    self.value(&format!("{key}[]"), value, known);
                }
            }
            Value::String(text) if is_secret(key, text) => {
                self.0.insert(text.clone());
                REDACTED.clone_into(text);
            }
            Value::Number(number) if is_secret(key, "") => {
                self.0.insert(number.to_string());
                *value = Value::from(REDACTED);
            }
            other if !other.is_null() && !is_shown => {
                // A short one is a word that is everywhere: of a key that is only misspelt.
                let text = other.as_str().filter(|text| text.len() >= MIN_UNKNOWN);
                self.0.extend(text.map(str::to_owned));
                *other = Value::from(REDACTED);
            }
            _ => {}
        }
    }

    /// A text in which none of the secrets is, nor a line of one, as it is or as JSON writes it.
    pub(super) fn clean(&self, text: &str) -> String {
        let whole = self.0.iter().map(|secret| secret.trim());
        let lines = self
            .0
            .iter()
            .flat_map(|secret| secret.lines().map(str::trim));
        let parts = whole.chain(lines).filter(|part| part.len() >= MIN_SECRET);
        let mut parts: Vec<_> = parts
            .flat_map(|part| {
                let in_json = Value::from(part).to_string();
                [part.to_owned(), in_json[1..in_json.len() - 1].to_owned()]
            })
            .collect();
        // One may begin another.
        parts.sort_by_key(|part| Reverse(part.len()));
        parts.dedup();
        let mut text = text.to_owned();
        for part in parts {
            if text.contains(&part) {
                text = text.replace(&part, REDACTED);
            }
        }
        clean_of_others(&text)
    }
}

/// A text without what looks like a secret, where those of the config are not known.
pub(super) fn clean_of_others(text: &str) -> String {
    patterns::without(text)
}

fn is_secret(key: &str, text: &str) -> bool {
    // Of an address, with whatever is wrong in it.
    let has_user = text.contains('@');
    let key = key.trim_end_matches("[]");
    has_user || text.contains("PRIVATE KEY") || SECRET.iter().any(|end| key.ends_with(end))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_secret_by_its_key_or_its_form_or_unknown_is_nowhere() {
        let (config, redacted) = without_secrets(json!({
            "listenaddressformcp": "127.0.0.1:9009",
            "ServerKeyPath": "/certs/server.key",
            "MeshDomains": ["apps.example.com"],
            "CAPI": { "Address": "https://user:pass@capi:9024", "ClientSecret": "quiet-please" },
            "TLSPems": [{ "CertChain": "a chain", "PrivateKey": "line one\nline two" }],
            "CapiPassphrase": "misspelt", "Mystery": [7], "Levl": "info", "TailAuditEvent": true, "Riddle": "unknown-word",
            "BBS": { "Address": "admin:word@bbs:8889" }, "UAA": { "ClientSecret": 12_345_678 },
            "ProxyPassword": "back\\slash\"", "Former": "quiet",
        }));
        let text = format!("{config}");
        for shown in [
            "127.0.0.1:9009",
            "/certs/server.key",
            "apps.example.com",
            "a chain",
        ] {
            assert!(text.contains(shown), "{shown} is not in {text}");
        }
        for secret in [
            "admin:word",
            "12345678",
            "user:pass",
            "quiet-please",
            "line one",
            "misspelt",
            "7]",
            "info",
            "true",
        ] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        let log =
            r#"info: true, asked with quiet-please, line two, back\\slash\" and unknown-word"#;
        let cleaned = "info: true, asked with [redacted], [redacted], [redacted] and [redacted]";
        assert_eq!(redacted.clean(log), cleaned);
    }
}
