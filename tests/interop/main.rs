//! Requests through a real istiod and a real Envoy: `scripts/interop`.

#![allow(unreachable_pub, reason = "nothing here is for another crate")]

mod balancer;
mod cli;
mod client;
mod deployment;
mod expect;
mod frontend;
mod instances;
mod known;
mod load;
mod mesh;
mod oracle;
mod peers;
mod redirect;
mod scenario;
mod scenarios;
mod stage;
mod surface;
mod table;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use rustix::process::{getpid, set_child_subreaper};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    cli::Cli,
    mesh::Mesh,
    peers::Programs,
    scenario::{Run, Scenario},
    stage::Stage,
    table::Table,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let chosen = chosen(&cli);
    if cli.list {
        for scenario in chosen {
            println!("{:<22} {}", scenario.group, scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    match start(&cli, &chosen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("interop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chosen(cli: &Cli) -> Vec<Scenario> {
    let is_wanted = |scenario: &Scenario| {
        let mut wanted = cli.only.iter();
        cli.only.is_empty()
            || wanted.any(|part| scenario.name.contains(part.as_str()) || scenario.group == part)
    };
    scenarios::all().into_iter().filter(is_wanted).collect()
}

fn start(cli: &Cli, chosen: &[Scenario]) -> Result<bool> {
    if chosen.is_empty() {
        bail!("no scenario is called that: see --list");
    }
    let all = scenarios::all();
    let unknown = known::unknown(all.iter().map(|scenario| scenario.name));
    if !unknown.is_empty() {
        bail!("known.rs lists rows that are no scenarios: {unknown:?}");
    }
    // What a peer started and left behind is ours to wait for.
    set_child_subreaper(Some(getpid())).context("becoming a subreaper")?;
    let runtime = tokio::runtime::Runtime::new().context("starting a runtime")?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        // Whichever comes first, all peers end when the other is dropped.
        tokio::select! {
            held = try_all(cli, chosen) => held,
            _ = interrupted.recv() => bail!("interrupted"),
            _ = terminated.recv() => bail!("terminated"),
        }
    })
}

async fn try_all(cli: &Cli, chosen: &[Scenario]) -> Result<bool> {
    let (Some(istio), Some(envoy)) = (&cli.istio, &cli.envoy) else {
        bail!("run scripts/interop, which gets istiod and Envoy first");
    };
    let programs = Programs::in_folders(istio, envoy)?;
    peers::check_ports()?;
    let stage = Stage::start().await?;
    let mesh = Mesh::start(&programs, stage, mesh::INGRESS, frontend::TWO, |_| ()).await?;
    let mut run = Run {
        mesh,
        apps: Vec::new(),
        programs,
        cli,
    };
    let mut table = Table::default();
    for scenario in chosen {
        let row = scenario::run(*scenario, &mut run).await;
        print!("{}", table.add(&row));
    }
    let (text, holds) = table.end();
    print!("{text}");
    if cli.keep {
        println!("{}", run.mesh.to_try());
        std::future::pending::<()>().await;
    }
    Ok(holds)
}
