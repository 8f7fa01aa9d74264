//! Whether all is well, on one page.

use std::{
    collections::HashSet,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{extract::State, http::StatusCode, response::Response};
use serde::Serialize;

use super::{
    Sources,
    certificates::Certificates,
    health::{Feed, Readiness},
    held::Held,
    page::{Columns, Wants, brief, one_line, worrying},
    sinks::{Peers, Progress, SinkLine},
};
use crate::feed;

/// A sink that has left for longer is not coming back: its machine has another address by now, or is none.
const MISSED: Duration = Duration::from_hours(1);
/// Whoever wants to be served tries more often than that.
const TRIES: Duration = Duration::from_mins(5);
/// Why a domain of the config is left out: nothing of it is served.
const OF_DOMAINS: [&str; 2] = ["missing_domain", "unmatched_pattern"];

/// The daemon at a glance.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    /// What somebody has to look at; empty when all is well.
    pub(super) worries: Vec<String>,
    readiness: Readiness,
    /// How many resources there are of each collection.
    collections: Vec<(&'static str, usize)>,
    peers: Peers,
    certificates: Certificates,
    /// What is not served as the foundation has it, or could not be read.
    rejected: usize,
    /// Domains of the config of which nothing is served, and why.
    #[serde(skip)]
    domains: Vec<String>,
}

pub(super) async fn status(State(sources): State<Arc<Sources>>, wants: Wants) -> Response {
    let status = Status::of(&sources).await;
    let mut response = wants.page(&status);
    if !status.readiness.ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    worrying(response, status.worries.len())
}

impl Status {
    pub(super) async fn of(sources: &Sources) -> Self {
        let snapshot = sources.snapshots.borrow().clone();
        let collections = snapshot.iter().flat_map(|snapshot| snapshot.iter());
        let rejected = sources.rejected.borrow().clone();
        // Each once, however many of its resources are not served.
        let hosts: HashSet<_> = rejected.keys().map(|(_, host)| host).collect();
        let statuses = sources.feeds.statuses();
        let mut status = Self {
            worries: Vec::new(),
            readiness: sources.readiness(),
            collections: collections
                .map(|(kind, collection)| (kind.collection(), collection.len()))
                .collect(),
            peers: sources.peers(),
            certificates: sources.certificates().await,
            rejected: hosts.len()
                + statuses
                    .iter()
                    .map(|feed| feed.dropped.len())
                    .sum::<usize>(),
            domains: statuses.iter().flat_map(left_out).collect(),
        };
        status.worries = status.worries();
        status
    }

    pub(super) fn is_ready(&self) -> bool {
        self.readiness.ready
    }

    pub(super) fn held(&self) -> &[Held] {
        &self.readiness.held
    }

    pub(super) fn peers(&self) -> &Peers {
        &self.peers
    }

    pub(super) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    pub(super) fn feeds(&self) -> Columns {
        let mut table = Columns::new(&["FEED", "LAST SUCCESS", "PROBLEM", "SINCE", "ERROR"]);
        for feed in &self.readiness.feeds {
            let (kind, since, error) = feed.problem_words();
            table.row([&feed.name, &feed.age(), &kind, &since, &error]);
        }
        table
    }

    pub(super) fn collections(&self) -> Columns {
        let mut table = Columns::new(&["COLLECTION", "RESOURCES"]);
        for (name, resources) in &self.collections {
            table.row([name, resources]);
        }
        table
    }

    fn worries(&self) -> Vec<String> {
        let Readiness {
            waiting_for,
            feeds,
            held,
            shutting_down,
            ..
        } = &self.readiness;
        let mut worries = Vec::new();
        if *shutting_down {
            worries.push("it is shutting down".to_owned());
        }
        let waiting = waiting_for.iter().map(|gate| match waits_on(gate) {
            Some(feed) => format!("waits for {gate} ({feed})"),
            None => format!("waits for {gate}"),
        });
        worries.extend(waiting);
        worries.extend(feeds.iter().filter_map(Feed::worry));
        worries.extend(held.iter().map(Held::words));
        worries.extend(self.domains.iter().cloned());
        worries.extend(self.peers.worries());
        let certificates = self.certificates.0.iter();
        worries.extend(certificates.filter_map(super::certificates::Certificate::worry));
        worries
    }
}

/// The domains of the config that a feed has nothing of.
fn left_out(feed: &feed::Status) -> Vec<String> {
    let key = if feed.name == "tcp_routes" {
        "TCPRoutes.Domains (tcp_routes.domains)"
    } else {
        "MeshDomains (mesh_domains)"
    };
    let named = feed.dropped.named().values();
    let domains = named.filter(|item| OF_DOMAINS.contains(&item.reason));
    let words = domains.map(|item| format!("{key}: {}: {}", item.name, item.detail));
    words.collect()
}

/// The feed that opens a gate.
fn waits_on(gate: &str) -> Option<&'static str> {
    match gate {
        "instances from the BBS" => Some("bbs_lists"),
        "routes from Cloud Controller" => Some("capi_routes, or pushes"),
        "processes from Cloud Controller" => Some("capi_processes"),
        _ => None,
    }
}

