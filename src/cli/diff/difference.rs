//! In what two effects differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    effect::{Effect, Host},
    gateways::Listener,
    routes::{Answer, Endpoint, Key, Route, Routes},
};

/// Endpoints that are named of a route; more are counted.
const MAX_NAMED: usize = 5;
/// Percents that are no difference: Istio takes whole ones, and who rounds where is no matter.
const ROUNDING: f64 = 1.0;
/// What rounding moves at the most, in all.
const ROUNDED: f64 = 5.0;

/// One thing in which they differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Difference {
    /// A hostname with a path, or what else it is about.
    pub(super) place: String,
    pub(super) what: String,
}

/// Everything in which they differ, in order.
pub(super) fn differences(a: &Effect, b: &Effect) -> BTreeSet<Difference> {
    let mut found = Found::default();
    found.sets("gateway", &a.gateways.all(), &b.gateways.all());
    // Of a port at which all is otherwise that is said once.
    let ports = [a, b].map(|side| side.gateways.ports());
    let is_alike = |(port, _): &&Listener| ports[0].get(port) == ports[1].get(port);
    let none = BTreeSet::new();
    for labels in keys(&a.reach, &b.reach) {
        let [own, its] = [a, b].map(|side| side.reach.get(labels).unwrap_or(&none));
        let whose = if labels.is_empty() {
            "without policies"
        } else {
            labels
        };
        found.sets(&format!("apps {whose}, which may call"), own, its);
    }
    let none = Routes::default();
    for host in keys(&a.hosts, &b.hosts) {
        let [own, its] = [a, b].map(|side| side.hosts.get(host).unwrap_or(&none));
        found.routes(host, own, its);
        if !own.is_empty() && !its.is_empty() {
            let [own, its] = [own, its].map(|side| {
                let listeners = side.listeners.iter().filter(is_alike);
                listeners.map(|(_, listener)| listener.clone()).collect()
            });
            found.sets(&host.to_string(), &own, &its);
        }
    }
    for (side, own, other) in [("A", a, b), ("B", b, a)] {
        let discarded = own.discarded.iter();
        for (name, why) in discarded.filter(|(name, _)| !other.discarded.contains_key(*name)) {
            found.add(name, format!("readers of {side} discard it: {why}"));
        }
    }
    found.0
}

fn keys<'a, K: Ord, V>(a: &'a BTreeMap<K, V>, b: &'a BTreeMap<K, V>) -> BTreeSet<&'a K> {
    a.keys().chain(b.keys()).collect()
}

#[derive(Debug, Default)]
struct Found(BTreeSet<Difference>);

impl Found {
    fn add(&mut self, place: &str, what: String) {
        let place = place.to_owned();
        self.0.insert(Difference { place, what });
    }

    fn sets(&mut self, place: &str, a: &BTreeSet<String>, b: &BTreeSet<String>) {
        for (side, own, its) in [("A", a, b), ("B", b, a)] {
            for only in own.difference(its) {
                self.add(place, format!("only in {side}: {only}"));
            }
        }
    }

    fn routes(&mut self, host: &Host, a: &Routes, b: &Routes) {
        match (a.is_empty(), b.is_empty()) {
            (true, true) => return,
            (false, false) => self.sets(&host.to_string(), &a.addresses, &b.addresses),
            (true, false) => return self.add(&host.to_string(), "only in B".to_owned()),
            (false, true) => return self.add(&host.to_string(), "only in A".to_owned()),
        }
        for key in keys(&a.reached, &b.reached) {
            let place = place(host, key);
            match (a.reached.get(key), b.reached.get(key)) {
                (Some(own), Some(its)) if own.somebody().is_some() && its.somebody().is_some() => {
                    self.matched(&place, own, its);
                    self.answers(&place, &own.answer, &its.answer);
                }
                (Some(route), _) | (None, Some(route)) => {
                    self.one_sided(&place, key, route, [a, b]);
                }
                (None, None) => {}
            }
        }
        self.order(host, a, b);
    }

    fn matched(&mut self, place: &str, a: &Route, b: &Route) {
        let (own, its) = (&a.matched, &b.matched);
        if (own.how, own.any_case) != (its.how, its.any_case) {
            self.add(place, format!("matches {own} in A; {its} in B"));
        }
    }

