//! What is wrong where nobody can be asked for: no route has the hostname and path.

use super::{Domain, Explanation, grade::Verdict};
use crate::admin::page::counted;

/// Ports that a browser or a proxy has by itself: whoever pastes them does not mean a TCP route.
const OF_HTTP: [u16; 3] = [80, 443, 8080];

impl Explanation {
    pub(super) fn not_there(&self) -> Option<Verdict> {
        if !self.lookups.is_empty() {
            return None;
        }
        let domain = self.domain.as_ref();
        let of_domain = domain.and_then(|domain| self.outside(domain));
        let verdict = of_domain.or_else(|| self.limited());
        Some(verdict.unwrap_or_else(|| {
            let remedy = self.how_to_find();
            Verdict::new("no_route", self.no_route(), remedy)
        }))
    }

    /// No route of the hostname could be served.
    fn outside(&self, domain: &Domain) -> Option<Verdict> {
        let host = &self.host;
        if domain.wants_port {
            let what = format!("{host} is a TCP domain, whose routes are ports");
            return Some(Verdict::new("port", what, format!("ask for {host}:PORT")));
        }
        let Some(pattern) = &domain.pattern else {
            let patterns = domain.patterns.join(", ");
            let near = domain.nearest.as_ref();
            let near = near.map_or(String::new(), |near| format!("; {near} is nearly it"));
            let what = format!("{host} is of no domain of the mesh ({patterns}){near}");
            let of_tcp = self.port.filter(|port| !OF_HTTP.contains(port));
            let of_tcp = of_tcp.map_or_else(String::new, |port| {
                format!(", or to TCPRoutes.Domains (tcp_routes.domains) for port {port}")
            });
            let remedy = format!(
                "ask for another hostname, or add its domain to MeshDomains (mesh_domains){of_tcp}"
            );
            return Some(Verdict::new("outside", what, remedy));
        };
        let why = domain.left_out.as_ref()?;
        let key = if self.is_tcp() {
            "TCPRoutes.Domains (tcp_routes.domains)"
        } else {
            "MeshDomains (mesh_domains)"
        };
        let what = format!("{host} is of {pattern}, and {why}");
        let remedy = format!("correct {key}, or the domain in Cloud Controller");
        Some(Verdict::new("domain", what, remedy))
    }

    /// The hostname has more routes than it may, and one of those without a place is what was asked for.
    pub(super) fn limited(&self) -> Option<Verdict> {
        let path = self.left_out.as_ref()?;
        let mut withheld = self.withheld.iter();
        let limit = withheld.find(|one| one.rule == "limit" && one.host == self.host)?;
        let what = format!(
            "{}{path} is left out by rule limit: {}",
            self.host, limit.detail
        );
        let remedy = "delete routes of it, or raise MaxHostRoutes (limits.host_routes) or MaxHostBytes (limits.host_bytes)";
        Some(Verdict::new("limit", what, remedy))
    }

    /// That there is no such route, as far as is known.
    pub(super) fn no_route(&self) -> String {
        let (age, failing) = self.age_of(self.routes_feeds());
        let url = self.url();
        let paths = self.paths.iter().map(|path| self.host.clone() + path);
        let paths: Vec<_> = paths.collect();
        let paths = match &paths[..] {
            [] => String::new(),
            paths => format!("; it has {}", paths.join(", ")),
        };
        let unread = self.unread_rows();
        format!("Cloud Controller has no route for {url} as of {age}{failing}{paths}{unread}")
    }

    /// How many rows could not be read, if any.
    pub(super) fn unread_rows(&self) -> String {
        let unread = self.unread.iter();
        let unread = unread.map(|(feed, rows)| {
            let rows = counted(*rows as u64, "row");
            format!("; {rows} of {feed} could not be read")
        });
        unread.collect()
    }

    /// Where such a route may be all the same, or how to make one.
    pub(super) fn how_to_find(&self) -> String {
        let mut feeds = self.feeds.iter();
        let feeds_of_routes = self.routes_feeds();
        let failing =
            feeds.find(|feed| feed.problem.is_some() && feeds_of_routes.contains(&feed.name));
        if let Some(feed) = failing {
            return format!(
                "repair what feed {} reads: new routes wait for it",
                feed.name
            );
        }
        if !self.unread.is_empty() {
            return "`copilot rejected` has the rows that could not be read".to_owned();
        }
        if !self.paths.is_empty() {
            return "ask for one of these paths, or map a route without one".to_owned();
        }
        let filter = match self.host.split_once(':') {
            Some((_, port)) => format!("ports={port}"),
            None => format!("hosts={}", first_label(&self.host)),
        };
        format!("create or map it; `cf curl '/v3/routes?{filter}'` shows what there is")
    }

    /// What was asked about, as a request has it.
    fn url(&self) -> String {
        let root = if self.path.is_empty() && !self.is_tcp() {
            "/"
        } else {
            ""
        };
        format!("{}{}{root}", self.host, self.path)
    }
}

fn first_label(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}
