//! What is wrong with a hostname, if anything, and what to do: the first cause on the way from Cloud Controller to sinks.

use super::{Explanation, Withheld, grade::Verdict};
use crate::explain::Lookup;

impl Verdict {
    /// The first cause that there is.
    pub(super) fn of(all: &Explanation) -> Self {
        let verdict = all.not_ready().or_else(|| all.not_there());
        verdict.unwrap_or_else(|| all.elsewhere(Self::of_taking(all)))
    }

    /// The first that there is of what takes the requests.
    fn of_taking(all: &Explanation) -> Self {
        all.refused()
            .or_else(|| all.rejected())
            .or_else(|| all.empty())
            .or_else(|| all.held())
            .or_else(|| all.shadowed())
            .or_else(|| all.stale())
            .or_else(|| all.unsent())
            .or_else(|| all.partly())
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

    /// The feeds that say which routes there are.
    pub(super) fn routes_feeds(&self) -> &'static [&'static str] {
        if self.is_tcp() {
            &["tcp_routes"]
        } else {
            &[
                "capi_routes",
                "cloud_controller",
                "capi_tail",
                "capi_access",
            ]
        }
    }

    /// Whether it is a port of a TCP domain.
    pub(super) fn is_tcp(&self) -> bool {
        self.host.contains(':')
    }

    /// When the first of these feeds last succeeded, and which of them fail.
    pub(super) fn age_of(&self, names: &[&str]) -> (String, String) {
        let feed = |name: &&str| self.feeds.iter().find(|feed| feed.name == *name);
        let feeds: Vec<_> = names.iter().filter_map(feed).collect();
        let failing = feeds.iter().filter(|feed| feed.problem.is_some());
        let failing = failing.map(|feed| {
            let (kind, since, _) = feed.problem_words();
            format!(" (feed {} fails since {since}: {kind})", feed.name)
        });
        let age = feeds.first().map(|feed| feed.age());
        let age = age.unwrap_or_else(|| "no time".to_owned());
        (age, failing.collect())
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
        // Who may reach it, where the router is not asked.
        let policies = self.lookups.iter().any(|lookup| lookup.internal);
        let policies: &[_] = if policies { &["policies"] } else { &[] };
        let feeds = [self.routes_feeds(), policies, &["bbs_lists", "bbs_events"]].concat();
        let of_us = self.feeds.iter().filter(|feed| feeds.contains(&feed.name));
        let failing = of_us.filter(|feed| feed.problem.is_some() && !OF_NEW.contains(&feed.name));
        let feed = failing.max_by_key(|feed| feed.last_success_age_seconds.unwrap_or(u64::MAX))?;
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
}

/// Feeds for which new routes wait, while what is served stays true.
const OF_NEW: [&str; 2] = ["capi_tail", "capi_access"];

/// Rules by which something is remarked, while the rest is served.
const REMARKS: [&str; 10] = [
    "limit",
    "settings_limit",
    "tls",
    "taken",
    "unreachable",
    "plaintext",
    "vip",
    "options",
    "shadowed",
    "route-service",
];
