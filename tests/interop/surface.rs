//! Looking at the plain HTTP surfaces of peers.

use std::{net::SocketAddr, time::Duration};

use copilot::sim::operator::Operator;
use tokio::time::timeout;

/// How long a look may take.
const LOOK: Duration = Duration::from_secs(5);

/// A page; nothing if there is no answer.
pub async fn page(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let operator = Operator::new(address).ok()?;
    let (status, text) = timeout(LOOK, operator.get(path)).await.ok()?.ok()?;
    Some((status.as_u16(), text))
}

/// The status of a page.
pub async fn status(address: SocketAddr, path: &str) -> Option<u16> {
    Some(page(address, path).await?.0)
}
