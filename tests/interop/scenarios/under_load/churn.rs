//! Many changes in quick succession: how long after its end an instance is still asked, and what happens where another
//! app gets its address at once.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use copilot::{model::RouteGuid, sim::capi::Destination};
use fastrand::Rng;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::{Lengths, Traffic, WEB};
use crate::{
    scenario::{Run, Tally},
    stage::{App, Stage},
};

/// How many apps change by turns.
const APPS: usize = 12;
/// How many instances an app has at first, and at most.
const INSTANCES: (u32, u32) = (2, 5);
/// From one change to the next.
const PAUSE: Duration = Duration::from_millis(50);
/// istiod pushes at the latest so long after a change, however many follow it.
const LATEST_PUSH: Duration = Duration::from_secs(10);
/// What a push may take on top of that.
const PUSH: Duration = Duration::from_secs(3);

/// The daemon's key for the least distance between two states that an istiod gets.
const DISTANCE: &str = "XDSPushInterval";
/// As good as none.
const NO_DISTANCE: &str = "1ms";

/// How instances end.
#[derive(Debug, Clone, Copy)]
struct Ends {
    /// How long one that is gone for the foundation answers on.
    linger: Duration,
    /// Whether some crash instead.
    crashes: bool,
}

/// Apps that change at random; the same seed makes the same changes.
struct Churn {
    apps: Vec<App>,
    routes: Vec<RouteGuid>,
    random: Rng,
    name: &'static str,
}

impl Churn {
    async fn start(stage: &mut Stage, name: &'static str) -> Result<Self> {
        let mut apps = Vec::new();
        for n in 0..APPS {
            let app = format!("{name}-{n}");
            let app = stage.push(&app, INSTANCES.0, WEB).await?;
            stage.route(&app.name, "", [Destination::web(&app.guid)]);
            apps.push(app);
        }
        Ok(Self {
            apps,
            routes: Vec::new(),
            random: Rng::with_seed(12),
            name,
        })
    }

    fn hosts(&self) -> Vec<&str> {
        self.apps.iter().map(|app| app.name.as_str()).collect()
    }

    /// Changes something every [`PAUSE`] for so long.
    async fn run(&mut self, stage: &mut Stage, length: Duration, ends: Ends) -> Result<()> {
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let begun = Instant::now();
        while begun.elapsed() < length {
            ticks.tick().await;
            self.change(stage, ends).await?;
        }
        Ok(())
    }

    async fn change(&mut self, stage: &mut Stage, ends: Ends) -> Result<()> {
        let at = self.random.usize(..self.apps.len());
        let app = &mut self.apps[at];
        let running = u32::try_from(app.instances.len())?;
        let (_, most) = INSTANCES;
        match self.random.u8(..10) {
            0 => {
                let host = format!("{}-route-{}", self.name, self.routes.len());
                let route = stage.route(&host, "", [Destination::web(&app.guid)]);
                self.routes.push(route);
            }
            _ if running == 1 => stage.scale_up(app, 2).await?,
            1..5 if running < most => stage.scale_up(app, running + 1).await?,
            5.. if ends.crashes => {
                stage.crash(app).await?;
                // Another app is the first to get the address that is free now.
                let next = (at + 1) % self.apps.len();
                let next = &mut self.apps[next];
                let beside = u32::try_from(next.instances.len())?;
                if beside < most {
                    stage.scale_up(next, beside + 1).await?;
                }
                stage.fill(&mut self.apps[at], running).await?;
            }
            _ => stage.scale_down_at_once(app, running - 1, ends.linger),
        }
        Ok(())
    }

    async fn end(mut self, stage: &mut Stage) {
        for route in &self.routes {
            stage.delete_route(route);
        }
        for app in &mut self.apps {
            stage.stop(app, Duration::ZERO);
        }
        stage.settled().await;
    }
}

/// How long after its end instances were asked.
#[derive(Debug)]
struct Late {
    requests: usize,
    p50: Duration,
    p99: Duration,
    longest: Duration,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            p50,
            p99,
            longest,
        } = self;
        write!(
            f,
            "{requests} requests after an instance's end: p50 {p50:.2?}, p99 {p99:.2?}, longest {longest:.2?}"
        )
    }
}

