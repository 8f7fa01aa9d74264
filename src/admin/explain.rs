//! What becomes of the requests for a hostname and path: from Cloud Controller to the sinks.

mod absent;
mod arrival;
mod empty;
mod grade;
mod instances;
mod partly;
mod verdict;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use serde::Serialize;
use tokio::sync::oneshot;

use self::grade::{Grade, Verdict};
use super::{
    Sources,
    health::Feed,
    page::{Refusal, Wants, worrying},
    rejected::Withheld,
    sinks::SinkLine,
};
use crate::{
    bbs::{self, ProcessStatus},
    capi::DomainPattern,
    explain::{Asked, Change, Known, Lookup, Question},
    istio::{self, Kind, validate::Rejected},
    model::{AppGuid, Hostname},
    near::{distance, is_near, tails},
    snapshot::Snapshot,
};

/// Apps of which the BBS's feed is asked: a route has few.
const MAX_APPS: usize = 16;
/// Why a row is left out of which nobody knows whose it is.
const UNREAD: [&str; 4] = [
    "malformed",
    "invalid_hostname",
    "invalid_path",
    "unknown_domain",
];

/// Everything that is known of the requests for a hostname and path.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    host: String,
    /// One that was asked for and is no part of the hostname.
    #[serde(skip)]
    port: Option<u16>,
    path: String,
    /// What is wrong, if anything, and what to do.
    verdict: Verdict,
    /// What the process waits for before it serves anything.
    waiting_for: Vec<&'static str>,
    /// How old what is known is.
    feeds: Vec<Feed>,
    /// `None` where routes are pushed.
    domain: Option<Domain>,
    /// Some of the paths that the hostname has.
    paths: Vec<String>,
    /// The longest path that covers what was asked for, of the routes that are left out by limits.
    left_out: Option<String>,
    /// How many routes could not be read at all, of each feed with any: what was asked for may be among them.
    unread: BTreeMap<&'static str, usize>,
    lookups: Vec<Lookup>,
    /// What the BBS knows of each app; nothing where there is no BBS.
    processes: BTreeMap<String, Vec<ProcessStatus>>,
    served: Vec<ServedResource>,
    withheld: Vec<Withheld>,
    sinks: Vec<SinkLine>,
    changes: Vec<Change>,
}

/// Whether the hostname can be of a domain of the mesh.
#[derive(Debug, Serialize)]
struct Domain {
    /// The pattern that covers it.
    pattern: Option<String>,
    patterns: Vec<String>,
    /// A pattern that nearly does.
    nearest: Option<String>,
    /// Why none of its routes is served, such as that Cloud Controller does not have it.
    left_out: Option<String>,
    /// Whether it is a TCP domain itself, whose routes have ports.
    wants_port: bool,
}

/// A resource that is served.
#[derive(Debug, Serialize)]
struct ServedResource {
    collection: &'static str,
    name: String,
    version: String,
    /// Of a service.
    endpoints: Option<usize>,
}

pub(super) async fn explain(
    State(sources): State<Arc<Sources>>,
    Path(asked): Path<String>,
    wants: Wants,
) -> Result<Response, Refusal> {
    let explanation = sources.explained(&asked).await?;
    let is_wrong = explanation.verdict.grade == Grade::Wrong;
    Ok(worrying(wants.page(&explanation), is_wrong.into()))
}

impl Explanation {
    /// What is wrong, in a word and a line, if anything is.
    pub(super) fn wrong(&self) -> Option<(&'static str, String)> {
        let Verdict {
            grade,
            cause,
            what,
            remedy,
        } = &self.verdict;
        (*grade != Grade::Good).then(|| (*cause, format!("{what}; {remedy}")))
    }
}

