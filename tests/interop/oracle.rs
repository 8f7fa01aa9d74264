//! Who may answer: the foundation's truth over time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Which apps answer which host, and since when.
///
/// What is mapped and runs may answer; and for a grace after that has changed, what was before. A request is judged by
/// all the moments from a grace before it was sent until it was answered.
#[derive(Debug)]
pub struct Oracle {
    grace: Duration,
    hosts: Mutex<HashMap<String, Host>>,
}

#[derive(Debug, Default)]
struct Host {
    /// By app, each period in which it may answer; the last may be open.
    apps: BTreeMap<String, Vec<Period>>,
    /// Periods in which nobody may.
    empty: Vec<Period>,
}

#[derive(Debug, Clone, Copy)]
struct Period {
    from: Instant,
    until: Option<Instant>,
}

/// What is to be thought of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Right,
    /// An app answered that may not.
    Wrong,
    /// Nobody answered, although somebody had to.
    Failed,
    /// Nobody answered, and at some moment nobody could.
    Excused,
}

impl Oracle {
    /// Nobody may answer anything yet.
    pub fn new(grace: Duration) -> Self {
        Self {
            grace,
            hosts: Mutex::default(),
        }
    }

    /// From now on these apps answer a host, and no others.
    pub fn set(&self, host: &str, apps: impl IntoIterator<Item = impl Into<String>>) {
        let now = Instant::now();
        let mut hosts = self.hosts();
        let host = hosts.entry(host.to_ascii_lowercase()).or_default();
        let apps: Vec<String> = apps.into_iter().map(Into::into).collect();
        for (app, periods) in &mut host.apps {
            if !apps.contains(app) {
                end(periods, now);
            }
        }
        if apps.is_empty() {
            begin(&mut host.empty, now);
        } else {
            end(&mut host.empty, now);
        }
        for app in apps {
            begin(host.apps.entry(app).or_default(), now);
        }
    }

    /// Judges a request that was sent and done then, answered by an app or by none.
    pub fn judge(&self, host: &str, app: Option<&str>, sent: Instant, done: Instant) -> Verdict {
        let since = sent.checked_sub(self.grace).unwrap_or(sent);
        let hosts = self.hosts();
        let host = hosts.get(&host.to_ascii_lowercase());
        match (app, host) {
            (None, None) => Verdict::Excused,
            (Some(_), None) => Verdict::Wrong,
            (None, Some(host)) if touch(&host.empty, since, done) => Verdict::Excused,
            (None, Some(_)) => Verdict::Failed,
            (Some(app), Some(host)) => {
                let periods = host.apps.get(app);
                if periods.is_some_and(|periods| touch(periods, since, done)) {
                    Verdict::Right
                } else {
                    Verdict::Wrong
                }
            }
        }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn begin(periods: &mut Vec<Period>, from: Instant) {
    if periods.last().is_none_or(|last| last.until.is_some()) {
        periods.push(Period { from, until: None });
    }
}

fn end(periods: &mut [Period], until: Instant) {
    if let Some(last) = periods.last_mut() {
        last.until.get_or_insert(until);
    }
}

fn touch(periods: &[Period], since: Instant, until: Instant) -> bool {
    periods
        .iter()
        .any(|period| period.from <= until && period.until.is_none_or(|ended| ended >= since))
}
