//! What has changed of late in what is served.

use std::{fmt, str::FromStr as _, sync::Arc};

use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    Sources,
    page::{Refusal, Wants},
};
use crate::{
    explain::{Asked, Change, Question},
    model::Hostname,
};

/// Of which hostname.
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    host: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Changes {
    changes: Vec<Change>,
    /// Of a hostname without any: its name, and what is remembered of others.
    #[serde(skip)]
    none_of: Option<(Hostname, Vec<Change>)>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((host, others)) = &self.none_of
            && let Some(first) = others.first()
        {
            let since = humantime::format_rfc3339_seconds(first.at);
            let others = others.len();
            return writeln!(
                f,
                "no change of {host} is among the {others} that are remembered, since {since}: --host takes a whole hostname"
            );
        }
        if self.changes.is_empty() {
            return writeln!(f, "nothing has changed since the start that is remembered");
        }
        let mut changes = self.changes.iter();
        changes.try_for_each(|change| writeln!(f, "{change}"))
    }
}

pub(super) async fn changes(
    State(sources): State<Arc<Sources>>,
    Query(filter): Query<Filter>,
    wants: Wants,
) -> Result<Response, Refusal> {
    let asked = filter.host.as_deref().map(Asked::from_str).transpose();
    let asked = asked.map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    let host = asked.map(|asked| sources.host_of(&asked));
    let changes = sources.changes(host.clone()).await?;
    let none_of = match host.filter(|_| changes.is_empty()) {
        Some(host) => Some((host, sources.changes(None).await?)),
        None => None,
    };
    Ok(wants.page(&Changes { changes, none_of }))
}

impl Sources {
    async fn changes(&self, host: Option<Hostname>) -> Result<Vec<Change>, Refusal> {
        let (reply, told) = oneshot::channel();
        self.ask(Question::Changes { host, reply }, told).await
    }
}
