//! What is served, to whom, and what is left out.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::Sources;
use crate::{
    delivery::{SinkStatus, Sinks},
    proto::{any_to_json, istio::mcp::v1alpha1},
    snapshot::{Collection, Snapshot},
    telemetry::Level,
};

type Answer<T> = Result<Json<T>, (StatusCode, String)>;

fn not_found(what: String) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, what)
}

fn published(sources: &Sources) -> Result<Arc<Snapshot>, (StatusCode, String)> {
    let snapshot = sources.snapshots.borrow().clone();
    snapshot.ok_or_else(|| not_found("nothing is published yet, see /readyz\n".to_owned()))
}

#[derive(Debug, Serialize)]
pub(super) struct Summary {
    age_seconds: f64,
    collections: BTreeMap<&'static str, CollectionSummary>,
}

#[derive(Debug, Serialize)]
struct CollectionSummary {
    version: String,
    resources: usize,
    bytes: usize,
}

pub(super) async fn snapshot(State(sources): State<Arc<Sources>>) -> Answer<Summary> {
    let snapshot = published(&sources)?;
    let summary = |collection: &Collection| CollectionSummary {
        version: collection.version().to_string(),
        resources: collection.len(),
        bytes: collection.encoded_len(),
    };
    Ok(Json(Summary {
        age_seconds: snapshot.published.elapsed().as_secs_f64(),
        collections: snapshot
            .iter()
            .map(|(name, collection)| (name, summary(collection)))
            .collect(),
    }))
}

/// A collection: its resources' names and versions. A resource of it: the whole message.
pub(super) async fn resources(
    State(sources): State<Arc<Sources>>,
    Path(path): Path<String>,
) -> Answer<Value> {
    let snapshot = published(&sources)?;
    if let Some(collection) = snapshot.get(&path) {
        let versions: BTreeMap<_, _> = collection
            .iter()
            .map(|resource| (resource.name.to_owned(), resource.version.to_string()))
            .collect();
        return Ok(Json(json!(versions)));
    }
    // Both collections and resources have slashes in their names.
    let resource = snapshot.iter().find_map(|(collection, resources)| {
        resources.get(path.strip_prefix(collection)?.strip_prefix('/')?)
    });
    let message = resource
        .ok_or_else(|| not_found(format!("no collection or resource {path:?}\n")))?
        .decode();
    resource_json(message)
        .map(Json)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))
}

fn resource_json(message: v1alpha1::Resource) -> Result<Value, crate::proto::JsonError> {
    let metadata = message.metadata.unwrap_or_default();
    Ok(json!({
        "name": metadata.name,
        "version": metadata.version,
        "create_time": metadata.create_time.map(|time| time.to_string()),
        "body": message.body.as_ref().map(any_to_json).transpose()?,
    }))
}

#[derive(Debug, Serialize)]
pub(super) struct NotServed {
    /// Not served as the foundation has it.
    resources: Vec<Withheld>,
    /// Dropped where they were read.
    items: Vec<Dropped>,
    /// How many more were, of each feed with more than can be named.
    unnamed_items: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Serialize)]
struct Withheld {
    collection: &'static str,
    host: String,
    rule: &'static str,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Dropped {
    feed: &'static str,
    item: String,
    reason: &'static str,
    detail: String,
}

pub(super) async fn rejected(State(sources): State<Arc<Sources>>) -> Json<NotServed> {
    let rejected = sources.rejected.borrow().clone();
    let resources = rejected.iter().flat_map(|((collection, host), reasons)| {
        reasons.iter().map(move |invalid| Withheld {
            collection,
            host: host.clone(),
            rule: invalid.rule,
            detail: invalid.detail.clone(),
        })
    });
    let mut items = Vec::new();
    let mut unnamed_items = BTreeMap::new();
    for status in sources.feeds.statuses() {
        let named = status.dropped.named();
        let unnamed = status.dropped.len() - named.len();
        if unnamed > 0 {
            unnamed_items.insert(status.name, unnamed);
        }
        items.extend(named.values().cloned().map(|item| Dropped {
            feed: status.name,
            item: item.name,
            reason: item.reason,
            detail: item.detail,
        }));
    }
    Json(NotServed {
        resources: resources.collect(),
        items,
        unnamed_items,
    })
}

pub(super) async fn sinks(State(sources): State<Arc<Sources>>) -> Json<Vec<SinkStatus>> {
    let mut sinks: Vec<_> = sources.sinks.iter().flat_map(Sinks::list).collect();
    sinks.sort_by_key(|sink| sink.id);
    Json(sinks)
}

/// The body is the level: `curl -X PUT -d debug …/debug/log-level`.
pub(super) async fn set_log_level(
    State(sources): State<Arc<Sources>>,
    level: String,
) -> Result<String, (StatusCode, String)> {
    let bad_request =
        |error: &dyn std::fmt::Display| (StatusCode::BAD_REQUEST, format!("{error}\n"));
    let level: Level = level.trim().parse().map_err(|error| bad_request(&error))?;
    let handle = sources
        .log_level
        .as_ref()
        .ok_or_else(|| not_found("the log level is fixed\n".to_owned()))?;
    handle
        .set(level)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))?;
    Ok(format!("{level:?}\n").to_lowercase())
}
