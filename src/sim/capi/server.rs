//! The HTTPS server of the simulated Cloud Controller and UAA.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::{Query, State as Context},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    CLIENT_ID, CLIENT_SECRET, Capi,
    faults::Fault,
    lies,
    list::{self, NoList},
    log::{Endpoint, Request},
    objects::{EXTERNAL, timestamp},
    state::State,
};
use crate::sim::https::{self, lock};

#[derive(Clone)]
struct Server {
    capi: Capi,
    shutdown: CancellationToken,
}

type Parameters = Query<BTreeMap<String, String>>;

/// Answers as both do, until `shutdown`.
pub(super) fn router(capi: Capi, shutdown: CancellationToken) -> Router {
    let endpoint = |endpoint| {
        move |Context(server): Context<Server>, Query(query): Parameters, headers: HeaderMap| async move {
            server.answer(endpoint, query, &headers).await
        }
    };
    Router::new()
        .route("/", get(endpoint(Endpoint::Root)))
        .route("/uaa/oauth/token", post(endpoint(Endpoint::Token)))
        // Where its address is configured, and not found through Cloud Controller.
        .route("/oauth/token", post(endpoint(Endpoint::Token)))
        .route("/v3/info", get(endpoint(Endpoint::Info)))
        .route("/v3/domains", get(endpoint(Endpoint::Domains)))
        .route("/v3/routes", get(endpoint(Endpoint::Routes)))
        .route("/v3/processes", get(endpoint(Endpoint::Processes)))
        .route("/v3/audit_events", get(endpoint(Endpoint::AuditEvents)))
        .route(
            "/v3/service_route_bindings",
            get(endpoint(Endpoint::Bindings)),
        )
        .route("/v3", get(endpoint(Endpoint::Api)))
        .with_state(Server { capi, shutdown })
}

impl Server {
    async fn answer(
        &self,
        endpoint: Endpoint,
        query: BTreeMap<String, String>,
        headers: &HeaderMap,
    ) -> Response {
        let user_agent = headers.get(header::USER_AGENT);
        let user_agent = user_agent.and_then(|value| value.to_str().ok());
        let per_page = query.get("per_page").and_then(|size| size.parse().ok());
        let (fault, changes) = lock(&self.capi.0.script).next(endpoint);
        let mut response = {
            let mut state = self.capi.state();
            for change in changes {
                change(&mut state);
            }
            if fault == Some(Fault::Revoked) {
                state.tokens.clear();
            }
            self.healthy(&mut state, endpoint, &query, headers)
        };
        self.capi.0.log.add(Request {
            endpoint,
            query,
            user_agent: user_agent.unwrap_or_default().to_owned(),
        });
        let clock = self.capi.state().clock();
        if let Some(fault) = fault {
            response = self.fail(fault, per_page, response).await;
        }
        if let Ok(date) = HeaderValue::try_from(clock) {
            response.headers_mut().insert(header::DATE, date);
        }
        let id = headers.get("x-vcap-request-id");
        if let Some(id) = id.and_then(|id| id.to_str().ok()) {
            let id = format!("{id}::9f1d4a30");
            if let Ok(id) = HeaderValue::try_from(id) {
                response.headers_mut().insert("x-vcap-request-id", id);
            }
        }
        response
    }

    fn healthy(
        &self,
        state: &mut State,
        endpoint: Endpoint,
        query: &BTreeMap<String, String>,
        headers: &HeaderMap,
    ) -> Response {
        match endpoint {
            Endpoint::Root => json_response(&self.root()),
            Endpoint::Info => json_response(&json!({"name": "", "build": "", "rate_limits": {
                "enabled": state.rate_limit.is_some(), "general_limit": "", "reset_interval_in_minutes": 60,
            }})),
            Endpoint::Token => token(state, headers),
            _ if !is_authorized(state, headers) => refusal(
                StatusCode::UNAUTHORIZED,
                (1000, "CF-InvalidAuthToken", "Invalid Auth Token"),
            ),
            Endpoint::Api => json_response(&api(state.has_bindings)),
            Endpoint::Bindings if !state.has_bindings => answer(Fault::UnknownPath),
            _ => {
                let mut response = match list::list(state, endpoint, query) {
                    Ok(body) => with_type("application/json; charset=utf-8", body),
                    Err(NoList::NoRoutingApi) => answer(Fault::UnknownError),
                    Err(NoList::BadQuery(detail)) => refusal(
                        StatusCode::BAD_REQUEST,
                        (10005, "CF-BadQueryParameter", &detail),
                    ),
                };
                if let Some((limit, remaining)) = state.rate_limit {
                    let headers = response.headers_mut();
                    headers.insert("x-ratelimit-limit", limit.into());
                    headers.insert("x-ratelimit-remaining", remaining.into());
                }
                response
            }
        }
    }

    fn root(&self) -> Value {
        let uaa = format!("https://{}/uaa", self.capi.0.authority);
        json!({"links": {
            "self": {"href": EXTERNAL},
            "cloud_controller_v3": {"href": format!("{EXTERNAL}/v3"), "meta": {"version": "3.228.0"}},
            "login": {"href": uaa}, "uaa": {"href": uaa},
            "credhub": null, "routing": null, "logging": null, "log_cache": null,
        }})
    }

