//! Logs: JSON lines or text, with a level that can change while the process runs.

use std::{
    fmt,
    io::IsTerminal as _,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    fmt::{format::Writer, time::FormatTime},
    layer::{Layer as _, SubscriberExt as _},
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

/// The target of the few events that are logged at every level: supervisors wait for them.
pub const ALWAYS: &str = concat!(env!("CARGO_PKG_NAME"), "::always");

/// The levels of the original's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Everything, down to each request.
    Debug,
    /// State changes.
    #[default]
    Info,
    /// What is degraded and what someone must act on.
    Error,
    /// Only what ends the process.
    Fatal,
}

/// A level that is none of the known ones.
#[derive(Debug, thiserror::Error)]
#[error("unknown log level {0:?}: use debug, info, error or fatal")]
pub struct UnknownLevel(String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(level: &str) -> Result<Self, UnknownLevel> {
        match level {
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "error" => Ok(Self::Error),
            "fatal" => Ok(Self::Fatal),
            other => Err(UnknownLevel(other.to_owned())),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Error => "error",
            Self::Fatal => "fatal",
        })
    }
}

impl Level {
    const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Error, Self::Fatal];

    /// The libraries beneath log at `warn` at most: their debug output drowns ours.
    fn filter(self) -> Targets {
        let (libraries, ours) = match self {
            Self::Debug => (LevelFilter::WARN, LevelFilter::DEBUG),
            Self::Info => (LevelFilter::WARN, LevelFilter::INFO),
            // The original's `error` includes what is degraded, our `warn`.
            Self::Error => (LevelFilter::ERROR, LevelFilter::WARN),
            Self::Fatal => (LevelFilter::ERROR, LevelFilter::ERROR),
        };
        Targets::new()
            .with_default(libraries)
            .with_target(env!("CARGO_PKG_NAME"), ours)
            .with_target(ALWAYS, LevelFilter::INFO)
    }
}

/// How the time of an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Timestamp {
    /// `2026-01-31T12:34:56.123456Z`.
    #[default]
    Rfc3339,
    /// Seconds since the Unix epoch with their fraction, as the older components of Cloud Foundry write it.
    UnixEpoch,
}

/// A timestamp format that is none of the known ones.
#[derive(Debug, thiserror::Error)]
#[error("unknown timestamp format: use rfc3339 or unix-epoch")]
pub struct UnknownTimestamp;

impl FromStr for Timestamp {
    type Err = UnknownTimestamp;

    fn from_str(format: &str) -> Result<Self, UnknownTimestamp> {
        match format {
            "rfc3339" => Ok(Self::Rfc3339),
            "unix-epoch" => Ok(Self::UnixEpoch),
            _ => Err(UnknownTimestamp),
        }
    }
}

impl FormatTime for Timestamp {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        match self {
            Self::Rfc3339 => tracing_subscriber::fmt::time::SystemTime.format_time(writer),
            Self::UnixEpoch => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                let since = since.unwrap_or_default();
                write!(writer, "{}.{:09}", since.as_secs(), since.subsec_nanos())
            }
        }
    }
}

/// The time, or where the clock is before it, the Unix epoch: nothing formats an earlier one.
pub fn of_epoch(time: SystemTime) -> SystemTime {
    time.max(UNIX_EPOCH)
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line on standard output, for log collectors.
    Json(Timestamp),
    /// On standard error, for a person at a terminal.
    Text,
}

/// Changes the level of a running process.
#[derive(Debug, Clone)]
pub struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    /// What applies now; `None` if the subscriber is gone.
    pub fn get(&self) -> Option<Level> {
        let is_set = |level: &Level| self.0.with_current(|filter| *filter == level.filter());
        Level::ALL
            .into_iter()
            .find(|level| is_set(level).unwrap_or_default())
    }

    /// Applies from the next event on.
    ///
    /// # Errors
    /// The subscriber is gone.
    pub fn set(&self, level: Level) -> Result<(), reload::Error> {
        self.0.reload(level.filter())
    }
}

/// Writes the process's events from now on.
///
/// # Errors
/// A subscriber was installed before.
pub fn init(level: Level, format: Format) -> Result<LevelHandle, TryInitError> {
    let (filter, handle) = reload::Layer::new(level.filter());
    let lines = tracing_subscriber::fmt::layer();
    let lines = match format {
        Format::Json(timestamp) => lines
            .json()
            .flatten_event(true)
            .with_timer(timestamp)
            .with_writer(std::io::stdout)
            .boxed(),
        Format::Text => lines
            .compact()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .boxed(),
    };
    Registry::default().with(filter).with(lines).try_init()?;
    Ok(LevelHandle(handle))
}
