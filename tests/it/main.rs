//! The whole program against its peers, over real sockets.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on panics; nothing here is for another crate"
)]

mod bbs;
mod capi;
mod cli;
mod config;
mod daemon;
mod demo;
mod faults;
mod layers;
mod mcp;
mod mesh;
mod publisher;
mod wire;
