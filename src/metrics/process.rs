//! The process itself, by the names that every process has on a metrics page.

use std::{
    fmt::Error,
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use rustix::process::{Resource, getrlimit};

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    started: SystemTime,
}

impl Process {
    /// This one, which has begun just now.
    pub(super) fn started_now() -> Self {
        Self {
            started: SystemTime::now(),
        }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut encode = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            let family = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(family)
        };
        let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        encode(
            "process_start_time_seconds",
            "When the process began, in Unix time",
            &ConstGauge::new(started.as_secs_f64()),
        )?;
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            let help = "Files that the process may have open";
            encode("process_max_fds", help, &gauge(limit))?;
        }
        if let Some(open) = open_files() {
            let help = "Files that the process has open, connections among them";
            encode("process_open_fds", help, &gauge(open))?;
        }
        if let Some(resident) = resident_bytes() {
            let help = "Memory of the process that is in use";
            encode("process_resident_memory_bytes", help, &gauge(resident))?;
        }
        if let Some(seconds) = cpu_seconds() {
            let help = "Time that processors worked for the process";
            // The library adds the suffix of a counter.
            encode("process_cpu_seconds", help, &ConstCounter::new(seconds))?;
        }
        Ok(())
    }
}

/// Resident memory as the kernel accounts it; `None` where /proc is not there.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    kib.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

fn open_files() -> Option<u64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // One is that of the folder.
    Some(open.saturating_sub(1))
}

/// Of all threads, those that have ended too.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let ticks = cpu_ticks(&stat)?;
    #[expect(clippy::cast_precision_loss, reason = "exact for some million years")]
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// In user mode and in the kernel: fields 14 and 15 of proc(5), of which the second is in brackets and may have any
/// character.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_the_process_uses() {
        let page = crate::metrics::page(&crate::metrics::registry());
        for name in [
            "process_start_time_seconds ",
            "process_max_fds ",
            "process_open_fds ",
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
        ] {
            assert!(
                page.contains(&format!("\n{name}")),
                "{name} is not in\n{page}"
            );
        }
    }

    #[test]
    fn a_process_may_call_itself_whatever_it_likes() {
        let stat = "7 (a) 1 2) 3 4) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7"), None);
    }
}
