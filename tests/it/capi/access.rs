//! What Cloud Foundry guards in its own router is withheld, from the first answer on and as fast as any other change.

mod bindings;
mod domains;
mod lies;
mod requests;

use copilot::model::Refusal::{RoutePolicies, RouteService};
use serde_json::json;

use super::*;

/// Looks at audit events, and now and then at everything.
fn tailing(foundation: &Foundation) -> Settings {
    Settings {
        tail_audit_events: true,
        ..foundation.settings()
    }
}

/// Reads everything again and again.
fn eager(foundation: &Foundation) -> Settings {
    Settings {
        full_read_interval: Duration::from_millis(20),
        page_retries: 0,
        ..foundation.settings()
    }
}

/// One event after another of nothing: so many looks at what changed.
async fn looks(foundation: &Foundation, count: usize) {
    let looks = foundation.capi.count(Endpoint::AuditEvents);
    soon(
        foundation
            .capi
            .requested(Endpoint::AuditEvents, looks + count),
    )
    .await;
}
