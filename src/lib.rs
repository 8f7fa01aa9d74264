//! Copilot: Cloud Foundry's routes and instances, served to Istio.
//!
//! Feeds ([`capi`], [`bbs`]) send [`model::Update`]s to the [`publisher`], the one task that owns the
//! [`table`]. It turns what changed into [`istio`] resources and publishes an immutable [`snapshot`], which
//! [`mcp`] serves to Pilot and [`admin`] shows to operators. `docs/architecture.md` draws the whole picture.

pub mod crowd;
pub mod metrics;
mod near;
mod repeats;

mod backoff;
pub mod descriptors;
mod explain;
pub mod feed;
pub mod readiness;
mod secret;
pub mod shutdown;
pub mod telemetry;
pub mod tls;

pub mod grpc;
pub mod guard;
mod guids;
pub mod model;
pub mod proto;

pub mod bbs;
pub mod capi;
pub mod outbound;
pub mod policy;
pub mod snapshot;
pub mod store;
pub mod table;

pub mod delivery;

pub mod cloud_controller;
pub mod istio;
pub mod mcp;
pub mod vip;
pub mod xds;

pub mod admin;
pub mod publisher;

pub mod config;

pub mod app;
pub mod librarian;

pub mod cli;

#[cfg(any(test, fuzzing))]
pub mod fuzz;

#[cfg(feature = "sim")]
pub mod sim;
