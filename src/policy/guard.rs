//! Doubts an answer that lacks implausibly much.

use std::collections::BTreeSet;

use crate::{feed::Kind, model::Policy};

/// Of so few policies any may go at once. It is also how many unreadable ones may be a format that we do not
/// understand: fewer are bad policies, left out one by one.
const MANY: usize = 10;

/// Why an answer is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Too many of the known policies are missing.
    #[error("an answer lost {lost} of {known} policies; another has to confirm it")]
    Shrink {
        /// How many are missing.
        lost: usize,
        /// How many there were.
        known: usize,
    },
    /// The first answer is empty, while sinks may hold the Sidecars of an earlier process.
    #[error("the first answer has no policies; another has to confirm it")]
    Nothing,
    /// So many policies are unreadable that their format may be a new one; no second answer helps.
    #[error("{unreadable} policies of an answer cannot be read; it counts once most can")]
    Unreadable {
        /// How many.
        unreadable: usize,
    },
}

impl Doubt {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Shrink { .. } => Kind::ImplausibleShrink,
            Self::Nothing => Kind::Unconfirmed,
            Self::Unreadable { .. } => Kind::Unreadable,
        }
    }
}

/// An answer can be well-formed and still wrong: an empty database, a replica that lags. Policies that vanish in
/// numbers are therefore believed to be gone only when two answers in a row miss the same ones; and so is a first
/// answer without any.
#[derive(Debug)]
pub(super) struct Guard {
    max_percent: u8,
    /// What the answer before lacked, if it was not believed.
    doubted: Option<BTreeSet<Policy>>,
}

impl Guard {
    pub(super) fn new(max_percent: u8) -> Self {
        Self {
            max_percent,
            doubted: None,
        }
    }

    /// Judges an answer of these `policies` (sorted) and of so many `unreadable` ones, after the `known` ones (sorted),
    /// if there was one before.
    pub(super) fn judge(
        &mut self,
        known: Option<&[Policy]>,
        policies: &[Policy],
        unreadable: usize,
    ) -> Result<(), Doubt> {
        let is_gone = |policy: &&Policy| policies.binary_search(policy).is_err();
        let lost: BTreeSet<_> = known.unwrap_or_default().iter().filter(is_gone).collect();
        if self.is_loss_of_format(known, policies.len(), lost.len(), unreadable) {
            return Err(Doubt::Unreadable { unreadable });
        }
        let doubted = self.doubted.take();
        let doubt = match (known, &doubted) {
            (None, None) if policies.is_empty() => Doubt::Nothing,
            (None, _) => return Ok(()),
            (Some(known), doubted) => {
                let is_news =
                    |policy: &&&Policy| !doubted.as_ref().is_some_and(|had| had.contains(*policy));
                let unconfirmed = lost.iter().filter(is_news).count();
                if !self.is_implausible(known.len(), unconfirmed) {
                    return Ok(());
                }
                Doubt::Shrink {
                    lost: lost.len(),
                    known: known.len(),
                }
            }
        };
        self.doubted = Some(lost.into_iter().cloned().collect());
        Err(doubt)
    }

    /// What cannot be read is there all the same: it may be what is missing.
    fn is_loss_of_format(
        &self,
        known: Option<&[Policy]>,
        read: usize,
        lost: usize,
        unreadable: usize,
    ) -> bool {
        let (of, lost) = match known {
            None | Some([]) => (read + unreadable, unreadable),
            Some(known) => (known.len(), lost.min(unreadable)),
        };
        unreadable >= MANY && self.is_implausible(of, lost)
    }

    fn is_implausible(&self, known: usize, lost: usize) -> bool {
        let is_share = lost * 100 > known * usize::from(self.max_percent);
        lost > 0 && (lost >= known || (known >= MANY && is_share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Transport;

    fn policies(numbers: impl IntoIterator<Item = usize>) -> Vec<Policy> {
        let mut policies: Vec<_> = numbers
            .into_iter()
            .map(|number| {
                let source = format!("source-{number}");
                Policy::at(&source, "destination", Transport::Tcp, (8080, 8080))
            })
            .collect();
        policies.sort_unstable();
        policies
    }

    /// A guard that knows so many policies, and what it says of answers.
    struct Known(Guard, Vec<Policy>);

    impl Known {
        fn of(count: usize) -> Self {
            Self(Guard::new(20), policies(0..count))
        }

        fn holds(&mut self, numbers: impl IntoIterator<Item = usize>) -> bool {
            self.0
                .judge(Some(&self.1), &policies(numbers), 0)
                .is_err_and(|doubt| doubt.kind() == Kind::ImplausibleShrink)
        }
    }

    #[test]
    fn a_few_lost_policies_are_believed_at_once() {
        let mut known = Known::of(100);
        assert!(!known.holds(0..100));
        assert!(!known.holds(20..100));
        assert!(!known.holds(20..500));
        let mut few = Known::of(9);
        assert!(!few.holds(0..1), "any of so few may go");
    }

    #[test]
    fn many_lost_policies_are_believed_when_a_second_answer_misses_them_too() {
        let mut known = Known::of(100);
        assert!(known.holds(21..100));
        assert!(!known.holds(22..100));
        assert!(known.holds(22..100), "the doubt was settled");
    }

    #[test]
    fn a_second_answer_that_loses_others_or_far_more_confirms_nothing() {
        let mut known = Known::of(100);
        assert!(known.holds(30..100));
        assert!(known.holds((0..30).chain(60..100)));
        assert!(known.holds([]));
        assert!(!known.holds([]));
    }

    #[test]
    fn an_answer_that_refutes_the_doubt_settles_it() {
        let mut known = Known::of(10);
        assert!(known.holds([]));
        assert!(!known.holds(0..10));
        assert!(known.holds([]));
    }

    #[test]
    fn losing_the_only_policy_is_losing_all() {
        let mut known = Known::of(1);
        assert!(known.holds([]));
        assert!(!known.holds([]));
    }

    #[test]
    fn a_first_answer_without_policies_needs_a_second_one() {
        let mut guard = Guard::new(20);
        assert_eq!(guard.judge(None, &[], 0), Err(Doubt::Nothing));
        assert_eq!(guard.judge(None, &[], 0), Ok(()));
        let mut guard = Guard::new(20);
        assert_eq!(guard.judge(None, &policies(0..1), 0), Ok(()));
    }

    #[test]
    fn nothing_after_nothing_is_plausible() {
        assert_eq!(Guard::new(20).judge(Some(&[]), &[], 0), Ok(()));
    }

    #[test]
    fn policies_that_are_there_but_cannot_be_read_are_never_believed_to_be_gone() {
        let (mut guard, known) = (Guard::new(20), policies(0..100));
        let doubt = Err(Doubt::Unreadable { unreadable: 100 });
        for _ in 0..3 {
            assert_eq!(guard.judge(Some(&known), &[], 100), doubt);
            assert_eq!(guard.judge(None, &[], 100), doubt);
        }
        let rest = policies(9..100);
        assert_eq!(guard.judge(Some(&known), &rest, 9), Ok(()), "bad policies");
    }
}
