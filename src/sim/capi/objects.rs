//! Domains, routes, processes and audit events, and their JSON.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::model::{AppGuid, DomainGuid, Protocol, RouteGuid};

/// Links name the address by which the world knows the API, whatever address was asked.
pub(super) const EXTERNAL: &str = "https://api.example.org";

/// How a row is marked that has to do with a router group.
pub(super) const ROUTER_GROUP: (&str, &str) = ("router_group", "default-tcp");

/// The one route service.
pub(super) const SERVICE_INSTANCE: &str = "a5e7c2f0-5c4b-4d0e-8f55-0f1f6a3c9d21";

/// What goes over a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DomainKind {
    /// HTTP, through the router.
    #[default]
    Http,
    /// HTTP, from app to app.
    Internal,
    /// TCP, through a router group.
    Tcp,
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSpec {
    /// Its name.
    pub name: String,
    /// What goes over it.
    pub kind: DomainKind,
    /// The organization that owns it, if it is private.
    pub organization: Option<String>,
    /// Which callers route policies may let pass (`any`, `org` or `space`), if they are enforced.
    pub route_policies: Option<&'static str>,
}

/// Where a route sends its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The app.
    pub app: AppGuid,
    /// The process type.
    pub process_type: String,
    /// The container port.
    pub port: u16,
    /// Its share.
    pub weight: Option<u32>,
    /// What is spoken on the port.
    pub protocol: Protocol,
}

impl Destination {
    /// The web process of an app on port 8080.
    pub fn web(app: &AppGuid) -> Self {
        Self {
            app: app.clone(),
            process_type: "web".to_owned(),
            port: 8080,
            weight: None,
            protocol: Protocol::Http1,
        }
    }
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// Its domain.
    pub domain: DomainGuid,
    /// Its host; empty for the bare domain.
    pub host: String,
    /// Its path, with the slash, or empty.
    pub path: String,
    /// Its port, on a TCP domain.
    pub port: Option<u16>,
    /// Its options; rows of old foundations have none.
    pub options: Option<Value>,
    /// Its annotations, an object.
    pub annotations: Value,
    /// Where it sends its requests.
    pub destinations: Vec<Destination>,
}

impl RouteSpec {
    /// A route without destinations.
    pub fn new(domain: &DomainGuid, host: &str) -> Self {
        Self {
            domain: domain.clone(),
            host: host.to_owned(),
            path: String::new(),
            port: None,
            options: Some(json!({})),
            annotations: json!({}),
            destinations: Vec::new(),
        }
    }

    /// With a path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// At a port, of a TCP domain.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// With one more destination.
    #[must_use]
    pub fn to(mut self, destination: Destination) -> Self {
        self.destinations.push(destination);
        self
    }
}

/// A resource as lists hold it: its JSON, made once, and what filters look at.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) guid: String,
    pub(super) created_at: u64,
    pub(super) updated_at: u64,
    pub(super) tags: Vec<(&'static str, String)>,
    pub(super) json: String,
}

impl Record {
    pub(super) fn has_tag(&self, name: &str, values: &[&str]) -> bool {
        self.tags
            .iter()
            .any(|(tag, value)| *tag == name && values.contains(&value.as_str()))
    }
}

/// A time as Cloud Controller prints it.
pub(super) fn timestamp(seconds: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}

fn link(path: &str) -> Value {
    json!({"href": format!("{EXTERNAL}{path}")})
}

fn to_one(guid: &str) -> Value {
    json!({"data": {"guid": guid}})
}

pub(super) fn domain(guid: &str, spec: &DomainSpec, now: u64) -> Record {
    let is_tcp = spec.kind == DomainKind::Tcp;
    let organization = spec.organization.as_ref().map(|guid| json!({"guid": guid}));
    let mut body = json!({
        "guid": guid, "created_at": timestamp(now), "updated_at": timestamp(now),
        "name": spec.name, "internal": spec.kind == DomainKind::Internal,
        "router_group": is_tcp.then(|| json!({"guid": "default-tcp"})),
        "supported_protocols": [if is_tcp { "tcp" } else { "http" }],
        "relationships": {
            "organization": {"data": organization},
            "shared_organizations": {"data": []},
        },
        "metadata": {"labels": {}, "annotations": {}},
        "links": {"self": link(&format!("/v3/domains/{guid}"))},
    });
    if let Some(scope) = spec.route_policies {
        body["enforce_route_policies"] = true.into();
        body["route_policies_scope"] = scope.into();
    }
    Record {
        guid: guid.to_owned(),
        created_at: now,
        updated_at: now,
        tags: [("guids", guid.to_owned()), ("names", spec.name.clone())]
            .into_iter()
            .chain(router_group(is_tcp))
            .collect(),
        json: body.to_string(),
    }
}

/// What of a TCP domain and its routes Cloud Controller asks the Routing API about.
fn router_group(is_tcp: bool) -> Option<(&'static str, String)> {
    is_tcp.then(|| (ROUTER_GROUP.0, ROUTER_GROUP.1.to_owned()))
}