impl Late {
    fn new(late: &[Duration]) -> Self {
        let at = |share: usize| late.get((late.len() * share / 100).min(late.len().max(1) - 1));
        let at = |share| at(share).copied().unwrap_or_default();
        Self {
            requests: late.len(),
            p50: at(50),
            p99: at(99),
            longest: late.last().copied().unwrap_or_default(),
        }
    }
}

pub(super) async fn at_a_distance(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    if !run.cli.short {
        return compare(run, tally, ["distance", "no-distance"], 3).await;
    }
    // In the few seconds of the short form a machine that is busy with something else counts as much as istiod's waiting: there
    // the distance only has to be no worse, once.
    if compare(run, tally, ["distance", "no-distance"], 1)
        .await
        .is_ok()
    {
        return Ok(());
    }
    compare(run, tally, ["distance-again", "no-distance-again"], 1).await
}

/// Changes with the distance and without; the p99 without has to be so many times that with it.
async fn compare(
    run: &mut Run<'_>,
    tally: &mut Tally,
    [name, name_without]: [&'static str; 2],
    times: u32,
) -> Result<()> {
    let with = churn(run, tally, name, 0).await?;
    tally.notes.push(format!("with the distance: {with}"));
    let configured = run
        .mesh
        .daemon
        .reconfigure(DISTANCE, &json!(NO_DISTANCE))
        .await?;
    // What an instance that is gone was asked for all the same is lost, and istiod's.
    let without = churn(run, tally, name_without, u64::MAX).await;
    // The next scenarios have the daemon as it was.
    run.mesh.daemon.reconfigure(DISTANCE, &configured).await?;
    let without = without?;
    tally.notes.push(format!("without: {without}"));
    ensure!(
        times * with.p99 <= without.p99,
        "the p99 without the distance is not {times} times that with it"
    );
    Ok(())
}

/// How long after their ends instances are asked while everything changes.
async fn churn(
    run: &mut Run<'_>,
    tally: &mut Tally,
    name: &'static str,
    losses: u64,
) -> Result<Late> {
    let begun = Instant::now();
    let length = Lengths::of(run).churn;
    let mut churn = Churn::start(&mut run.mesh.stage, name).await?;
    let traffic = Traffic::start(run, &churn.hosts()).await?;
    let ends = Ends {
        // An instance that is asked after its end answers all the same, and counts it.
        linger: length.min(LATEST_PUSH) + PUSH,
        crashes: false,
    };
    churn.run(&mut run.mesh.stage, length, ends).await?;
    run.mesh.stage.settled().await;
    traffic
        .end_with_losses(tally, "of an istiod that does not push", losses)
        .await?;
    let late = Late::new(&run.mesh.stage.late(begun));
    churn.end(&mut run.mesh.stage).await;
    Ok(late)
}

/// Instances prove who they are over TLS. In plaintext they do not, which shows that strangers would have been met.
pub(super) async fn reused_addresses(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let (churn, traffic) = reuse(run, "reused").await?;
    traffic
        .end_with_losses(tally, "of instances that had ended", u64::MAX)
        .await?;
    churn.end(&mut run.mesh.stage).await;
    run.mesh.stage.plain_cells = true;
    let plain = reuse(run, "reused-plain").await;
    run.mesh.stage.plain_cells = false;
    let (churn, traffic) = plain?;
    let (wrong, requests) = traffic.end_unjudged().await;
    churn.end(&mut run.mesh.stage).await;
    let note = format!("at plain ports {wrong} of {requests} by the wrong app");
    tally.notes.push(note);
    ensure!(wrong > 0, "no stranger was met at plain ports either");
    Ok(())
}

/// Has apps crash and others get their addresses at once, for as long as a churn takes.
async fn reuse(run: &mut Run<'_>, name: &'static str) -> Result<(Churn, Traffic)> {
    let length = Lengths::of(run).churn;
    let mut churn = Churn::start(&mut run.mesh.stage, name).await?;
    let traffic = Traffic::start(run, &churn.hosts()).await?;
    let ends = Ends {
        linger: Duration::ZERO,
        crashes: true,
    };
    run.mesh.stage.reuse_places(true);
    let changed = churn.run(&mut run.mesh.stage, length, ends).await;
    run.mesh.stage.settled().await;
    run.mesh.stage.reuse_places(false);
    changed?;
    Ok((churn, traffic))
}
