//! Texts without what looks like a secret, whoever wrote it: logs have lines of others too.

use super::REDACTED;

/// What stands around a private key.
const BEGIN: &str = "-----BEGIN ";
const PRIVATE: &str = "PRIVATE KEY";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// What stands before a token in a header.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];
/// The ends of names whose values are secret.
const NAMES: [&str; 3] = ["token", "secret", "password"];
/// What a signed token begins with: `{"` in base64.
const JWT: &str = "eyJ";

/// The text without private keys, tokens, values of names of secrets, and names and passwords of URLs.
pub(super) fn without(text: &str) -> String {
    without_users(&without_tokens(&without_keys(text)))
}

fn without_keys(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let (before, block) = rest.split_at(at);
        clean.push_str(before);
        let from = &block[BEGIN.len()..];
        let label = from.split_once(DASHES).map(|(label, _)| label);
        let Some(label) = label.filter(|label| label.contains(PRIVATE)) else {
            clean.push_str(BEGIN);
            rest = from;
            continue;
        };
        clean.push_str(REDACTED);
        rest = after_key(&from[label.len() + DASHES.len()..], label);
    }
    clean + rest
}

/// What follows a key: one without an end is cut off or only a mention, and goes as far as a key may.
fn after_key<'a>(body: &'a str, label: &str) -> &'a str {
    let end = format!("{END}{label}{DASHES}");
    let whole = body.split_once(&end);
    let whole = whole.filter(|(key, _)| !key.contains(&format!("{BEGIN}{label}{DASHES}")));
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || c.is_whitespace() || "+/=\\".contains(c);
    whole.map_or_else(|| body.trim_start_matches(is_of_key), |(_, rest)| rest)
}

fn without_tokens(text: &str) -> String {
    let mut clean = String::new();
    let mut done = 0;
    for from in secrets(text) {
        let secret = &text[from..];
        let to = from + secret.find(is_end).unwrap_or(secret.len());
        if from >= done && to > from {
            clean.push_str(&text[done..from]);
            clean.push_str(REDACTED);
            done = to;
        }
    }
    clean + &text[done..]
}

/// Where secrets begin: behind a scheme or a name with its sign, or with what a token begins with.
fn secrets(text: &str) -> Vec<usize> {
    let lower = text.to_ascii_lowercase();
    let ends = |word| lower.match_indices(word).map(|(at, word)| at + word.len());
    let behind = |from: usize, between: &str| {
        let rest = text[from..].trim_start_matches(|c| between.contains(c));
        text.len() - rest.len()
    };
    let schemes = SCHEMES.into_iter().flat_map(ends);
    let schemes = schemes.map(|from| behind(from, " \t"));
    let names = NAMES.into_iter().flat_map(ends).filter_map(|from| {
        let start = behind(from, "=: \t\"\\");
        text[from..start].contains(['=', ':']).then_some(start)
    });
    let tokens = text.match_indices(JWT).map(|(at, _)| at);
    let mut all: Vec<_> = schemes.chain(names).chain(tokens).collect();
    all.sort_unstable();
    all
}

fn is_end(c: char) -> bool {
    c.is_whitespace() || "\"'\\,&;!{}[]".contains(c)
}

fn without_users(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\\');
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        clean.push_str(before);
        let authority = &after[..after.find(is_end).unwrap_or(after.len())];
        rest = after;
        if let Some(at) = authority.rfind('@') {
            clean.push_str(REDACTED);
            rest = &after[at..];
        }
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_taken_out_and_nothing_else() {
        for (text, clean) in [
            ("a Bearer eyJ.x b", "a Bearer [redacted] b"),
            (r#"{"a":"BEARER x"}"#, r#"{"a":"BEARER [redacted]"}"#),
            ("https://u:p@h/a@b", "https://[redacted]@h/a@b"),
            ("a://h/ b://u@h", "a://h/ b://[redacted]@h"),
            (
                "x -----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY----- y",
                "x [redacted] y",
            ),
            ("-----BEGIN PRIVATE KEY-----\nabc", "[redacted]"),
            (
                "-----BEGIN CERTIFICATE-----\nabc",
                "-----BEGIN CERTIFICATE-----\nabc",
            ),
            ("bearer", "bearer"),
            ("Basic \t dTpw, b", "Basic \t [redacted], b"),
            ("got eyJhbGciOi.J9_x-y.z!", "got [redacted]!"),
            (
                "?token=abc&Password: d e",
                "?token=[redacted]&Password: [redacted] e",
            ),
            (
                r#"{"client_secret":"s","b":"{\"password\":\"p\"}"}"#,
                r#"{"client_secret":"[redacted]","b":"{\"password\":\"[redacted]\"}"}"#,
            ),
            (
                r#"{"name":"capi_token","of":1}"#,
                r#"{"name":"capi_token","of":1}"#,
            ),
            (
                r#"{"C":"-----BEGIN CERTIFICATE-----\nMI\n-----END CERTIFICATE-----\n","K":"-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\n"}"#,
                r#"{"C":"-----BEGIN CERTIFICATE-----\nMI\n-----END CERTIFICATE-----\n","K":"[redacted]\n"}"#,
            ),
            (
                "-----BEGIN CERTIFICATE-----\nMI\n-----END CERTIFICATE----- -----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
                "-----BEGIN CERTIFICATE-----\nMI\n-----END CERTIFICATE----- [redacted]",
            ),
            (
                "-----BEGIN EC PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nde\n-----END EC PRIVATE KEY-----.",
                "[redacted].",
            ),
            (
                "expected -----BEGIN PRIVATE KEY----- in /a/b.key\nmore: of it",
                "expected [redacted].key\nmore: of it",
            ),
            (
                "-----BEGIN PRIVATE KEY-----: none\nmore -----BEGIN PRIVATE KEY-----\na\n-----END PRIVATE KEY-----.",
                "[redacted]: none\nmore [redacted].",
            ),
            (
                r#""-----BEGIN PRIVATE KEY-----\nab+/=\n", b"#,
                r#""[redacted]", b"#,
            ),
        ] {
            assert_eq!(without(text), clean, "{text}");
        }
    }
}
