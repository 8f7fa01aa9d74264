//! The daemon under load: this program's own `serve`, in a process of its own, and what the kernel says of it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use serde_json::Value;

use crate::sim::{
    operator::Operator,
    usage::{self, Resident},
};

/// A running daemon.
pub(super) struct Daemon {
    child: Child,
    listening: Value,
    operator: Operator,
}

/// What the daemon says of itself at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Resources that were generated and encoded.
    pub(super) encoded: f64,
    /// Responses that were sent.
    pub(super) pushes: f64,
    /// New versions of collections.
    pub(super) changes: f64,
    /// Time from changes in the table to snapshots.
    pub(super) generation: Duration,
}

impl Daemon {
    /// Starts it, and waits until it listens.
    pub(super) fn start(
        program: Option<&Path>,
        folder: &Path,
        config: &Value,
    ) -> anyhow::Result<Self> {
        let file = folder.join("bench.json");
        fs::write(&file, config.to_string()).context("writing the config file")?;
        let program = match program {
            Some(program) => program.to_owned(),
            None => std::env::current_exe().context("finding this program")?,
        };
        let mut child = Command::new(program)
            .args(["serve", "--config"])
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the daemon")?;
        let log = child.stdout.take().context("the daemon's log")?;
        let mut lines = BufReader::new(log).lines();
        let listening = loop {
            let line = lines.next().context("the daemon has ended")??;
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if line["message"] == "listening" {
                break line;
            }
        };
        // Read to the end, or the daemon would wait for its reader.
        std::thread::spawn(move || lines.for_each(drop));
        let admin = address(&listening, "admin_address")?;
        Ok(Self {
            child,
            listening,
            operator: Operator::new(admin)?,
        })
    }

    /// Where sinks connect.
    pub(super) fn address(&self, xds: bool) -> anyhow::Result<SocketAddr> {
        address(
            &self.listening,
            if xds { "xds_address" } else { "mcp_address" },
        )
    }

    /// CPU time so far, of all threads.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        usage::cpu(self.child.id()).context("reading its CPU time")
    }

    /// What is resident of it.
    pub(super) fn memory(&self) -> anyhow::Result<Resident> {
        usage::resident(self.child.id()).context("reading its memory")
    }

    /// Begins the most that ever was anew.
    pub(super) fn forget_peak(&self) -> anyhow::Result<()> {
        usage::forget_peak(self.child.id()).context("resetting the peak of memory")
    }

    /// What its metrics say.
    pub(super) async fn counts(&self) -> anyhow::Result<Counts> {
        let (_, page) = self.operator.get("/metrics").await?;
        let sum = |name: &str| -> f64 {
            let lines = page.lines().filter_map(|line| line.strip_prefix(name));
            let samples = lines.filter(|rest| rest.starts_with(['{', ' ']));
            let values = samples.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
            values.sum()
        };
        Ok(Counts {
            encoded: sum("copilot_resources_encoded_total"),
            pushes: sum("copilot_mcp_responses_total") + sum("copilot_xds_responses_total"),
            changes: sum("copilot_collection_changes_total"),
            generation: Duration::from_secs_f64(sum("copilot_generation_seconds_sum")),
        })
    }

    /// Ends it as its supervisor would.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        let ended = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        anyhow::ensure!(ended.context("ending the daemon")?.success(), "kill failed");
        let status = self.child.wait().context("waiting for the daemon's end")?;
        anyhow::ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing is left to kill after an orderly end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn address(listening: &Value, key: &str) -> anyhow::Result<SocketAddr> {
    let text = listening[key]
        .as_str()
        .with_context(|| format!("no {key}"))?;
    Ok(text.parse()?)
}
