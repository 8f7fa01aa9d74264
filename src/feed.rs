//! What each feed says about itself: its last success, what is wrong with it, and what it had to drop.
//!
//! One call emits the status for the admin surface, the metric and the log line, so that they cannot drift.

mod dropped;
mod kind;
mod watchdog;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::sync::watch;
use tracing::{info, warn};

pub use self::{
    dropped::{Dropped, Drops, INVALID_ANNOTATIONS, cut, is_unreadable},
    kind::Kind,
    watchdog::Watchdog,
};
use crate::{
    metrics::{add, add_in},
    repeats::Repeats,
};

/// The lines of a feed that a peer can have written as often as it likes.
const FAILING: &str = "feed failing; the last good state stays";
const RECOVERED: &str = "feed recovered";
const LEFT_OUT: &str = "invalid item left out";

/// What is wrong with a feed at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From a small closed set: a metric label.
    pub kind: &'static str,
    /// The latest error with its sources.
    pub message: String,
    /// When the feed began to fail.
    pub since: SystemTime,
    /// How many attempts have failed in a row.
    pub failures: u64,
}

/// A feed's state as operators see it.
#[derive(Debug, Clone)]
pub struct Status {
    /// The feed.
    pub name: &'static str,
    /// When it last succeeded.
    pub last_success: Option<SystemTime>,
    /// How long that success took.
    pub last_duration: Option<Duration>,
    /// What is wrong with it, if anything.
    pub problem: Option<Problem>,
    /// How much it holds, by kind of item.
    pub counts: BTreeMap<&'static str, u64>,
    /// The items that it leaves out at present.
    pub dropped: Drops,
    last_turn: Instant,
    stalls_after: Duration,
}

impl Status {
    /// How long the feed's loop has been stuck, once that is longer than it can take in health.
    pub fn stalled_for(&self) -> Option<Duration> {
        let idle = self.last_turn.elapsed();
        (idle > self.stalls_after).then_some(idle)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FeedLabel {
    feed: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    feed: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone)]
struct Metrics {
    last_success: Family<FeedLabel, Gauge>,
    duration: Family<FeedLabel, Histogram>,
    failing: Family<FeedLabel, Gauge>,
    errors: Family<KindLabels, Counter>,
    items: Family<KindLabels, Gauge>,
    dropped: Family<KindLabels, Gauge>,
}

impl Metrics {
    fn new(registry: &mut Registry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(DURATIONS);
        let registry = registry.sub_registry_with_prefix("copilot_feed");
        Self {
            last_success: add_in(
                registry,
                Unit::Seconds,
                "last_success_timestamp",
                "When the feed last succeeded, in Unix time",
                Family::default(),
            ),
            duration: add_in(
                registry,
                Unit::Seconds,
                "duration",
                "How long a successful read took",
                Family::new_with_constructor(histogram),
            ),
            failing: add(registry, "failing", "1 while the feed fails, else 0"),
            errors: add(registry, "errors", "Failed attempts by kind"),
            items: add(registry, "items", "Items that the feed holds, by kind"),
            dropped: add(
                registry,
                "dropped_items",
                "Invalid items that are left out at present, by reason",
            ),
        }
    }

    /// What can be counted of a feed is there before it happens: else the first time would be no increase.
    fn begin(&self, feed: &'static str) {
        let label = FeedLabel { feed };
        self.failing.get_or_create(&label).set(0);
        drop(self.duration.get_or_create(&label));
        for kind in Kind::ALL {
            let kind = kind.as_str();
            drop(self.errors.get_or_create(&KindLabels { feed, kind }));
        }
    }
}

/// Seconds of a read: from one small request to a full read of a large foundation.
const DURATIONS: [f64; 11] = [
    0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];

/// Every feed of the process.
#[derive(Debug)]
pub struct Feeds {
    metrics: Metrics,
    statuses: Vec<watch::Receiver<Status>>,
}

impl Feeds {
    /// No feeds yet; their metrics go to `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        Self {
            metrics: Metrics::new(registry),
            statuses: Vec::new(),
        }
    }

    /// Watches the loops of all feeds that there are.
    pub fn watchdog(&self) -> Watchdog {
        Watchdog::new(self.statuses.clone())
    }

    /// Adds a feed. Its loop turns at least every `stalls_after`, or counts as stuck.
    pub fn register(&mut self, name: &'static str, stalls_after: Duration) -> Feed {
        let status = watch::Sender::new(Status {
            name,
            last_success: None,
            last_duration: None,
            problem: None,
            counts: BTreeMap::new(),
            dropped: Drops::default(),
            last_turn: Instant::now(),
            stalls_after,
        });
        self.metrics.begin(name);
        self.statuses.push(status.subscribe());
        Feed {
            name,
            status,
            metrics: self.metrics.clone(),
            failing: Repeats::warn(FAILING, name),
            recovered: Repeats::info(RECOVERED, name),
            left_out: Repeats::warn(LEFT_OUT, name),
        }
    }

    /// The present state of every feed.
    pub fn statuses(&self) -> Vec<Status> {
        self.statuses
            .iter()
            .map(|status| status.borrow().clone())
            .collect()
    }
}

