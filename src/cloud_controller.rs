//! The push API: Cloud Controllers up to 2023 say over gRPC which routes there are, one by one and all at once.
//!
//! ```text
//! Service (a call: parse, or refuse) ─ Command ─▶ Registrar (owns Pushed) ─ Update ─▶ publisher
//! ```

mod bulk_sync;
mod calls;
mod change;
mod chunks;
mod complete_requests;
mod journal;
mod pushed;
mod refused;
mod registrar;
mod service;

use tokio::sync::{mpsc, watch};

pub use self::{
    calls::Calls,
    pushed::{Full, Pushed, Sizes, Unclear},
    refused::Refused,
    registrar::Registrar,
    service::Service,
};
use crate::{
    feed::Feed,
    grpc,
    model::{Confirmations, Report},
    readiness::Gate,
};

/// Calls that wait for the registrar; it answers each at once, unless the publisher is busy.
const COMMANDS: usize = 64;

/// What clients may do.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Largest BulkSync, all chunks together.
    pub max_bulk_sync_bytes: usize,
}

/// What the push API is connected to.
#[derive(Debug)]
pub struct Io {
    /// Where updates go.
    pub updates: mpsc::Sender<Report>,
    /// When a complete read could confirm a loss that is held.
    pub confirmations: watch::Receiver<Confirmations>,
    /// Says how the BulkSyncs go, and what is known by them.
    pub feed: Feed,
    /// Opened by the first BulkSync that is applied.
    pub synced: Option<Gate>,
}

/// How to listen for a few Cloud Controllers, each of which may push all its routes at once.
pub fn listening(settings: grpc::Settings) -> grpc::Settings {
    grpc::Settings {
        max_connections: 512,
        calls_per_connection: 16,
        stream_window: 1 << 20,
        connection_window: 4 << 20,
        ..settings
    }
}

/// The gRPC service and the task behind it.
pub fn new(settings: Settings, io: Io) -> (Service, Registrar) {
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let feed = io.feed.clone();
    let registrar = Registrar::new(inbox, io);
    (Service::new(settings, commands, feed), registrar)
}

/// A message of BulkSync, taken in as it comes.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_bulk_sync(bytes: &[u8]) {
    pushed::Pushed::from_bulk_sync(bytes).ok();
}
