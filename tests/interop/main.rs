//! Requests through a real istiod and a real Envoy.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "a scenario that cannot go on panics; nothing here is for another crate"
)]

mod balancer;
mod client;
mod instances;
mod load;
mod oracle;
mod stage;

fn main() {}
