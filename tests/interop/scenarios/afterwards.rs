//! After all the others: nothing of what was sent was refused on its way.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::scenario::{Run, Scenario, Tally, scenario};

const GROUP: &str = "Afterwards";

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario!(GROUP, "Envoy has refused nothing", refused),
    scenario!(GROUP, "the daemon has withheld nothing", withheld),
];

async fn refused(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let begun = Instant::now();
    let refused = run.mesh.ingress.proxy.refused().await?;
    tally.answered("asked", begun.elapsed());
    ensure!(refused.is_empty(), "refused: {refused:?}");
    Ok(())
}

async fn withheld(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let begun = Instant::now();
    let page = run.mesh.daemon.operator().json("/debug/rejected").await?;
    tally.answered("asked", begun.elapsed());
    let resources = page["resources"].as_array().context("no list")?;
    // That it is not for Pilots is said of what istiods are served.
    let is_withheld = |resource: &&Value| resource["rule"] != "settings";
    let withheld: Vec<_> = resources.iter().filter(is_withheld).collect();
    ensure!(withheld.is_empty(), "withheld: {withheld:?}");
    Ok(())
}
