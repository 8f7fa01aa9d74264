//! A token bucket: how soon the next request of a stream is heard.

use std::time::{Duration, Instant};

/// Lets `burst` requests through at once and `rate` a second after that.
#[derive(Debug)]
pub(super) struct Bucket {
    interval: Duration,
    burst: Duration,
    /// When the bucket will be full again.
    full: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        Self {
            interval,
            burst: interval * burst.max(1),
            full: now,
        }
    }

    /// When there is a token to take.
    pub(super) fn ready_at(&self) -> Instant {
        // An instant before the process's first cannot be named, and is past anyhow.
        (self.full + self.interval)
            .checked_sub(self.burst)
            .unwrap_or(self.full)
    }

    /// Takes a token.
    pub(super) fn take(&mut self, now: Instant) {
        self.full = self.full.max(now) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_a_burst_through_and_then_one_each_interval() {
        let start = Instant::now() + Duration::from_mins(1);
        let mut bucket = Bucket::new(10, 3, start);
        for _ in 0..3 {
            assert!(bucket.ready_at() <= start);
            bucket.take(start);
        }
        let next = start + Duration::from_millis(100);
        assert_eq!(bucket.ready_at(), next);
        bucket.take(next);
        assert_eq!(bucket.ready_at(), next + Duration::from_millis(100));
    }

    #[test]
    fn is_full_again_after_a_rest_and_never_more_than_full() {
        let start = Instant::now() + Duration::from_mins(1);
        let mut bucket = Bucket::new(10, 2, start);
        let later = start + Duration::from_hours(1);
        for _ in 0..2 {
            assert!(bucket.ready_at() <= later);
            bucket.take(later);
        }
        assert!(bucket.ready_at() > later);
    }
}
