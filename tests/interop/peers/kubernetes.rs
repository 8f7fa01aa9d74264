//! A Kubernetes API without anything in it: istiod since 1.30 does not run without one.

use std::{
    convert::Infallible,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::Query,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// The resources whose kind does not follow from their name; a client refuses a list of another kind.
const KINDS: [(&str, &str); 14] = [
    ("certificatesigningrequests", "CertificateSigningRequest"),
    ("configmaps", "ConfigMap"),
    ("customresourcedefinitions", "CustomResourceDefinition"),
    ("endpoints", "Endpoints"),
    ("endpointslices", "EndpointSlice"),
    ("horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    ("ingressclasses", "IngressClass"),
    ("ingresses", "Ingress"),
    (
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
    ),
    ("poddisruptionbudgets", "PodDisruptionBudget"),
    ("replicasets", "ReplicaSet"),
    ("serviceaccounts", "ServiceAccount"),
    ("statefulsets", "StatefulSet"),
    (
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
    ),
];

/// A running API; it ends with its owner.
pub struct Kubernetes {
    kubeconfig: PathBuf,
    server: JoinHandle<()>,
}

impl Kubernetes {
    /// Starts on a free port of loopback; the file that leads there is put into `folder`.
    pub async fn start(folder: &Path) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("binding the kubernetes API")?;
        let kubeconfig = folder.join("kubeconfig.json");
        fs::write(&kubeconfig, config(listener.local_addr()?).to_string())?;
        let router = Router::new()
            .route("/version", get(async || Json(version())))
            .fallback(answer);
        let server = tokio::spawn(async move {
            // It only returns when the task is aborted.
            drop(axum::serve(listener, router).await);
        });
        Ok(Self { kubeconfig, server })
    }

    /// The file for `--kubeconfig`.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// JSON is YAML.
fn config(address: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "empty",
        "clusters": [{ "name": "empty", "cluster": { "server": format!("http://{address}") } }],
        "contexts": [{ "name": "empty", "context": { "cluster": "empty", "user": "nobody" } }],
        "users": [{ "name": "nobody", "user": {} }],
    })
}

fn version() -> Value {
    json!({ "major": "1", "minor": "34", "gitVersion": "v1.34.0", "platform": "linux/amd64" })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    watch: bool,
    #[serde(default)]
    send_initial_events: bool,
}

/// What a path below `/api/v1` or `/apis/GROUP/VERSION` names.
struct Named<'p> {
    api_version: String,
    resource: &'p str,
    object: Option<&'p str>,
}

impl<'p> Named<'p> {
    fn parse(path: &'p str) -> Option<Self> {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let (api_version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return None,
        };
        let rest = match rest {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            _ => rest,
        };
        let (resource, rest) = rest.split_first()?;
        Some(Self {
            api_version,
            resource,
            object: rest.first().copied(),
        })
    }

    fn kind(&self) -> String {
        let known = KINDS
            .iter()
            .find(|(resource, _)| *resource == self.resource);
        if let Some((_, kind)) = known {
            return (*kind).to_owned();
        }
        let singular = self.resource.strip_suffix('s').unwrap_or(self.resource);
        let (first, rest) = singular.split_at_checked(1).unwrap_or_default();
        first.to_uppercase() + rest
    }
}

async fn answer(method: Method, uri: Uri, Query(asked): Query<Asked>, body: Bytes) -> Response {
    let Some(named) = Named::parse(uri.path()) else {
        return missing();
    };
    match method {
        Method::GET if named.object.is_some() => missing(),
        Method::GET if asked.watch => watch(&named, asked.send_initial_events),
        Method::GET => {
            let list = json!({
                "apiVersion": named.api_version, "kind": named.kind() + "List",
                "metadata": { "resourceVersion": "1" }, "items": [],
            });
            Json(list).into_response()
        }
        Method::POST => (StatusCode::CREATED, as_json(body)).into_response(),
        Method::PUT | Method::PATCH => as_json(body).into_response(),
        _ => missing(),
    }
}

fn as_json(body: Bytes) -> Response {
    ([("content-type", "application/json")], body).into_response()
}

/// A watch that stays open. A client that wants what is there first is told that this was all.
fn watch(named: &Named<'_>, send_initial_events: bool) -> Response {
    let bookmark = json!({
        "type": "BOOKMARK",
        "object": {
            "apiVersion": named.api_version, "kind": named.kind(),
            "metadata": {
                "resourceVersion": "1",
                "annotations": { "k8s.io/initial-events-end": "true" },
            },
        },
    });
    let first = send_initial_events.then(|| Ok::<_, Infallible>(format!("{bookmark}\n")));
    let events = stream::iter(first).chain(stream::pending());
    (
        [("content-type", "application/json")],
        Body::from_stream(events),
    )
        .into_response()
}

fn missing() -> Response {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "reason": "NotFound", "code": 404, "message": "nothing is here",
    });
    (StatusCode::NOT_FOUND, Json(status)).into_response()
}
