//! Routes that events name and no domain of the mesh has: of other domains, or of one that was made anew.

use std::collections::BTreeSet;

use crate::{guids::GuidSet, model::RouteGuid};

/// How many are remembered; more are asked about again.
const MAX: usize = 10_000;

/// Whose routes these are, the domains tell, once they are read again.
#[derive(Debug, Default)]
pub(crate) struct Unmatched {
    waiting: BTreeSet<RouteGuid>,
    /// A route never moves to another domain: reading the domains again for these would tell nothing.
    elsewhere: GuidSet<RouteGuid>,
}

impl Unmatched {
    /// A route was asked for, and is of no known domain of the mesh.
    pub(crate) fn note(&mut self, route: &RouteGuid) {
        if self.waiting.len() < MAX && !self.elsewhere.contains(route) {
            self.waiting.insert(route.clone());
        }
    }

    /// Whether the domains have to be read again because of them.
    pub(crate) fn has_any(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The mesh has a domain that it had not: they may be of that.
    pub(crate) fn take(&mut self) -> BTreeSet<RouteGuid> {
        std::mem::take(&mut self.waiting)
    }

    /// The mesh has the domains that it had: they are of none of them.
    pub(crate) fn set_aside(&mut self) {
        if self.elsewhere.len() + self.waiting.len() > MAX {
            self.elsewhere.clear();
        }
        let waiting = self.take();
        self.elsewhere.extend(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_of_elsewhere_is_asked_about_once() {
        let (mut unmatched, route) = (Unmatched::default(), RouteGuid::from("r"));
        unmatched.note(&route);
        assert!(unmatched.has_any());
        unmatched.set_aside();
        unmatched.note(&route);
        assert!(!unmatched.has_any());
    }

    #[test]
    fn a_route_is_handed_out_when_there_is_a_new_domain() {
        let (mut unmatched, route) = (Unmatched::default(), RouteGuid::from("r"));
        unmatched.note(&route);
        assert_eq!(unmatched.take(), BTreeSet::from([route.clone()]));
        assert!(!unmatched.has_any());
        unmatched.note(&route);
        assert!(unmatched.has_any(), "it may not have been of that one");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut unmatched = Unmatched::default();
        for n in 0..3 * MAX {
            unmatched.note(&RouteGuid::from(n.to_string().as_str()));
            if n % 100 == 0 {
                unmatched.set_aside();
            }
        }
        assert!(unmatched.elsewhere.len() <= MAX);
        for n in 0..2 * MAX {
            unmatched.note(&RouteGuid::from(format!("new-{n}").as_str()));
        }
        assert!(unmatched.waiting.len() <= MAX);
    }
}
