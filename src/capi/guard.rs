//! Doubts a full read that lacks implausibly much.

use std::collections::BTreeSet;

use crate::{feed::Kind, guids::GuidSet, model::RouteGuid};

/// Fewer unreadable rows are bad rows, left out one by one; this many may be a format that we do not understand.
pub(super) const MIN_UNREADABLE: usize = 10;

/// What a full read lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lack {
    /// Whether it is without any route.
    pub(super) everything: bool,
    /// The configured domains that it did not find.
    pub(super) domains: BTreeSet<String>,
    /// The routes that were known and are missing.
    pub(super) routes: GuidSet<RouteGuid>,
}

/// Why a full read is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Too many of the known routes are missing.
    #[error("a full read lost {lost} of {known} routes; another has to confirm it")]
    Shrink {
        /// How many are missing.
        lost: usize,
        /// How many there were.
        known: usize,
    },
    /// The first read finds no route, while sinks may hold those of an earlier process.
    #[error("the first full read found no routes; another has to confirm it")]
    Nothing,
    /// The first read does not find all domains.
    #[error("the first full read found no domain {0}; another has to confirm it")]
    Domains(String),
    /// So many rows are unreadable that their format may be a new one; no second read helps.
    #[error("a full read could not read {unreadable} rows; it counts once most rows can be read")]
    Unreadable {
        /// How many rows.
        unreadable: usize,
    },
    /// Too many of the routes that were bound to a route service are bound no longer.
    #[error(
        "{lost} of {known} routes are bound to no route service any more; another read has to confirm it"
    )]
    Unbound {
        /// How many are not.
        lost: usize,
        /// How many were.
        known: usize,
    },
    /// Bindings that cannot be read may be those of any route.
    #[error(
        "{unreadable} bindings to route services could not be read; no route counts as unbound until they can"
    )]
    UnreadableBindings {
        /// How many rows.
        unreadable: usize,
    },
    /// Domains that enforced route policies do not say so any more.
    #[error(
        "domain {domain}{} no longer says that it enforces route policies; another read has to confirm it",
        if *.others == 0 { String::new() } else { format!(" (and {others} others)") }
    )]
    Opened {
        /// One of them.
        domain: String,
        /// How many others there are.
        others: usize,
    },
}

impl Doubt {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Shrink { .. } | Self::Unbound { .. } => Kind::ImplausibleShrink,
            Self::Nothing | Self::Domains(_) | Self::Opened { .. } => Kind::Unconfirmed,
            Self::Unreadable { .. } | Self::UnreadableBindings { .. } => Kind::Unreadable,
        }
    }
}

/// An answer can be well-formed and still wrong: an empty database, a replica that lags, a domain that was renamed.
/// Routes that vanish by the dozen are therefore believed to be gone only when two full reads in a row miss the same
/// ones; and so is the first read when it finds nothing, or not all domains.
#[derive(Debug)]
pub(super) struct Guard {
    max_percent: u8,
    is_first: bool,
    doubted: Option<Lack>,
}

impl Guard {
    pub(super) fn new(max_percent: u8) -> Self {
        Self {
            max_percent,
            is_first: true,
            doubted: None,
        }
    }

    /// Judges a full read that found `read` routes where `known` were known, and `unreadable` rows that it could not
    /// read.
    pub(super) fn judge(
        &mut self,
        known: usize,
        read: usize,
        lack: Lack,
        unreadable: usize,
    ) -> Result<(), Doubt> {
        // A format that we do not understand is no better understood the second time.
        if unreadable >= MIN_UNREADABLE && self.is_loss_of_format(known, read, &lack, unreadable) {
            return Err(Doubt::Unreadable { unreadable });
        }
        let doubted = self.doubted.take().unwrap_or_default();
        if let Some(doubt) = self.doubt(known, &lack, &doubted) {
            self.doubted = Some(lack);
            return Err(doubt);
        }
        self.is_first = false;
        Ok(())
    }

    /// Where nothing is known, everything unreadable may be something that sinks still have.
    fn is_loss_of_format(&self, known: usize, read: usize, lack: &Lack, unreadable: usize) -> bool {
        if known == 0 {
            self.is_implausible(read + unreadable, unreadable)
        } else {
            self.is_implausible(known, lack.routes.len().min(unreadable))
        }
    }

    /// What speaks against a read, where the one before did not lack the same.
    fn doubt(&self, known: usize, lack: &Lack, doubted: &Lack) -> Option<Doubt> {
        if self.is_first && lack.everything && !doubted.everything {
            return Some(Doubt::Nothing);
        }
        let mut domains = lack.domains.difference(&doubted.domains);
        if let (true, Some(domain)) = (self.is_first, domains.next()) {
            return Some(Doubt::Domains(domain.clone()));
        }
        let unconfirmed = lack.routes.difference(&doubted.routes).count();
        self.is_implausible(known, unconfirmed)
            .then_some(Doubt::Shrink {
                lost: lack.routes.len(),
                known,
            })
    }

