//! What is served, to whom, and what is left out.

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Sources,
    page::{Columns, Refusal, Wants, short},
};
use crate::{
    delivery::{SinkStatus, Sinks},
    proto::{any_to_json, istio::mcp::v1alpha1},
    snapshot::{Collection, Kind, Snapshot},
    telemetry::Level,
};

fn not_found(what: String) -> Refusal {
    (StatusCode::NOT_FOUND, what)
}

fn published(sources: &Sources) -> Result<Arc<Snapshot>, Refusal> {
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

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut columns = Columns::new(&["COLLECTION", "RESOURCES", "BYTES", "VERSION"]);
        for (name, one) in &self.collections {
            columns.row([name, &one.resources, &one.bytes, &one.version]);
        }
        write!(f, "{columns}")
    }
}

pub(super) async fn snapshot(
    State(sources): State<Arc<Sources>>,
    wants: Wants,
) -> Result<Response, Refusal> {
    let snapshot = published(&sources)?;
    let summary = |collection: &Collection| CollectionSummary {
        version: collection.version().to_string(),
        resources: collection.len(),
        bytes: collection.encoded_len(),
    };
    Ok(wants.page(&Summary {
        age_seconds: snapshot.published.elapsed().as_secs_f64(),
        collections: snapshot
            .iter()
            .map(|(kind, collection)| (kind.collection(), summary(collection)))
            .collect(),
    }))
}

/// A collection: its resources' names and versions. A resource of it: the whole message.
pub(super) async fn resources(
    State(sources): State<Arc<Sources>>,
    Path(path): Path<String>,
    wants: Wants,
) -> Result<Response, Refusal> {
    let snapshot = published(&sources)?;
    let missing = || {
        let kinds = Kind::ALL.map(|kind| short(kind.collection()));
        let kinds = kinds.join(", ");
        not_found(format!(
            "no collection or resource {path:?}: there are {kinds}\n"
        ))
    };
    let (kind, name) = named(&path).ok_or_else(missing)?;
    let collection = snapshot.get(kind).ok_or_else(missing)?;
    if name.is_empty() {
        let versions = collection.iter();
        let versions =
            versions.map(|resource| (resource.name.to_owned(), resource.version.to_string()));
        return Ok(wants.page(&Versions(versions.collect())));
    }
    // Some are for istiods alone.
    let resource = collection
        .get(name)
        .or_else(|| snapshot.xds(kind)?.get(name));
    let message = resource.ok_or_else(missing)?.decode();
    resource_json(message)
        .map(|whole| wants.page(&Whole(whole)))
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))
}

/// A collection and a resource of it, of which both have slashes in their names. The collection's may be short, as tables
/// have it, in any case, or that of the kind.
fn named(path: &str) -> Option<(Kind, &str)> {
    let path = path.trim_matches('/');
    Kind::ALL.into_iter().find_map(|kind| {
        let whole = kind.collection();
        let names = [whole, short(whole), kind.as_str()];
        let name = names.into_iter().find_map(|name| below(path, name))?;
        Some((kind, name))
    })
}

/// What follows a collection's name in a path; nothing if that is all.
fn below<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let (own, rest) = path.split_at_checked(name.len())?;
    if !own.eq_ignore_ascii_case(name) {
        return None;
    }
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix('/')
}

/// The resources of a collection with their versions.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Versions(BTreeMap<String, String>);

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut columns = Columns::new(&["RESOURCE", "VERSION"]);
        for (name, version) in &self.0 {
            columns.row([name, version]);
        }
        write!(f, "{columns}")
    }
}

/// A resource whole.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Whole(Value);

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:#}", self.0)
    }
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

pub(super) async fn sinks(State(sources): State<Arc<Sources>>) -> Json<Vec<SinkStatus>> {
    let mut sinks: Vec<_> = sources.sinks.iter().flat_map(Sinks::list).collect();
    sinks.sort_by_key(|sink| sink.id);
    Json(sinks)
}

/// The body is the level: `curl -X PUT -d debug …/debug/log-level`.
pub(super) async fn set_log_level(
    State(sources): State<Arc<Sources>>,
    level: String,
) -> Result<String, Refusal> {
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
    Ok(format!("{level}\n"))
}
