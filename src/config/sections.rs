//! The settings of each module, from the keys of the config file: a file for each.

pub(super) mod bbs;
mod capi;
pub(super) mod certificates;
pub(super) mod cloud_controller;
mod defaults;
pub(super) mod grpc;
pub(super) mod instance_tls;
pub(super) mod mcp;
pub(super) mod policy;
pub(super) mod publisher;
pub(super) mod routes;
mod tcp_routes;
mod tls;
pub(super) mod vip;
mod vip_range;
pub(super) mod xds;
