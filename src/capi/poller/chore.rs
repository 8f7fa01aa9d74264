//! When something is to be done next.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// Something that is done again and again.
pub(super) struct Chore {
    at: Instant,
    backoff: Backoff,
    fails: bool,
}

impl Chore {
    /// Due at once.
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            at: Instant::now(),
            backoff,
            fails: false,
        }
    }

    /// When it is due.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Whether it failed the last time.
    pub(super) fn fails(&self) -> bool {
        self.fails
    }

    /// It went well.
    pub(super) fn succeeded(&mut self, next: Duration) {
        self.backoff.reset();
        self.fails = false;
        self.at = Instant::now() + next;
    }

    /// It did not, and is tried again after a while, of `at_least` this length.
    pub(super) fn failed(&mut self, at_least: Duration) {
        self.fails = true;
        self.at = Instant::now() + self.backoff.delay().max(at_least);
    }

    /// It cannot wait.
    pub(super) fn hurry(&mut self) {
        self.at = Instant::now();
    }
}
