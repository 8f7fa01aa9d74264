//! The three processes whose cost is looked at.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use copilot::sim::usage;
use tokio::time::{sleep, timeout};

use crate::mesh::Mesh;

/// From one look to the next while istiod and Envoy come to rest.
const LOOK: Duration = Duration::from_secs(1);
/// What they use at most in that time while they rest.
const RESTING: Duration = Duration::from_millis(50);
/// Longer than any change keeps them busy.
const LONG: Duration = Duration::from_mins(5);

/// Names of the processes, in the order of all figures here.
const NAMES: [&str; 3] = ["daemon", "istiod", "Envoy"];

/// Their ids, and what they use while nothing changes.
pub(super) struct Peers {
    ids: [u32; 3],
    /// CPU seconds in a second.
    idle: [f64; 3],
}

impl Peers {
    /// Those of a world, after they have come to rest.
    ///
    /// # Errors
    /// One of them is gone, or they do not rest.
    pub(super) async fn of(mesh: &Mesh) -> Result<Self> {
        let daemon = mesh.daemon.process().context("the daemon was ended")?;
        let istiod = mesh.ingress.istiod.process();
        let istiod = istiod.context("istiod was ended")?;
        let envoys = usage::descendants(mesh.ingress.proxy.process().id())?;
        let envoy = *envoys.first().context("the agent has no Envoy")?;
        let mut peers = Self {
            ids: [daemon.id(), istiod.id(), envoy],
            idle: [0.0; 3],
        };
        peers.rest().await?;
        let window = peers.open()?;
        sleep(5 * LOOK).await;
        let used = peers.used(&window)?;
        let seconds = window.begun.elapsed().as_secs_f64();
        peers.idle = used.map(|used| used / 1000.0 / seconds);
        Ok(peers)
    }

    /// Waits until istiod and Envoy do nothing any more.
    pub(super) async fn rest(&self) -> Result<()> {
        let resting = async {
            loop {
                let before = self.cpu()?;
                sleep(LOOK).await;
                let now = self.cpu()?;
                let used = (1..3).map(|peer| now[peer].saturating_sub(before[peer]));
                if used.sum::<Duration>() <= RESTING {
                    return anyhow::Ok(());
                }
            }
        };
        let resting = timeout(LONG, resting).await;
        resting.context("istiod and Envoy do not come to rest")?
    }

    /// Megabytes that are resident.
    pub(super) fn memory(&self) -> Result<[(&'static str, f64, &'static str); 3]> {
        let mut figures = NAMES.map(|name| (name, 0.0, "MB"));
        for (figure, id) in std::iter::zip(&mut figures, self.ids) {
            figure.1 = usage::resident(id)?.now;
        }
        Ok(figures)
    }

    /// Begins to count what they use.
    pub(super) fn open(&self) -> Result<Window> {
        Ok(Window {
            begun: Instant::now(),
            before: self.cpu()?,
        })
    }

    /// Milliseconds of CPU since then, without what they use while nothing changes.
    pub(super) fn used(&self, window: &Window) -> Result<[f64; 3]> {
        let (now, seconds) = (self.cpu()?, window.begun.elapsed().as_secs_f64());
        let mut used = [0.0; 3];
        for (peer, used) in used.iter_mut().enumerate() {
            let all = now[peer].saturating_sub(window.before[peer]).as_secs_f64();
            *used = (all - self.idle[peer] * seconds).max(0.0) * 1000.0;
        }
        Ok(used)
    }

    fn cpu(&self) -> Result<[Duration; 3]> {
        let mut cpu = [Duration::ZERO; 3];
        for (cpu, id) in std::iter::zip(&mut cpu, self.ids) {
            *cpu = usage::cpu(id)?;
        }
        Ok(cpu)
    }
}

/// A time in which it is counted what they use.
pub(super) struct Window {
    begun: Instant,
    before: [Duration; 3],
}
