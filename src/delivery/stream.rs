//! The task of one stream: hears its sink, follows the snapshots, and sends what is due.

use std::{marker::PhantomData, sync::Arc};

use futures_util::FutureExt as _;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::debug;

use super::{
    Limits, OTHER, Protocol,
    body::Frames,
    bucket::Bucket,
    log::{Log, Rejection},
    metrics::Metrics,
    requests::Requests,
    sinks::OpenStream,
    state::Heard,
    subscription::Content,
};
use crate::{
    grpc::{Caller, GRACE, Share},
    snapshot,
};

/// Sinks reconnect after it, to this process's successor or to another replica.
const SHUTDOWN: &str = "copilot is shutting down";

/// One stream.
pub(super) struct Stream<P> {
    pub(super) protocol: PhantomData<P>,
    pub(super) sink: OpenStream,
    pub(super) caller: Caller,
    pub(super) limits: Arc<Limits>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: Log,
    /// Holds one response: the next is made when that one is on its way, from the state that is newest then.
    pub(super) responses: mpsc::Sender<Frames>,
    pub(super) shutdown: CancellationToken,
}

/// What is to come on a stream.
struct Outlook {
    /// Whether there is something to send.
    is_due: bool,
    /// When there may be, if nothing happens until then.
    due_at: Option<Instant>,
}

impl<P: Protocol> Stream<P> {
    /// Serves the stream, then tells the sink how it ended.
    pub(super) async fn run(
        self,
        requests: Requests<P>,
        kept: Share,
        snapshots: snapshot::Receiver,
        end: oneshot::Sender<Status>,
    ) {
        let (id, address) = (self.sink.id(), self.caller.peer.address);
        self.log.opened(id, &self.caller);
        let status = self.serve(requests, kept, snapshots).await;
        self.log.closed(id, address, &status);
        let Self {
            sink,
            caller,
            responses,
            metrics,
            log,
            ..
        } = self;
        // The place is free before the sink learns that it may come again.
        drop(sink);
        // Nobody receives the end when the sink has left already.
        if end.send(status).is_ok()
            && tokio::time::timeout(GRACE, responses.closed())
                .await
                .is_err()
        {
            log.cut(id, address);
            metrics.cut();
            caller.cut.cancel();
        }
    }

    /// The next request, once the stream may be heard again. Cancelling it loses nothing.
    async fn next(
        &self,
        requests: &mut Requests<P>,
        bucket: &mut Bucket,
    ) -> Result<Option<P::Request>, Status> {
        let is_early = bucket.ready_at() > now();
        tokio::time::sleep_until(bucket.ready_at().into()).await;
        let request = match requests.next().now_or_never() {
            Some(request) => {
                if is_early {
                    self.metrics.throttled();
                }
                request
            }
            None => requests.next().await,
        };
        bucket.take(now());
        request
    }

    async fn serve(
        &self,
        mut requests: Requests<P>,
        mut kept: Share,
        mut snapshots: snapshot::Receiver,
    ) -> Status {
        let mut bucket = Bucket::new(
            self.limits.requests_per_second,
            self.limits.request_burst,
            now(),
        );
        let max_age = self.limits.max_connection_age;
        let aged = max_age.map(|age| self.caller.connected + age);
        // The state that is there already counts as new.
        snapshots.mark_changed();
        loop {
            let Outlook { is_due, due_at } = self.outlook();
            let turn = tokio::select! {
                // A sink asks for all that it wants before it reads anything: what is sent first depends on what else is
                // asked for.
                biased;
                () = self.shutdown.cancelled() => Err(Status::unavailable(SHUTDOWN)),
                () = self.responses.closed() => Err(Status::cancelled("the sink has left")),
                () = reached(aged) => Err(Status::unavailable("the connection has reached its age")),
                // To look again.
                () = reached(due_at) => Ok(()),
                request = self.next(&mut requests, &mut bucket) => {
                    let heard = self.on_request(request);
                    requests.release();
                    heard.and_then(|()| self.keep(&mut kept))
                }
                changed = snapshots.changed() => match changed {
                    Ok(()) => {
                        self.on_snapshot(&mut snapshots);
                        Ok(())
                    }
                    Err(_) => Err(Status::unavailable(SHUTDOWN)),
                },
                Ok(permit) = self.responses.reserve(), if is_due => self.send(permit).await,
            };
            if let Err(status) = turn {
                return status;
            }
        }
    }

