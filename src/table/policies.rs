//! Network policies: which apps may connect to which.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use crate::model::{AppGuid, Policy};

#[derive(Debug, Default)]
pub(super) struct Policies {
    /// Sorted, each once: those of one source are neighbours, and among them those to one destination.
    all: Vec<Policy>,
    /// By destination: how many policies each source has.
    sources: HashMap<AppGuid, BTreeMap<AppGuid, usize>>,
    /// Those that are gone.
    pub(super) displaced: Vec<Policy>,
}

impl Policies {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn all(&self) -> &[Policy] {
        &self.all
    }

    /// These are all the policies; answers with those that are new and those that are gone.
    pub(super) fn replace(&mut self, mut policies: Vec<Policy>) -> Vec<Policy> {
        policies.sort_unstable();
        policies.dedup();
        if policies == self.all {
            return Vec::new();
        }
        let before = mem::replace(&mut self.all, policies);
        let mut different = without(&before, &self.all);
        for policy in &different {
            self.forget_source(policy);
        }
        let new = without(&self.all, &before);
        for policy in &new {
            let sources = self.sources.entry(policy.destination.clone()).or_default();
            *sources.entry(policy.source.clone()).or_default() += 1;
        }
        self.displaced.extend(different.iter().cloned());
        different.extend(new);
        different
    }

    /// These policies are there after all; answers with those that were not.
    pub(super) fn restore(&mut self, policies: Vec<Policy>) -> Vec<Policy> {
        if policies.is_empty() {
            return policies;
        }
        let mut all = self.all.clone();
        all.extend(policies);
        self.replace(all)
    }

    fn forget_source(&mut self, policy: &Policy) {
        let Some(sources) = self.sources.get_mut(&policy.destination) else {
            return;
        };
        if let Some(count) = sources.get_mut(&policy.source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&policy.source);
            }
        }
        if sources.is_empty() {
            self.sources.remove(&policy.destination);
        }
    }

    /// The policies of an app that connects.
    pub(super) fn of_source(&self, source: &AppGuid) -> &[Policy] {
        within(&self.all, |policy| &policy.source, source)
    }

    /// The policies from an app to another.
    fn between(&self, source: &AppGuid, destination: &AppGuid) -> &[Policy] {
        within(
            self.of_source(source),
            |policy| &policy.destination,
            destination,
        )
    }

    /// The policies to an app, by the app that connects.
    pub(super) fn by_source(
        &self,
        destination: &AppGuid,
    ) -> impl Iterator<Item = (&AppGuid, &[Policy])> {
        let sources = self.sources.get(destination).into_iter().flatten();
        sources.map(move |(source, _)| (source, self.between(source, destination)))
    }
}

/// Those of some policies, sorted by a key, whose key is this one.
fn within<'a>(
    policies: &'a [Policy],
    key: impl Fn(&Policy) -> &AppGuid,
    wanted: &AppGuid,
) -> &'a [Policy] {
    let begin = policies.partition_point(|policy| key(policy) < wanted);
    let len = policies[begin..].partition_point(|policy| key(policy) == wanted);
    &policies[begin..begin + len]
}

/// The policies that are not among the others. Both are sorted.
fn without(policies: &[Policy], others: &[Policy]) -> Vec<Policy> {
    let mut others = others.iter().peekable();
    let is_new = |policy: &&Policy| {
        while others.next_if(|other| other < policy).is_some() {}
        others.peek() != Some(policy)
    };
    policies.iter().filter(is_new).cloned().collect()
}
