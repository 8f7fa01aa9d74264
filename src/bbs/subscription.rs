//! The reader of the event stream: a task of its own that never waits for the merge.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::{Sender, error::TrySendError},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tracing::debug;

use super::{
    Error,
    client::{Client, EventStream},
    events::{Decoder, StreamEvent},
};
use crate::{backoff::Backoff, feed::Feed};

/// How long a stream must last before its end is taken for an accident.
const HEALTHY: Duration = Duration::from_mins(1);
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
    pub(super) backoff: Backoff,
    pub(super) feed: Feed,
}

impl Subscription {
    /// Subscribes, reads until the stream ends for whatever reason, and begins anew, until nobody receives it.
    pub(super) async fn run(mut self, messages: Sender<Message>) {
        // The place for `Subscribed` is taken before the stream opens, because nothing may wait while it is open.
        while let Ok(place) = turning(&self.feed, messages.reserve()).await {
            let started = Instant::now();
            let error = match turning(&self.feed, self.client.subscribe()).await {
                Ok(stream) => {
                    self.feed.succeeded(started.elapsed());
                    debug!("subscribed to the BBS's events");
                    place.send(Message::Subscribed);
                    self.read(stream, &messages).await
                }
                Err(error) => error,
            };
            self.feed.failed(error.kind(), &error);
            if started.elapsed() >= HEALTHY {
                self.backoff.reset();
            }
            turning(&self.feed, sleep(self.backoff.delay())).await;
        }
    }

    /// Reads until something is lost, and says why.
    async fn read(&self, mut stream: EventStream, messages: &Sender<Message>) -> Error {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        loop {
            let bytes = match turning(&self.feed, stream.next()).await {
                Ok(bytes) => bytes,
                Err(error) => return error,
            };
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
