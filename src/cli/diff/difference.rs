//! In what two effects differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    effect::{Answer, Effect, Endpoint, Host, Routes},
    matches::Match,
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
    found.sets("gateway", &a.servers, &b.servers);
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
        let is_empty =
            |routes: &Routes| routes.routes.values().all(|(_, answer)| answer.is_nobody());
        match (is_empty(a), is_empty(b)) {
            (true, true) => return,
            (false, false) => self.sets(&host.to_string(), &a.addresses, &b.addresses),
            (true, false) => return self.add(&host.to_string(), "only in B".to_owned()),
            (false, true) => return self.add(&host.to_string(), "only in A".to_owned()),
        }
        for key in keys(&a.routes, &b.routes) {
            let (authority, path) = key;
            let of = authority
                .as_ref()
                .map(|pattern| format!(" (Host {pattern})"));
            let place = format!("{host}{path}{}", of.unwrap_or_default());
            // Whether there is no route or nobody behind it, nobody answers.
            let [own, its] = [a, b].map(|side| {
                side.routes
                    .get(key)
                    .filter(|(_, answer)| !answer.is_nobody())
            });
            match (own, its) {
                (Some(own), Some(its)) => self.answers(&place, own, its),
                (Some(_), None) => self.add(&place, "only in A".to_owned()),
                (None, Some(_)) => self.add(&place, "only in B".to_owned()),
                (None, None) => {}
            }
        }
    }

    fn answers(&mut self, place: &str, a: &(Match, Answer), b: &(Match, Answer)) {
        let (own, its) = (&a.0, &b.0);
        if (own.how, own.any_case) != (its.how, its.any_case) {
            self.add(place, format!("matches {own} in A; {its} in B"));
        }
        match (&a.1, &b.1) {
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
