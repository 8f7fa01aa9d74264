//! How soon one burst of full states follows another.
//!
//! Whoever reads full states pays for all of them with each change, and pushes to its proxies a moment after the *last* one
//! that it was told (100 ms, in Pilots and istiods alike): a source that sends each change at once keeps it from
//! pushing, and collections that go each at a time of its own are a push each. So what is due goes out together, at once
//! after a rest, and then the stream rests: for longer than that moment, for longer the more was sent, and for as long as
//! the sink took to answer.
//!
//! Pure: it is told the time.

use std::time::{Duration, Instant};

use super::role::Role;
use crate::snapshot::Form;

/// Bytes a second that a stream of full states carries at most, in the long run: with a change each 150 ms less than 2.4 MB
/// for each of them, however large the states are. The program that this one replaces sent 2.7 MB.
const RATE: u64 = 15_000_000;
/// An istiod answers before it has pushed, and makes the routes of all of its proxies anew for VirtualServices: with 20,000 of them,
/// 7 MB, some seconds of its own time and of each Envoy's. A Pilot's push costs as much whatever has changed, and is left as
/// it is: its operator knows the size.
const PUSH: usize = 8;
/// Nobody waits for longer because of sizes and answers. So long after a change istiod pushes, whatever follows it.
const LONGEST: Duration = Duration::from_secs(10);
/// Twice as long as Pilots and istiods wait for more before they push.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// What a burst is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Burst {
    /// ServiceEntries and nothing else: most of the time endpoints, which proxies are sent without their routes.
    Services,
    /// Anything.
    Any,
}

/// When a stream's next burst may begin.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What was asked for; nothing is paced where it is zero.
    interval: Duration,
    /// When something was last sent or answered.
    last: Option<Instant>,
    /// Until when the burst is paid for with a rest.
    paid: Option<Instant>,
    /// The same of the push that it causes, which keeps from another push and not from new endpoints.
    pushed: Option<Instant>,
}

impl Pace {
    /// Bursts at least so far from each other.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            ..Self::default()
        }
    }

    /// When the next burst may begin; at any time if `None`.
    pub(super) fn ready_at(&self, next: Burst) -> Option<Instant> {
        let last = self.last.filter(|_| !self.interval.is_zero())?;
        let distance = |paid: Option<Instant>| {
            let owed = paid.map_or(Duration::ZERO, |paid| paid.saturating_duration_since(last));
            self.interval.max(owed.min(LONGEST))
        };
        Some(
            last + match next {
                Burst::Any => distance(self.paid.max(self.pushed)),
                Burst::Services => (distance(self.paid) / 2).max(self.interval.min(DEBOUNCE)),
            },
        )
    }

    /// Whether a burst may begin.
    pub(super) fn is_ready(&self, next: Burst, now: Instant) -> bool {
        self.ready_at(next).is_none_or(|at| at <= now)
    }

    /// A burst begins. What came before it is paid, but for what is left where it began sooner.
    pub(super) fn begin(&mut self, now: Instant) {
        self.paid = self.paid.filter(|paid| *paid > now);
        self.pushed = self.pushed.filter(|pushed| *pushed > now);
    }

    /// So many bytes of it are sent.
    pub(super) fn send(&mut self, bytes: usize, now: Instant) {
        self.paid = Some(self.paid.max(Some(now)).unwrap_or(now) + time_of(bytes).min(LONGEST));
        self.last = Some(now);
    }

    /// So many bytes are sent of what such a reader pushes, for which it has no answer.
    pub(super) fn push(&mut self, form: Form, role: Role, bytes: usize, now: Instant) {
        if (form, role) == (Form::Ads, Role::Naming) {
            let takes = time_of(bytes.saturating_mul(PUSH)).min(LONGEST);
            self.pushed = Some(self.pushed.max(Some(now)).unwrap_or(now) + takes);
        }
    }

    /// What was `sent` is answered: only now has the sink taken it in, and begins to wait for more. It is left alone for as
    /// long as it took.
    pub(super) fn answer(&mut self, sent: Instant, now: Instant) {
        let took = now.saturating_duration_since(sent);
        self.paid = self.paid.max(Some(now + took));
        self.last = Some(now);
    }

    /// Whoever asks for something does not wait.
    pub(super) fn waive(&mut self) {
        self.last = None;
    }
}

