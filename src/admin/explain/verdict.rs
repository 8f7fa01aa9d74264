//! What is wrong with a hostname, if anything, and what to do: the first cause on the way from Cloud Controller to sinks.

use super::{
    Explanation, Verdict, Withheld,
    instances::{has_type, not_running, unreachable},
};
use crate::{
    admin::sinks::Progress,
    explain::{DestinationFacts, Lookup},
};

impl Verdict {
    /// The first cause that there is.
    pub(super) fn of(all: &Explanation) -> Self {
        all.not_ready()
            .or_else(|| all.not_there())
            .or_else(|| all.refused())
            .or_else(|| all.rejected())
            .or_else(|| all.empty())
            .or_else(|| all.held())
            .or_else(|| all.shadowed())
            .or_else(|| all.stale())
            .or_else(|| all.unsent())
            .unwrap_or_else(|| all.good())
    }
}

impl Explanation {
    fn not_ready(&self) -> Option<Verdict> {
        let is_waiting = !self.waiting_for.is_empty();
        is_waiting.then(|| {
            let what = format!(
                "nothing is served yet: it waits for {}",
                self.waiting_for.join(", ")
            );
            Verdict::new("not_ready", what, "`copilot status` says why")
        })
    }

    fn not_there(&self) -> Option<Verdict> {
        if !self.lookups.is_empty() {
            return None;
        }
        let host = &self.host;
        if let Some(domain) = &self.domain {
            if domain.pattern.is_none() {
                let patterns = domain.patterns.join(", ");
                let near = domain.nearest.as_ref();
                let near = near.map_or(String::new(), |near| format!("; {near} is nearly it"));
                let what = format!("{host} is of no domain of the mesh ({patterns}){near}");
                let remedy =
                    "ask for another hostname, or add its domain to MeshDomains (mesh_domains)";
                return Some(Verdict::new("outside", what, remedy));
            }
            if let Some(why) = &domain.left_out {
                let pattern = domain.pattern.as_deref().unwrap_or_default();
                let what = format!("{host} is of {pattern}, and {why}");
                let remedy =
                    "correct MeshDomains (mesh_domains), or the domain in Cloud Controller";
                return Some(Verdict::new("domain", what, remedy));
            }
        }
        let (age, failing) = self.age_of(self.routes_feeds());
        let what = format!("Cloud Controller has no route for {host} as of {age}{failing}");
        let filter = match host.split_once(':') {
            Some((_, port)) => format!("ports={port}"),
            None => format!("hosts={}", first_label(host)),
        };
        let remedy =
            format!("create or map it; `cf curl '/v3/routes?{filter}'` shows what there is");
        Some(Verdict::new("no_route", what, remedy))
    }

