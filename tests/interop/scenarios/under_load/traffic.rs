//! A load on the hosts of a scenario, what is waited for while it runs, and what its end adds to the scenario's counts.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::time::{sleep, timeout};

use crate::{
    client::{Ask, Client},
    load::{self, Load, Plan},
    peers::process::POLL,
    scenario::{Run, Tally},
    stage::{App, DOMAIN},
};

/// Connections that the clients keep.
const KEPT: usize = 16;
/// So many apps are named in a row, more are only counted.
const FEW: usize = 4;
/// Longer than any change takes to reach an ingress: after a long outage istiod waits for up to 90 seconds before it connects
/// again (its back-off: 60 seconds, half more or less).
const SOON: Duration = Duration::from_mins(2);
/// How often an instance has to be asked before it counts as reached.
const REACHED: u64 = 10;
/// How many requests in a row show that an app is asked no more: at 200 in a second, longer than a push of istiod.
const GONE: u64 = 100;

/// How long things take, by the form of the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    /// How long a peer is away.
    pub(super) outage: Duration,
    /// How long an instance answers on that was told to stop; ten seconds by Diego's default.
    pub(super) drain: Duration,
    /// Over how many requests a share is counted.
    pub(super) share: u64,
    /// How long instances and routes change many times a second.
    pub(super) churn: Duration,
}

impl Lengths {
    pub(super) fn of(run: &Run<'_>) -> Self {
        let seconds = |short, full| Duration::from_secs(if run.cli.short { short } else { full });
        Self {
            outage: seconds(3, 60),
            drain: seconds(3, 10),
            share: if run.cli.short { 400 } else { 2000 },
            churn: seconds(8, 60),
        }
    }
}

/// Whether so many of all are a share, within four standard deviations.
pub(super) fn is_share(part: u64, all: u64, share: f64) -> bool {
    let [part, all] = [part, all].map(|count| f64::from(u32::try_from(count).expect("few")));
    let deviation = (all * share * (1.0 - share)).sqrt();
    (part - all * share).abs() <= 4.0 * deviation
}

/// A running load.
pub(super) struct Traffic {
    load: Load,
    begun: Instant,
}

impl Traffic {
    /// Waits until each of the hosts is answered, then asks them in turn.
    pub(super) async fn start(run: &Run<'_>, hosts: &[&str]) -> Result<Self> {
        Self::through(run.mesh.ingress.client(), run, hosts).await
    }

    /// The same through an ingress of its own.
    pub(super) async fn through(client: Client, run: &Run<'_>, hosts: &[&str]) -> Result<Self> {
        let hosts = hosts.iter().map(|host| format!("{host}.{DOMAIN}"));
        let hosts: Vec<_> = hosts.collect();
        let client = Arc::new(client.keeping(KEPT));
        for host in &hosts {
            let ask = Ask::get(host, "/");
            let answered = async {
                while !client
                    .ask(&ask)
                    .await
                    .is_ok_and(|reply| reply.answer.is_some())
                {
                    sleep(POLL).await;
                }
            };
            let answered = timeout(SOON, answered).await;
            ensure!(answered.is_ok(), "{host} is not answered in {SOON:?}");
        }
        let oracle = Arc::clone(&run.mesh.stage.oracle);
        Ok(Self {
            load: Load::start(client, Plan::over(hosts), oracle),
            begun: Instant::now(),
        })
    }

    /// The counts so far.
    pub(super) fn so_far(&self) -> load::Tally {
        self.load.so_far()
    }

    /// Waits until the counts are as wanted.
    pub(super) async fn until(
        &self,
        what: &str,
        wanted: impl FnMut(&load::Tally) -> bool,
    ) -> Result<()> {
        let reached = timeout(SOON, self.load.until(wanted)).await;
        ensure!(
            reached.unwrap_or_default(),
            "not in {SOON:?}: {what}. By then: {}",
            self.so_far()
        );
        Ok(())
    }

    /// Waits until all instances of an app are asked.
    pub(super) async fn reaches_all_of(&self, app: &App) -> Result<()> {
        for running in &app.instances {
            let record = running.server.record();
            let wanted = record.asked().requests + REACHED;
            let what = format!("instance {} of {} is asked", running.index, app.name);
            self.until(&what, |_| record.asked().requests >= wanted)
                .await?;
        }
        Ok(())
    }

    /// Waits until an app answers some more.
    pub(super) async fn answers_more(&self, app: &str) -> Result<()> {
        let answers = |tally: &load::Tally| tally.answers.get(app).copied().unwrap_or_default();
        let wanted = answers(&self.so_far()) + GONE;
        let what = format!("{app} answers");
        self.until(&what, |tally| answers(tally) >= wanted).await
    }

