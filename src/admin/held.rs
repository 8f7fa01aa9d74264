//! What the guard holds, and an operator's word on it.

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::{
    Extension, Json,
    extract::{ConnectInfo, State},
    http::StatusCode,
};
use serde::Serialize;
use tokio::{sync::oneshot, time::Instant};

use super::{Sources, connections::Local, page::counted};
use crate::{
    guard::{Decision, Summary},
    model::Source,
};

/// What reads of a source lack and is served all the same.
#[derive(Debug, Serialize)]
pub(super) struct Held {
    feed: &'static str,
    routes: u64,
    endpoints: u64,
    restrictions: u64,
    sidecar_hosts: u64,
    /// Some of it.
    names: Vec<String>,
    age_seconds: u64,
    /// Until reads that go on to lack it are believed.
    remaining_seconds: u64,
}

impl From<&Summary> for Held {
    fn from(summary: &Summary) -> Self {
        let (amount, now) = (summary.part.amount, Instant::now());
        Self {
            feed: summary.source.as_str(),
            routes: amount.routes,
            endpoints: amount.endpoints,
            restrictions: amount.restrictions,
            sidecar_hosts: amount.sidecar_hosts,
            names: summary.part.names.clone(),
            age_seconds: now.saturating_duration_since(summary.since).as_secs(),
            remaining_seconds: summary.due.saturating_duration_since(now).as_secs(),
        }
    }
}

impl Held {
    /// What is held, and what to do.
    pub(super) fn words(&self) -> String {
        let Self {
            feed,
            age_seconds,
            remaining_seconds,
            ..
        } = self;
        let names = self.names.join(", ");
        let what = self.amount();
        format!(
            "reads of {feed} lack {what} for {age_seconds} s ({names}): held for \
             {remaining_seconds} s more; `copilot accept {feed}` if they are right, with --reject if not"
        )
    }
}

impl Held {
    /// How much of what it is.
    fn amount(&self) -> String {
        let amounts = [
            (self.routes, "route"),
            (self.endpoints, "endpoint"),
            (self.restrictions, "restriction"),
            (self.sidecar_hosts, "sidecar host"),
        ];
        let some = amounts.into_iter().filter(|(amount, _)| *amount > 0);
        let some: Vec<_> = some.map(|(amount, what)| counted(amount, what)).collect();
        some.join(" and ")
    }
}

impl Sources {
    pub(super) fn held(&self) -> Vec<Held> {
        self.held.borrow().iter().map(Held::from).collect()
    }
}

pub(super) async fn held(State(sources): State<Arc<Sources>>) -> Json<Vec<Held>> {
    Json(sources.held())
}

/// The body is a word and a feed: `accept routes` or `reject routes`. From this machine only.
pub(super) async fn decide(
    State(sources): State<Arc<Sources>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(Local(local)): Extension<Local>,
    body: String,
) -> (StatusCode, String) {
    // Whoever asks an address of this machine on it comes from the same one.
    let is_own = local.is_some_and(|local| local.ip() == peer.ip());
    if !is_own && !peer.ip().to_canonical().is_loopback() {
        return answer(
            StatusCode::FORBIDDEN,
            "ask from the machine that this daemon runs on",
        );
    }
    let Some((is_believed, source)) = parse(&body) else {
        let usage = "expected \"accept FEED\" or \"reject FEED\", of the feeds routes, tcp_routes, instances and policies";
        return answer(StatusCode::BAD_REQUEST, usage);
    };
    let (reply, told) = oneshot::channel();
    let decision = Decision {
        source,
        is_believed,
        reply,
    };
    let sent = sources.decisions.send(decision).await;
    match (sent, told.await) {
        (Ok(()), Ok(true)) if is_believed => answer(
            StatusCode::OK,
            "what is held goes with the next read that lacks it, which follows at once",
        ),
        (Ok(()), Ok(true)) => answer(
            StatusCode::OK,
            "what is held stays; reads that lack it are doubted anew",
        ),
        (Ok(()), Ok(false)) => answer(StatusCode::NOT_FOUND, "nothing is held of that feed"),
        _ => answer(StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
    }
}

fn answer(status: StatusCode, text: impl fmt::Display) -> (StatusCode, String) {
    (status, format!("{text}\n"))
}

fn parse(body: &str) -> Option<(bool, Source)> {
    let (word, feed) = body.trim().split_once(' ')?;
    let is_believed = match word {
        "accept" => true,
        "reject" => false,
        _ => return None,
    };
    let source = Source::ALL
        .into_iter()
        .find(|source| source.as_str() == feed)?;
    Some((is_believed, source))
}
