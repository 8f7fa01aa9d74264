//! Aggregated discovery over real connections, with the cases of docs/conformance.md.

#![expect(clippy::unwrap_used, reason = "what a test expects to be there")]

mod answers;
mod bursts;
mod daemon;
mod delta;
mod harness;
mod hostile;
mod memory;
mod together;
