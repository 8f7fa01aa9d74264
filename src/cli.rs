//! The command line.

#[cfg(feature = "sim")]
mod demo;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::{app, config::Config, shutdown, telemetry};

/// Serves Cloud Foundry's routes to Istio.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM or SIGINT.
    Serve(ConfigFile),
    /// Say everything that is wrong with a config file.
    Check(ConfigFile),
    /// Show the daemon at work on a simulated foundation; nothing to set up.
    #[cfg(feature = "sim")]
    Demo(demo::Options),
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The config file.
    #[arg(long)]
    config: PathBuf,
}

impl Cli {
    /// Carries out the command. An error is printed by the caller.
    ///
    /// # Errors
    /// What stopped it, in words for an operator.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(file) => serve(file).await.map(|()| ExitCode::SUCCESS),
            Command::Check(file) => check(&file),
            #[cfg(feature = "sim")]
            Command::Demo(options) => demo::run(options).await,
        }
    }
}

async fn serve(ConfigFile { config }: ConfigFile) -> anyhow::Result<()> {
    let config = Config::load(&config)?;
    let log_level = telemetry::init(config.log_level, telemetry::Format::Json)?;
    let stop = shutdown::signalled().context("installing signal handlers")?;
    app::bind(config, Some(log_level)).await?.run(stop).await?;
    Ok(())
}

fn check(ConfigFile { config }: &ConfigFile) -> anyhow::Result<ExitCode> {
    match Config::load(config) {
        Ok(_) => {
            println!("{}: good", config.display());
            Ok(ExitCode::SUCCESS)
        }
        Err(crate::config::Error::Invalid { problems, .. }) => {
            for problem in problems {
                println!("{problem}");
            }
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}
