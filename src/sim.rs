//! Simulators of the daemon's peers: real servers on loopback with real TLS, faithful in what they answer.
//!
//! The tests and `copilot demo` share them. Left out of release packages (feature `sim`).

pub mod bbs;
pub mod capi;
pub mod cloud_controller;
pub mod cloud_foundry;
pub mod daemon;
pub mod foundation;
mod https;
pub mod instance_identity;
pub mod istiod;
pub mod load;
pub mod operator;
pub mod pki;
pub mod policy;
pub mod sink;
pub mod usage;
