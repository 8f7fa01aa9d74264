//! `accept`: an operator's word on what the guard holds.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::say::say;

/// The daemon is on this machine, and answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whose reads lack what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Feed {
    Routes,
    Instances,
    Policies,
}

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Whose reads are right.
    feed: Feed,
    /// They are wrong: what is held stays, and reads that lack it are doubted anew.
    #[arg(long)]
    reject: bool,
    /// The daemon's admin address.
    #[arg(long, default_value = "127.0.0.1:9003")]
    admin: SocketAddr,
}

/// Tells the daemon; success means that something was held.
pub(super) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let Options {
        feed,
        reject,
        admin,
    } = options;
    let word = if reject { "reject" } else { "accept" };
    let feed = match feed {
        Feed::Routes => "routes",
        Feed::Instances => "instances",
        Feed::Policies => "policies",
    };
    // The surface is plain HTTP, but a client cannot be made without a TLS configuration.
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .timeout(PATIENCE)
        .build()?;
    let request = client.put(format!("http://{admin}/debug/held"));
    let answer = request.body(format!("{word} {feed}")).send().await;
    let answer = answer.with_context(|| format!("asking the daemon at {admin}"))?;
    let is_done = answer.status().is_success();
    say!("{}", answer.text().await?);
    Ok(if is_done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
