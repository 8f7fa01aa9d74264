//! What the BBS knows of an app beside where it runs: for people who ask why it does not.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use tokio::sync::oneshot;

use super::observation::Unplaced;
use crate::model::{AppGuid, InstanceGuid};

/// Asks for the processes of an app. They are looked for among all, which takes milliseconds in a large foundation.
#[derive(Debug)]
pub struct Question {
    /// Whose.
    pub app: AppGuid,
    /// Told what there is.
    pub reply: oneshot::Sender<Vec<ProcessStatus>>,
}

/// A process that is to run, or of which something runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessStatus {
    /// Its guid in Diego.
    pub process: String,
    /// Its type; an older BBS does not say.
    pub process_type: Option<String>,
    /// How many instances are to run, if that is known.
    pub wanted: Option<u32>,
    /// Those that there are, by their places.
    pub instances: Vec<InstanceStatus>,
}

/// What an instance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for a cell.
    Unclaimed,
    /// A cell makes its container.
    Starting,
    /// It runs, and requests are sent to it.
    Running,
    /// It runs, and none are: it is not ready yet, or is to stop.
    Withheld,
    /// It has crashed.
    Crashed,
}

/// An instance, or a place for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceStatus {
    /// Its place among those of its process.
    pub index: u32,
    /// The instance, if there is one.
    pub guid: Option<String>,
    /// What it does.
    pub state: State,
    /// Since when.
    #[serde(serialize_with = "timestamp")]
    pub since: SystemTime,
    /// How often it has crashed of late.
    pub crashes: u32,
    /// Why, in Diego's words.
    pub why: Option<String>,
}

fn timestamp<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_seconds(*time))
}

impl InstanceStatus {
    pub(super) fn new(index: u32, state: State, since: i64) -> Self {
        let since = Duration::from_nanos(since.try_into().unwrap_or_default());
        Self {
            index,
            guid: None,
            state,
            since: SystemTime::UNIX_EPOCH + since,
            crashes: 0,
            why: None,
        }
    }

    pub(super) fn of(self, guid: &InstanceGuid) -> Self {
        Self {
            guid: Some(guid.to_string()),
            ..self
        }
    }
}

impl From<&Unplaced> for InstanceStatus {
    fn from(place: &Unplaced) -> Self {
        // Diego starts it anew at once for a while, and calls it unclaimed meanwhile.
        let state = if place.is_crashed || place.crashes > 0 {
            State::Crashed
        } else {
            State::Unclaimed
        };
        Self {
            crashes: place.crashes,
            why: place.why.as_deref().map(str::to_owned),
            ..Self::new(place.index, state, place.since)
        }
    }
}
