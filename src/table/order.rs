//! The order in which the gorouter looks a request up: the longest path of the hostname that leads somewhere, then the
//! wildcard one label wider, and so on.

use std::{borrow::Cow, collections::BTreeSet, ops::Bound};

use super::{
    host::{Facts, HostView},
    key::by_key,
    pool::Pool,
};
use crate::model::{
    Hostname,
    path::{above, is_within},
};

impl<'a> HostView<'a> {
    /// The pools that requests for an external hostname may be sent to, so that the first whose path matches is right: its
    /// own, and what it goes on to. What no request would reach is left out.
    ///
    /// A pool that is empty stays in its place if there is nothing to go on to, so that its first instance changes nothing
    /// here. If there is, it comes last.
    pub fn lookup(self) -> Vec<Pool<'a>> {
        let pools = candidates(self);
        let mut later = BTreeSet::new();
        let mut goes_on: Vec<_> = pools
            .iter()
            .rev()
            .map(|candidate| {
                let key = candidate.pool.key();
                let goes_on = candidate.is_empty && meets(&later, &key);
                later.insert(key);
                goes_on
            })
            .collect();
        goes_on.reverse();
        let place = |last: bool| {
            let placed = std::iter::zip(&pools, &goes_on);
            placed.filter(move |(_, goes_on)| **goes_on == last)
        };
        let mut reached = BTreeSet::new();
        place(false)
            .chain(place(true))
            .map(|(candidate, _)| candidate.pool)
            .filter(|pool| {
                let key = pool.key();
                let is_hidden = has_above(&reached, &key);
                reached.insert(key);
                !is_hidden
            })
            .collect()
    }
}

/// So many paths of a wildcard are for the hostnames that go on to it: the shortest, which are the ones for most requests.
/// Each of the hostnames has to tell of them, so all of its paths below all of its hostnames would be its owner's to square.
const MAX_WIDER: usize = 100;

/// And so many bytes of what is asked for there: those hostnames have all of it beside what is their own.
const MAX_WIDER_BYTES: usize = 512 << 10;

/// The shortest paths of a wildcard, as many as have room everywhere below it; the shortest comes first.
fn shortest(wildcard: HostView<'_>) -> Vec<Pool<'_>> {
    let mut bytes = 0;
    let pools = Pool::all(wildcard).rev().take(MAX_WIDER);
    let pools = pools.take_while(|pool| {
        bytes += pool.asked_bytes();
        bytes <= MAX_WIDER_BYTES
    });
    pools.collect()
}

/// The pools of a wildcard that are for hostnames that go on to it, the longest path first. Access fails closed: as many
/// that are withheld are among them, whatever their length.
fn wider_pools(wildcard: HostView<'_>) -> Vec<Pool<'_>> {
    let mut pools = shortest(wildcard);
    pools.reverse();
    if Pool::all(wildcard).nth(pools.len()).is_none() {
        return pools;
    }
    let routes = wildcard.routes.iter();
    let withheld = routes.filter(|route| route.refused.is_some());
    for route in withheld.take(MAX_WIDER) {
        let key = route.key();
        let place = pools.binary_search_by(|pool| by_key(&pool.key()).cmp(&by_key(&key)));
        if let (Err(place), Some(pool)) = (place, Pool::of(wildcard, &key)) {
            pools.insert(place, pool);
        }
    }
    pools
}

struct Candidate<'a> {
    pool: Pool<'a>,
    is_empty: bool,
}

/// The hostname's pools and those of wider wildcards, as far as any request gets.
fn candidates(host: HostView<'_>) -> Vec<Candidate<'_>> {
    let mut candidates = Vec::new();
    let wider = host.facts.wider(host.name).map(wider_pools);
    let levels = std::iter::once(Pool::all(host).collect()).chain(wider);
    for level in levels {
        let begin = candidates.len();
        candidates.extend(level.into_iter().map(|pool| Candidate {
            pool,
            is_empty: pool.is_empty(),
        }));
        let takes_all =
            |candidate: &Candidate<'_>| !candidate.is_empty && candidate.pool.key().is_empty();
        if candidates[begin..].iter().any(takes_all) {
            break;
        }
    }
    candidates
}

/// Whether any request for the key is for one of the keys too.
fn meets(keys: &BTreeSet<Cow<'_, str>>, key: &str) -> bool {
    let below = format!("{key}/");
    let from_there = (Bound::Included(below.as_str()), Bound::Unbounded);
    let mut longer = keys.range::<str, _>(from_there);
    has_above(keys, key) || longer.next().is_some_and(|next| next.starts_with(&below))
}

/// Whether every request for the key is for one of the keys too.
fn has_above(keys: &BTreeSet<Cow<'_, str>>, key: &str) -> bool {
    keys.contains(key) || above(key).any(|above| keys.contains(above))
}

impl Facts {
    /// The wildcards that requests for a hostname go on to.
    pub(super) fn wider(&self, host: &Hostname) -> impl Iterator<Item = HostView<'_>> {
        let wider = host.wider().filter_map(|name| self.host_named(&name));
        wider.filter(|host| !host.is_internal())
    }

    /// Whether requests for a path of the hostname can go on to another pool, whatever runs at the moment.
    pub(super) fn goes_on(&self, host: HostView<'_>, key: &str) -> bool {
        let is_above = |other: &str| Pool::of(host, other).is_some();
        let mut wider = self.wider(host.name).flat_map(wider_pools);
        above(key).any(is_above)
            || wider.any(|pool| {
                let other = pool.key();
                is_within(key, &other) || is_within(&other, key)
            })
    }
}

impl HostView<'_> {
    /// How many paths of a wildcard are not for the hostnames that go on to it, since it has too many.
    pub fn kept_from_others(self) -> usize {
        if self.name.is_wildcard() && !self.is_internal() {
            self.pools().count() - shortest(self).len()
        } else {
            0
        }
    }
}
