//! All scenarios, in the order in which they are run.

mod afterwards;
mod defaults;
mod deployment;
mod sidecars;
mod tcp;
mod times;
mod under_load;
mod where_it_goes;
mod zones;

use crate::scenario::Scenario;

/// All of them.
pub fn all() -> Vec<Scenario> {
    let groups = [
        where_it_goes::SCENARIOS,
        deployment::SCENARIOS,
        defaults::SCENARIOS,
        tcp::SCENARIOS,
        zones::SCENARIOS,
        sidecars::SCENARIOS,
        under_load::SCENARIOS,
        times::SCENARIOS,
        // The last.
        afterwards::SCENARIOS,
    ];
    groups.concat()
}
