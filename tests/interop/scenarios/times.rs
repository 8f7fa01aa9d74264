//! What many routes cost the daemon, istiod and Envoy, and how long a change takes until it is answered. With `--beside`
//! the same of another build of the daemon, after it in the same run.

mod figures;
mod peers;
mod world;

use anyhow::Result;

use self::{figures::Figures, world::World};
use crate::{
    peers::Programs,
    scenario::{Run, Scenario, Tally, scenario},
};

const GROUP: &str = "Times";

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario!(GROUP, "2,000 routes", few),
    scenario!(GROUP, "20,000 routes", many),
];

async fn few(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    Box::pin(compare(run, tally, 2_000)).await
}

async fn many(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    if run.cli.short {
        tally.skipped("not in the short form");
        return Ok(());
    }
    Box::pin(compare(run, tally, 20_000)).await
}

async fn compare(run: &Run<'_>, tally: &mut Tally, routes: usize) -> Result<()> {
    // Of each change the median of so many.
    let times = if run.cli.short { 3 } else { 5 };
    let own = measure(&run.programs, tally, routes, times).await?;
    let other = match &run.cli.beside {
        Some(program) => {
            let programs = Programs {
                copilot: program.clone(),
                ..run.programs.clone()
            };
            Some(measure(&programs, tally, routes, times).await?)
        }
        None => None,
    };
    tally.notes.extend(own.lines(other.as_ref()));
    Ok(())
}

async fn measure(
    programs: &Programs,
    tally: &mut Tally,
    routes: usize,
    times: usize,
) -> Result<Figures> {
    let mut figures = Figures::default();
    let world = World::start(programs, tally, routes, &mut figures);
    let mut world = Box::pin(world).await?;
    world.memory(&mut figures).await?;
    world.changes(tally, times, &mut figures).await?;
    Ok(figures)
}
