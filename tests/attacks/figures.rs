//! What was measured, beside each other.

use std::{fmt::Write as _, time::Duration};

/// The most that the daemon may use, in megabytes: unfinished requests may take 512, and would take 960 if they might.
const PEAK_MB: f64 = 800.0;
/// The most that it may log, whatever is done to it.
const LOG_KB_PER_MINUTE: f64 = 200.0;

/// Of 100 changes one may take longer: a rest of the publisher, one of a stream, and the sink's answer.
const CHANGE: Duration = Duration::from_secs(20);
/// No new Pilot waits for longer: the kernel's retransmissions, where the queue is full.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Of 100 requests for `/healthz` one may take longer.
const HEALTH: Duration = Duration::from_secs(1);
/// How many of the slowest are told.
const SLOWEST: usize = 5;

/// How long things took, and when each began.
#[derive(Debug, Default)]
pub struct Times(Vec<(Duration, Duration)>);

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
    pub fn add(&mut self, took: Duration, begun: Duration) {
        self.0.push((took, begun));
    }

    /// What so many of a hundred do not exceed; nothing of nothing.
    fn at(&self, percent: usize) -> Option<Duration> {
        let mut sorted: Vec<_> = self.0.iter().map(|(took, _)| *took).collect();
        sorted.sort();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied()
    }

    fn exceeds(&self, percent: usize, most: Duration) -> bool {
        self.at(percent).is_none_or(|took| took > most)
    }

    /// The slowest, and when they began.
    fn slowest(&self) -> String {
        let mut sorted = self.0.clone();
        sorted.sort();
        let slowest = sorted.iter().rev().take(SLOWEST);
        let told = slowest.map(|(took, begun)| {
            let (took, begun) = (took.as_secs_f64(), begun.as_secs());
            format!("{took:.1} s from {begun} s on")
        });
        told.collect::<Vec<_>>().join(", ")
    }

    /// The median, the 99th percentile, the longest, and how many there are.
    fn tell(&self) -> [String; 4] {
        let at = |percent| {
            let time = self.at(percent);
            time.map_or_else(String::new, |time| {
                format!("{:.1} ms", time.as_secs_f64() * 1e3)
            })
        };
        [at(50), at(99), at(100), self.0.len().to_string()]
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
        for (name, times) in [("a Pilot", &attacked.mcp), ("an istiod", &attacked.xds)] {
            let slowest = times.slowest();
            writeln!(text, "{name} waits longest: {slowest}").expect("a string takes it");
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
        for (is_late, what) in [
            (
                self.mcp.exceeds(99, CHANGE),
                "a Pilot hears late of changes",
            ),
            (
                self.xds.exceeds(99, CHANGE),
                "an istiod hears late of changes",
            ),
            (
                self.arrivals.exceeds(100, ARRIVAL),
                "a new Pilot waits long",
            ),
            (
                self.health.exceeds(99, HEALTH),
                "/healthz is silent for long",
            ),
        ] {
            if is_late {
                wrong.push(what.to_owned());
            }
        }
        if self.peak_mb > PEAK_MB {
            wrong.push(format!("more than {PEAK_MB} MB of memory"));
        }
        if self.log_kb_per_minute > LOG_KB_PER_MINUTE {
            wrong.push(format!("more than {LOG_KB_PER_MINUTE} KB of log a minute"));
        }
        wrong
    }
}
