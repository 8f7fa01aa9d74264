//! The feed of running instances: follows Diego's BBS by its event stream and by lists.
//!
//! ```text
//! event stream ─▶ subscription ─ bounded queue ─▶ reconciler ─▶ merge ─▶ Update::Instances
//!                 (reader task)                       ▲   (one owner)
//! lists ─▶ client ─▶ parse, row by row ───────────────┘
//! ```
//!
//! The stream has no replay and its clean end looks like a loss, so every end of it is followed by a new
//! subscription and then a list, in that order.

mod client;
mod error;
mod events;
mod first;
mod merge;
mod observation;
mod parse;
mod ports;
mod processes;
mod reconciler;
mod subscription;

#[cfg(test)]
mod captured;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::error::{Doubt, Error};
use crate::{
    feed::Feed,
    model::{AppGuid, Confirmations, Report},
    outbound::{self, Transport},
    readiness::Gate,
    tls,
};

pub use self::processes::{InstanceStatus, ProcessStatus, Question, State};

/// The Diego domain of Cloud Foundry's apps; everything else in the BBS is left alone.
pub const DOMAIN: &str = "cf-apps";

/// Where the BBS is and how it is followed.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its address, `https://bbs.service.cf.internal:8889` in most foundations, and so on. It accepts any certificate of its
    /// own CA. Standbys do not listen, so the next address has to be tried soon.
    pub peer: outbound::Settings,
    /// The time between two lists while nothing goes wrong.
    pub sync_interval: Duration,
    /// The shortest and the longest delay before another attempt.
    pub backoff: (Duration, Duration),
    /// After how long a first list is believed that the BBS does not vouch for.
    pub confirm_after: Duration,
}

/// Where the feed's findings go.
#[derive(Debug)]
pub struct Outputs {
    /// The instances: all of them once, then only what changes.
    pub updates: mpsc::Sender<Report>,
    /// When a complete read could confirm a loss that is held.
    pub confirmations: watch::Receiver<Confirmations>,
    /// The apps whose desired state changed. Cloud Controller writes it right after a route is mapped or unmapped,
    /// so it is worth reading their routes at once. Closed where routes are not read.
    pub touched_apps: Vec<mpsc::Sender<AppGuid>>,
    /// What people ask.
    pub questions: mpsc::Receiver<Question>,
    /// The state of the lists, and of what they and the events leave out.
    pub lists: Feed,
    /// The state of the event stream.
    pub events: Feed,
    /// Opened by the first complete list.
    pub synced: Gate,
}

/// Follows one BBS.
#[derive(Debug)]
pub struct Watcher {
    client: client::Client,
    settings: Settings,
    outputs: Outputs,
}

impl Watcher {
    /// Reads the certificates; connects to nothing yet.
    pub fn new(
        settings: Settings,
        transport: Arc<dyn Transport>,
        outputs: Outputs,
    ) -> Result<Self, tls::Error> {
        Ok(Self {
            client: client::Client::new(&settings, transport)?,
            settings,
            outputs,
        })
    }

    /// Follows the BBS until `shutdown`, or until nobody receives the updates.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = reconciler::follow(self.client, &self.settings, self.outputs) => {}
        }
    }
}
