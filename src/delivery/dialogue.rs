//! A stream without its transport and its clock, for simulations.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tonic::Status;

use super::{
    Protocol,
    body::Frames,
    state::{Heard, Refusal, StreamState},
    subscription::Response,
};
use crate::snapshot::Snapshot;

/// The server's end of a stream: requests and published states in, responses out, at times that the caller names.
#[derive(Debug)]
pub struct Dialogue<Q, R> {
    state: StreamState,
    hear: fn(&mut StreamState, Q, Instant) -> Result<Heard, Refusal>,
    write: fn(Response) -> Option<R>,
}

impl<Q, R: prost::Message + Default> Dialogue<Q, R> {
    /// One that speaks that protocol, with so much time between two bursts of full states.
    pub(crate) fn new<P: Protocol<Request = Q, Header = R>>(distance: Duration) -> Self {
        Self {
            state: StreamState::new::<P>(distance),
            hear: P::hear,
            write: |response| {
                let message = Frames::of::<P>(response)?.into_message();
                R::decode(message).ok()
            },
        }
    }

    /// Takes a published state in.
    pub fn publish(&mut self, snapshot: Arc<Snapshot>) {
        self.state.on_snapshot(snapshot);
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// The stream would end.
    pub fn hear(&mut self, request: Q, now: Instant) -> Result<(), Status> {
        (self.hear)(&mut self.state, request, now)?;
        Ok(())
    }

    /// The next response, if one is due.
    pub fn next(&mut self, now: Instant) -> Option<R> {
        let response = self.state.next(now)?;
        (self.write)(response)
    }

    /// When one may be due that is not yet, if nothing happens until then.
    pub fn due_at(&self, now: Instant) -> Option<Instant> {
        self.state.due_at(now)
    }
}