impl Sources {
    /// The explanation of a hostname and path, as they stand in a URL, which is what people have at hand.
    pub(super) async fn explained(&self, url: &str) -> Result<Explanation, Refusal> {
        let asked: Result<Asked, _> = url.parse();
        let asked = asked.map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
        let host = self.host_of(&asked);
        let port = asked.port.filter(|_| host.port().is_none());
        let mut explanation = self.explanation(host, asked.path).await?;
        explanation.port = port;
        explanation.verdict = Verdict::of(&explanation);
        Ok(explanation)
    }

    /// The hostname that is asked about. A port is a part of it where it is of a TCP domain of the mesh.
    pub(super) fn host_of(&self, asked: &Asked) -> Hostname {
        let mut tcp = self.shown.tcp_domains.iter();
        let is_tcp = tcp.any(|pattern| *pattern.domain() == asked.host);
        let port = asked.port.filter(|_| is_tcp);
        port.map_or_else(|| asked.host.clone(), |port| asked.host.with_port(port))
    }

    async fn explanation(&self, host: Hostname, path: String) -> Result<Explanation, Refusal> {
        let (reply, told) = oneshot::channel();
        let question = Question::Host {
            host: host.clone(),
            path: path.clone(),
            reply,
        };
        let Known {
            lookups,
            paths,
            left_out,
            changes,
        } = self.ask(question, told).await?;
        let snapshot = self.snapshots.borrow().clone();
        let rejected = self.rejected.borrow().clone();
        let readiness = self.readiness();
        Ok(Explanation {
            verdict: Verdict::default(),
            waiting_for: readiness.waiting_for,
            feeds: readiness.feeds,
            domain: self.domain_of(&host),
            port: None,
            paths,
            left_out,
            unread: self.unread(),
            processes: self.processes_of(&lookups).await,
            served: snapshot.map_or_else(Vec::new, |snapshot| served(&snapshot, &lookups)),
            withheld: withheld(&rejected, &host, &lookups),
            sinks: self.peers().sinks,
            host: host.to_string(),
            path,
            lookups,
            changes,
        })
    }

    /// How many rows of routes could not be read at all, by feed.
    fn unread(&self) -> BTreeMap<&'static str, usize> {
        let statuses = self.feeds.statuses();
        let feeds = statuses.iter().filter(|feed| {
            let of_routes = ["capi_routes", "tcp_routes"];
            of_routes.contains(&feed.name)
        });
        let rows = feeds.map(|feed| {
            let reasons = feed.dropped.by_reason();
            let rows = UNREAD.iter().filter_map(|reason| reasons.get(reason));
            (feed.name, rows.sum())
        });
        rows.filter(|(_, rows)| *rows > 0).collect()
    }

    fn domain_of(&self, host: &Hostname) -> Option<Domain> {
        let mut tcp = self.shown.tcp_domains.iter();
        let wants_port = tcp.any(|pattern| pattern.domain() == host);
        let patterns = match host.port() {
            Some(_) => &self.shown.tcp_domains,
            None => self.shown.domains.as_ref()?,
        };
        let name = host
            .tcp()
            .and_then(|(domain, _)| Hostname::parse(domain).ok());
        let host = name.as_ref().unwrap_or(host);
        let covering = patterns.iter().filter(|pattern| pattern.covers(host));
        // The narrowest: a name that is configured covers all below it.
        let pattern = covering.max_by_key(|pattern| pattern.domain().as_str().len());
        let left_out = pattern.and_then(|pattern| {
            let statuses = self.feeds.statuses();
            let mut named = statuses.iter().map(|feed| feed.dropped.named());
            let dropped = named.find_map(|named| named.get(&pattern.to_string()))?;
            Some(dropped.detail.clone())
        });
        Some(Domain {
            pattern: pattern.map(ToString::to_string),
            patterns: patterns.iter().map(ToString::to_string).collect(),
            nearest: nearest(host, patterns).map(ToString::to_string),
            left_out,
            wants_port,
        })
    }

    /// The apps of the lookups' destinations, with their processes.
    async fn processes_of(&self, lookups: &[Lookup]) -> BTreeMap<String, Vec<ProcessStatus>> {
        let Some(bbs) = &self.processes else {
            return BTreeMap::new();
        };
        let routes = lookups.iter().flat_map(|lookup| &lookup.routes);
        let apps = routes.flat_map(|route| &route.destinations);
        let apps: BTreeSet<_> = apps.map(|to| &to.app).collect();
        let mut processes = BTreeMap::new();
        for app in apps.into_iter().take(MAX_APPS) {
            let (reply, told) = oneshot::channel();
            let question = bbs::Question {
                app: AppGuid::from(app.as_str()),
                reply,
            };
            if bbs.send(question).await.is_ok()
                && let Ok(told) = told.await
            {
                processes.insert(app.clone(), told);
            }
        }
        processes
    }
}

