//! What peers can make happen as often as they like, in few lines of the log: one when it begins, one with a count each
//! minute while it goes on, and one when a minute has passed without it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

/// From one count to the next, and how long it has to be quiet to be over.
const EVERY: Duration = Duration::from_mins(1);
/// Most keys that are told apart. What has no place is counted together, so that many peers write no more than these.
const KEYS: usize = 64;

/// How loud the counts are: like the first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loudness {
    Info,
    Warn,
}

/// One kind of event, told apart by a key: an address, or a reason. Clones count together.
#[derive(Debug)]
pub(crate) struct Repeats<K>(Arc<Kind<K>>);

#[derive(Debug)]
struct Kind<K> {
    what: &'static str,
    of: &'static str,
    loudness: Loudness,
    counts: Mutex<Counts<K>>,
}

#[derive(Debug)]
struct Counts<K> {
    /// Without a key: all that have no place of their own.
    by_key: BTreeMap<Option<K>, Count>,
    /// Whether somebody looks when they are over.
    is_watched: bool,
}

#[derive(Debug, Default)]
struct Count {
    total: u64,
    /// Not told of yet.
    untold: u64,
}

impl<K> Clone for Repeats<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: fmt::Display + Ord + Clone + Send + 'static> Repeats<K> {
    /// Of a state that changes. `what` is the message of the line that the caller writes, `of` is where.
    pub(crate) fn info(what: &'static str, of: &'static str) -> Self {
        Self::new(what, of, Loudness::Info)
    }

    /// Of something that is amiss.
    pub(crate) fn warn(what: &'static str, of: &'static str) -> Self {
        Self::new(what, of, Loudness::Warn)
    }

    fn new(what: &'static str, of: &'static str, loudness: Loudness) -> Self {
        let counts = Counts {
            by_key: BTreeMap::new(),
            is_watched: false,
        };
        Self(Arc::new(Kind {
            what,
            of,
            loudness,
            counts: Mutex::new(counts),
        }))
    }

    /// Takes note of it; whether it begins, and is to be told in full. What follows is counted.
    pub(crate) fn begins(&self, key: K) -> bool {
        let mut counts = self.0.counts();
        let begins = counts.note(key);
        // Without a runtime nobody can look later: in a unit test.
        if !counts.is_watched
            && let Ok(runtime) = Handle::try_current()
        {
            counts.is_watched = true;
            runtime.spawn(watch(Arc::downgrade(&self.0)));
        }
        begins
    }
}

impl<K: Ord> Counts<K> {
    fn note(&mut self, key: K) -> bool {
        let mut key = Some(key);
        if self.by_key.len() >= KEYS && !self.by_key.contains_key(&key) {
            key = None;
        }
        let count = self.by_key.entry(key).or_default();
        count.total += 1;
        let begins = count.total == 1;
        count.untold += u64::from(!begins);
        begins
    }
}

impl<K: fmt::Display + Ord> Kind<K> {
    fn counts(&self) -> MutexGuard<'_, Counts<K>> {
        // Counts are right whoever panicked meanwhile.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of what has gone on since the last look, and of what has not. Whether there is something left to look at.
    fn tell(&self) -> bool {
        let mut counts = self.counts();
        counts.by_key.retain(|key, count| {
            let goes_on = std::mem::take(&mut count.untold);
            if goes_on > 0 {
                self.say(key.as_ref(), goes_on, "repeated");
            } else if count.total > 1 {
                self.say(key.as_ref(), count.total, "repeated no longer");
            }
            goes_on > 0
        });
        counts.is_watched = !counts.by_key.is_empty();
        counts.is_watched
    }

    fn say(&self, key: Option<&K>, times: u64, how: &str) {
        let Self { what, of, .. } = self;
        let by = key.map_or_else(|| "others".to_owned(), ToString::to_string);
        match self.loudness {
            Loudness::Info => info!(what, of, by, times, "{how}"),
            Loudness::Warn => warn!(what, of, by, times, "{how}"),
        }
    }
}

/// Ends with what it looks at: at the latest a minute after the last event.
async fn watch<K: fmt::Display + Ord + Send>(kind: Weak<Kind<K>>) {
    let mut next = Instant::now();
    loop {
        next += EVERY;
        sleep_until(next).await;
        if !kind.upgrade().is_some_and(|kind| kind.tell()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        net::{IpAddr, Ipv4Addr},
    };

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// The lines of this thread's events.
    #[derive(Debug, Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn take(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock().unwrap());
            let text = String::from_utf8(bytes).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn listen() -> (Lines, tracing::subscriber::DefaultGuard) {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(lines.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    async fn minutes(minutes: u64) {
        tokio::time::sleep(Duration::from_mins(minutes) + Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_repeats_is_told_when_it_begins_while_it_lasts_and_when_it_ends() {
        let (lines, _guard) = listen();
        let refused = Repeats::warn("refused", "mcp");
        let told = (0..100_000).filter(|_| refused.begins("a")).count();
        assert_eq!((told, lines.take().len()), (1, 0));
        minutes(1).await;
        let goes_on = lines.take();
        assert_eq!(goes_on.len(), 1, "{goes_on:?}");
        assert!(goes_on[0].contains("repeated") && goes_on[0].contains("times=99999"));
        assert!(!refused.begins("a"));
        minutes(2).await;
        let over = lines.take();
        assert_eq!(over.len(), 2, "{over:?}");
        assert!(over[1].contains("repeated no longer") && over[1].contains("times=100001"));
        minutes(10).await;
        assert!(lines.take().is_empty());
        assert!(refused.begins("a"), "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_once_is_told_once() {
        let (lines, _guard) = listen();
        assert!(Repeats::info("opened", "mcp").begins("a"));
        minutes(5).await;
        assert!(lines.take().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn many_peers_write_no_more_than_a_bounded_number_of_lines() {
        let (lines, _guard) = listen();
        let refused = Repeats::warn("refused", "mcp");
        let address = |n: u32| IpAddr::from(Ipv4Addr::from(n));
        let told = (0..100_000).filter(|n| refused.begins(address(*n))).count();
        assert_eq!(told, KEYS + 1, "and one for all others");
        minutes(1).await;
        let goes_on = lines.take();
        assert_eq!(goes_on.len(), 1, "{goes_on:?}");
        assert!(goes_on[0].contains("others"));
    }
}
