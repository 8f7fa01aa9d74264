//! Turns, so that nothing happens at the same time as what it could meet: tokio draws by chance which of several receivers of
//! a `watch` it wakes first, and which timers of one millisecond are over first may follow from that.

use std::{cell::Cell, fmt, time::Duration};

use tokio::time::{Instant, sleep_until};
use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

/// Milliseconds in which each has its turn once.
const ROUND: u64 = 10;

thread_local! {
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A run begins.
pub(super) fn begin() {
    BEGAN.set(Some(Instant::now()));
}

/// How long the run has taken.
pub(super) fn now() -> Duration {
    BEGAN.get().map_or(Duration::ZERO, |began| began.elapsed())
}

/// The first turn after so long. The foundation has the first one, with all that follows from it.
pub(super) fn after(time: Duration, turn: u64) -> Instant {
    let at = u64::try_from((now() + time).as_millis()).unwrap();
    let at = at.saturating_sub(turn).div_ceil(ROUND) * ROUND + turn;
    Instant::now() + Duration::from_millis(at).saturating_sub(now())
}

/// Waits for it.
pub(super) async fn wait(time: Duration, turn: u64) {
    sleep_until(after(time, turn)).await;
}

/// Log lines say the time of the run.
pub(super) struct Elapsed;

impl FormatTime for Elapsed {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.3} s", now().as_secs_f64())
    }
}
