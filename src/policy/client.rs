//! Asks the policy server's internal API, over mutual TLS.

use std::sync::Arc;

use http::Method;
use tracing::debug;
use url::Url;

use super::Settings;
use crate::{
    outbound::{Error, Peer, Ping, Request, Transport},
    tls,
};

/// Of all policies at once: there are no pages.
const POLICIES: &str = "/networking/v1/internal/policies";
/// A policy takes some 200 bytes, so this is more than 300,000 of them: ten times the largest foundation's. It bounds
/// what one answer can take.
const MAX_BODY: usize = 64 << 20;

/// A client of one policy server.
#[derive(Debug)]
pub(super) struct Client {
    peer: Peer,
    url: Url,
}

impl Client {
    /// Reads the certificates.
    pub(super) fn new(
        settings: &Settings,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, tls::Error> {
        let ping = Ping {
            method: Method::GET,
            path: "/",
        };
        let peer = Peer::new("the policy server", ping, &settings.peer, transport)?;
        let url = peer.url(POLICIES);
        Ok(Self { peer, url })
    }

    /// What is asked for.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The next answer comes over another connection.
    pub(super) fn renew(&self) {
        self.peer.renew();
    }

    /// Reads a whole answer.
    pub(super) async fn read(&self) -> Result<Vec<u8>, Error> {
        self.peer
            .within(&self.url, async {
                let answer = self.peer.send(Request::get(self.url.clone())).await?;
                debug!(url = %self.url, status = %answer.status, "request");
                answer.accepted()?.whole(MAX_BODY).await
            })
            .await
    }
}
