//! Why nobody takes the requests of a route that there is.

use super::{
    Explanation,
    grade::Verdict,
    instances::{has_type, not_running, unreachable},
};
use crate::explain::{Cause, Change, DestinationFacts, Lookup};

impl Explanation {
    pub(super) fn empty(&self) -> Option<Verdict> {
        let own = self.lookups.first()?;
        if own.takes && !own.services.is_empty() {
            return None;
        }
        let verdict = self.why_empty(own);
        let Some(taking) = self.taking() else {
            return Some(verdict);
        };
        if taking.host == own.host && taking.path == own.path {
            return None;
        }
        let what = format!(
            "{}; requests go to {}{} instead",
            verdict.what, taking.host, taking.path
        );
        Some(Verdict { what, ..verdict })
    }

    fn why_empty(&self, own: &Lookup) -> Verdict {
        let url = format!("{}{}", own.host, own.path);
        let mapped = own
            .routes
            .iter()
            .find(|route| !route.destinations.is_empty());
        let Some(route) = mapped else {
            let guid = own.routes.first().map_or("", |route| route.guid.as_str());
            let changed = self.unmapped_by(own);
            let since = changed.map_or_else(
                || "; since when is not remembered".to_owned(),
                |change| format!(" since {}", humantime::format_rfc3339_seconds(change.at)),
            );
            let what = format!("route {guid} ({url}) is mapped to nothing{since}");
            return Verdict::new("unmapped", what, "`cf map-route` it to an app");
        };
        let reasons = route.destinations.iter().map(|to| self.why_nobody(to));
        // What runs and is not reached says more than what does not run.
        let rank =
            |verdict: &Verdict| !matches!(verdict.cause, "tls" | "taken" | "port" | "address");
        let verdict = reasons.min_by_key(rank);
        verdict.unwrap_or_else(|| Verdict::new("unmapped", url, ""))
    }

    /// What took its destinations away, if nothing else of the hostname can have been meant.
    fn unmapped_by(&self, own: &Lookup) -> Option<&Change> {
        let is_of_routes = |change: &&Change| {
            let of_routes = [Cause::RoutesRead, Cause::RoutesNamed, Cause::RoutesPushed];
            change.host == own.host && change.cause.is_some_and(|by| of_routes.contains(&by))
        };
        let is_alone = own.host == self.host && self.paths.len() == 1;
        let changed = self.changes.iter().rev().find(is_of_routes);
        changed.filter(|_| is_alone)
    }

    pub(super) fn why_nobody(&self, to: &DestinationFacts) -> Verdict {
        if let Some(instance) = to.instances.iter().find(|one| one.unreachable.is_some()) {
            return unreachable(to, instance);
        }
        let (app, kind) = (&to.app, &to.process_type);
        let (age, failing) = self.age_of(&["bbs_lists", "bbs_events"]);
        let Some(processes) = self.processes.get(app) else {
            let what = format!("no instance of app {app} ({kind}) is known as of {age}{failing}");
            return Verdict::new(
                "no_instance",
                what,
                "`copilot status` shows what the feeds say",
            );
        };
        if processes.is_empty() {
            let what = format!(
                "app {app} is stopped: the BBS has nothing of it to run (desired 0) as of {age}{failing}"
            );
            return Verdict::new("stopped", what, "`cf start` it");
        }
        let own: Vec<_> = processes.iter().filter(|one| has_type(one, kind)).collect();
        if own.is_empty() {
            let types: Vec<_> = processes
                .iter()
                .filter_map(|one| one.process_type.as_deref())
                .collect();
            let types = types.join(", ");
            let what = format!("app {app} has no process of type {kind}, only {types}");
            return Verdict::new(
                "process_type",
                what,
                "map the route to one of these, or scale that process up",
            );
        }
        not_running(to, &own)
    }
}
