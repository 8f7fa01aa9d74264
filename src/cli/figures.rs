//! What long runs say: that they go on, that a release build would be faster, and percentiles.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use tokio::task::JoinHandle;

/// What takes no longer needs no word.
const PATIENCE: Duration = Duration::from_secs(1);
/// Routes and instances that an unoptimised build takes long for.
const LARGE: usize = 5000;

/// Says each second at a terminal that something goes on, until it is dropped.
#[derive(Debug)]
pub(super) struct Progress(JoinHandle<()>);

impl Progress {
    /// Of what goes on.
    pub(super) fn of(what: &'static str) -> Self {
        Self(tokio::spawn(async move {
            // What is read by a program has no use for it.
            if !io::stderr().is_terminal() {
                return;
            }
            for seconds in 1_u64.. {
                tokio::time::sleep(PATIENCE).await;
                writeln!(io::stderr(), "{what}: {seconds} s").ok();
            }
        }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Says so where a large foundation meets a build that was not made for it.
pub(super) fn warn_of_debug_build(size: usize) {
    if cfg!(debug_assertions) && size > LARGE {
        let what = "this is a debug build: a foundation of that size takes it many times as long as one of `cargo build --release`";
        writeln!(io::stderr(), "{what}").ok();
    }
}

/// The smallest of the sorted times that is not exceeded by so many of a hundred of them.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        for (percent, expected) in [(50, 100), (99, 198), (100, 200)] {
            let expected = Duration::from_millis(expected);
            assert_eq!(percentile(&times, percent), Some(expected));
        }
        let one = [Duration::from_millis(7)];
        assert_eq!(percentile(&one, 50), Some(one[0]));
        assert_eq!(percentile(&[], 50), None);
    }
}
