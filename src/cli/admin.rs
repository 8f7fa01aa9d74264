//! The daemon's admin address, as commands ask it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use reqwest::{Client, RequestBuilder, Response};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// The daemon is on this machine, and answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the daemon is asked.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Admin {
    /// The daemon's admin address.
    #[arg(long, env = "COPILOT_ADMIN", default_value = "127.0.0.1:9003")]
    admin: SocketAddr,
}

impl Admin {
    /// A client, which is good for many requests.
    pub(super) fn client() -> anyhow::Result<Client> {
        // The surface is plain HTTP, but a client cannot be made without a TLS configuration.
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .timeout(PATIENCE)
            .build()?;
        Ok(client)
    }

    /// A URL of the daemon's.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// Sends a request.
    pub(super) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let answer = request.send().await;
        answer.with_context(|| format!("asking the daemon at {}", self.admin))
    }
}