/// How long so many bytes are paid for.
fn time_of(bytes: usize) -> Duration {
    Duration::from_micros(bytes as u64 / (RATE / 1_000_000))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const INTERVAL: Duration = Duration::from_millis(500);
    /// What is paid for with a millisecond.
    const BYTES: usize = 15_000;

    /// From the answer to a burst, after `answer`, to when the next one may begin.
    fn distance(bytes: usize, answer: Duration, next: Burst) -> Duration {
        let sent = Instant::now();
        let mut pace = Pace::new(INTERVAL);
        pace.begin(sent);
        pace.send(bytes, sent);
        pace.answer(sent, sent + answer);
        pace.ready_at(next).unwrap() - (sent + answer)
    }

    #[test]
    fn the_distance_grows_with_what_was_sent_and_with_the_time_of_the_answer_up_to_a_limit() {
        for (bytes, answer, expected) in [
            (0, 0, 500),
            (400, 0, 500),
            (1_000, 0, 1_000),
            (2_000, 300, 1_700),
            (1_000, 3_000, 3_000),
            (60, 700, 700),
            (400_000, 0, 10_000),
            (60, 60_000, 10_000),
        ] {
            let paced = distance(bytes * BYTES, MS * answer, Burst::Any);
            assert_eq!(paced, MS * expected, "{bytes}, {answer} ms");
        }
    }

    #[test]
    fn virtual_services_count_for_the_push_that_istiods_make_of_them() {
        for (form, role, expected) in [
            (Form::Ads, Role::Naming, 8_000),
            (Form::Ads, Role::Services, 1_000),
            (Form::Ads, Role::Rules, 1_000),
            (Form::Mcp, Role::Naming, 1_000),
        ] {
            let now = Instant::now();
            let mut pace = Pace::new(INTERVAL);
            pace.send(1_000 * BYTES, now);
            pace.push(form, role, 1_000 * BYTES, now);
            let next = pace.ready_at(Burst::Any).unwrap();
            assert_eq!(next - now, MS * expected, "{form:?}, {role:?}");
            let endpoints = pace.ready_at(Burst::Services).unwrap();
            assert_eq!(endpoints - now, MS * 500, "new endpoints are no push");
        }
    }

    #[test]
    fn services_alone_go_after_half_of_it_but_no_sooner_than_sinks_push() {
        for (bytes, expected) in [(0, 250), (1_000, 500), (2_000, 1_000)] {
            let paced = distance(bytes * BYTES, Duration::ZERO, Burst::Services);
            assert_eq!(paced, MS * expected, "{bytes}");
        }
        let now = Instant::now();
        let mut pace = Pace::new(DEBOUNCE);
        pace.send(0, now);
        assert_eq!(pace.ready_at(Burst::Services), Some(now + DEBOUNCE));
    }

    #[test]
    fn all_of_a_burst_is_paid_for_and_nothing_twice() {
        let start = Instant::now();
        let mut pace = Pace::new(INTERVAL);
        pace.begin(start);
        pace.send(2_000 * BYTES, start);
        pace.send(2_000 * BYTES, start + MS);
        let later = start + MS * 4_000;
        assert_eq!(pace.ready_at(Burst::Any), Some(later));
        pace.begin(later);
        pace.send(1, later);
        assert_eq!(pace.ready_at(Burst::Any), Some(later + INTERVAL));
    }

    #[test]
    fn what_services_alone_leave_unpaid_is_paid_by_those_that_follow() {
        let (start, burst) = (Instant::now(), 2_000);
        let mut pace = Pace::new(INTERVAL);
        let mut now = start;
        for _ in 0..10 {
            now = pace.ready_at(Burst::Services).unwrap_or(now);
            pace.begin(now);
            pace.send(burst * BYTES, now);
        }
        let all = MS * 9 * u32::try_from(burst).unwrap();
        assert!(now - start >= all * 4 / 5, "{:?} of {all:?}", now - start);
    }

    #[test]
    fn without_an_interval_nothing_waits() {
        let now = Instant::now();
        let mut pace = Pace::new(Duration::ZERO);
        pace.send(usize::MAX, now);
        pace.answer(now, now + MS * 5_000);
        assert!(pace.is_ready(Burst::Any, now + MS * 5_000));
    }

    proptest! {
        /// Changes of any rhythm, to a sink of any size that answers after any time: each burst is sent as soon as it may be.
        #[test]
        fn the_first_after_a_rest_is_at_once_nobody_starves_and_the_rate_is_kept(
            size in 0usize..20_000,
            answer in 0u32..3_000,
            pauses in vec(1u32..3_000, 1..80),
        ) {
            let (bytes, answer) = (size * BYTES, MS * answer);
            let start = Instant::now();
            let distance = INTERVAL.max(time_of(bytes)).max(answer).min(LONGEST);
            let mut pace = Pace::new(INTERVAL);
            let (mut change, mut bursts) = (start, Vec::<Instant>::new());
            for pause in pauses {
                change += MS * pause;
                if bursts.last().is_some_and(|last| change <= *last) {
                    // It is in a burst that waits already.
                    continue;
                }
                let free = bursts.last().map_or(start, |last| *last + answer);
                let from = change.max(free);
                let at = pace.ready_at(Burst::Any).map_or(from, |ready| ready.max(from));
                prop_assert!(at - change <= answer + distance);
                if change >= free + distance {
                    prop_assert_eq!(at, change, "after a rest");
                }
                pace.begin(at);
                pace.send(bytes, at);
                pace.answer(at, at + answer);
                bursts.push(at);
            }
            for pair in bursts.windows(2) {
                prop_assert!(pair[1] - pair[0] >= INTERVAL.max(time_of(bytes)).min(LONGEST));
            }
        }
    }
}
