//! The rule for the first full read: it has nothing to be compared with, while sinks may hold the routes of an earlier
//! process. What comes after it is judged where it is known what is served.

use std::collections::BTreeSet;

use crate::{capi::doubt::Doubt, feed::is_unreadable};

/// What a first full read found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Routes.
    pub(super) routes: usize,
    /// Rows that it could not read.
    pub(super) unreadable: usize,
    /// The configured domains that it did not find.
    pub(super) missing: BTreeSet<String>,
}

/// Believes a first read of nothing, or without a domain, when a second one agrees.
#[derive(Debug, Default)]
pub(super) struct FirstRead {
    before: Option<Found>,
    is_doubted: bool,
}

impl FirstRead {
    /// Judges a read.
    pub(super) fn judge(&mut self, found: Found) -> Result<(), Doubt> {
        let unreadable = found.unreadable;
        if is_unreadable(found.routes, unreadable) {
            return Err(Doubt::Unreadable { unreadable });
        }
        let before = self.before.take();
        let had = |found: &Found| found.routes > 0;
        let doubt = if found.routes == 0 && before.as_ref().is_none_or(had) {
            Some(Doubt::Nothing)
        } else {
            let missed = before.map(|found| found.missing).unwrap_or_default();
            let domain = found.missing.difference(&missed).next();
            domain.cloned().map(Doubt::Domains)
        };
        self.before = Some(found);
        self.is_doubted = doubt.is_some();
        doubt.map_or(Ok(()), Err)
    }

    /// Whether the next read is the one that confirms or refutes another.
    pub(super) fn is_doubted(&self) -> bool {
        self.is_doubted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(routes: usize, unreadable: usize, missing: &[&str]) -> Found {
        Found {
            routes,
            unreadable,
            missing: missing.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn nothing_is_believed_when_a_second_read_agrees() {
        let mut first = FirstRead::default();
        assert_eq!(first.judge(found(0, 0, &[])), Err(Doubt::Nothing));
        for _ in 0..2 {
            assert_eq!(first.judge(found(0, 0, &[])), Ok(()), "others agree");
        }
        let mut first = FirstRead::default();
        assert_eq!(first.judge(found(1, 9, &[])), Ok(()));
    }

    #[test]
    fn a_missing_domain_is_believed_when_a_second_read_misses_it_too() {
        let mut first = FirstRead::default();
        let doubt = |domain: &str| Err(Doubt::Domains(domain.to_owned()));
        assert_eq!(first.judge(found(1, 0, &["a"])), doubt("a"));
        assert_eq!(first.judge(found(1, 0, &["a", "b"])), doubt("b"));
        assert_eq!(first.judge(found(0, 0, &["a", "b"])), Err(Doubt::Nothing));
        assert_eq!(first.judge(found(0, 0, &["b"])), Ok(()));
    }

    #[test]
    fn rows_that_cannot_be_read_are_never_nothing() {
        let mut first = FirstRead::default();
        for (routes, unreadable) in [(0, 1), (0, 9), (9, 10), (40, 41)] {
            for _ in 0..3 {
                let doubt = Err(Doubt::Unreadable { unreadable });
                assert_eq!(first.judge(found(routes, unreadable, &[])), doubt);
            }
        }
        assert_eq!(first.judge(found(10, 10, &[])), Ok(()));
    }
}
