//! How requests for a hostname are answered: by which match, and by whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{gateways::Listener, matches::Match};

/// By what a match is found in another's: its pattern of Host headers and its path, and which it is of those with both.
pub(super) type Key = (Option<String>, String, usize);

/// How requests for a hostname are answered.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The virtual addresses that it resolves to.
    pub(super) addresses: BTreeSet<String>,
    /// Where the ingress takes its requests.
    pub(super) listeners: BTreeSet<Listener>,
    /// Each that some request gets to: behind a wider match nothing is reached.
    pub(super) reached: BTreeMap<Key, Route>,
    /// Those that are behind one.
    pub(super) hidden: BTreeSet<Key>,
}

/// The answer to some of the requests.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Route {
    pub(super) matched: Match,
    pub(super) answer: Answer,
    /// How many are tried before it.
    pub(super) at: usize,
}

/// How a request is answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// By the proxy.
    Status(i32),
    /// By instances: each gets so many of a hundred requests. Without any, the proxy says that there is none.
    Shared {
        shares: BTreeMap<Endpoint, f64>,
        policies: BTreeSet<String>,
    },
}

/// An instance, as it is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) port: u32,
    pub(super) protocol: String,
    pub(super) tls: bool,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({}", self.address, self.port, self.protocol)?;
        f.write_str(if self.tls { ", TLS)" } else { ")" })
    }
}

impl Answer {
    /// Whether nobody is there to answer.
    pub(super) fn is_nobody(&self) -> bool {
        matches!(self, Self::Shared { shares, .. } if shares.is_empty())
    }
}

impl Routes {
    /// Adds what is tried after all that there is.
    pub(super) fn insert(&mut self, matches: &[Match], answer: &Answer) {
        for next in matches {
            let (authority, path) = next.key();
            let is_alike = |(of, other, _): &&Key| (of, other) == (&authority, &path);
            let nth = self.reached.keys().filter(is_alike).count();
            let key = (authority, path, nth);
            if self.taking(next).is_some() {
                self.hidden.insert(key);
                continue;
            }
            let route = Route {
                matched: next.clone(),
                answer: answer.clone(),
                at: self.reached.len(),
            };
            self.reached.insert(key, route);
        }
    }

    /// Whether nobody is behind any of them.
    pub(super) fn is_empty(&self) -> bool {
        self.reached.values().all(|route| route.answer.is_nobody())
    }

    /// The first that takes all the requests of a match.
    fn taking(&self, matched: &Match) -> Option<&Route> {
        let routes = self.reached.values();
        let taking = routes.filter(|route| route.matched.covers(matched));
        taking.min_by_key(|route| route.at)
    }

    /// Whether requests of a match that it does not have may be answered otherwise than by the one that takes them all: by
    /// one before that, which is for some of them.
    pub(super) fn is_crossed(&self, key: &Key, matched: &Match) -> bool {
        let taking = self.taking(matched);
        let before = taking.map_or(usize::MAX, |taking| taking.at);
        let answer = taking.and_then(Route::somebody);
        !self.reached.contains_key(key)
            && self.reached.values().any(|route| {
                let is_before = route.at < before && route.matched.crosses(matched);
                is_before && route.somebody() != answer
            })
    }

    /// Who answers the requests of a match, if it is somebody.
    pub(super) fn answer(&self, key: &Key, matched: &Match) -> Option<&Answer> {
        let route = self.reached.get(key).or_else(|| self.taking(matched));
        route.and_then(Route::somebody)
    }
}

impl Route {
    /// The answer, unless nobody is there to give it.
    pub(super) fn somebody(&self) -> Option<&Answer> {
        Some(&self.answer).filter(|answer| !answer.is_nobody())
    }
}
