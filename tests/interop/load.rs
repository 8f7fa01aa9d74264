//! A constant load, each answer of which is checked against the foundation's truth.

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    client::{Ask, Client, Failure, Reply},
    oracle::{Oracle, Verdict},
};

/// Of a reason, so many characters are kept: enough to tell those of Envoy.
const REASON: usize = 120;
/// Requests under way at most: two seconds of the default rate. More than this are not sent, and counted.
const UNDER_WAY: usize = 400;
/// How many outcomes that should not be are kept to be shown.
const SHOWN: usize = 5;

/// What is asked, and how often.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Requests in a second.
    pub rate: NonZeroU32,
    /// It ends by itself after this.
    pub at_most: Duration,
    /// What is asked in turn.
    pub asks: Vec<Ask>,
}

impl Plan {
    /// 200 requests in a second over these hosts, for five minutes at most.
    pub fn over(hosts: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let asks = hosts.into_iter().map(|host| Ask::get(host.as_ref(), "/"));
        Self {
            rate: NonZeroU32::new(200).expect("not zero"),
            at_most: Duration::from_mins(5),
            asks: asks.collect(),
        }
    }
}

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Sent, and either answered or given up.
    pub requests: u64,
    /// Answers by app, right ones and wrong ones.
    pub answers: BTreeMap<String, u64>,
    /// Answers by an app that had no right to.
    pub wrong: u64,
    /// No answer of an app, by status or by the kind of failure, where one was due.
    pub failed: BTreeMap<String, u64>,
    /// The same where none was due.
    pub excused: BTreeMap<String, u64>,
    /// Not sent, because too many were under way.
    pub unsent: u64,
    /// The longest that one took.
    pub slowest: Duration,
    /// The first outcomes that should not be: when, which host, what.
    pub shown: Vec<(Duration, String, String)>,
}

impl Tally {
    /// Requests that failed although they had to be answered.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    fn count(&mut self, at: Duration, host: &str, outcome: &Outcome, verdict: Verdict) {
        self.requests += 1;
        self.slowest = self.slowest.max(outcome.took);
        if let Some(app) = &outcome.app {
            *self.answers.entry(app.clone()).or_default() += 1;
        }
        match verdict {
            Verdict::Right => return,
            Verdict::Wrong => self.wrong += 1,
            Verdict::Failed => *self.failed.entry(outcome.label.clone()).or_default() += 1,
            Verdict::Excused => {
                *self.excused.entry(outcome.label.clone()).or_default() += 1;
                return;
            }
        }
        if self.shown.len() < SHOWN {
            let (host, label) = (host.to_owned(), outcome.label.clone());
            self.shown.push((at, host, label));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests", self.requests)?;
        for (app, count) in &self.answers {
            write!(f, ", {app} {count}")?;
        }
        write!(f, "; {} wrong, {} failed", self.wrong, self.failures())?;
        for (label, count) in &self.failed {
            write!(f, " ({label}: {count})")?;
        }
        if !self.excused.is_empty() {
            write!(f, ", {} excused", self.excused.values().sum::<u64>())?;
        }
        if self.unsent > 0 {
            write!(f, ", {} not sent", self.unsent)?;
        }
        write!(f, "; slowest {:?}", self.slowest)
    }
}

struct Outcome {
    /// Who answered.
    app: Option<String>,
    /// What is said of it in counts.
    label: String,
    took: Duration,
}

impl Outcome {
    fn new(reply: Result<Reply, Failure>, took: Duration) -> Self {
        let (app, label) = match reply {
            Ok(reply) => match reply.answer {
                Some(answer) => (Some(answer.app.clone()), answer.app),
                None => (None, refusal(&reply)),
            },
            Err(failure) => (None, failure.kind().to_owned()),
        };
        Self { app, label, took }
    }
}

/// The status, and what an Envoy says for a reason.
fn refusal(reply: &Reply) -> String {
    let reason = String::from_utf8_lossy(&reply.body);
    let reason: String = reason.chars().take(REASON).collect();
    format!("{} {reason}", reply.status.as_u16())
        .trim()
        .to_owned()
}

/// A load that runs by itself until it is finished, at the latest after its time.
#[derive(Debug)]
pub struct Load {
    tally: watch::Receiver<Tally>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Load {
    /// Begins to ask.
    pub fn start(client: Arc<Client>, plan: Plan, oracle: Arc<Oracle>) -> Self {
        let (sender, tally) = watch::channel(Tally::default());
        let stop = CancellationToken::new();
        let asking = ask_all(client, plan, oracle, Arc::new(sender), stop.clone());
        Self {
            tally,
            stop,
            task: tokio::spawn(asking),
        }
    }

    /// The counts so far.
    pub fn so_far(&self) -> Tally {
        self.tally.borrow().clone()
    }

    /// Resolves once the counts are as wanted, or no more requests are to come; whether they are.
    pub async fn until(&self, wanted: impl FnMut(&Tally) -> bool) -> bool {
        self.tally.clone().wait_for(wanted).await.is_ok()
    }

    /// Asks no more, waits for what is under way, and returns all counts.
    pub async fn finish(self) -> Tally {
        self.stop.cancel();
        // A panic of the task was reported where it happened.
        drop(self.task.await);
        self.tally.borrow().clone()
    }
}

async fn ask_all(
    client: Arc<Client>,
    plan: Plan,
    oracle: Arc<Oracle>,
    tally: Arc<watch::Sender<Tally>>,
    stop: CancellationToken,
) {
    let begun = Instant::now();
    let permits = Arc::new(Semaphore::new(UNDER_WAY));
    let mut under_way = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / plan.rate.get());
    // Constant: what was missed is sent at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for ask in plan
        .asks
        .into_iter()
        .map(Arc::new)
        .collect::<Vec<_>>()
        .iter()
        .cycle()
    {
        if begun.elapsed() >= plan.at_most || stop.run_until_cancelled(ticks.tick()).await.is_none()
        {
            break;
        }
        while under_way.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            tally.send_modify(|tally| tally.unsent += 1);
            continue;
        };
        let (ask, client) = (Arc::clone(ask), Arc::clone(&client));
        let (oracle, tally) = (Arc::clone(&oracle), Arc::clone(&tally));
        under_way.spawn(async move {
            let sent = Instant::now();
            let reply = client.ask(&ask).await;
            let done = Instant::now();
            let outcome = Outcome::new(reply, done - sent);
            let verdict = oracle.judge(&ask.host, outcome.app.as_deref(), sent, done);
            tally.send_modify(|tally| tally.count(sent - begun, &ask.host, &outcome, verdict));
            drop(permit);
        });
    }
    while under_way.join_next().await.is_some() {}
}
