//! Ends a process whose loops do not turn: a thread of its own, since what hangs may be all the others.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::error;

use super::Status;

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(10);
/// Loops that are this many times over what they may take in health do not come round any more.
const HOPELESS: u32 = 3;
/// And no loop is given up earlier than that, whatever it may take.
const AT_LEAST: Duration = Duration::from_mins(5);

/// Looks at the loops of feeds.
#[derive(Debug, Clone)]
pub struct Watchdog {
    statuses: Vec<watch::Receiver<Status>>,
    every: Duration,
    at_least: Duration,
}

impl Watchdog {
    pub(super) fn new(statuses: Vec<watch::Receiver<Status>>) -> Self {
        Self {
            statuses,
            every: EVERY,
            at_least: AT_LEAST,
        }
    }

    /// Calls `end` once a loop is stuck for good. The last line of the log says which.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn watch(self, end: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let watch = move || {
            let (name, idle) = loop {
                if let Some(stuck) = self.stuck(Instant::now()) {
                    break stuck;
                }
                thread::sleep(self.every);
            };
            error!(
                feed = name,
                seconds = idle.as_secs_f64(),
                "a loop does not turn any more: the process ends, to be started anew"
            );
            end();
        };
        thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(watch)?;
        Ok(())
    }

    /// A loop that is stuck at this time, and for how long.
    fn stuck(&self, now: Instant) -> Option<(&'static str, Duration)> {
        self.statuses.iter().find_map(|status| {
            let status = status.borrow();
            let idle = now.saturating_duration_since(status.last_turn);
            let limit = self.at_least.max(status.stalls_after * HOPELESS);
            (idle > limit).then_some((status.name, idle))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::feed::Feeds;

    #[test]
    fn a_loop_is_given_up_long_after_it_should_have_come_round() {
        let mut feeds = Feeds::new(&mut Registry::default());
        let _quick = feeds.register("quick", Duration::from_secs(1));
        let _slow = feeds.register("slow", Duration::from_mins(10));
        let watchdog = feeds.watchdog();
        let after = |minutes| Instant::now() + Duration::from_mins(minutes);
        let stuck = |minutes| watchdog.stuck(after(minutes)).map(|(name, _)| name);
        assert_eq!((stuck(4), stuck(6)), (None, Some("quick")));
        let slow = Watchdog::new(vec![feeds.statuses[1].clone()]);
        assert!(slow.stuck(after(29)).is_none() && slow.stuck(after(31)).is_some());
    }

    #[test]
    fn a_loop_that_never_turns_ends_the_process() {
        let mut feeds = Feeds::new(&mut Registry::default());
        let _stuck = feeds.register("stuck", Duration::ZERO);
        let watchdog = Watchdog {
            every: Duration::from_millis(1),
            at_least: Duration::ZERO,
            ..feeds.watchdog()
        };
        let (ended, is_ended) = mpsc::channel();
        watchdog.watch(move || ended.send(()).unwrap()).unwrap();
        is_ended.recv_timeout(Duration::from_mins(1)).unwrap();
    }
}
