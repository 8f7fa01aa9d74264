//! What a daemon under load says of itself.

use std::time::Duration;

use crate::sim::operator::Operator;

/// What the daemon says of itself at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Resources that were generated and encoded.
    pub(super) encoded: f64,
    /// Responses that were sent.
    pub(super) pushes: f64,
    /// New versions of collections.
    pub(super) changes: f64,
    /// Time from changes in the table to snapshots.
    pub(super) generation: Duration,
}

impl Counts {
    /// What its metrics say.
    pub(super) async fn of(operator: &Operator) -> anyhow::Result<Self> {
        let (_, page) = operator.get("/metrics").await?;
        let sum = |name: &str| -> f64 {
            let lines = page.lines().filter_map(|line| line.strip_prefix(name));
            let samples = lines.filter(|rest| rest.starts_with(['{', ' ']));
            let values = samples.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
            values.sum()
        };
        Ok(Self {
            encoded: sum("copilot_resources_encoded_total"),
            pushes: sum("copilot_mcp_responses_total") + sum("copilot_xds_responses_total"),
            changes: sum("copilot_collection_changes_total"),
            generation: Duration::from_secs_f64(sum("copilot_generation_seconds_sum")),
        })
    }
}
