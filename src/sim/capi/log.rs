//! What was asked of the simulator.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::watch;

/// How many requests are remembered; more are only counted.
const MAX_REMEMBERED: usize = 1000;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// `GET /`
    Root,
    /// `POST /oauth/token` of UAA.
    Token,
    /// `GET /v3/info`
    Info,
    /// `GET /v3/domains`
    Domains,
    /// `GET /v3/routes`
    Routes,
    /// `GET /v3/processes`
    Processes,
    /// `GET /v3/audit_events`
    AuditEvents,
    /// `GET /v3/service_route_bindings`
    Bindings,
    /// `GET /v3`
    Api,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What was asked for.
    pub endpoint: Endpoint,
    /// Its parameters, decoded.
    pub query: BTreeMap<String, String>,
    /// How it called itself.
    pub user_agent: String,
}

impl Request {
    /// A parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

#[derive(Debug, Default)]
struct Requests {
    counts: BTreeMap<Endpoint, usize>,
    latest: VecDeque<Request>,
}

/// The requests so far.
#[derive(Debug, Default)]
pub(super) struct Log(watch::Sender<Requests>);

impl Log {
    pub(super) fn add(&self, request: Request) {
        self.0.send_modify(|requests| {
            *requests.counts.entry(request.endpoint).or_default() += 1;
            if requests.latest.len() == MAX_REMEMBERED {
                requests.latest.pop_front();
            }
            requests.latest.push_back(request);
        });
    }

    pub(super) fn count(&self, endpoint: Endpoint) -> usize {
        let requests = self.0.borrow();
        requests.counts.get(&endpoint).copied().unwrap_or_default()
    }

    pub(super) async fn reached(&self, endpoint: Endpoint, count: usize) {
        let mut requests = self.0.subscribe();
        requests
            .wait_for(|requests| {
                let counted = requests.counts.get(&endpoint);
                counted.copied().unwrap_or_default() >= count
            })
            .await
            .expect("self holds the sender");
    }

    pub(super) fn requests(&self, endpoint: Endpoint) -> Vec<Request> {
        let requests = self.0.borrow();
        let of_endpoint = |request: &&Request| request.endpoint == endpoint;
        requests
            .latest
            .iter()
            .filter(of_endpoint)
            .cloned()
            .collect()
    }
}
