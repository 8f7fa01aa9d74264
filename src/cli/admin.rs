//! The daemon's admin address, as commands ask it.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, RequestBuilder, Response, header};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use url::Url;

use crate::admin::SERVER;

/// The daemon is on this machine, and answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the surface is, if nobody says otherwise.
const PORT: u16 = 9003;

/// Where the daemon is asked.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Admin {
    /// The daemon's admin address.
    #[arg(long, env = "COPILOT_ADMIN", default_value = "127.0.0.1:9003", value_parser = authority)]
    admin: String,
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
        let address = &self.admin;
        let answer = request.send().await.map_err(|error| {
            let hint = if error.is_connect() {
                ": is it running (`monit summary`), and is that its admin address?"
            } else {
                ""
            };
            // What is around it says no more to whoever asks.
            let root = anyhow::Chain::new(&error).last();
            let root = root.map_or_else(|| error.to_string(), ToString::to_string);
            anyhow::anyhow!("asking the daemon at {address}: {root}{hint}")
        })?;
        let server = answer.headers().get(header::SERVER);
        let is_ours = server.is_some_and(|server| server == SERVER);
        anyhow::ensure!(is_ours, "something else than copilot answers at {address}");
        Ok(answer)
    }
}

/// An address or a name, with a port if it is not the usual one, or a URL of the surface, as a browser has it.
fn authority(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text);
    // Of no scheme that has a port of its own: what is written there is meant.
    let url = Url::parse(&format!("copilot://{}/", bare.trim_end_matches('/')));
    let url = url.map_err(|error| error.to_string())?;
    let host = url.host_str().unwrap_or_default();
    let has_user = !url.username().is_empty() || url.password().is_some();
    let has_more = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
    if host.is_empty() || has_user || has_more {
        return Err("expected ADDRESS:PORT".to_owned());
    }
    Ok(format!("{host}:{}", url.port().unwrap_or(PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_where_an_address_a_name_or_a_url_says() {
        for (text, expected) in [
            ("127.0.0.1:9003", "127.0.0.1:9003"),
            ("[::1]:9003", "[::1]:9003"),
            ("localhost:4444", "localhost:4444"),
            ("localhost", "localhost:9003"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("http://localhost:80/", "localhost:80"),
            ("http://127.0.0.1:4444/", "127.0.0.1:4444"),
        ] {
            assert_eq!(authority(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "https://127.0.0.1",
            "127.0.0.1:9003/debug",
            "a b",
            ":9003",
            ":secret@x",
            "x#y",
            "x:y",
        ] {
            assert!(authority(text).is_err(), "{text:?}");
        }
    }
}
