//! Which hostnames go on to a wildcard, found without a look at the others.

use std::{borrow::Cow, collections::BTreeMap, ops::Bound};

use crate::model::Hostname;

/// The external hostnames of which some requests go on to a wider wildcard, and all the wildcards.
#[derive(Debug, Default)]
pub(super) struct FallBacks {
    /// By their labels from the right, so that what is below a wildcard is a range, which begins with the wildcard.
    by_labels: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    host: Hostname,
    goes_on: bool,
}

impl FallBacks {
    /// Takes in whether requests for a hostname go on; `None` for one that is gone.
    pub(super) fn set(&mut self, host: &Hostname, goes_on: Option<bool>) {
        let labels = labels(host.as_str());
        match goes_on {
            Some(goes_on) if goes_on || host.is_wildcard() => {
                let host = host.clone();
                self.by_labels.insert(labels, Entry { host, goes_on });
            }
            _ => drop(self.by_labels.remove(&labels)),
        }
    }

    /// Whether there is this wildcard.
    pub(super) fn has(&self, wildcard: &Hostname) -> bool {
        self.by_labels.contains_key(&labels(wildcard.as_str()))
    }

    /// The hostnames of which some requests go on to this wildcard. Takes a step for each of them, and for each narrower
    /// wildcard that keeps all its requests.
    pub(super) fn below(&self, wildcard: &Hostname) -> Vec<Hostname> {
        let wildcard = labels(wildcard.as_str());
        let domain = wildcard.strip_suffix('*').unwrap_or(&wildcard);
        let mut hosts = Vec::new();
        let mut begin = Bound::Excluded(Cow::Borrowed(wildcard.as_str()));
        while let Some((name, entry)) = self.first(&begin)
            && name.starts_with(domain)
        {
            begin = if entry.goes_on {
                hosts.push(entry.host.clone());
                Bound::Excluded(name.into())
            } else {
                // On to what follows the names of its domain, after which they have a dot.
                let domain = name.strip_suffix(".*").unwrap_or(name);
                Bound::Included(format!("{domain}/").into())
            };
        }
        hosts
    }

    fn first(&self, begin: &Bound<Cow<'_, str>>) -> Option<(&str, &Entry)> {
        let begin = begin.as_ref().map(AsRef::as_ref);
        let mut rest = self.by_labels.range::<str, _>((begin, Bound::Unbounded));
        rest.next().map(|(name, entry)| (name.as_str(), entry))
    }
}

/// The labels of a name from the right. The star of a wildcard sorts before all that labels are made of.
pub(super) fn labels(name: &str) -> String {
    name.rsplit('.').collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::btree_map, prelude::*};

    use super::*;

    fn host(name: &str) -> Hostname {
        Hostname::parse(name).unwrap()
    }

    fn fall_backs(hosts: &[(&str, bool)]) -> FallBacks {
        let mut fall_backs = FallBacks::default();
        for (name, goes_on) in hosts {
            fall_backs.set(&host(name), Some(*goes_on));
        }
        fall_backs
    }

    fn below(fall_backs: &FallBacks, wildcard: &str) -> Vec<String> {
        let hosts = fall_backs.below(&host(wildcard));
        hosts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_wildcard_that_keeps_its_requests_hides_what_is_below_it() {
        let mut fall_backs = fall_backs(&[
            ("*.x.com", false),
            ("x.com", true),
            ("a.x.com", true),
            ("kept.x.com", false),
            ("*.deep.x.com", false),
            ("b.deep.x.com", true),
            ("deep-1.x.com", true),
            ("y.com", true),
        ]);
        assert_eq!(below(&fall_backs, "*.x.com"), ["a.x.com", "deep-1.x.com"]);
        assert_eq!(below(&fall_backs, "*.deep.x.com"), ["b.deep.x.com"]);
        fall_backs.set(&host("*.deep.x.com"), Some(true));
        let all = ["a.x.com", "deep-1.x.com", "*.deep.x.com", "b.deep.x.com"];
        assert_eq!(below(&fall_backs, "*.x.com"), all);
        for name in all {
            fall_backs.set(&host(name), None);
        }
        assert!(below(&fall_backs, "*.x.com").is_empty());
    }

    proptest! {
        #[test]
        fn what_goes_on_to_a_wildcard_is_what_looks_it_up_by_itself(
            hosts in btree_map("(\\*\\.)?([ab_-]{1,2}\\.){0,3}c", any::<bool>(), 0..30),
            wildcard in "\\*\\.([ab_-]{1,2}\\.){0,2}c",
        ) {
            let mut fall_backs = FallBacks::default();
            for (name, goes_on) in &hosts {
                fall_backs.set(&host(name), Some(*goes_on));
            }
            let gets_there = |name: &str| {
                let name = host(name);
                let wider = name.wider();
                let mut kept = wider.take_while(|wider| *wider != wildcard);
                let passes = kept.all(|wider| hosts.get(&wider) != Some(&false));
                passes && name.wider().any(|wider| wider == wildcard)
            };
            let expected = hosts.iter().filter(|(name, goes_on)| **goes_on && gets_there(name));
            let found: BTreeSet<_> = below(&fall_backs, &wildcard).into_iter().collect();
            prop_assert_eq!(found, expected.map(|(name, _)| name.clone()).collect());
        }
    }
}