    async fn fail(&self, fault: Fault, per_page: Option<usize>, healthy: Response) -> Response {
        match fault {
            Fault::Truncated => https::truncated(healthy).await,
            Fault::Reset => https::reset(),
            Fault::Endless => https::endless(),
            Fault::Hang => {
                self.shutdown.cancelled().await;
                healthy
            }
            Fault::Lie(lie) => {
                let body = axum::body::to_bytes(healthy.into_body(), usize::MAX).await;
                let body = serde_json::from_slice(&body.unwrap_or_default());
                json_response(&lies::tell(lie, body.unwrap_or_default()))
            }
            Fault::Unending => json_response(&unending(&mut self.capi.state(), per_page)),
            fault => answer(fault),
        }
    }
}

fn unending(state: &mut State, per_page: Option<usize>) -> Value {
    let row = |_| {
        state.advance(1);
        let time = timestamp(state.now());
        json!({"guid": state.new_guid(), "created_at": time})
    };
    let rows: Vec<_> = (0..per_page.unwrap_or(50)).map(row).collect();
    let next = format!("{EXTERNAL}/v3/routes?page=2");
    json!({
        "pagination": {"total_results": u32::MAX, "next": {"href": next}},
        "resources": rows,
    })
}

/// What the API has, by name.
fn api(has_bindings: bool) -> Value {
    let mut names = vec![
        "apps",
        "audit_events",
        "domains",
        "info",
        "processes",
        "routes",
    ];
    if has_bindings {
        names.push("service_route_bindings");
    }
    let links = names.into_iter().map(|name| {
        let link = json!({"href": format!("{EXTERNAL}/v3/{name}")});
        (name.to_owned(), link)
    });
    let own = json!({"href": format!("{EXTERNAL}/v3")});
    let links: serde_json::Map<_, _> = links.chain([("self".to_owned(), own)]).collect();
    json!({ "links": links })
}

fn token(state: &mut State, headers: &HeaderMap) -> Response {
    let expected = format!(
        "Basic {}",
        STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"))
    );
    let authorization = headers.get(header::AUTHORIZATION);
    if authorization.is_none_or(|value| value.as_bytes() != expected.as_bytes()) {
        let body = json!({"error": "unauthorized", "error_description": "Bad credentials"});
        return (StatusCode::UNAUTHORIZED, json_response(&body)).into_response();
    }
    let token = state.new_guid();
    state.tokens.insert(token.clone());
    json_response(&json!({
        "access_token": token, "token_type": "bearer", "expires_in": state.token_lifetime,
        "scope": "cloud_controller.admin_read_only", "jti": "5f1d4a30",
    }))
}

fn is_authorized(state: &State, headers: &HeaderMap) -> bool {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("bearer "))
        .is_some_and(|token| state.tokens.contains(token))
}

fn answer(fault: Fault) -> Response {
    let text = |status: StatusCode, text: &'static str| (status, text).into_response();
    match fault {
        Fault::Revoked => refusal(
            StatusCode::UNAUTHORIZED,
            (1000, "CF-InvalidAuthToken", "Invalid Auth Token"),
        ),
        Fault::Forbidden => refusal(
            StatusCode::FORBIDDEN,
            (10003, "CF-NotAuthorized", "You are not authorized to perform the requested action"),
        ),
        Fault::UnknownRoute => (
            StatusCode::NOT_FOUND,
            [("x-cf-routererror", "unknown_route")],
            "404 Not Found: Requested route ('api.example.org') does not exist.\n",
        )
            .into_response(),
        Fault::UnknownPath => refusal(
            StatusCode::NOT_FOUND,
            (10000, "CF-NotFound", "Unknown request"),
        ),
        Fault::ResourceNotFound => refusal(
            StatusCode::NOT_FOUND,
            (10010, "CF-ResourceNotFound", "Route not found"),
        ),
        Fault::RateLimited(seconds) => (
            StatusCode::TOO_MANY_REQUESTS,
            [(header::RETRY_AFTER, seconds.to_string())],
            errors((10013, "CF-RateLimitExceeded", "Rate Limit Exceeded")),
        )
            .into_response(),
        Fault::UnknownError => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            (10001, "UnknownError", "An unknown error occurred."),
        ),
        Fault::BadGateway => with_status(
            StatusCode::BAD_GATEWAY,
            with_type("text/html", "<html><h1>502 Bad Gateway</h1></html>".to_owned()),
        ),
        Fault::Maintenance => text(StatusCode::SERVICE_UNAVAILABLE, "API down for maintenance"),
        Fault::Empty => with_type(
            "application/json",
            r#"{"pagination":{"total_results":0,"total_pages":1,"next":null,"previous":null},"resources":[]}"#
                .to_owned(),
        ),
        Fault::NoList => json_response(&json!({})),
        Fault::Says(body) => with_type("application/json", body.to_owned()),
        Fault::Truncated
        | Fault::Reset
        | Fault::Endless
        | Fault::Hang
        | Fault::Lie(_)
        | Fault::Unending
        | Fault::Garbage => text(StatusCode::OK, "<!DOCTYPE html>"),
    }
}

fn errors((code, title, detail): (u32, &str, &str)) -> String {
    json!({"errors": [{"code": code, "title": title, "detail": detail}]}).to_string()
}

fn refusal(status: StatusCode, error: (u32, &str, &str)) -> Response {
    with_status(status, with_type("application/json", errors(error)))
}

fn json_response(body: &Value) -> Response {
    with_type("application/json", body.to_string())
}

fn with_type(content_type: &'static str, body: String) -> Response {
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

fn with_status(status: StatusCode, mut response: Response) -> Response {
    *response.status_mut() = status;
    response
}
