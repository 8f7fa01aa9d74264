//! The metrics page, and what the process itself measures.
//!
//! Every module registers a struct of its own; this one holds what they share.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Registry,
};

/// Seconds, for anything from a generated resource to a full read.
pub const SECONDS: [f64; 14] = [
    0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// A registry with the process's own metrics.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    registry
}

/// The page in the `OpenMetrics` text format that Prometheus scrapes.
pub fn page(registry: &Registry) -> String {
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, registry)
        .expect("a String takes all that is written");
    page
}

#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(resident) = resident_bytes() else {
            return Ok(());
        };
        let gauge = ConstGauge::new(i64::try_from(resident).unwrap_or(i64::MAX));
        let metric = encoder.encode_descriptor(
            "process_resident_memory_bytes",
            "Resident memory",
            None,
            gauge.metric_type(),
        )?;
        gauge.encode(metric)
    }
}

/// Resident memory as the kernel accounts it; `None` where /proc is not there.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    kib.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_shows_resident_memory() {
        let page = super::page(&super::registry());
        assert!(page.contains("process_resident_memory_bytes "), "{page}");
    }
}
