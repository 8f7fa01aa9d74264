//! Network policies: which apps may connect to which.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
};

use crate::model::{AppGuid, Policy};

#[derive(Debug, Default)]
pub(super) struct Policies {
    /// Sorted, each once: those of one source are neighbours.
    all: Vec<Policy>,
    sources: HashMap<AppGuid, BTreeSet<AppGuid>>,
}

impl Policies {
    pub(super) fn len(&self) -> usize {
        self.all.len()
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
        for Policy {
            source,
            destination,
        } in &new
        {
            let sources = self.sources.entry(destination.clone()).or_default();
            sources.insert(source.clone());
        }
        different.extend(new);
        different
    }

    fn forget_source(&mut self, policy: &Policy) {
        if let Some(sources) = self.sources.get_mut(&policy.destination) {
            sources.remove(&policy.source);
            if sources.is_empty() {
                self.sources.remove(&policy.destination);
            }
        }
    }

    /// The apps that an app may connect to.
    pub(super) fn destinations_of(&self, source: &AppGuid) -> impl Iterator<Item = &AppGuid> {
        let begin = self.all.partition_point(|policy| policy.source < *source);
        let own = self.all[begin..].iter();
        own.take_while(move |policy| policy.source == *source)
            .map(|policy| &policy.destination)
    }

    /// The apps that may connect to an app.
    pub(super) fn sources_of(&self, destination: &AppGuid) -> impl Iterator<Item = &AppGuid> {
        self.sources.get(destination).into_iter().flatten()
    }
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