    fn is_implausible(&self, known: usize, lost: usize) -> bool {
        is_implausible(known, lost, self.max_percent)
    }
}

/// Whether it is more than a share of what was known that is lost, or all of it.
pub(super) fn is_implausible(known: usize, lost: usize, max_percent: u8) -> bool {
    lost > 0 && (lost >= known || lost * 100 > known * usize::from(max_percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A read that lacks these of a hundred routes.
    fn lost(routes: impl IntoIterator<Item = usize>) -> Lack {
        let guid = |number: usize| RouteGuid::from(number.to_string().as_str());
        Lack {
            routes: routes.into_iter().map(guid).collect(),
            ..Lack::default()
        }
    }

    fn nothing() -> Lack {
        Lack {
            everything: true,
            ..Lack::default()
        }
    }

    fn without(domains: &[&str]) -> Lack {
        Lack {
            domains: domains.iter().map(ToString::to_string).collect(),
            ..Lack::default()
        }
    }

    /// A guard that has seen a first read.
    fn guard() -> Guard {
        let mut guard = Guard::new(20);
        assert_eq!(guard.judge(0, 100, Lack::default(), 0), Ok(()));
        guard
    }

    fn is_held(guard: &mut Guard, lack: Lack) -> bool {
        guard.judge(100, 100 - lack.routes.len(), lack, 0).is_err()
    }

    #[test]
    fn a_few_lost_routes_are_believed_at_once() {
        let mut guard = guard();
        assert!(!is_held(&mut guard, Lack::default()));
        assert!(!is_held(&mut guard, lost(0..20)));
        assert_eq!(guard.judge(0, 0, nothing(), 0), Ok(()), "nothing to lose");
    }

    #[test]
    fn many_lost_routes_are_believed_when_a_second_read_misses_them_too() {
        let mut guard = guard();
        assert!(is_held(&mut guard, lost(0..21)));
        assert!(!is_held(&mut guard, lost(0..22)));
        assert!(is_held(&mut guard, lost(0..22)), "the doubt was settled");
    }

    #[test]
    fn a_second_read_that_loses_others_or_far_more_confirms_nothing() {
        let mut guard = guard();
        assert!(is_held(&mut guard, lost(0..30)));
        assert!(is_held(&mut guard, lost(30..60)));
        assert!(is_held(&mut guard, lost(0..100)));
        assert!(!is_held(&mut guard, lost(0..100)));
    }

    #[test]
    fn a_read_that_refutes_the_doubt_settles_it() {
        let mut guard = guard();
        assert!(is_held(&mut guard, lost(0..50)));
        assert!(!is_held(&mut guard, Lack::default()));
        assert!(is_held(&mut guard, lost(0..50)));
    }

    #[test]
    fn routes_that_are_there_but_cannot_be_read_are_never_believed_to_be_gone() {
        let mut guard = guard();
        let doubt = Err(Doubt::Unreadable { unreadable: 100 });
        for _ in 0..3 {
            assert_eq!(guard.judge(100, 0, lost(0..100), 100), doubt);
        }
        assert_eq!(guard.judge(100, 91, lost(0..9), 9), Ok(()), "bad rows");
    }

    #[test]
    fn losing_the_only_route_is_losing_all() {
        let mut guard = Guard::new(100);
        assert_eq!(guard.judge(0, 1, Lack::default(), 0), Ok(()));
        assert!(guard.judge(1, 0, lost([1]), 0).is_err());
    }

    #[test]
    fn a_first_read_that_finds_nothing_needs_a_second_one() {
        let mut guard = Guard::new(20);
        assert_eq!(guard.judge(0, 0, nothing(), 0), Err(Doubt::Nothing));
        assert_eq!(guard.judge(0, 0, nothing(), 0), Ok(()));
    }

    #[test]
    fn a_first_read_without_a_domain_needs_a_second_one_without_it() {
        let mut guard = Guard::new(20);
        let mut judge = |domains| {
            guard
                .judge(0, 5, without(domains), 0)
                .map_err(|doubt| doubt.to_string())
        };
        assert!(judge(&["a"]).unwrap_err().contains("domain a"));
        assert!(judge(&["b"]).unwrap_err().contains("domain b"));
        assert_eq!(judge(&["b"]), Ok(()));
        assert_eq!(
            judge(&["c"]),
            Ok(()),
            "later ones are judged by their routes"
        );
    }

    #[test]
    fn a_first_read_of_unreadable_rows_is_held_however_often_it_is_read() {
        let mut guard = Guard::new(20);
        for _ in 0..3 {
            assert!(guard.judge(0, 39, Lack::default(), 10).is_err());
        }
        assert_eq!(guard.judge(0, 40, Lack::default(), 10), Ok(()));
    }
}
