//! All scenarios, in the order in which they are run.

mod sidecars;
mod where_it_goes;

use crate::scenario::Scenario;

/// All of them.
pub fn all() -> Vec<Scenario> {
    [where_it_goes::SCENARIOS, sidecars::SCENARIOS].concat()
}