/// The pattern whose domain ends the hostname nearly: a typing error, or a domain beside it.
fn nearest<'a>(host: &Hostname, patterns: &'a [DomainPattern]) -> Option<&'a DomainPattern> {
    let near = patterns.iter().filter_map(|pattern| {
        let domain = pattern.domain().as_str();
        let own = tails(host.as_str()).map(|tail| distance(tail, domain));
        let distance = own.min()?;
        is_near(distance, domain).then_some((distance, pattern))
    });
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, pattern)| pattern)
}

fn served(snapshot: &Snapshot, lookups: &[Lookup]) -> Vec<ServedResource> {
    let names = lookups.iter().flat_map(|lookup| {
        let host = Hostname::parse_any(&lookup.host);
        let speaker = host.map(|host| Kind::VirtualService.name(&host, lookup.internal));
        let services = lookup.services.iter().cloned();
        let services = services.map(|name| (Kind::ServiceEntry, name));
        let speaker = speaker.ok().map(|name| (Kind::VirtualService, name));
        speaker.into_iter().chain(services)
    });
    let names: BTreeSet<_> = names.collect();
    let found = names.into_iter().filter_map(|(kind, name)| {
        let resource = snapshot.xds(kind)?.get(&name)?;
        let is_service = kind == Kind::ServiceEntry;
        Some(ServedResource {
            collection: kind.collection(),
            version: resource.version.to_string(),
            endpoints: is_service.then(|| istio::endpoints(resource).len()),
            name,
        })
    });
    found.collect()
}

fn withheld(rejected: &Rejected, host: &Hostname, lookups: &[Lookup]) -> Vec<Withheld> {
    let urls = lookups.iter().flat_map(|lookup| {
        let url = format!("{}{}", lookup.host, lookup.path);
        [lookup.host.clone(), url]
    });
    let urls: BTreeSet<_> = urls.chain([host.to_string()]).collect();
    let of_url = rejected.iter().filter(|((_, of), _)| urls.contains(of));
    let each = of_url.flat_map(|((collection, host), reasons)| {
        let reasons = reasons.iter();
        reasons.map(move |invalid| (collection, host, invalid))
    });
    let mut seen = HashSet::new();
    // A hostname that none of its resources can have is one fault.
    let new = each.filter(|(_, host, invalid)| seen.insert((*host, *invalid)));
    new.map(|(collection, host, invalid)| Withheld::new(collection, host, invalid))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest_to(host: &str) -> Option<String> {
        let patterns = ["apps.example.com", "*.mesh.example.org"];
        let patterns: Vec<DomainPattern> = patterns.map(|pattern| pattern.parse().unwrap()).into();
        let host = Hostname::parse(host).unwrap();
        nearest(&host, &patterns).map(ToString::to_string)
    }

    #[test]
    fn a_domain_with_a_typing_error_is_near_its_pattern_and_another_is_not() {
        let near = Some("apps.example.com".to_owned());
        assert_eq!(nearest_to("shop.app.example.com"), near);
        assert_eq!(nearest_to("shop.apps.exmaple.com"), near);
        let near = Some("*.mesh.example.org".to_owned());
        assert_eq!(nearest_to("shop.a.mesh.exampel.org"), near);
        assert_eq!(nearest_to("www.elsewhere.net"), None);
    }
}
