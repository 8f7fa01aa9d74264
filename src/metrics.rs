//! The metrics page, and what the process itself measures.
//!
//! Every module registers a struct of its own; this one holds what they share.

mod format;
mod process;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Metric, Registry, Unit},
};

pub use self::{format::Format, process::resident_bytes};

/// Seconds, for anything from a generated resource to a full read.
pub const SECONDS: [f64; 14] = [
    0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// A registry with the process's own metrics.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process::Process::started_now()));
    let build = Family::<BuildLabels, Gauge>::default();
    let version = env!("CARGO_PKG_VERSION");
    build.get_or_create(&BuildLabels { version }).set(1);
    registry.register("copilot_build_info", "1, labelled with the version", build);
    registry
}

/// A metric of its usual kind, registered.
pub fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// A metric with a unit, registered.
pub fn add_in<M: Metric + Clone>(
    registry: &mut Registry,
    unit: Unit,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}

/// The page in the `OpenMetrics` text format.
pub fn page(registry: &Registry) -> String {
    page_of(&[registry], Format::OpenMetrics)
}

/// The metrics of several registries, no two of which have one of the same name, in a format.
pub fn page_of(registries: &[&Registry], format: Format) -> String {
    let mut page = String::new();
    for registry in registries {
        prometheus_client::encoding::text::encode_registry(&mut page, registry)
            .expect("a String takes all that is written");
    }
    format.finish(page)
}
