//! What the simulated policy server answers.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::State as Context,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Allowed, Fault, PolicyServer, State};
use crate::sim::https::{self, lock};

#[derive(Clone)]
struct Server {
    policies: PolicyServer,
    shutdown: CancellationToken,
}

/// Answers as the policy server does, until `shutdown`.
pub(super) fn router(policies: PolicyServer, shutdown: CancellationToken) -> Router {
    Router::new()
        .route("/networking/v1/internal/policies", get(answer))
        .with_state(Server { policies, shutdown })
}

async fn answer(Context(Server { policies, shutdown }): Context<Server>) -> Response {
    let shared = &policies.0;
    let (number, elements, fault) = {
        let state = lock(&shared.state);
        let number = policies.requests() + 1;
        // Counted with the lock held: a request that is counted after a change has seen it.
        shared.requested.send_replace(number);
        (number, elements(&state, number), state.fault)
    };
    let mut released = shared.released.subscribe();
    tokio::select! {
        _ = released.wait_for(|released| *released >= number) => {}
        () = shutdown.cancelled() => {}
    }
    match fault {
        None => list(elements.len(), &elements),
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let error = json!({"error": "policies-index: database read failed"});
            (status, Json(error)).into_response()
        }
        Some(Fault::Says(body)) => body.into_response(),
        Some(Fault::Garbage) => "<!DOCTYPE html>".into_response(),
        Some(Fault::Short) => list(elements.len(), elements.get(1..).unwrap_or_default()),
        Some(Fault::Truncated) => https::truncated(list(elements.len(), &elements)).await,
        Some(Fault::Reset) => https::reset(),
        Some(Fault::Endless) => https::endless(),
        Some(Fault::Hang) => {
            shutdown.cancelled().await;
            https::reset()
        }
    }
}

fn list(total: usize, policies: &[Value]) -> Response {
    Json(json!({"total_policies": total, "policies": policies})).into_response()
}

/// Each answer begins with another one: the order is the database's.
fn elements(state: &State, number: u64) -> Vec<Value> {
    let mut tags = BTreeMap::new();
    for policy in &state.policies {
        for app in [&policy.source, &policy.destination] {
            let next = tags.len() + 1;
            tags.entry(app).or_insert_with(|| format!("{next:04X}"));
        }
    }
    let policies = state.policies.iter().map(|policy| {
        let Allowed {
            source,
            destination,
            protocol,
            ports: (start, end),
        } = policy;
        json!({
            "source": {"id": source, "tag": tags[source]},
            "destination": {
                "id": destination, "tag": tags[destination],
                "protocol": protocol, "ports": {"start": start, "end": end},
            },
        })
    });
    let mut elements: Vec<_> = policies.chain(state.raw.iter().cloned()).collect();
    let first = number % u64::try_from(elements.len().max(1)).expect("few policies");
    elements.rotate_left(usize::try_from(first).expect("few policies"));
    elements
}
