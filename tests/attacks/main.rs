//! All attacks at once on one daemon, while good sinks follow a foundation that changes: `scripts/attacks`.

#![allow(unreachable_pub, reason = "nothing here is for another crate")]

mod attackers;
mod connections;
mod course;
mod figures;
mod health;
mod platform;
mod scene;
mod streams;
mod tenants;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser;

use self::{
    attackers::{Attack, Attackers},
    figures::Figures,
    scene::Scene,
};

/// The longest that is observed without attacks.
const CALM: Duration = Duration::from_mins(1);

/// How good sinks fare beside attacks on the daemon that serves them, and what these cost it.
#[derive(Debug, Parser)]
#[command(name = "scripts/attacks")]
struct Cli {
    /// How long the attacks last; before them the same is observed without any, for a minute at most
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only these attacks; may be given several times
    #[arg(long, value_enum)]
    only: Vec<Attack>,
    /// Another build of the daemon
    #[arg(long, value_name = "PROGRAM", default_value = env!("CARGO_BIN_EXE_copilot"))]
    daemon: PathBuf,
}

fn main() -> ExitCode {
    match try_all(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("attacks: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_all(cli: &Cli) -> Result<bool> {
    copilot::descriptors::raise();
    let attacks = Attack::chosen(&cli.only);
    let runtime = tokio::runtime::Runtime::new().context("starting a runtime")?;
    runtime.block_on(async {
        let mut scene = Scene::start(&cli.daemon, &attacks).await?;
        let lasts = Duration::from_secs(cli.seconds);
        let calm = scene.follow(lasts.min(CALM)).await?;
        let attackers = Attackers::start(&scene, &attacks)?;
        let attacked = scene.follow(lasts).await?;
        let done = attackers.stop();
        print!("{}{done}", Figures::beside(&calm, &attacked));
        let mut wrong = attacked.wrong();
        wrong.extend(done.wrong());
        for what in &wrong {
            println!("wrong: {what}");
        }
        scene.end().await?;
        Ok(wrong.is_empty())
    })
}
