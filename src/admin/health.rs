//! Liveness and readiness.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;

use super::{Sources, held::Held};
use crate::{feed::Status, telemetry::of_epoch};

/// A feed in the answers.
#[derive(Debug, Serialize)]
pub(super) struct Feed {
    #[serde(rename = "feed")]
    pub(super) name: &'static str,
    last_success: Option<String>,
    pub(super) last_success_age_seconds: Option<u64>,
    last_duration_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stalled_seconds: Option<u64>,
    holds: BTreeMap<&'static str, u64>,
    dropped_items: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Problem {
    pub(super) kind: &'static str,
    pub(super) error: String,
    pub(super) since: String,
    failures: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Health {
    healthy: bool,
    stalled: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    pub(super) shutting_down: bool,
    pub(super) waiting_for: Vec<&'static str>,
    pub(super) feeds: Vec<Feed>,
    /// What is served though reads lack it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) held: Vec<Held>,
}

/// Alive: every feed's loop still turns. That every task runs goes without saying: the process ends with the first
/// that does not.
pub(super) async fn healthz(State(sources): State<Arc<Sources>>) -> (StatusCode, Json<Health>) {
    let statuses = sources.feeds.statuses();
    let stalled: Vec<_> = statuses
        .iter()
        .filter(|feed| feed.stalled_for().is_some())
        .map(|feed| feed.name)
        .collect();
    let healthy = stalled.is_empty();
    (status(healthy), Json(Health { healthy, stalled }))
}

/// Ready: the first complete state is published. Later failures of a feed do not end readiness, since the last good
/// state is served; they show in the detail.
pub(super) async fn readyz(State(sources): State<Arc<Sources>>) -> (StatusCode, Json<Readiness>) {
    let readiness = sources.readiness();
    (status(readiness.ready), Json(readiness))
}

impl Sources {
    pub(super) fn readiness(&self) -> Readiness {
        let waiting_for = self.readiness.pending();
        let shutting_down = self.shutdown.is_cancelled();
        Readiness {
            ready: waiting_for.is_empty() && !shutting_down,
            shutting_down,
            waiting_for,
            feeds: self.feeds.statuses().iter().map(Feed::from).collect(),
            held: self.held(),
        }
    }
}

fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

impl From<&Status> for Feed {
    fn from(status: &Status) -> Self {
        let age = |time: SystemTime| time.elapsed().unwrap_or_default().as_secs();
        Self {
            name: status.name,
            last_success: status.last_success.map(rfc3339),
            last_success_age_seconds: status.last_success.map(age),
            last_duration_seconds: status.last_duration.as_ref().map(Duration::as_secs_f64),
            problem: status.problem.as_ref().map(|problem| Problem {
                kind: problem.kind,
                error: problem.message.clone(),
                since: rfc3339(problem.since),
                failures: problem.failures,
            }),
            stalled_seconds: status.stalled_for().as_ref().map(Duration::as_secs),
            holds: status.counts.clone(),
            dropped_items: status.dropped.len(),
        }
    }
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(of_epoch(time)).to_string()
}
