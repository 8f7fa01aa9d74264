//! Copilot: Cloud Foundry's routes and instances, served to Istio.
//!
//! Feeds of routes and instances, a table that joins them, and what is made of it for Istio.

pub mod backoff;
pub mod feed;
pub mod metrics;
pub mod readiness;
pub mod shutdown;
pub mod telemetry;
pub mod tls;

pub mod model;
pub mod proto;

pub mod bbs;
pub mod capi;
pub mod snapshot;
pub mod table;

pub mod istio;
pub mod mcp;

pub mod publisher;

#[cfg(feature = "sim")]
pub mod sim;
