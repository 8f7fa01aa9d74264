//! The command line, which `scripts/interop` passes on.

use std::path::PathBuf;

use clap::Parser;

/// Requests through a real istiod and a real Envoy, on what this daemon makes of a simulated foundation.
#[derive(Debug, Parser)]
#[command(name = "scripts/interop")]
pub struct Cli {
    /// Only the scenarios whose name or group has this in it; may be given several times
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Say which scenarios there are, and run none
    #[arg(long)]
    pub list: bool,
    /// Leave everything running at the end, with the lines to try, until interrupted
    #[arg(long)]
    pub keep: bool,
    /// How many requests a scenario sends that counts shares [default: 2000, or 500 with --short]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    requests: Option<u32>,
    /// Fewer requests, outages of seconds, small foundations: for a CI
    #[arg(long)]
    pub short: bool,
    /// Another build of the daemon, with which *Times* compares this one
    #[arg(long, value_name = "PROGRAM")]
    pub beside: Option<PathBuf>,
    /// The build from before there was a guard and a state file, to go over from and back to
    #[arg(long, value_name = "PROGRAM", hide = true)]
    pub before: Option<PathBuf>,
    /// Where the programs of Istio are
    #[arg(long, value_name = "FOLDER", hide = true)]
    pub istio: Option<PathBuf>,
    /// Where Envoy is
    #[arg(long, value_name = "FOLDER", hide = true)]
    pub envoy: Option<PathBuf>,
}

impl Cli {
    /// How many requests a scenario sends that counts shares.
    pub fn requests(&self) -> u32 {
        self.requests.unwrap_or(if self.short { 500 } else { 2000 })
    }
}
