//! `accept`: an operator's word on what the guard holds.

use std::process::ExitCode;

use clap::ValueEnum;

use super::{admin::Admin, say::say};

/// Whose reads lack what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Feed {
    Routes,
    #[value(name = "tcp_routes")]
    TcpRoutes,
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
    #[command(flatten)]
    admin: Admin,
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
        Feed::TcpRoutes => "tcp_routes",
        Feed::Instances => "instances",
        Feed::Policies => "policies",
    };
    let request = Admin::client()?.put(admin.url("/debug/held"));
    let answer = admin.send(request.body(format!("{word} {feed}"))).await?;
    let is_done = answer.status().is_success();
    say!("{}", answer.text().await?);
    Ok(if is_done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