/// A feed's voice. Held by the feed's task; clones speak for the same feed.
#[derive(Debug, Clone)]
pub struct Feed {
    name: &'static str,
    status: watch::Sender<Status>,
    metrics: Metrics,
    failing: Repeats<&'static str>,
    recovered: Repeats<&'static str>,
    left_out: Repeats<&'static str>,
}

impl Feed {
    /// The feed's state, to follow as it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// The feed's loop has come round. Call it at every turn.
    pub fn turned(&self) {
        self.status
            .send_modify(|status| status.last_turn = Instant::now());
    }

    /// The feed did what it is for.
    pub fn succeeded(&self, took: Duration) {
        let now = SystemTime::now();
        let label = FeedLabel { feed: self.name };
        self.metrics
            .last_success
            .get_or_create(&label)
            .set(unix_seconds(now));
        self.metrics
            .duration
            .get_or_create(&label)
            .observe(took.as_secs_f64());
        self.metrics.failing.get_or_create(&label).set(0);
        self.status.send_modify(|status| {
            status.last_turn = Instant::now();
            status.last_success = Some(now);
            status.last_duration = Some(took);
            if let Some(problem) = status.problem.take()
                && self.recovered.begins(problem.kind)
            {
                info!(feed = self.name, failures = problem.failures, "{RECOVERED}");
            }
        });
    }

    /// The feed could not do what it is for; what it read before stays in force.
    pub fn failed(&self, kind: Kind, error: &dyn std::error::Error) {
        let (kind, message) = (kind.as_str(), cut(chain(error)));
        self.metrics
            .errors
            .get_or_create(&KindLabels {
                feed: self.name,
                kind,
            })
            .inc();
        self.metrics
            .failing
            .get_or_create(&FeedLabel { feed: self.name })
            .set(1);
        self.status.send_modify(|status| {
            status.last_turn = Instant::now();
            let previous = status.problem.take();
            let is_news = previous
                .as_ref()
                .is_none_or(|previous| previous.kind != kind);
            // One that lasts counts as well: it is not over.
            if self.failing.begins(kind) && is_news {
                warn!(feed = self.name, kind, error = message, "{FAILING}");
            }
            status.problem = Some(Problem {
                kind,
                message,
                since: previous
                    .as_ref()
                    .map_or_else(SystemTime::now, |previous| previous.since),
                failures: previous.map_or(0, |previous| previous.failures) + 1,
            });
        });
    }

    /// How many items of a kind the feed holds.
    pub fn holds(&self, kind: &'static str, count: usize) {
        let gauge = i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics
            .items
            .get_or_create(&KindLabels {
                feed: self.name,
                kind,
            })
            .set(gauge);
        self.status.send_modify(|status| {
            status.counts.insert(kind, count as u64);
        });
    }

    /// The items that a complete read left out: they replace all that were reported before.
    pub fn dropped_in_read(&self, items: Drops) {
        self.status.send_modify(|status| {
            for item in items.named().values() {
                self.tell(status, item);
            }
            let before = std::mem::replace(&mut status.dropped, items);
            let now = status.dropped.by_reason();
            for reason in before.by_reason().keys() {
                self.gauge(reason, now.get(reason).copied());
            }
            for (reason, count) in now {
                self.gauge(reason, Some(count));
            }
        });
    }

    /// Items that were left out between complete reads.
    pub fn dropped(&self, items: impl Into<Drops>) {
        let items = items.into();
        if items.is_empty() {
            return;
        }
        self.status.send_modify(|status| {
            for item in items.named().values() {
                self.tell(status, item);
            }
            // What is wrong with an item may be something else by now.
            let before = status.dropped.by_reason();
            status.dropped.append(items);
            let now = status.dropped.by_reason();
            for reason in before.keys().chain(now.keys()) {
                self.gauge(reason, now.get(reason).copied());
            }
        });
    }

    /// Says that an item is left out, unless that is known.
    fn tell(&self, status: &Status, item: &Dropped) {
        let known = status.dropped.named().get(&item.name);
        if known != Some(item) && self.left_out.begins(item.reason) {
            warn!(
                feed = self.name,
                item.name, item.reason, item.detail, "{LEFT_OUT}"
            );
        }
    }

    /// By what there is, never by what has come and gone.
    fn gauge(&self, reason: &'static str, count: Option<usize>) {
        let labels = KindLabels {
            feed: self.name,
            kind: reason,
        };
        let count = i64::try_from(count.unwrap_or_default()).unwrap_or(i64::MAX);
        self.metrics.dropped.get_or_create(&labels).set(count);
    }
}

