//! Texts without what looks like a secret, whoever wrote it: logs have lines of others too.

use super::REDACTED;

/// What stands around a private key.
const BEGIN: &str = "-----BEGIN ";
const PRIVATE: &str = "PRIVATE KEY-----";
const END: &str = "-----END ";
/// What stands before a token.
const BEARER: &str = "bearer ";

/// The text without private keys, tokens of headers, and names and passwords of URLs.
pub(super) fn without(text: &str) -> String {
    without_users(&without_tokens(&without_keys(text)))
}

/// A key goes to its end, or to the text's.
fn without_keys(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let (before, block) = rest.split_at(at);
        clean.push_str(before);
        let label = block.lines().next().unwrap_or_default();
        if !label.contains(PRIVATE) {
            clean.push_str(BEGIN);
            rest = &block[BEGIN.len()..];
            continue;
        }
        clean.push_str(REDACTED);
        let end = block.find(END).map(|at| at + END.len());
        let end = end.and_then(|from| Some(from + block[from..].find(PRIVATE)? + PRIVATE.len()));
        rest = end.map_or("", |end| &block[end..]);
    }
    clean + rest
}

fn without_tokens(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | ',');
    let mut clean = String::new();
    let mut done = 0;
    for (at, _) in lower.match_indices(BEARER) {
        let from = at + BEARER.len();
        if from < done {
            continue;
        }
        clean.push_str(&text[done..from]);
        let token = &text[from..];
        done = from + token.find(is_end).unwrap_or(token.len());
        if done > from {
            clean.push_str(REDACTED);
        }
    }
    clean + &text[done..]
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
        ] {
            assert_eq!(without(text), clean, "{text}");
        }
    }
}
