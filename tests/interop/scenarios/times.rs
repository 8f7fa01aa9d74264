//! What many routes cost the daemon, istiod and Envoy, and how long a change takes until it is answered. With `--beside`
//! the same of another build of the daemon, after it in the same run.

mod figures;
mod peers;
mod world;

use std::time::Duration;

use anyhow::Result;

use self::{
    figures::Figures,
    world::{Reached, World},
};
use crate::{
    peers::Programs,
    scenario::{Run, Scenario, Tally, scenario},
};

const GROUP: &str = "Times";

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario!(GROUP, "2,000 routes", few),
    scenario!(GROUP, "20,000 routes", many),
    scenario!(
        GROUP,
        "20,000 routes over TLS, by instance beside by CA",
        over_tls
    ),
];

async fn few(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    Box::pin(beside_another_build(run, tally, 2_000)).await
}

async fn many(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    if is_left_out(run, tally) {
        return Ok(());
    }
    Box::pin(beside_another_build(run, tally, 20_000)).await
}

async fn over_tls(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    if is_left_out(run, tally) {
        return Ok(());
    }
    let mut measured = Vec::new();
    for reached in [Reached::OverTlsByInstance, Reached::OverTlsByCa] {
        let figures = measure(run, &run.programs, tally, (20_000, reached));
        measured.push(Box::pin(figures).await?);
    }
    tally.notes.extend(measured[0].lines(measured.get(1)));
    Ok(())
}

fn is_left_out(run: &Run<'_>, tally: &mut Tally) -> bool {
    if run.cli.short {
        tally.skipped("not in the short form");
    }
    run.cli.short
}

async fn beside_another_build(run: &Run<'_>, tally: &mut Tally, routes: usize) -> Result<()> {
    // An older one may not know of anything else.
    let foundation = (routes, Reached::InPlaintext);
    let own = measure(run, &run.programs, tally, foundation).await?;
    let other = match &run.cli.beside {
        Some(program) => {
            let programs = Programs {
                copilot: program.clone(),
                ..run.programs.clone()
            };
            Some(measure(run, &programs, tally, foundation).await?)
        }
        None => None,
    };
    tally.notes.extend(own.lines(other.as_ref()));
    Ok(())
}

async fn measure(
    run: &Run<'_>,
    programs: &Programs,
    tally: &mut Tally,
    foundation: (usize, Reached),
) -> Result<Figures> {
    // Of each change the median of so many.
    let times = if run.cli.short { 3 } else { 5 };
    let mut figures = Figures::default();
    let world = World::start(programs, tally, foundation, &mut figures);
    let mut world = Box::pin(world).await?;
    world.memory(&mut figures).await?;
    world.changes(tally, times, &mut figures).await?;
    let churn = Duration::from_secs(if run.cli.short { 5 } else { 60 });
    world.churn(tally, churn, &mut figures).await?;
    Ok(figures)
}
