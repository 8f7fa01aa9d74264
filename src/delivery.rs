//! Delivers the published collections over streams: what the protocols for it have in common, once.
//!
//! A `Protocol` says how its requests are understood and its responses begin. All else is here: `subscription` and
//! `state` are the state of a stream and nothing else, `stream` is the task that drives it between the gRPC
//! `service` and the `body` that sends the published bytes as they are.

mod body;
mod bucket;
#[cfg(feature = "sim")]
mod dialogue;
mod limits;
mod log;
mod metrics;
mod order;
mod pace;
mod requests;
mod role;
mod server;
mod service;
mod sinks;
mod state;
mod stream;
mod subscription;

use std::{sync::Arc, time::Instant};

#[cfg(feature = "sim")]
pub use self::dialogue::Dialogue;
pub(crate) use self::{
    body::Body,
    metrics::Naming,
    server::Server,
    service::{Call, Methods, Service},
    state::{Heard, Refusal, StreamState, shortened},
    subscription::{Held, Interest, Response},
};
#[cfg(test)]
pub(crate) use self::{
    body::Frames,
    state::{MAX_COLLECTIONS, MAX_LISTED},
};
pub use self::{
    limits::Limits,
    sinks::{CollectionStatus, GoneSink, NackStatus, PendingStatus, SinkStatus, Sinks, VISITOR},
};
use crate::snapshot::{Collection, Form, Kind, Snapshot};

/// Stands for every name that is not known in advance: sinks choose names, and a metric label must not grow with them.
pub(crate) const OTHER: &str = "other";

/// What a stream asks for by a name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found<'a> {
    /// A collection of ours.
    Published(&'a Arc<Collection>),
    /// Something that nobody publishes: it is answered, empty.
    Nothing,
    /// Something that is not answered, at least not yet.
    Silence,
}

/// What one protocol does in its own way.
pub(crate) trait Protocol: std::fmt::Debug + Send + Sync + 'static {
    /// What its sinks send.
    type Request: prost::Message + Default + 'static;
    /// A response without resources.
    type Header: prost::Message;
    /// The fields of a request that are lists of what its sink names.
    const LISTS: &'static [u32];
    /// How it writes resources.
    const FORM: Form;

    /// A name that is not answered.
    const SILENT: Option<&'static str> = None;

    /// What a name stands for, if that is of ours.
    fn kind(name: &str) -> Option<Kind>;

    /// The metric label of a name, from a closed set.
    fn label(name: &str) -> &'static str {
        Self::kind(name).map_or(OTHER, Kind::collection)
    }

    /// What a name stands for in a snapshot.
    fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Found<'a> {
        match Self::kind(name) {
            Some(kind) => {
                let served = snapshot.of(kind, Self::FORM.era());
                served.map_or(Found::Silence, Found::Published)
            }
            None if Self::SILENT == Some(name) => Found::Silence,
            None => Found::Nothing,
        }
    }

    /// The name of what a request is about.
    fn asked(request: &Self::Request) -> &str;

    /// Takes a request in.
    fn hear(
        stream: &mut StreamState,
        request: Self::Request,
        now: Instant,
    ) -> Result<Heard, Refusal>;

    /// What a response says beside its resources, with the names of those that are gone.
    fn header(response: &Response, removed: Vec<String>) -> Self::Header;
}
