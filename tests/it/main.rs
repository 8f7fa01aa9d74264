//! The whole program against its peers, over real sockets.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on panics; nothing here is for another crate"
)]

mod access;
mod bbs;
mod bench;
mod capi;
mod cli;
mod cloud_controller;
mod config;
mod daemon;
mod demo;
mod faults;
mod grpc;
mod job;
mod layers;
mod librarian;
mod mcp;
mod mesh;
mod policy;
mod process;
mod publisher;
mod push;
mod vip;
mod wire;
mod xds;