    /// Waits until an app answers no more.
    pub(super) async fn leaves(&self, app: &str) -> Result<()> {
        let mut last = (0, 0);
        let what = format!("{app} answers no more");
        self.until(&what, |tally| {
            let answers = tally.answers.get(app).copied().unwrap_or_default();
            if answers != last.0 {
                last = (answers, tally.requests);
            }
            tally.requests >= last.1 + GONE
        })
        .await
    }

    /// Waits until the hosts have been refused for a while.
    pub(super) async fn is_refused(&self) -> Result<()> {
        let refused = |tally: &load::Tally| tally.excused.values().sum::<u64>();
        let wanted = refused(&self.so_far()) + GONE;
        self.until("the host is refused", |tally| refused(tally) >= wanted)
            .await
    }

    /// Waits until all that were told to stop are gone, and holds that they were left alone long before.
    ///
    /// What is sent to one that is gone is tried again elsewhere, so that failures alone would not show it.
    pub(super) async fn left_alone(&self, run: &mut Run<'_>) -> Result<()> {
        run.mesh.stage.settled().await;
        self.goes_on().await?;
        let late = run.mesh.stage.late(self.begun);
        let longest = late.last().copied().unwrap_or_default();
        let drain = Lengths::of(run).drain;
        ensure!(
            longest < drain * 3 / 4,
            "an instance was asked {longest:.1?} after it was told to stop, of the {drain:?} that it had"
        );
        Ok(())
    }

    /// Waits for some more requests, however they end.
    pub(super) async fn goes_on(&self) -> Result<()> {
        let wanted = self.so_far().requests + GONE;
        self.until("requests go on", |tally| tally.requests >= wanted)
            .await
    }

    /// Of the next requests, so many in all: how many were answered, and how many by an app.
    pub(super) async fn share_of(&self, app: &str, of: u64) -> Result<(u64, u64)> {
        let all = |tally: &load::Tally| tally.answers.values().sum::<u64>();
        let part = |tally: &load::Tally| tally.answers.get(app).copied().unwrap_or_default();
        let before = self.so_far();
        let wanted = all(&before) + of;
        self.until("a share is counted", |tally| all(tally) >= wanted)
            .await?;
        let after = self.so_far();
        Ok((all(&after) - all(&before), part(&after) - part(&before)))
    }

    /// Ends it after a graceful change: nothing may have failed.
    pub(super) async fn end(self, tally: &mut Tally) -> Result<()> {
        self.end_with_losses(tally, "nobody's", 0).await
    }

    /// Ends it where wrong answers are expected: how many there were, and how many requests.
    pub(super) async fn end_unjudged(self) -> (u64, u64) {
        let counts = self.load.finish().await;
        (counts.wrong, counts.requests)
    }

    /// Ends it after a change that is not graceful: so many failures at most are `whose`.
    pub(super) async fn end_with_losses(
        self,
        tally: &mut Tally,
        whose: &str,
        at_most: u64,
    ) -> Result<()> {
        let counts = self.load.finish().await;
        let lost = counts.failures() <= at_most;
        add(tally, &counts, lost.then_some(whose));
        let shown = |(at, host, what): &(Duration, String, String)| {
            format!("\nafter {at:.1?} {host} was answered by: {what}")
        };
        let shown: String = counts.shown.iter().map(shown).collect();
        let (wrong, requests) = (counts.wrong, counts.requests);
        ensure!(wrong == 0, "{wrong} of {requests} by the wrong app{shown}");
        ensure!(lost, "{} of {requests} failed{shown}", counts.failures());
        if counts.unsent > 0 {
            let unsent = counts.unsent;
            let note = format!("{unsent} were not sent: too many waited for their answers");
            tally.notes.push(note);
        }
        Ok(())
    }
}

/// Adds what a load has counted; where failures are somebody's, they are counted as that.
fn add(tally: &mut Tally, counts: &load::Tally, whose: Option<&str>) {
    let into = |map: &mut BTreeMap<String, u64>, what: String, count: u64| {
        *map.entry(what).or_default() += count;
    };
    let apps = counts.answers.len();
    for (app, count) in &counts.answers {
        let by = if apps > FEW {
            format!("{apps} apps")
        } else {
            app.clone()
        };
        into(&mut tally.answers, by, *count);
    }
    for (label, count) in &counts.excused {
        into(
            &mut tally.answers,
            format!("{label} where nobody was"),
            *count,
        );
    }
    for (label, count) in &counts.failed {
        match whose {
            Some(whose) => into(&mut tally.answers, format!("{label}, {whose}"), *count),
            None => into(&mut tally.failures, label.clone(), *count),
        }
    }
    tally.slowest = tally.slowest.max(counts.slowest);
}