/// An error and its sources on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = error.source();
    }
    line
}

fn unix_seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> (Feeds, Feed) {
        let mut feeds = Feeds::new(&mut Registry::default());
        let feed = feeds.register("test", Duration::from_mins(1));
        (feeds, feed)
    }

    #[test]
    fn a_failure_is_a_problem_until_the_next_success() {
        let (feeds, feed) = feed();
        feed.failed(Kind::ServerError, &std::io::Error::other("no answer"));
        feed.failed(Kind::ServerError, &std::io::Error::other("still no answer"));
        let problem = feeds.statuses()[0].problem.clone().unwrap();
        assert_eq!(
            (problem.failures, problem.message.as_str()),
            (2, "still no answer")
        );

        feed.succeeded(Duration::from_millis(1));
        let status = &feeds.statuses()[0];
        assert_eq!(status.problem, None);
        assert!(status.last_success.is_some());
    }

    #[test]
    fn a_complete_read_replaces_what_was_dropped_before() {
        let (feeds, feed) = feed();
        let item = |name: &str| Dropped {
            name: name.to_owned(),
            reason: "bad",
            detail: String::new(),
        };
        feed.dropped(item("a"));
        feed.dropped_in_read(Drops::from_iter([item("b")]));
        let status = feeds.statuses().remove(0);
        let names: Vec<_> = status.dropped.named().keys().collect();
        assert_eq!(names, ["b"]);
    }

    /// So many of these are left out, by the metric.
    fn count(registry: &Registry) -> Option<String> {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, registry).unwrap();
        let line = "copilot_feed_dropped_items{feed=\"test\",kind=\"bad\"} ";
        let line = page.lines().find_map(|found| found.strip_prefix(line));
        line.map(str::to_owned)
    }

    fn items(names: std::ops::Range<usize>, detail: &str) -> Drops {
        let item = |name: usize| Dropped {
            name: name.to_string(),
            reason: "bad",
            detail: detail.to_owned(),
        };
        names.map(item).collect()
    }

    #[test]
    fn an_item_that_every_read_leaves_out_counts_once() {
        let mut registry = Registry::default();
        let mut feeds = Feeds::new(&mut registry);
        let feed = feeds.register("test", Duration::from_mins(1));
        feed.dropped_in_read(items(0..1, ""));
        feed.dropped_in_read(items(0..1, ""));
        feed.dropped(items(0..1, ""));
        assert_eq!(count(&registry).as_deref(), Some("1"));
        feed.dropped_in_read(Drops::default());
        assert_eq!(count(&registry).as_deref(), Some("0"));
    }

    #[test]
    fn items_beyond_those_that_are_named_are_counted_until_a_clean_read() {
        let mut registry = Registry::default();
        let mut feeds = Feeds::new(&mut registry);
        let feed = feeds.register("test", Duration::from_mins(1));
        feed.dropped_in_read(items(0..2500, ""));
        assert_eq!(count(&registry).as_deref(), Some("2500"));
        feed.dropped(items(2500..3000, ""));
        assert_eq!(count(&registry).as_deref(), Some("3000"));
        let dropped = feeds.statuses().remove(0).dropped;
        assert_eq!((dropped.named().len(), dropped.len()), (1000, 3000));
        feed.dropped_in_read(Drops::default());
        assert_eq!(count(&registry).as_deref(), Some("0"));
    }

    #[test]
    fn annotations_take_half_of_the_names_at_most() {
        let item = |n: usize, reason| Dropped {
            name: format!("route-{n}"),
            reason,
            detail: String::new(),
        };
        let of_owners = (0..2000).map(|n| item(n, INVALID_ANNOTATIONS));
        let others = (2000..2400).map(|n| item(n, "malformed"));
        let dropped: Drops = of_owners.chain(others).collect();
        assert_eq!((dropped.named().len(), dropped.len()), (900, 2400));
        // What was named before stays so, with what is wrong with it now.
        let mut dropped = dropped;
        dropped.push(item(0, INVALID_ANNOTATIONS));
        assert_eq!((dropped.named().len(), dropped.len()), (900, 2400));
    }

    #[test]
    fn what_is_kept_of_an_item_is_short_however_long_its_name_is() {
        let (feeds, feed) = feed();
        let long = "ü".repeat(10 << 20);
        feed.dropped(Dropped {
            name: long.clone(),
            reason: "bad",
            detail: long,
        });
        let dropped = feeds.statuses().remove(0).dropped;
        let item = dropped.named().values().next().unwrap();
        assert!(item.name.len() < 600 && item.detail.len() < 600);
    }

    #[test]
    fn a_loop_that_no_longer_turns_is_stalled() {
        let mut feeds = Feeds::new(&mut Registry::default());
        let feed = feeds.register("test", Duration::ZERO);
        assert!(feeds.statuses()[0].stalled_for().is_some());
        drop(feed);
    }
}