impl Peers {
    pub(super) fn worries(&self) -> Vec<String> {
        let mut worries = Vec::new();
        if self.sinks.is_empty() {
            worries.push("no sink is connected".to_owned());
        }
        worries.extend(self.sinks.iter().filter_map(SinkLine::worry));
        let is_recent =
            |time: SystemTime, within: Duration| time.elapsed().unwrap_or_default() < within;
        let gone = self.gone.iter();
        let gone = gone.filter(|sink| is_recent(sink.left, MISSED));
        worries.extend(gone.map(|sink| {
            let names = sink.names.join(" ");
            let ago = super::page::ago(sink.left);
            format!(
                "{} ({names}) left {ago} ago and has not come back",
                sink.peer
            )
        }));
        let failing = self.failing.iter();
        let failing = failing.filter(|peer| is_recent(peer.last, TRIES));
        worries.extend(failing.map(|peer| {
            let ago = super::page::ago(peer.since);
            let (address, listener, error) = (peer.address, peer.listener, &peer.error);
            format!("{address} cannot connect to {listener} for {ago}: {error}")
        }));
        worries
    }
}

impl SinkLine {
    fn worry(&self) -> Option<String> {
        let collection = self.collection.as_deref().unwrap_or_default();
        let what = match self.progress {
            Progress::Refused => {
                let words = self.words.as_deref().unwrap_or_default();
                format!(" of {collection}: {words}")
            }
            Progress::Behind if self.is_stuck() => format!(" of {collection}"),
            Progress::Silent if self.is_stuck() => ": it has asked for nothing".to_owned(),
            _ => return None,
        };
        Some(format!("{} is {}{what}", self.name(), self.state()))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_ready() {
            "READY"
        } else {
            "NOT READY"
        };
        writeln!(f, "{word}\n\n{}\n{}", self.feeds(), self.collections())?;
        writeln!(f, "{}", self.peers)?;
        writeln!(f, "{}", self.certificates)?;
        if self.rejected > 0 {
            let words = match self.rejected {
                1 => "1 is not served as it is".to_owned(),
                many => format!("{many} are not served as they are"),
            };
            writeln!(f, "{words}: see `copilot rejected`\n")?;
        }
        for worry in &self.worries {
            writeln!(f, "LOOK AT  {}", one_line(worry))?;
        }
        if self.worries.is_empty() {
            writeln!(f, "nothing is wrong")?;
        }
        Ok(())
    }
}

impl Feed {
    /// When it last succeeded.
    pub(super) fn age(&self) -> String {
        let age = self
            .last_success_age_seconds
            .map(std::time::Duration::from_secs);
        age.map_or_else(|| "never".to_owned(), |age| format!("{} ago", brief(age)))
    }

    /// Kind, since when, and the error; empty if there is none.
    pub(super) fn problem_words(&self) -> (&str, &str, &str) {
        let problem = self.problem.as_ref();
        problem.map_or(("", "", ""), |problem| {
            (problem.kind, problem.since.as_str(), problem.error.as_str())
        })
    }

    fn worry(&self) -> Option<String> {
        let (kind, since, error) = self.problem_words();
        let is_failing = self.problem.is_some();
        is_failing.then(|| {
            let (name, age) = (self.name, self.age());
            format!("feed {name}: {kind} since {since}, last success {age}: {error}")
        })
    }
}
