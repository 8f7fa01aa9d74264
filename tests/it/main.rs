//! The whole program against its peers, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod layers;
mod publisher;
mod wire;
