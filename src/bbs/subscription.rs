//! The reader of the event stream: a task of its own that never waits for the merge.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{
        Notify,
        mpsc::{Sender, error::TrySendError},
    },
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tracing::debug;

use super::{
    Error,
    client::{Client, EventStream},
    events::{Decoder, StreamEvent},
};
use crate::{
    backoff::Backoff,
    feed::{Feed, Kind},
};

/// A stream that delivered and lasted this long is begun anew at once: its server went, and another one took over.
const SHORT: Duration = Duration::from_secs(1);
/// So is one that lasted this long, although nothing happened meanwhile.
const HEALTHY: Duration = Duration::from_mins(1);
/// Where a connection was refused, the next server may listen at any moment.
const REFUSED: Duration = Duration::from_secs(2);
/// How often a feed reports that it is alive while it waits.
pub(super) const TURN: Duration = Duration::from_secs(5);

/// What the owner of the merge is told.
#[derive(Debug)]
pub(super) enum Message {
    /// From here on nothing is missed; whatever was before may have been.
    Subscribed,
    /// Something happened.
    Event(Box<StreamEvent>),
}

/// Keeps a subscription alive.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) client: Arc<Client>,
    /// Ends the present stream.
    pub(super) restart: Arc<Notify>,
    pub(super) backoff: Backoff,
    pub(super) feed: Feed,
}

impl Subscription {
    /// Subscribes, reads until the stream ends for whatever reason, and begins anew, until nobody receives it.
    pub(super) async fn run(mut self, messages: Sender<Message>) {
        // The place for `Subscribed` is taken before the stream opens, because nothing may wait while it is open.
        while let Ok(place) = turning(&self.feed, messages.reserve()).await {
            let started = Instant::now();
            let mut has_delivered = false;
            let error = match turning(&self.feed, self.client.subscribe()).await {
                Ok(stream) => {
                    self.feed.succeeded(started.elapsed());
                    debug!("subscribed to the BBS's events");
                    place.send(Message::Subscribed);
                    self.read(stream, &messages, &mut has_delivered).await
                }
                Err(error) => error,
            };
            self.feed.failed(error.kind(), &error);
            let lasted = started.elapsed();
            if has_delivered && lasted >= SHORT || lasted >= HEALTHY {
                self.backoff.reset();
                continue;
            }
            let delay = match error.kind() {
                Kind::Connect => self.backoff.delay().min(REFUSED),
                _ => self.backoff.delay(),
            };
            turning(&self.feed, sleep(delay)).await;
        }
    }

    /// Reads until something is lost, and says why.
    async fn read(
        &self,
        mut stream: EventStream,
        messages: &Sender<Message>,
        has_delivered: &mut bool,
    ) -> Error {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        // Both see what happens between two turns of the loop.
        let mut restart = pin!(self.restart.notified());
        let mut silence = pin!(self.client.silence(&stream));
        loop {
            let next = tokio::select! {
                // A steady stream of events is not to hold off its end.
                biased;
                () = &mut restart => Err(Error::Abandoned),
                silent = &mut silence => Err(silent),
                next = turning(&self.feed, stream.next()) => next,
            };
            let bytes = match next {
                Ok(bytes) => bytes,
                Err(error) => return error,
            };
            *has_delivered = true;
            let outcome = decoder.push(&bytes, &mut events);
            for event in events.drain(..) {
                match messages.try_send(Message::Event(Box::new(event))) {
                    Ok(()) => {}
                    // Waiting would only move the queue to the BBS, which drops slow readers without a word.
                    Err(TrySendError::Full(_)) => return Error::Overflow(messages.max_capacity()),
                    Err(TrySendError::Closed(_)) => return Error::Ended,
                }
            }
            if let Err(error) = outcome {
                return error;
            }
        }
    }
}

/// Waits for `future` while the feed's loop counts as turning.
async fn turning<F: Future>(feed: &Feed, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut turn = interval(TURN);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            output = &mut future => return output,
            _ = turn.tick() => feed.turned(),
        }
    }
}