    /// A match that only one of them has, or behind which only one has somebody: what takes its requests in the other
    /// may answer them alike. Whether there is no route or nobody behind it, nobody answers.
    fn one_sided(&mut self, place: &str, key: &Key, route: &Route, sides: [&Routes; 2]) {
        let answers = sides.map(|side| side.answer(key, &route.matched));
        let has = sides.map(|side| side.reached.get(key).and_then(Route::somebody).is_some());
        let is_crossed = sides
            .iter()
            .any(|side| side.is_crossed(key, &route.matched));
        let what = match (answers, has) {
            ([None, None], _) if !is_crossed => return,
            ([Some(own), Some(its)], _) if is_same(own, its) && !is_crossed => return,
            (_, [true, _]) => format!("only in A{}", behind(sides[1], key, "B")),
            (_, [_, true]) => format!("only in B{}", behind(sides[0], key, "A")),
            ([own, its], _) => {
                let words =
                    |answer: Option<_>| answer.map_or("answered by nobody".to_owned(), words);
                format!("{} in A; {} in B", words(own), words(its))
            }
        };
        self.add(place, what);
    }

    /// Which comes first matters of matches that cross each other, and lead elsewhere.
    fn order(&mut self, host: &Host, a: &Routes, b: &Routes) {
        let both = a.reached.iter().filter_map(|(key, route)| {
            let at = b.reached.get(key)?.at;
            Some((key, route, at))
        });
        let mut both: Vec<_> = both.collect();
        both.sort_unstable_by_key(|(_, route, _)| route.at);
        if both.is_sorted_by_key(|(_, _, at)| *at) {
            return;
        }
        for (n, (key, route, at)) in both.iter().enumerate() {
            let is_otherwise = |(_, later, before): &&(&Key, &Route, usize)| {
                before < at
                    && route.matched.crosses(&later.matched)
                    && !is_same(&route.answer, &later.answer)
            };
            if let Some((other, ..)) = both[n..].iter().find(is_otherwise) {
                let other = place(host, other);
                let what = format!("is tried before {other} in A, and after it in B");
                self.add(&place(host, key), what);
            }
        }
    }

    fn answers(&mut self, place: &str, a: &Answer, b: &Answer) {
        match (a, b) {
            (Answer::Status(own), Answer::Status(its)) if own == its => {}
            (
                Answer::Shared { shares, policies },
                Answer::Shared {
                    shares: its,
                    policies: others,
                },
            ) => {
                self.sets(place, policies, others);
                self.shares(place, shares, its);
            }
            (own, its) => self.add(place, format!("{} in A; {} in B", words(own), words(its))),
        }
    }

    fn shares(&mut self, place: &str, a: &BTreeMap<Endpoint, f64>, b: &BTreeMap<Endpoint, f64>) {
        for (side, own, its) in [("A", a, b), ("B", b, a)] {
            let only = own.keys().filter(|endpoint| !its.contains_key(endpoint));
            let only: Vec<_> = only.map(ToString::to_string).collect();
            if !only.is_empty() {
                self.add(place, format!("only in {side}: {}", named(&only)));
            }
        }
        // Where endpoints differ, so do shares.
        if !a.keys().eq(b.keys()) {
            return;
        }
        let differing = a.iter().filter_map(|(endpoint, own)| {
            let its = b.get(endpoint)?;
            let differs = (own - its).abs() > ROUNDING;
            differs.then(|| format!("{endpoint} gets {own:.0} % in A and {its:.0} % in B"))
        });
        let differing: Vec<_> = differing.collect();
        let moved = a
            .iter()
            .map(|(endpoint, own)| (own - b[endpoint]).abs() / 2.0);
        let moved: f64 = moved.sum();
        if !differing.is_empty() {
            self.add(place, named(&differing));
        } else if moved > ROUNDED {
            // Of very many endpoints none gets much more than another.
            self.add(place, format!("{moved:.0} % of the requests go to others"));
        }
    }
}

fn place(host: &Host, (authority, path, _): &Key) -> String {
    let of = authority.as_ref();
    let of = of.map(|pattern| format!(" (Host {pattern})"));
    format!("{host}{path}{}", of.unwrap_or_default())
}

fn is_same(a: &Answer, b: &Answer) -> bool {
    let mut found = Found::default();
    found.answers("", a, b);
    found.0.is_empty()
}

/// Why nothing is reached by a match that is there.
fn behind(side: &Routes, key: &Key, name: &str) -> String {
    if side.hidden.contains(key) {
        format!(": in {name} what comes before it takes its requests")
    } else {
        String::new()
    }
}

fn words(answer: &Answer) -> String {
    match answer {
        Answer::Status(status) => format!("answered with {status}"),
        Answer::Shared { shares, .. } => format!("led to {} endpoints", shares.len()),
    }
}

fn named(all: &[String]) -> String {
    let (named, more) = all.split_at(all.len().min(MAX_NAMED));
    let named = named.join(", ");
    match more.len() {
        0 => named,
        more => format!("{named}, and {more} more"),
    }
}
