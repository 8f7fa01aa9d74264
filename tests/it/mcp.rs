//! The MCP server over real TLS, with the cases of docs/conformance.md.

#![expect(clippy::unwrap_used, reason = "what a test expects to be there")]

mod answers;
mod auth;
mod bursts;
mod collections;
mod conformance;
pub mod harness;
mod incremental;
mod lifecycle;
mod raw;
mod stress;
