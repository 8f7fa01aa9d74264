//! The whole program against its peers, over real sockets.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on panics; nothing here is for another crate"
)]

mod access;
mod admin;
mod bbs;
mod bench;
mod bug_report;
mod capi;
mod certificates;
mod cli;
mod cloud_controller;
mod config;
mod daemon;
mod demo;
mod diff;
mod docs;
mod faults;
mod grpc;
mod home;
mod interop;
mod job;
mod layers;
mod librarian;
mod lies;
mod log;
mod lookup;
mod make_before_break;
mod mass;
mod mcp;
mod mesh;
mod metrics;
mod operator;
mod outbound;
mod parts;
mod policy;
mod process;
mod publisher;
mod push;
mod sidecars;
mod sizes;
mod store;
mod tcp_routes;
mod tls;
mod vip;
mod wire;
mod xds;

/// Those parts of the interop harness that can be wrong by themselves, without its peers.
#[path = "../interop"]
#[allow(dead_code, reason = "its scenarios use the rest")]
mod harness {
    pub mod balancer;
    pub mod client;
    pub mod instances;
    pub mod load;
    pub mod oracle;

    pub mod peers {
        pub mod ports;
        pub mod process;
    }
}
