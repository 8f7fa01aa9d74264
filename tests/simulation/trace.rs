//! What was asked and answered in a run.

use std::{
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::clock;

/// What happened, and when.
pub(super) type Line = (Duration, String);

/// One line for each thing that happened.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace(Arc<Mutex<Vec<Line>>>);

impl Trace {
    pub(super) fn note(&self, what: String) {
        self.0.lock().unwrap().push((clock::now(), what));
    }

    /// All of them; what happened to several at one time in no order.
    pub(super) fn take(&self) -> Vec<Line> {
        let mut lines = mem::take(&mut *self.0.lock().unwrap());
        lines.sort();
        lines
    }
}
