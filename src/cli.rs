//! The command line.

mod accept;
mod admin;
mod ask;
#[cfg(feature = "sim")]
mod bench;
mod bug_report;
#[cfg(feature = "sim")]
mod demo;
mod diff;
#[cfg(feature = "sim")]
mod figures;
mod migrate;
mod say;

use std::{path::PathBuf, process::ExitCode, time::SystemTime};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tracing::info;

use self::say::say;
use crate::{
    app,
    config::{Config, Librarian},
    descriptors, librarian, shutdown, telemetry, tls,
};

/// With the commit, as `build.rs` puts them together.
const VERSION: &str = env!("COPILOT_VERSION");

/// Serves Cloud Foundry's routes to Istio.
#[derive(Debug, Parser)]
#[command(version = VERSION, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM or SIGINT.
    Serve(ConfigFile),
    /// Say everything that is wrong with a config file.
    Check(CheckedFile),
    /// Print what to write in place of a config file of the Go Copilot.
    Migrate(migrate::Options),
    /// List the keys that a config file may have.
    Keys,
    /// Say what becomes of the requests for a hostname, what is wrong, and what to do: exits with 1 if it says WRONG.
    Explain(ask::Explain),
    /// Say whether all is well: exits with 1 if something is to be looked at, with 2 if the daemon is not ready or not there.
    Status(ask::Options),
    /// List the routes that there are.
    Routes(ask::Routes),
    /// List the instances that there are.
    Instances(ask::Instances),
    /// List who is served, how far each has come, and who fails to connect.
    Sinks(ask::Sinks),
    /// List the collections, the resources of one, or print a resource whole.
    Resources(ask::Resources),
    /// List the certificates of the config's files, and when they end.
    Certificates(ask::Options),
    /// List what is not served as it is, and why.
    Rejected(ask::Rejected),
    /// List what has changed of late in what is served.
    Changes(ask::Changes),
    /// Write an archive for whoever was not there: config and logs without secrets, pages, resources, metrics, versions.
    BugReport(bug_report::Options),
    /// Say what two servers say differently in effect: exits with 0 if nothing, with 2 if one could not be asked.
    Diff(diff::Options),
    /// Let what the guard holds go, or hold it anew.
    Accept(accept::Options),
    /// Write the router's certificates to where its proxies find them.
    Librarian(ConfigFile),
    /// Show the daemon at work on a simulated foundation; nothing to set up.
    #[cfg(feature = "sim")]
    Demo(demo::Options),
    /// Put load on the daemon, with simulated peers, and print figures.
    #[cfg(feature = "sim")]
    Bench(bench::Options),
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The config file.
    #[arg(long)]
    config: PathBuf,
}

/// As `migrate` takes it, or as the others do.
#[derive(Debug, clap::Args)]
struct CheckedFile {
    /// The config file.
    #[arg(required_unless_present = "config", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same.
    #[arg(long)]
    config: Option<PathBuf>,
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
            Command::Migrate(options) => migrate::run(&options),
            Command::Keys => {
                let keys = Config::keys();
                keys.iter().all(|key| say!("{key}\n"));
                Ok(ExitCode::SUCCESS)
            }
            Command::Explain(options) => ask::Page::from(options).print().await,
            Command::Status(options) => ask::Page::status(options).print().await,
            Command::Routes(options) => ask::Page::from(options).print().await,
            Command::Instances(options) => ask::Page::from(options).print().await,
            Command::Sinks(options) => ask::Page::from(options).print().await,
            Command::Resources(options) => ask::Page::from(options).print().await,
            Command::Certificates(options) => ask::Page::certificates(options).print().await,
            Command::Rejected(options) => ask::Page::from(options).print().await,
            Command::Changes(options) => ask::Page::from(options).print().await,
            Command::BugReport(options) => bug_report::run(options).await,
            Command::Diff(options) => Ok(Box::pin(diff::run(options)).await),
            Command::Accept(options) => accept::run(options).await,
            Command::Librarian(file) => write_certificates(&file),
            #[cfg(feature = "sim")]
            Command::Demo(options) => Box::pin(demo::run(options)).await,
            #[cfg(feature = "sim")]
            Command::Bench(options) => bench::run(options).await,
        }
    }
}

async fn serve(ConfigFile { config }: ConfigFile) -> anyhow::Result<()> {
    check_clock(SystemTime::now())?;
    let config = Config::load(&config)?;
    let format = telemetry::Format::Json(config.log_timestamp);
    let log_level = telemetry::init(config.log_level, format)?;
    descriptors::raise();
    let stop = shutdown::signalled().context("installing signal handlers")?;
    shutdown::at_each_hangup(tls::read_again).context("installing signal handlers")?;
    let bound = app::bind(config, Some(log_level)).await?;
    // The word that supervisors of the original wait for.
    info!(target: telemetry::ALWAYS, version = VERSION, "started");
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing of the process can be trusted to end in order then"
    )]
    let end = || std::process::exit(1);
    bound
        .watchdog
        .clone()
        .watch(end)
        .context("starting the watchdog")?;
    bound.run(stop).await?;
    Ok(())
}

/// Libraries that date what they send end where the clock says an earlier time, and no certificate is valid then.
fn check_clock(now: SystemTime) -> anyhow::Result<()> {
    anyhow::ensure!(
        now >= SystemTime::UNIX_EPOCH,
        "the system's clock is before 1970: set it"
    );
    Ok(())
}

fn check(CheckedFile { file, config }: &CheckedFile) -> anyhow::Result<ExitCode> {
    let config = file.as_ref().or(config.as_ref());
    let config = config.context("no config file is named")?;
    match Config::load(config) {
        Ok(settings) => {
            let left_out = settings.left_out();
            for (name, invalid) in &left_out {
                say!("{name}: {invalid}; the daemon would serve the rest\n");
            }
            let has_ended = tell_expiries(&settings.certificates);
            if has_ended || !left_out.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
            say!("{}: good\n", config.display());
            Ok(ExitCode::SUCCESS)
        }
        Err(crate::config::Error::Invalid { problems, .. }) => {
            for problem in problems {
                say!("{problem}\n");
            }
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}

/// Says which certificates have ended or will soon; whether any has.
fn tell_expiries(certificates: &[tls::Certificates]) -> bool {
    let mut has_ended = false;
    for expiry in tls::expiries(certificates) {
        say!("{expiry}\n");
        has_ended |= expiry.certificate.standing == tls::Standing::Ended;
    }
    has_ended
}

/// Success means that everything in the file is where it belongs.
fn write_certificates(ConfigFile { config }: &ConfigFile) -> anyhow::Result<ExitCode> {
    let settings = Librarian::load(config)?;
    let report = librarian::run(&settings)?;
    say!("{report}");
    for problem in &settings.problems {
        say!("refused {problem}\n");
    }
    tell_expiries(&settings.certificates);
    if report.is_complete() && settings.problems.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_before_1970_is_an_error_and_no_panic() {
        let error = check_clock(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("clock"), "{error}");
        check_clock(SystemTime::now()).unwrap();
    }
}
