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
use crate::explain::{Asked, Change, Question};

/// Of which hostname.
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    host: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Changes(Vec<Change>);

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "nothing has changed since the start that is remembered");
        }
        self.0.iter().try_for_each(|change| writeln!(f, "{change}"))
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
    let (reply, told) = oneshot::channel();
    let changes = sources.ask(Question::Changes { host, reply }, told).await?;
    Ok(wants.page(&Changes(changes)))
}
