//! What of a request a route matches: its path, and its Host header.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use regex::Regex;

use crate::lookup::{
    messages::{HttpMatchRequest, MatchType},
    reader::Reader,
};

#[derive(Debug, Clone)]
pub enum Path {
    All,
    Exact(String),
    Prefix(String),
    /// The same two without regard to case.
    Folded(Box<Path>),
    Regex(Rc<Regex>),
}

impl Path {
    pub fn of(request: &HttpMatchRequest, reader: Reader) -> Self {
        let uri = request.uri.as_ref().and_then(|uri| uri.match_type.clone());
        let path = match uri {
            None => return Self::All,
            Some(MatchType::Regex(regex)) => return Self::Regex(compiled(&regex, reader)),
            Some(MatchType::Prefix(prefix)) => Self::Prefix(prefix),
            Some(MatchType::Exact(path)) => Self::Exact(path),
        };
        if request.ignore_uri_case && reader.ignores_case_where_told() {
            Self::Folded(path.into())
        } else {
            path
        }
    }

    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix),
            Self::Folded(inner) => match &**inner {
                Self::Exact(exact) => path.eq_ignore_ascii_case(exact),
                Self::Prefix(prefix) => path
                    .get(..prefix.len())
                    .is_some_and(|begin| begin.eq_ignore_ascii_case(prefix)),
                other => other.matches(path),
            },
            Self::Regex(regex) => regex.is_match(path),
        }
    }

    pub fn is_catch_all(&self) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => prefix == "/",
            Self::Folded(inner) => inner.is_catch_all(),
            Self::Regex(regex) => regex.as_str() == full(".*"),
            Self::Exact(_) => false,
        }
    }
}

/// The Host headers that a match is for, if not for all. To Envoy it is a header like others: in its case, with its port.
pub fn authority(request: &HttpMatchRequest, reader: Reader) -> Option<Rc<Regex>> {
    let text = request.authority.as_ref()?.match_type.as_ref().unwrap();
    let MatchType::Regex(regex) = text else {
        panic!("{text:?} for one spelling of a hostname")
    };
    // Which Pilots up to 1.5 take for everything, whatever the host.
    let all = Some(MatchType::Prefix("/".to_owned()));
    assert!(request.uri.as_ref().is_none_or(|uri| uri.match_type != all));
    Some(compiled(regex, reader))
}

/// Envoy matches whole paths, and whole headers.
fn full(regex: &str) -> String {
    format!("^(?:{regex})$")
}

thread_local! {
    static COMPILED: RefCell<HashMap<String, Rc<Regex>>> = RefCell::default();
}

/// Only what ECMAScript, RE2 and the engine at hand read alike.
fn compiled(regex: &str, reader: Reader) -> Rc<Regex> {
    let odd = ["(?", "[[", "[:", "&&", "--", "~~", "\\Q"];
    let alphanumeric = |pair: &[u8]| pair[0] == b'\\' && pair[1].is_ascii_alphanumeric();
    assert!(
        !odd.iter().any(|odd| regex.contains(odd))
            && !regex.as_bytes().windows(2).any(alphanumeric),
        "{regex:?} does not mean the same to every engine"
    );
    assert!(
        reader.has_ecma_expressions() || regex.len() <= 1024,
        "{regex:?} is too large for RE2"
    );
    COMPILED.with_borrow_mut(|compiled| {
        let entry = compiled.entry(regex.to_owned());
        entry
            .or_insert_with(|| Rc::new(Regex::new(&full(regex)).unwrap()))
            .clone()
    })
}
