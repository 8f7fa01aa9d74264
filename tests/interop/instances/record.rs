//! What an instance was asked, and when.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Counts of one instance; they outlive it.
#[derive(Debug, Default)]
pub struct Record(Mutex<Asked>);

/// What an instance was asked by some moment.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Requests in all.
    pub requests: u64,
    /// When the last of them came.
    pub last: Option<Instant>,
    /// When it ended for the foundation; it may answer on for a while.
    pub ended: Option<Instant>,
    /// How long after that each later request came.
    pub late: Vec<Duration>,
    /// Connections that were admitted.
    pub connections: u64,
    /// Connections that were not.
    pub refused: u64,
}

impl Record {
    /// What it was asked so far.
    pub fn asked(&self) -> Asked {
        self.lock().clone()
    }

    /// From now on it should be asked no more.
    pub fn end(&self) {
        self.lock().ended.get_or_insert_with(Instant::now);
    }

    pub(super) fn ask(&self) {
        let now = Instant::now();
        let mut asked = self.lock();
        asked.requests += 1;
        asked.last = Some(now);
        if let Some(ended) = asked.ended {
            asked.late.push(now.duration_since(ended));
        }
    }

    pub(super) fn admit(&self) {
        self.lock().connections += 1;
    }

    pub(super) fn refuse(&self) {
        self.lock().refused += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
