//! Logs: JSON lines or text, with a level that can change while the process runs.

use std::{io::IsTerminal as _, str::FromStr};

use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    layer::{Layer as _, SubscriberExt as _},
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

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

impl Level {
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
    }
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object a line, for log collectors.
    #[default]
    Json,
    /// For a person at a terminal.
    Text,
}

/// Changes the level of a running process.
#[derive(Debug, Clone)]
pub struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    /// Applies from the next event on.
    ///
    /// # Errors
    /// The subscriber is gone.
    pub fn set(&self, level: Level) -> Result<(), reload::Error> {
        self.0.reload(level.filter())
    }
}

/// Sends the process's events to standard error.
///
/// # Errors
/// A subscriber was installed before.
pub fn init(level: Level, format: Format) -> Result<LevelHandle, TryInitError> {
    let (filter, handle) = reload::Layer::new(level.filter());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Json => lines.json().flatten_event(true).boxed(),
        Format::Text => lines
            .compact()
            .with_ansi(std::io::stderr().is_terminal())
            .boxed(),
    };
    Registry::default().with(filter).with(lines).try_init()?;
    Ok(LevelHandle(handle))
}
