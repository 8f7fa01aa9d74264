//! An operator who looks at the admin surface.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{Client, StatusCode};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde_json::Value;

/// How long a connection is kept for the next look: well below what the surface gives an idle one, whose end a request
/// would meet.
const IDLE: Duration = Duration::from_secs(1);

/// Looks at one daemon.
#[derive(Debug, Clone)]
pub struct Operator {
    admin: SocketAddr,
    client: Client,
}

impl Operator {
    /// Looks at the daemon whose admin surface is there.
    ///
    /// # Errors
    /// There is no HTTP client.
    pub fn new(admin: SocketAddr) -> Result<Self, reqwest::Error> {
        // The surface is plain HTTP, but a client cannot be made without a TLS configuration.
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(Duration::from_secs(10))
            .pool_idle_timeout(IDLE)
            .build()?;
        Ok(Self { admin, client })
    }

    /// A page and its status.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, String), reqwest::Error> {
        let response = self
            .client
            .get(format!("http://{}{path}", self.admin))
            .send()
            .await?;
        let status = response.status();
        Ok((status, response.text().await?))
    }

    /// A page as JSON; null if it is something else.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn json(&self, path: &str) -> Result<Value, reqwest::Error> {
        let (_, text) = self.get(path).await?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Sets the log level; the status of the answer.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn set_log_level(&self, level: &str) -> Result<StatusCode, reqwest::Error> {
        Ok(self.put("/debug/log-level", level).await?.0)
    }

    /// Puts a word somewhere; the answer.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn put(
        &self,
        path: &str,
        word: &str,
    ) -> Result<(StatusCode, String), reqwest::Error> {
        let url = format!("http://{}{path}", self.admin);
        let answer = self.client.put(url).body(word.to_owned()).send().await?;
        Ok((answer.status(), answer.text().await?))
    }
}
