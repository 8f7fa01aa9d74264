//! How soon one burst of full states follows another.
//!
//! istiod pushes to its proxies a moment after the *last* change that it was told (`PILOT_DEBOUNCE_AFTER`, 100 ms): a
//! source that sends each change at once keeps it from pushing. So what is due goes out together, and then the stream
//! rests for longer than that.

use std::time::{Duration, Instant};

/// When a stream's next burst may begin.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// From the last sign of one burst to the beginning of the next.
    distance: Duration,
    /// When something was last sent or answered.
    last: Option<Instant>,
}

impl Pace {
    /// Bursts at least so far from each other.
    pub(super) fn new(distance: Duration) -> Self {
        Self {
            distance,
            last: None,
        }
    }

    /// When the next burst may begin; at any time if `None`.
    pub(super) fn ready_at(&self) -> Option<Instant> {
        self.last.map(|last| last + self.distance)
    }

    /// Whether a burst may begin.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.ready_at().is_none_or(|at| at <= now)
    }

    /// Something was sent, or answered: only now has the sink taken it in, and begins to wait for more.
    pub(super) fn stir(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// Whoever asks for something does not wait.
    pub(super) fn waive(&mut self) {
        self.last = None;
    }
}
