//! What was measured, beside each other.

use std::{fmt::Write as _, time::Duration};

/// The most that the daemon may use, in megabytes: half as much again as it took in ten minutes.
const PEAK_MB: f64 = 2048.0;
/// The most that it may log, whatever is done to it.
const LOG_KB_PER_MINUTE: f64 = 200.0;

/// Some times.
#[derive(Debug, Default)]
pub struct Times(Vec<Duration>);

/// One time of observation.
#[derive(Debug, Default)]
pub struct Figures {
    /// From a change to when a Pilot knew.
    pub mcp: Times,
    /// The same of an istiod.
    pub xds: Times,
    /// From when a new Pilot connects to its first answer.
    pub arrivals: Times,
    /// Why new Pilots had none.
    pub refused: Vec<String>,
    /// Of requests for `/healthz`.
    pub health: Times,
    /// Changes that a sink never saw.
    pub lost: usize,
    /// How good streams have ended.
    pub ended: Vec<String>,
    /// Of one core.
    pub cpu_percent: f64,
    /// Resident memory.
    pub peak_mb: f64,
    /// What was logged.
    pub log_kb_per_minute: f64,
}

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The median, the 99th percentile, the longest, and how many there are.
    fn tell(&self) -> [String; 4] {
        let mut sorted = self.0.clone();
        sorted.sort();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            let time = sorted.get(rank - 1);
            time.map_or_else(String::new, |time| {
                format!("{:.1} ms", time.as_secs_f64() * 1e3)
            })
        };
        [at(50), at(99), at(100), sorted.len().to_string()]
    }
}

impl Figures {
    /// A table of both.
    pub fn beside(calm: &Self, attacked: &Self) -> String {
        let mut text = format!("{:<28} {:>14} {:>14}\n", "", "calm", "attacked");
        let mut line = |name: &str, calm: &str, attacked: &str| {
            writeln!(text, "{name:<28} {calm:>14} {attacked:>14}").expect("a string takes it");
        };
        for (name, of) in [
            (
                "a Pilot hears of a change",
                (|one| &one.mcp) as fn(&Self) -> &Times,
            ),
            ("an istiod does", |one| &one.xds),
            ("a new Pilot is answered", |one| &one.arrivals),
            ("/healthz is answered", |one| &one.health),
        ] {
            let (calm, attacked) = (of(calm).tell(), of(attacked).tell());
            for (at, what) in ["p50", "p99", "longest", "times"].into_iter().enumerate() {
                let name = if at == 0 { name } else { "" };
                line(&format!("{name:<26} {what}"), &calm[at], &attacked[at]);
            }
        }
        let number = |unit: &str, value: f64| format!("{value:.0} {unit}");
        for (name, unit, of) in [
            (
                "CPU of one core",
                "%",
                (|one| one.cpu_percent) as fn(&Self) -> f64,
            ),
            ("peak of memory", "MB", |one| one.peak_mb),
            ("log, a minute", "KB", |one| one.log_kb_per_minute),
        ] {
            line(name, &number(unit, of(calm)), &number(unit, of(attacked)));
        }
        text
    }

    /// What should not be so.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.lost > 0 {
            wrong.push(format!("{} changes were never heard of", self.lost));
        }
        let ended = self.ended.iter();
        wrong.extend(ended.map(|status| format!("a good stream has ended: {status}")));
        let refused = self.refused.iter();
        wrong.extend(refused.map(|error| format!("a new Pilot was not served: {error}")));
        if self.peak_mb > PEAK_MB {
            wrong.push(format!("more than {PEAK_MB} MB of memory"));
        }
        if self.log_kb_per_minute > LOG_KB_PER_MINUTE {
            wrong.push(format!("more than {LOG_KB_PER_MINUTE} KB of log a minute"));
        }
        wrong
    }
}
