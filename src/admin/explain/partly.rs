//! What is not as Cloud Foundry has it, though requests are answered.

use super::{
    Explanation,
    grade::{Grade, Verdict},
    instances::{has_type, too_few, unreachable},
};
use crate::explain::{DestinationFacts, Lookup};

impl Explanation {
    pub(super) fn partly(&self) -> Option<Verdict> {
        let taking = self.taking()?;
        let routes = taking.routes.iter().filter(|route| route.lost_to.is_none());
        let mut destinations = routes.flat_map(|route| &route.destinations);
        let verdict = destinations
            .find_map(|to| self.lacking(to))
            .or_else(|| self.left_out_of(taking))
            .or_else(|| self.remarked(taking))?;
        Some(Verdict {
            grade: Grade::Partly,
            ..verdict
        })
    }

    /// Not every instance of a destination that should take requests does.
    fn lacking(&self, to: &DestinationFacts) -> Option<Verdict> {
        let mut instances = to.instances.iter();
        let reached = instances.clone().filter(|one| one.place.is_some()).count();
        if reached == 0 {
            return Some(self.why_nobody(to));
        }
        if let Some(instance) = instances.find(|one| one.unreachable.is_some()) {
            return Some(unreachable(to, instance));
        }
        let processes = self.processes.get(&to.app)?;
        // An older BBS does not say which of them are of this type.
        if processes.iter().any(|one| one.process_type.is_none()) {
            return None;
        }
        let own = processes
            .iter()
            .filter(|one| has_type(one, &to.process_type));
        too_few(to, &own.collect::<Vec<_>>(), reached)
    }

    /// The route that was asked for has no place, and a wider one takes its requests.
    fn left_out_of(&self, taking: &Lookup) -> Option<Verdict> {
        let left_out = self.left_out.as_ref()?;
        if taking.host == self.host && taking.path.len() >= left_out.len() {
            return None;
        }
        let verdict = self.limited()?;
        let (host, path) = (&taking.host, &taking.path);
        let what = format!("{}; requests go to {host}{path} instead", verdict.what);
        Some(Verdict { what, ..verdict })
    }

    /// Something of what takes the requests is not served as it is.
    fn remarked(&self, taking: &Lookup) -> Option<Verdict> {
        let url = format!("{}{}", taking.host, taking.path);
        let mut withheld = self.withheld.iter().filter(|one| one.rule != "limit");
        let one = withheld.find(|one| one.host == taking.host || one.host == url)?;
        let what = format!(
            "{} is not served as it is, by rule {}: {}",
            one.host, one.rule, one.detail
        );
        let remedy = format!("`copilot rejected --host {}` has all of that", taking.host);
        Some(Verdict::new(one.rule, what, remedy))
    }

    /// The path by which the table finds what was asked about.
    pub(super) fn key(&self) -> String {
        self.path.trim_end_matches('/').to_ascii_lowercase()
    }
}
