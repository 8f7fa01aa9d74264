//! When something is to be done next.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// Of what is done again and again.
pub(super) struct Schedule {
    at: Instant,
    backoff: Backoff,
    fails: bool,
}

impl Schedule {
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

    /// It is done at that time, if it was to be done later.
    pub(super) fn bring_forward(&mut self, to: Instant) {
        self.at = self.at.min(to);
    }

    /// It cannot wait.
    pub(super) fn make_due(&mut self) {
        self.at = Instant::now();
    }
}

/// Of what is done only while there is a reason to.
pub(super) struct OnDemand {
    schedule: Schedule,
    is_wanted: bool,
}

impl OnDemand {
    /// Nothing to do yet.
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            schedule: Schedule::new(backoff),
            is_wanted: false,
        }
    }

    /// There is a reason.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// When it is due, if it is.
    pub(super) fn at(&self) -> Option<Instant> {
        self.is_wanted.then_some(self.schedule.at())
    }

    /// Whether it failed the last time.
    pub(super) fn fails(&self) -> bool {
        self.schedule.fails()
    }

    /// It is done, and not done again before this time has passed.
    pub(super) fn succeeded(&mut self, earliest: Duration) {
        self.is_wanted = false;
        self.schedule.succeeded(earliest);
    }

    /// It is done, and to be done again after this time.
    pub(super) fn repeat(&mut self, after: Duration) {
        self.is_wanted = true;
        self.schedule.succeeded(after);
    }

    /// It did not go well, and is tried again after a while.
    pub(super) fn failed(&mut self) {
        self.is_wanted = true;
        self.schedule.failed(Duration::ZERO);
    }
}
