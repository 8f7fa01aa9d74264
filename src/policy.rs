//! The feed of network policies: which app may connect to which, polled from the policy server.
//!
//! ```text
//! Poller ─▶ client ─▶ policy server
//!    │        └─ wire: item by item
//!    └─▶ Update::AllPolicies
//! ```

mod client;
mod error;
mod poller;
mod wire;

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use self::error::{Doubt, Error};
pub use self::poller::Poller;
use crate::{
    feed::Feed,
    model::{Confirmations, Report},
    outbound,
};

/// Where the policy server is, and how it is polled.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its internal address, `https://policy-server.service.cf.internal:4003` in most foundations, and so on. It accepts any
    /// certificate of its own CA.
    pub peer: outbound::Settings,
    /// From the end of one poll to the next.
    pub poll_interval: Duration,
    /// The shortest and the longest delay after a failure.
    pub backoff: (Duration, Duration),
}

/// Where the feed's findings go.
#[derive(Debug)]
pub struct Outputs {
    /// The policies: all of them, whenever they have changed, and while they could confirm something.
    pub updates: mpsc::Sender<Report>,
    /// When a complete read could confirm a loss that is held.
    pub confirmations: watch::Receiver<Confirmations>,
    /// How the polls fare.
    pub feed: Feed,
}

/// An answer of the policy server, taken in as it comes.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let url = url::Url::parse("https://policy.example.com").expect("a URL");
    wire::answer(&url, bytes).ok();
}