    /// The feeds that say which routes there are.
    fn routes_feeds(&self) -> &'static [&'static str] {
        if self.host.contains(':') {
            &["tcp_routes"]
        } else {
            &["capi_routes", "cloud_controller"]
        }
    }

    /// When a feed last succeeded, and what is wrong with it.
    fn age_of(&self, names: &[&str]) -> (String, String) {
        let feed = self.feeds.iter().find(|feed| names.contains(&feed.name));
        let Some(feed) = feed else {
            return ("no time".to_owned(), String::new());
        };
        let (kind, since, _) = feed.problem_words();
        let failing = if kind.is_empty() {
            String::new()
        } else {
            format!(" (feed {} fails since {since}: {kind})", feed.name)
        };
        (feed.age(), failing)
    }

    /// The lookup that takes the requests.
    pub(super) fn taking(&self) -> Option<&Lookup> {
        self.lookups.iter().find(|lookup| lookup.takes)
    }

    fn refused(&self) -> Option<Verdict> {
        let lookup = self.taking()?;
        let refused = lookup.refused?;
        let why = self.withheld.iter().find(|one| one.rule == refused.rule);
        let why = why.map_or_else(String::new, |one| one.detail.clone());
        let what = format!(
            "requests get {} by rule {}: {why}",
            refused.status, refused.rule
        );
        let remedy = "reach it through the gorouter, or take away what guards it";
        Some(Verdict::new("refused", what, remedy))
    }

    /// Nothing of it is served, because Istio would not take it.
    fn rejected(&self) -> Option<Verdict> {
        let is_whole = |one: &&Withheld| !REMARKS.contains(&one.rule);
        let one = self.withheld.iter().find(is_whole)?;
        let own = self.lookups.first()?;
        let is_served = self
            .served
            .iter()
            .any(|served| own.services.contains(&served.name));
        if is_served || own.host != self.host {
            return None;
        }
        let what = format!(
            "{} is withheld by rule {}: {}; nothing is served instead",
            one.host, one.rule, one.detail
        );
        let remedy = if one.rule == "port" {
            "give the app a TCP route at a free port of TCPRoutes.Ports (tcp_routes.ports), or delete the other"
        } else {
            "give the app a route whose hostname Istio takes: letters, digits and hyphens between dots"
        };
        Some(Verdict::new("withheld", what, remedy))
    }

    fn empty(&self) -> Option<Verdict> {
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
            let changed = self
                .changes
                .iter()
                .rev()
                .find(|change| change.host == own.host);
            let since = changed.map_or_else(
                || "since before the start of what is remembered".to_owned(),
                |change| format!("since {}", humantime::format_rfc3339_seconds(change.at)),
            );
            let what = format!("route {guid} ({url}) is mapped to nothing {since}");
            return Verdict::new("unmapped", what, "`cf map-route` it to an app");
        };
        let reasons = route.destinations.iter().map(|to| self.why_nobody(to));
        // What runs and is not reached says more than what does not run.
        let rank =
            |verdict: &Verdict| !matches!(verdict.cause, "tls" | "taken" | "port" | "address");
        let verdict = reasons.min_by_key(rank);
        verdict.unwrap_or_else(|| Verdict::new("unmapped", url, ""))
    }

    fn why_nobody(&self, to: &DestinationFacts) -> Verdict {
        if let Some(instance) = to.instances.iter().find(|one| one.unreachable.is_some()) {
            return unreachable(to, instance);
        }
        let (app, kind) = (&to.app, &to.process_type);
        let (age, failing) = self.age_of(&["bbs_lists"]);
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

    fn held(&self) -> Option<Verdict> {
        let held = self
            .lookups
            .iter()
            .find_map(|lookup| lookup.held.as_ref())?;
        let what = format!(
            "it is served though reads of {} lack it for {} s: it goes in {} s, if they go on to",
            held.feed, held.age_seconds, held.remaining_seconds
        );
        let remedy = format!(
            "`copilot accept {}` if that is right, with --reject if not",
            held.feed
        );
        Some(Verdict::new("held", what, remedy))
    }

    fn shadowed(&self) -> Option<Verdict> {
        let lookup = self.lookups.first()?;
        let lost = lookup.routes.iter().find(|route| route.lost_to.is_some())?;
        let holder = lost.lost_to.as_deref().unwrap_or_default();
        let what = format!(
            "route {} is not served: route {holder} has the same hostname and path, and is refused or older",
            lost.guid
        );
        Some(Verdict::new("shadowed", what, "delete one of the two"))
    }

    /// It is served by what is known, and that is old.
    fn stale(&self) -> Option<Verdict> {
        let feeds = [self.routes_feeds(), &["bbs_lists", "bbs_events"]].concat();
        let of_us = self.feeds.iter().filter(|feed| feeds.contains(&feed.name));
        let failing = of_us.filter(|feed| !feed.problem_words().0.is_empty());
        let feed = failing.max_by_key(|feed| feed.last_success_age_seconds)?;
        let (kind, since, error) = feed.problem_words();
        let what = format!(
            "it is served by what was known {}: feed {} fails since {since}: {kind}: {error}",
            feed.age(),
            feed.name
        );
        Some(Verdict::new(
            "stale",
            what,
            "repair its source: docs/operations.md has a row for each kind",
        ))
    }

    fn unsent(&self) -> Option<Verdict> {
        if self.sinks.is_empty() {
            let what = "it is served, and no sink is connected to this instance";
            return Some(Verdict::new(
                "no_sink",
                what,
                "ask the other instances; `copilot sinks` shows who fails to connect",
            ));
        }
        let refusing = self
            .sinks
            .iter()
            .find(|sink| sink.progress == Progress::Refused);
        if let Some(sink) = refusing {
            let collection = sink.collection.as_deref().unwrap_or_default();
            let words = sink.words.as_deref().unwrap_or_default();
            let what = format!(
                "{} is {} of {collection}: {words}",
                sink.name(),
                sink.state()
            );
            let remedy = format!(
                "it keeps what it had of it; `copilot resources {collection}/NAME` shows a resource whole"
            );
            return Some(Verdict::new("nack", what, remedy));
        }
        let late = self
            .sinks
            .iter()
            .find(|sink| sink.progress != Progress::Synced)?;
        let what = format!("it is served, and {} is {}", late.name(), late.state());
        Some(Verdict::new(
            "behind",
            what,
            "ask again in a moment; if it stays, look at that sink",
        ))
    }

    fn good(&self) -> Verdict {
        let services = self.taking().map_or(&[][..], |taking| &taking.services);
        let of_it = self
            .served
            .iter()
            .filter(|one| services.contains(&one.name));
        let endpoints: usize = of_it.filter_map(|one| one.endpoints).sum();
        let what = format!("it is served with {endpoints} endpoints, and every sink has it");
        Verdict::new(
            "good",
            what,
            "nothing here; what is wrong is at the sinks or behind them",
        )
    }
}

/// Rules by which something is remarked, while the rest is served.
const REMARKS: [&str; 8] = [
    "tls",
    "taken",
    "unreachable",
    "plaintext",
    "vip",
    "options",
    "shadowed",
    "route-service",
];

fn first_label(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}
