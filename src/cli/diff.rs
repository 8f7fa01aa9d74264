//! `copilot diff`: what two servers say differently in effect.

mod difference;
mod effect;
mod gateways;
mod hints;
mod matches;
mod routes;
mod server;
#[cfg(test)]
mod tests;
mod words;

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use rustls::ClientConfig;

use self::{
    difference::{Difference, differences},
    effect::Effect,
    server::Server,
};
use super::say::{complain, say};
use crate::tls::{self, Identity};

/// What a script is told if a server could not be asked.
const NOT_ASKED: u8 = 2;

/// Two servers, and how they are asked.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The one: `mcp://HOST:PORT`, `xds://HOST:PORT`, or `HOST:PORT` for MCP.
    a: Server,
    /// The other.
    b: Server,
    /// The CAs of the servers' certificates. Without it they are asked in plaintext, on loopback only.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// A client certificate, such as Pilot's.
    #[arg(long, requires_all = ["ca", "key"])]
    cert: Option<PathBuf>,
    /// Its private key.
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// The name in the servers' certificates, if it is not that of their addresses.
    #[arg(long)]
    server_name: Option<String>,
    /// The CAs of B's certificate, if they are others.
    #[arg(long)]
    ca_b: Option<PathBuf>,
    /// The client certificate for B, if it is another.
    #[arg(long, requires = "key_b")]
    cert_b: Option<PathBuf>,
    /// Its private key.
    #[arg(long, requires = "cert_b")]
    key_b: Option<PathBuf>,
    /// Ask B in plaintext, which is for loopback, although A is asked over TLS.
    #[arg(long, conflicts_with_all = ["ca_b", "cert_b"])]
    plaintext_b: bool,
    /// Seconds until both have to have answered everything.
    #[arg(long, default_value_t = 30)]
    timeout: u64,
    /// Seconds that a difference has to last: what has changed reaches two servers at two moments.
    #[arg(long, default_value_t = 5)]
    settle: u64,
    /// Most lines.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// JSON in place of words.
    #[arg(long)]
    json: bool,
}

/// Compares: 0 if nothing differs, 1 if something does, 2 if one could not be asked.
pub(super) async fn run(options: Options) -> ExitCode {
    match options.compare().await {
        Ok(found) if found.is_empty() => {
            options.print(&found);
            ExitCode::SUCCESS
        }
        Ok(found) => {
            options.print(&found);
            ExitCode::FAILURE
        }
        Err(error) => {
            complain!("not compared: {error:#}\n");
            ExitCode::from(NOT_ASKED)
        }
    }
}

impl Options {
    async fn compare(&self) -> anyhow::Result<BTreeSet<Difference>> {
        let found = self.once().await?;
        if found.is_empty() || self.settle == 0 {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_secs(self.settle)).await;
        let again = self.once().await?;
        // What differs there may be told in other words the second time.
        let places: BTreeSet<_> = found.iter().map(|one| &one.place).collect();
        let lasting = again.into_iter().filter(|one| places.contains(&one.place));
        Ok(lasting.collect())
    }

    async fn once(&self) -> anyhow::Result<BTreeSet<Difference>> {
        let (a, b) = tokio::try_join!(
            self.effect("A", &self.a, self.tls_of_a()),
            self.effect("B", &self.b, self.tls_of_b()),
        )?;
        Ok(differences(&a, &b))
    }

    async fn effect(
        &self,
        side: &str,
        server: &Server,
        tls: anyhow::Result<Option<ClientConfig>>,
    ) -> anyhow::Result<Effect> {
        let within = Duration::from_secs(self.timeout);
        let tls = tls?;
        let way = hints::Way {
            protocol: server.protocol,
            has_tls: tls.is_some(),
            has_identity: self.cert.is_some(),
        };
        let read = server.read(tls, self.server_name.as_deref());
        let read = tokio::time::timeout(within, read).await;
        let read =
            read.with_context(|| format!("{side} has not answered all within {within:?}"))?;
        let resources = read.map_err(|error| way.hint(error));
        let resources = resources.with_context(|| format!("asking {side}"))?;
        Ok(Effect::of(&resources, server.protocol))
    }

    fn tls_of_a(&self) -> anyhow::Result<Option<ClientConfig>> {
        client(self.ca.as_ref(), self.cert.as_ref().zip(self.key.as_ref()))
    }

    fn tls_of_b(&self) -> anyhow::Result<Option<ClientConfig>> {
        if self.plaintext_b {
            return Ok(None);
        }
        let own = self.cert_b.as_ref().zip(self.key_b.as_ref());
        let identity = own.or_else(|| self.cert.as_ref().zip(self.key.as_ref()));
        client(self.ca_b.as_ref().or(self.ca.as_ref()), identity)
    }

    fn print(&self, found: &BTreeSet<Difference>) {
        let shown = found.iter().take(self.limit);
        if self.json {
            let shown: Vec<_> = shown.collect();
            let page = serde_json::json!({ "of": found.len(), "differences": shown });
            say!("{page:#}\n");
            return;
        }
        for Difference { place, what } in shown {
            say!("{place}: {what}\n");
        }
        match found.len() {
            0 => say!("nothing differs in effect\n"),
            of if of > self.limit => say!("and {} more: see --limit\n", of - self.limit),
            1 => say!("1 difference\n"),
            of => say!("{of} differences\n"),
        };
    }
}

fn client(
    ca: Option<&PathBuf>,
    identity: Option<(&PathBuf, &PathBuf)>,
) -> anyhow::Result<Option<ClientConfig>> {
    let Some(ca) = ca else { return Ok(None) };
    let identity = identity.map(|(cert, key)| Identity {
        cert: cert.clone(),
        key: key.clone(),
    });
    Ok(Some(tls::client(ca, identity.as_ref())?))
}
