//! The `copilot` command.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::Parser as _;
use copilot::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(cli.run());
            // A look-up of a name cannot be cancelled, and would hold up the end for as long as DNS is silent.
            runtime.shutdown_timeout(Duration::from_secs(1));
            result
        }
        Err(error) => Err(anyhow::Error::new(error).context("starting the runtime")),
    };
    result.unwrap_or_else(|error| {
        // The alternate form prints the chain of causes on one line.
        // Where nobody reads it, the exit code says it.
        writeln!(io::stderr(), "copilot: {error:#}").ok();
        ExitCode::FAILURE
    })
}
