//! The task that writes the state file: the latest state, now and then.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{Saved, Settings};
use crate::feed::{Feed, Kind};

/// From one write to the next: what a crash loses at the most, and a foundation that never rests costs a write of it.
const PAUSE: Duration = Duration::from_secs(5);

/// Where what is to be written comes from.
pub type Receiver = watch::Receiver<Option<Arc<Saved>>>;

/// The state file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("writing the state file {path}: is its folder there, writable, and the disk not full?")]
struct Unwritten {
    path: String,
    source: io::Error,
}

/// Writes what is newest.
#[derive(Debug)]
pub struct Writer {
    settings: Settings,
    states: Receiver,
    feed: Feed,
}

impl Writer {
    /// Writes the `states`, and says by `feed` how that fares.
    pub fn new(settings: Settings, states: Receiver, feed: Feed) -> Self {
        Self {
            settings,
            states,
            feed,
        }
    }

    /// Writes until `shutdown`, and what is unwritten then.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            self.feed.turned();
            let is_ending = tokio::select! {
                changed = self.states.changed() => changed.is_err(),
                () = shutdown.cancelled() => true,
                () = sleep(PAUSE) => continue,
            };
            if !is_ending || self.states.has_changed().unwrap_or(false) {
                self.write().await;
            }
            if is_ending || shutdown.run_until_cancelled(sleep(PAUSE)).await.is_none() {
                if self.states.has_changed().unwrap_or(false) {
                    self.write().await;
                }
                return;
            }
        }
    }

    async fn write(&mut self) {
        let Some(saved) = self.states.borrow_and_update().clone() else {
            return;
        };
        let (settings, started) = (self.settings.clone(), Instant::now());
        // Encoding and the disk may take long.
        let mut written =
            tokio::task::spawn_blocking(move || settings.write(&saved, SystemTime::now()));
        // A disk that hangs is no reason to end the process.
        let written = loop {
            tokio::select! {
                written = &mut written => break written,
                () = sleep(PAUSE) => self.feed.turned(),
            }
        };
        match written {
            Ok(Ok(())) => self.feed.succeeded(started.elapsed()),
            Ok(Err(source)) => {
                let path = self.settings.path.display().to_string();
                self.feed
                    .failed(Kind::Unwritable, &Unwritten { path, source });
            }
            // Only with the runtime.
            Err(_) => {}
        }
    }
}
