//! The metrics page: what the modules count, and beside it what is looked up when somebody asks.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::IntoResponse,
};
use prometheus_client::{metrics::gauge::ConstGauge, registry::Registry};

use super::Sources;
use crate::metrics::{self, Format};

pub(super) async fn page(
    State(sources): State<Arc<Sources>>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let accept = headers.get_all(header::ACCEPT).into_iter();
    let accept: Vec<_> = accept.filter_map(as_text).collect();
    let format = Format::accepted(&accept.join(","));
    let mut present = sources.present();
    sources.certificates().await.register(&mut present);
    let page = metrics::page_of(&[&sources.registry, &present], format);
    ([(header::CONTENT_TYPE, format.content_type())], page)
}

fn as_text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

impl Sources {
    /// What is so at this moment.
    fn present(&self) -> Registry {
        let mut registry = Registry::default();
        let is_ready = self.readiness.pending().is_empty();
        registry.register(
            "copilot_ready",
            "1 once everything was read that is waited for, else 0",
            ConstGauge::new(i64::from(is_ready)),
        );
        if let Some(snapshot) = &*self.snapshots.borrow() {
            registry.register(
                "copilot_snapshot_age_seconds",
                "Age of what is served: at rest nothing new is published",
                ConstGauge::new(snapshot.published.elapsed().as_secs_f64()),
            );
        }
        registry
    }
}
