//! What the daemon says of itself meanwhile, a line every ten seconds.

use std::time::{Duration, Instant};

use copilot::sim::operator::Operator;
use tokio::time::{MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_secs(10);

/// Prints until it is dropped.
pub async fn tell(operator: Operator, begun: Instant) {
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let at = begun.elapsed().as_secs();
        match operator.get("/metrics").await {
            Ok((_, page)) => eprintln!("{at:>5} s  {}", line(&page)),
            Err(error) => eprintln!("{at:>5} s  no metrics: {error}"),
        }
    }
}

fn line(page: &str) -> String {
    let sum = |name: &str| -> f64 {
        let lines = page.lines().filter(|line| line.starts_with(name));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    };
    format!(
        "{:>5.0} MB, {} routes, {} held, {} lingering, {} reads failed",
        sum("process_resident_memory_bytes") / 1024.0 / 1024.0,
        sum("copilot_table_items{item=\"routes\"}"),
        sum("copilot_held{"),
        sum("copilot_lingering_services"),
        sum("copilot_feed_errors_total{"),
    )
}
