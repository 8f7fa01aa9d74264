//! Asks the policy server's internal API, over mutual TLS.

use std::time::Duration;

use reqwest::{StatusCode, redirect};
use tracing::debug;
use url::Url;

use super::{Error, Settings};
use crate::tls;

/// Of all policies at once: there are no pages.
const POLICIES: &str = "/networking/v1/internal/policies";
/// A policy takes some 200 bytes, so this is more than 300,000 of them: ten times the largest foundation's. It bounds
/// what one answer can take.
const MAX_BODY: usize = 64 << 20;

/// A client of one policy server.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    request_timeout: Duration,
}

impl Client {
    /// Reads the certificates.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let tls = tls::client(&settings.ca, Some(&settings.identity))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("copilot/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::Client)?;
        let mut url = settings.address.clone();
        url.set_path(POLICIES);
        Ok(Self {
            http,
            url,
            request_timeout: settings.request_timeout,
        })
    }

    /// What is asked for.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Reads a whole answer.
    pub(super) async fn read(&self) -> Result<Vec<u8>, Error> {
        let http = |source| Error::http(&self.url, self.request_timeout, source);
        let mut answer = self.http.get(self.url.clone()).send().await.map_err(http)?;
        let status = answer.status();
        debug!(url = %self.url, %status, "request");
        if status != StatusCode::OK {
            return Err(Error::Status {
                url: self.url.clone(),
                status,
            });
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(http)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(Error::TooLarge {
                    url: self.url.clone(),
                    limit: MAX_BODY,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}
