//! `migrate`: what to write in place of the Go program's config file.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;

use super::say::complain;
use crate::config::Migration;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The config file of the Go program.
    file: PathBuf,
}

/// The file to write goes to standard output, what there is to say of it to standard error. Success means that the daemon
/// would start with it.
pub(super) fn run(Options { file }: &Options) -> anyhow::Result<ExitCode> {
    let migration = Migration::load(file)?;
    let text = serde_json::to_string_pretty(&migration.file)?;
    writeln!(io::stdout(), "{text}").context("printing the file to write")?;
    for note in &migration.notes {
        complain!("{note}\n");
    }
    for problem in &migration.problems {
        complain!("to be set right: {problem}\n");
    }
    Ok(if migration.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
