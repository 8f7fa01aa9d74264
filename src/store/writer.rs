//! The task that writes the state file: the latest state, now and then.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Saved, Settings};
use crate::feed::{Feed, Kind};

/// From one write to the next: what a crash loses at the most, and a foundation that never rests costs a write of it.
const PAUSE: Duration = Duration::from_secs(5);

/// How long its last state is waited for.
const LAST: Duration = Duration::from_secs(1);

/// Where what is to be written comes from.
pub type Receiver = watch::Receiver<Option<State>>;

/// What is to be written down.
#[derive(Debug, Clone)]
pub struct State {
    /// What was served.
    pub saved: Arc<Saved>,
    /// When Cloud Controller said it: what is written anew while it is silent is no younger for that.
    pub said_at: SystemTime,
}

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
    written: Option<Arc<Saved>>,
    feed: Feed,
}

impl Writer {
    /// Writes the `states`, and says by `feed` how that fares.
    pub fn new(settings: Settings, states: Receiver, feed: Feed) -> Self {
        Self {
            settings,
            states,
            written: None,
            feed,
        }
    }

    /// Writes until `shutdown`, and then what its sender ends with.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            self.feed.turned();
            tokio::select! {
                changed = self.states.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = shutdown.cancelled() => break,
                // What could not be written is tried again.
                () = sleep(PAUSE) => {}
            }
            self.write().await;
            if shutdown.run_until_cancelled(sleep(PAUSE)).await.is_none() {
                break;
            }
        }
        // The sender ends by the same word, and says its last one then.
        let ended = async { while self.states.changed().await.is_ok() {} };
        if timeout(LAST, ended).await.is_err() {
            debug!("the publisher does not end");
        }
        self.write().await;
    }

    async fn write(&mut self) {
        let newest = self.states.borrow_and_update().clone();
        let is_written = |saved: &Arc<Saved>| {
            let written = self.written.as_ref();
            written.is_some_and(|written| Arc::ptr_eq(written, saved))
        };
        let Some(State { saved, said_at }) = newest.filter(|state| !is_written(&state.saved))
        else {
            return;
        };
        let state = saved.clone();
        let (settings, started) = (self.settings.clone(), Instant::now());
        // Encoding and the disk may take long.
        let mut written = tokio::task::spawn_blocking(move || settings.write(&saved, said_at));
        // A disk that hangs is no reason to end the process.
        let written = loop {
            tokio::select! {
                written = &mut written => break written,
                () = sleep(PAUSE) => self.feed.turned(),
            }
        };
        match written {
            Ok(Ok(())) => {
                self.written = Some(state);
                self.feed.succeeded(started.elapsed());
            }
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
