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

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    feed::{Feed, Kind},
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
    /// Its address, `https://bbs.service.cf.internal:8889` in most foundations.
    pub address: Url,
    /// The CAs that the BBS's certificate is verified against.
    pub ca: PathBuf,
    /// What is presented to the BBS; it accepts any certificate of its own CA.
    pub identity: tls::Identity,
    /// The time between two lists while nothing goes wrong.
    pub sync_interval: Duration,
    /// How long one list may take from the request to its last byte.
    pub request_timeout: Duration,
    /// How long a connection may take: standbys do not listen, so the next address has to be tried soon.
    pub connect_timeout: Duration,
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

/// What went wrong with the BBS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has not answered, or not well.
    #[error(transparent)]
    Http(#[from] outbound::Error),
    /// The answer has a good status, but something other than the BBS wrote it.
    #[error("{url} answered with {found}")]
    Foreign {
        /// What was asked for.
        url: Url,
        /// What gave it away.
        found: String,
    },
    /// The BBS reports an error inside its answer.
    #[error("{url} reports error {code}: {message}")]
    Response {
        /// What was asked for.
        url: Url,
        /// Its type.
        code: i32,
        /// Its text.
        message: String,
    },
    /// The event stream ended in order: the BBS stops, or has dropped us for being slow.
    #[error("the BBS ended the event stream")]
    Ended,
    /// What arrived is not in the BBS's format.
    #[error("decoding {what}: {detail}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// No foundation is that large.
    #[error("{url} lists more than {limit} rows")]
    TooMany {
        /// What was asked for.
        url: Url,
        /// The bound.
        limit: usize,
    },
    /// Events arrived faster than they were merged.
    #[error("{0} events are waiting, the stream is begun anew")]
    Overflow(usize),
    /// The BBS does not vouch for the first list.
    #[error(
        "the domain {DOMAIN} is not fresh, the first list is not believed yet: is Cloud Controller's diego_sync running?"
    )]
    NotFresh,
    /// Most rows of the first list cannot be read.
    #[error("{unreadable} rows of the first list cannot be read, {listed} can")]
    Unreadable {
        /// The good rows.
        listed: usize,
        /// The others.
        unreadable: usize,
    },
    /// The BBS vouches for a first list without instances.
    #[error("the first list has no instances; a second one has to confirm it")]
    Nothing,
    /// A first list has fewer than half of what is to run.
    #[error(
        "{running} of {wanted} instances run by the first list; three lists over a minute have to say so"
    )]
    Doubtful {
        /// The routable instances.
        running: usize,
        /// How many are to run.
        wanted: usize,
    },
    /// Of what a first list says to run, fewer than half is to.
    #[error(
        "{unwanted} of {running} instances that run are not to by the first list; three lists over a minute have to say so"
    )]
    Unwanted {
        /// The routable instances.
        running: usize,
        /// How many of them nothing wants.
        unwanted: usize,
    },
    /// The event stream is ended from here.
    #[error("the event stream is begun anew, since lists fail or bring what no event announced")]
    Abandoned,
}

impl Error {
    /// What is wrong with the feed.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Http(error) => error.kind(),
            Self::Foreign { .. } => Kind::Foreign,
            Self::Response { .. } => Kind::ServerError,
            Self::Ended | Self::Abandoned => Kind::StreamEnded,
            Self::Malformed { .. } => Kind::Malformed,
            Self::TooMany { .. } => Kind::TooLarge,
            Self::Unreadable { .. } => Kind::Unreadable,
            Self::Overflow(_) => Kind::Overflow,
            Self::NotFresh | Self::Nothing | Self::Doubtful { .. } | Self::Unwanted { .. } => {
                Kind::Unconfirmed
            }
        }
    }
}