pub(super) fn route(
    guid: &RouteGuid,
    spec: &RouteSpec,
    domain: &DomainSpec,
    (created_at, updated_at): (u64, u64),
) -> Record {
    let guid = guid.to_string();
    let mut tags = vec![
        ("guids", guid.clone()),
        ("domain_guids", spec.domain.to_string()),
        ("hosts", spec.host.clone()),
    ];
    let apps = spec.destinations.iter();
    tags.extend(router_group(spec.port.is_some()));
    tags.extend(apps.map(|destination| ("app_guids", destination.app.to_string())));
    let dot = if spec.host.is_empty() { "" } else { "." };
    let url = match spec.port {
        Some(port) => format!("{}:{port}", domain.name),
        None => format!("{}{dot}{}{}", spec.host, domain.name, spec.path),
    };
    let destinations: Vec<_> = spec
        .destinations
        .iter()
        .enumerate()
        .map(|(at, to)| {
            let protocol = spec.port.map_or(to.protocol, |_| Protocol::Tcp);
            let to = Destination {
                protocol,
                ..to.clone()
            };
            destination(&format!("{guid}-{at}"), &to, created_at)
        })
        .collect();
    let mut body = json!({
        "guid": guid, "created_at": timestamp(created_at), "updated_at": timestamp(updated_at),
        "protocol": if spec.port.is_some() { "tcp" } else { "http" },
        "host": spec.host, "path": spec.path, "port": spec.port, "url": url,
        "destinations": destinations,
        "metadata": {"labels": {}, "annotations": spec.annotations},
        "relationships": {
            "space": to_one("885a8cb3-c07b-4856-b448-eeb10bf36236"),
            "domain": to_one(&spec.domain.to_string()),
        },
        "links": {
            "self": link(&format!("/v3/routes/{guid}")),
            "space": link("/v3/spaces/885a8cb3-c07b-4856-b448-eeb10bf36236"),
            "destinations": link(&format!("/v3/routes/{guid}/destinations")),
            "domain": link(&format!("/v3/domains/{}", spec.domain)),
        },
    });
    if let Some(options) = &spec.options {
        body["options"] = options.clone();
    }
    Record {
        guid,
        created_at,
        updated_at,
        tags,
        json: body.to_string(),
    }
}

fn destination(guid: &str, spec: &Destination, now: u64) -> Value {
    json!({
        "guid": guid,
        "app": {"guid": spec.app.to_string(), "process": {"type": spec.process_type}},
        "weight": spec.weight, "port": spec.port, "protocol": protocol(spec.protocol),
        "created_at": timestamp(now), "updated_at": timestamp(now),
    })
}

pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "http1",
        Protocol::Http2 => "http2",
        Protocol::Tcp => "tcp",
    }
}

pub(super) fn process(guid: &str, app: &AppGuid, process_type: &str, now: u64) -> Record {
    let app = app.to_string();
    let body = json!({
        "guid": guid, "created_at": timestamp(now), "updated_at": timestamp(now),
        "version": "e9df685c-0464-4aa7-b5f0-8ed843077c13", "type": process_type,
        "command": "[PRIVATE DATA HIDDEN IN LISTS]", "user": "vcap",
        "instances": 1, "memory_in_mb": 256, "disk_in_mb": 1024,
        "log_rate_limit_in_bytes_per_second": 1024,
        "health_check": {"type": "port", "data": {"timeout": null, "invocation_timeout": null, "interval": null}},
        "relationships": {"app": to_one(&app), "revision": null},
        "metadata": {"labels": {}, "annotations": {}},
        "links": {"self": link(&format!("/v3/processes/{guid}"))},
    });
    Record {
        guid: guid.to_owned(),
        created_at: now,
        updated_at: now,
        tags: vec![
            ("guids", guid.to_owned()),
            ("app_guids", app),
            ("types", process_type.to_owned()),
        ],
        json: body.to_string(),
    }
}

/// How far the making of a binding, or its deletion, has come: the type and the state of its last operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation(pub &'static str, pub &'static str);

impl Operation {
    /// The binding is there, and requests go through the service.
    pub const BOUND: Self = Self("create", "succeeded");
}

pub(super) fn binding(
    guid: &str,
    route: &RouteGuid,
    Operation(kind, state): Operation,
    (created_at, updated_at): (u64, u64),
) -> Record {
    let route = route.to_string();
    let has_url = kind == "delete" || state == "succeeded";
    let body = json!({
        "guid": guid, "created_at": timestamp(created_at), "updated_at": timestamp(updated_at),
        "route_service_url": has_url.then_some("https://guard.example.org"),
        "last_operation": {
            "type": kind, "state": state, "description": "",
            "created_at": timestamp(updated_at), "updated_at": timestamp(updated_at),
        },
        "metadata": {"labels": {}, "annotations": {}},
        "relationships": {"service_instance": to_one(SERVICE_INSTANCE), "route": to_one(&route)},
        "links": {
            "self": link(&format!("/v3/service_route_bindings/{guid}")),
            "service_instance": link(&format!("/v3/service_instances/{SERVICE_INSTANCE}")),
            "route": link(&format!("/v3/routes/{route}")),
        },
    });
    Record {
        guid: guid.to_owned(),
        created_at,
        updated_at,
        tags: vec![
            ("guids", guid.to_owned()),
            ("route_guids", route),
            ("service_instance_guids", SERVICE_INSTANCE.to_owned()),
        ],
        json: body.to_string(),
    }
}

pub(super) fn audit_event(guid: &str, kind: &str, target: &str, data: &Value, now: u64) -> Record {
    let target_type = kind.split('.').nth(1).unwrap_or_default();
    let body = json!({
        "guid": guid, "created_at": timestamp(now), "updated_at": timestamp(now), "type": kind,
        "actor": {"guid": "d144abe3", "type": "user", "name": "admin"},
        "target": {"guid": target, "type": target_type, "name": "a-name"},
        "data": data,
        "space": {"guid": "885a8cb3-c07b-4856-b448-eeb10bf36236"},
        "organization": {"guid": "3a3f3d89"},
        "links": {"self": link(&format!("/v3/audit_events/{guid}"))},
    });
    Record {
        guid: guid.to_owned(),
        created_at: now,
        updated_at: now,
        tags: vec![
            ("guids", guid.to_owned()),
            ("types", kind.to_owned()),
            ("target_guids", target.to_owned()),
        ],
        json: body.to_string(),
    }
}
