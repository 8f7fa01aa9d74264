//! Routes that events name and no domain of the mesh has: of other domains, or of one that was made anew.

use std::collections::BTreeSet;

use crate::{guids::GuidSet, model::RouteGuid};

/// How many are remembered; more are asked about again.
const MAX: usize = 10_000;

/// Whose routes these are, the domains tell, once they are read again.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    waiting: BTreeSet<RouteGuid>,
    /// A route never moves to another domain: reading the domains again for these would tell nothing.
    elsewhere: GuidSet<RouteGuid>,
}

impl Strangers {
    /// A route was asked for, and is of no known domain of the mesh.
    pub(super) fn meet(&mut self, route: &RouteGuid) {
        if self.waiting.len() < MAX && !self.elsewhere.contains(route) {
            self.waiting.insert(route.clone());
        }
    }

    /// Whether the domains have to be read again because of them.
    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The mesh has a domain that it had not: they may be of that.
    pub(super) fn take(&mut self) -> BTreeSet<RouteGuid> {
        std::mem::take(&mut self.waiting)
    }

    /// The mesh has the domains that it had: they are of none of them.
    pub(super) fn dismiss(&mut self) {
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
        let (mut strangers, route) = (Strangers::default(), RouteGuid::from("r"));
        strangers.meet(&route);
        assert!(strangers.are_waiting());
        strangers.dismiss();
        strangers.meet(&route);
        assert!(!strangers.are_waiting());
    }

    #[test]
    fn a_route_is_handed_out_when_there_is_a_new_domain() {
        let (mut strangers, route) = (Strangers::default(), RouteGuid::from("r"));
        strangers.meet(&route);
        assert_eq!(strangers.take(), BTreeSet::from([route.clone()]));
        assert!(!strangers.are_waiting());
        strangers.meet(&route);
        assert!(strangers.are_waiting(), "it may not have been of that one");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut strangers = Strangers::default();
        for n in 0..3 * MAX {
            strangers.meet(&RouteGuid::from(n.to_string().as_str()));
            if n % 100 == 0 {
                strangers.dismiss();
            }
        }
        assert!(strangers.elsewhere.len() <= MAX);
        for n in 0..2 * MAX {
            strangers.meet(&RouteGuid::from(format!("new-{n}").as_str()));
        }
        assert!(strangers.waiting.len() <= MAX);
    }
}
