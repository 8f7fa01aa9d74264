//! Delays between attempts: exponential, bounded, jittered.

use std::time::Duration;

use fastrand::Rng;

/// Doubles from a minimum to a maximum; each delay is drawn from the upper half of its step, so that many
/// clients of a peer that comes back do not all come back at once.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    step: Duration,
    /// Its own, so that its delays do not depend on who else draws meanwhile.
    rng: Rng,
}

impl Backoff {
    /// Starts at `min`; no delay is longer than `max`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            step: min,
            rng: Rng::new(),
        }
    }

    /// The delay before the next attempt.
    pub(crate) fn delay(&mut self) -> Duration {
        let step = self.step.min(self.max);
        self.step = step.saturating_mul(2);
        step.mul_f64(0.5 + 0.5 * self.rng.f64())
    }

    /// An attempt succeeded: begin again at the minimum.
    pub(crate) fn reset(&mut self) {
        self.step = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_maximum_and_starts_again_after_a_reset() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(min, max);
        let mut step = min;
        for _ in 0..10 {
            let delay = backoff.delay();
            assert!(
                delay >= step / 2 && delay <= step,
                "{delay:?} is not within half of {step:?}"
            );
            step = (step * 2).min(max);
        }
        backoff.reset();
        assert!(backoff.delay() <= min);
    }
}