    fn outlook(&self) -> Outlook {
        let mut state = self.sink.state();
        let now = self::now();
        Outlook {
            is_due: state.is_due(now),
            due_at: state.due_at(now).map(Instant::from_std),
        }
    }

    fn on_request(&self, request: Result<Option<P::Request>, Status>) -> Result<(), Status> {
        let request = match request {
            Ok(Some(request)) => request,
            // The sink has said all that it wanted to.
            Ok(None) => return Err(Status::ok("")),
            Err(status) => {
                self.metrics.receive_failed(&status);
                return Err(status);
            }
        };
        let collection = P::asked(&request).to_owned();
        let now = self::now();
        let event = P::hear(&mut self.sink.state(), request, now);
        let event = event.map_err(|refusal| {
            let status = Status::from(refusal);
            self.metrics.refused(&status);
            status
        })?;
        self.record(&collection, event, now);
        Ok(())
    }

    /// Counts the names that are kept because the sink has said them.
    fn keep(&self, kept: &mut Share) -> Result<(), Status> {
        let bytes = self.sink.state().kept_bytes();
        kept.resize(bytes).map_err(|exhausted| {
            let status = Status::resource_exhausted(exhausted.to_string());
            self.metrics.refused(&status);
            status
        })
    }

    fn record(&self, collection: &str, event: Heard, now: std::time::Instant) {
        let id = self.sink.id();
        let label = P::label(collection);
        match event {
            Heard::Subscribed | Heard::Renewed => debug!(id, collection, "subscribed"),
            Heard::Acked(pending) => {
                debug!(id, collection, nonce = pending.nonce, "acknowledged");
                let latency = now.saturating_duration_since(pending.available);
                let since_cause = pending.cause;
                let since_cause = since_cause.map(|cause| now.saturating_duration_since(cause));
                self.metrics.acked(label, latency, since_cause);
            }
            Heard::Nacked {
                pending,
                code,
                message,
            } => {
                let rejection = Rejection {
                    collection,
                    version: pending.collection.version().to_string(),
                    code,
                    message: &message,
                };
                self.log.rejected(id, self.caller.peer.address, &rejection);
                self.metrics.nacked(label, code);
            }
            Heard::Stale => {
                debug!(id, collection, "stale answer");
                self.metrics.stale();
            }
            Heard::Ignored => debug!(id, collection, "ignored"),
        }
    }

    fn on_snapshot(&self, snapshots: &mut snapshot::Receiver) {
        if let Some(snapshot) = &*snapshots.borrow_and_update() {
            self.sink.state().on_snapshot(snapshot.clone());
        }
    }

    async fn send(&self, permit: mpsc::Permit<'_, Frames>) -> Result<(), Status> {
        let next = self.sink.state().next(now());
        // What looked due may have turned out to be held already.
        let Some(response) = next else { return Ok(()) };
        let id = self.sink.id();
        let label = P::label(&response.collection);
        let incremental = response.incremental;
        debug!(
            id,
            collection = &*response.collection,
            version = %response.version,
            nonce = response.nonce,
            "sent"
        );
        if response.unknown {
            self.metrics.unknown(label);
            if label == OTHER {
                let address = self.caller.peer.address;
                self.log.unknown(id, address, &response.collection);
            }
        }
        write::<P>(&response.content).await;
        let frames = Frames::of::<P>(response).ok_or_else(|| {
            Status::out_of_range("the collection is larger than a message can be")
        })?;
        self.metrics.sent(label, incremental, frames.len());
        permit.send(frames);
        Ok(())
    }
}

/// Writes every resource that nobody has been sent in this form yet: for a large collection that takes a while, in which
/// others are to go on.
async fn write<P: Protocol>(content: &Content) {
    if let Content::Full(sent) = content {
        for _written in sent.chunks(P::FORM) {
            tokio::task::consume_budget().await;
        }
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// By the clock of timers.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
