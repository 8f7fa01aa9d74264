//! What a scenario is, what it counts, and what becomes of it.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, time::Duration};

use anyhow::Result;
use futures_util::{FutureExt as _, future::LocalBoxFuture};

use crate::{cli::Cli, mesh::Mesh, peers::Programs, stage::App};

/// A claim about requests, and how it is tried.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What it is about.
    pub group: &'static str,
    /// The claim.
    pub name: &'static str,
    /// Tries it: an error is what does not hold.
    pub run: for<'r> fn(&'r mut Run<'_>, &'r mut Tally) -> LocalBoxFuture<'r, Result<()>>,
}

/// Makes a [`Scenario`] of a claim and an `async fn(&mut Run<'_>, &mut Tally) -> Result<()>`.
macro_rules! scenario {
    ($group:expr, $name:literal, $run:path) => {
        $crate::scenario::Scenario {
            group: $group,
            name: $name,
            run: |run, tally| Box::pin($run(run, tally)),
        }
    };
}
pub(crate) use scenario;

/// What scenarios run in.
pub struct Run<'c> {
    /// The world that they share. A scenario has hostnames of its own, and leaves everything running.
    pub mesh: Mesh,
    /// Apps of scenarios that are done, whose instances answer on.
    pub apps: Vec<App>,
    /// What further worlds are made of.
    pub programs: Programs,
    /// How many requests, and how long.
    pub cli: &'c Cli,
}

/// What a scenario has seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many answers, by app, or by what else they are.
    pub answers: BTreeMap<String, u64>,
    /// How many were not answered as they should, by what happened.
    pub failures: BTreeMap<String, u64>,
    /// The longest that one took.
    pub slowest: Duration,
    /// Why it could not be tried here.
    pub skipped: Option<String>,
    /// What else was measured.
    pub notes: Vec<String>,
}

impl Tally {
    /// A request that was answered by an app, or with a status.
    pub fn answered(&mut self, by: &str, took: Duration) {
        *self.answers.entry(by.to_owned()).or_default() += 1;
        self.slowest = self.slowest.max(took);
    }

    /// A request that was not answered as it should.
    pub fn failed(&mut self, how: &str, took: Duration) {
        *self.failures.entry(how.to_owned()).or_default() += 1;
        self.slowest = self.slowest.max(took);
    }

    /// It cannot be tried here.
    pub fn skipped(&mut self, why: &str) {
        self.skipped = Some(why.to_owned());
    }

    /// How many requests there were.
    pub fn requests(&self) -> u64 {
        self.answers.values().sum::<u64>() + self.failures()
    }

    /// How many failed.
    pub fn failures(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// A scenario that was run.
pub struct Row {
    /// Which.
    pub scenario: Scenario,
    /// What it saw.
    pub tally: Tally,
    /// What does not hold, if anything.
    pub wrong: Option<String>,
}

/// Runs one; a panic is a claim that does not hold, and the next are run all the same.
pub async fn run(scenario: Scenario, run: &mut Run<'_>) -> Row {
    let mut tally = Tally::default();
    let result = AssertUnwindSafe((scenario.run)(run, &mut tally))
        .catch_unwind()
        .await;
    let wrong = match result {
        Ok(Ok(())) if tally.skipped.is_some() => None,
        Ok(Ok(())) if tally.requests() == 0 => Some("nothing was asked".to_owned()),
        Ok(Ok(())) if tally.failures() > 0 => Some("requests failed".to_owned()),
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some("it panicked; see above".to_owned()),
    };
    Row {
        scenario,
        tally,
        wrong,
    }
}
