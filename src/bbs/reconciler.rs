//! The owner of the merge: is told of the events, asks for lists, and sends what changed.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::{
        self,
        error::{SendError, TrySendError},
    },
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tracing::{debug, info};

use super::{
    Error, Outputs, Settings,
    client::{Client, Read},
    events::StreamEvent,
    merge::{InstanceChanges, Merge},
    observation::Event,
    parse,
    subscription::{Message, Subscription, TURN},
};
use crate::{
    backoff::Backoff,
    feed::Feed,
    model::{AppGuid, Basis, Report, Update},
    readiness::Gate,
};

/// Events between the reader and the merge: half a minute of the busiest stream that was measured, some tens of megabytes.
const QUEUE: usize = 16_384;
/// So few rows that cannot be read are bad rows, left out one by one.
const MAX_UNREADABLE: usize = 10;

/// Nobody receives the updates any more.
type Closed = SendError<Report>;

/// Follows the BBS until nobody receives the updates.
pub(super) async fn follow(client: Client, settings: &Settings, outputs: Outputs) {
    let (min, max) = settings.backoff;
    let client = Arc::new(client);
    let (sender, messages) = mpsc::channel(QUEUE);
    let subscription = Subscription {
        client: Arc::clone(&client),
        backoff: Backoff::new(min, max),
        feed: outputs.events,
    };
    // Dropped with this future, and the reader with it.
    let mut reader = JoinSet::new();
    reader.spawn(subscription.run(sender));
    let mut turn = interval(TURN);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reconciler = Reconciler {
        client,
        merge: Merge::new(settings.max_removed_share),
        updates: outputs.updates,
        touched_apps: outputs.touched_apps,
        feed: outputs.lists,
        synced: Some(outputs.synced),
        backoff: Backoff::new(min, max),
        sync_interval: settings.sync_interval,
        confirm_after: settings.confirm_after,
        doubted: None,
        // The first list is to follow a subscription; without one it is better than nothing.
        next_list: Instant::now() + settings.connect_timeout,
        reads: JoinSet::new(),
        turn,
    };
    if reconciler.run(messages).await.is_err() {
        info!("nobody receives the instances any more");
    }
}

struct Reconciler {
    client: Arc<Client>,
    merge: Merge,
    updates: mpsc::Sender<Report>,
    touched_apps: mpsc::Sender<AppGuid>,
    feed: Feed,
    /// Until the first complete list.
    synced: Option<Gate>,
    backoff: Backoff,
    sync_interval: Duration,
    confirm_after: Duration,
    /// Since when there was a first list that was not believed.
    doubted: Option<Instant>,
    next_list: Instant,
    /// One at most.
    reads: JoinSet<Result<Read, Error>>,
    turn: Interval,
}

impl Reconciler {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) -> Result<(), Closed> {
        loop {
            self.feed.turned();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Subscribed) => self.next_list = Instant::now(),
                    Some(Message::Event(event)) => self.on_event(*event).await?,
                    // The reader only ends with this loop.
                    None => return Ok(()),
                },
                () = sleep_until(self.next_list), if self.reads.is_empty() => self.request_list(),
                Some(read) = self.reads.join_next() => {
                    let read = read.expect("reading a list does not panic");
                    self.on_read(read).await?;
                }
                _ = self.turn.tick() => {}
            }
        }
    }

    fn request_list(&mut self) {
        // What is subscribed to while this list is under way sets it to an earlier time.
        self.next_list = Instant::now() + self.sync_interval;
        let (client, mark) = (Arc::clone(&self.client), self.merge.mark());
        self.reads.spawn(async move { client.read(mark).await });
    }

    async fn on_event(&mut self, event: StreamEvent) -> Result<(), Closed> {
        let mut parts = Vec::new();
        let event = parse::event(event, &mut parts);
        for item in parts {
            self.feed.dropped(item);
        }
        let event = match event {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(()),
            Err(item) => {
                self.feed.dropped(item);
                return Ok(());
            }
        };
        if let Event::Desired(desired) | Event::DesiredRemoved(desired) = &event
            && let Some(app) = &desired.app
            // A full queue loses nothing for good: the routes' own feed finds the change a little later.
            && let Err(TrySendError::Full(_)) = self.touched_apps.try_send(app.clone())
        {
            debug!(%app, "not announced: too many touched apps");
        }
        let changes = self.merge.event(event, std::time::Instant::now());
        self.publish(changes).await
    }

    async fn on_read(&mut self, read: Result<Read, Error>) -> Result<(), Closed> {
        let read = match read.and_then(|read| self.plausible(read)) {
            Ok(read) => read,
            Err(error) => {
                self.feed.failed(error.kind(), &error);
                self.next_list = self.next_list.min(Instant::now() + self.backoff.delay());
                return Ok(());
            }
        };
        self.backoff.reset();
        let dropped = read.dropped.into_iter().chain(read.parts);
        self.feed.dropped_in_read(dropped.collect());
        let fresh = read.list.fresh;
        let changes = self
            .merge
            .list(read.list, read.mark, std::time::Instant::now());
        match self.merge.held() {
            0 => self.feed.succeeded(read.took),
            held => {
                let served = self.merge.served();
                let error = Error::Shrink {
                    held,
                    served,
                    fresh,
                };
                self.feed.failed(error.kind(), &error);
            }
        }
        if let Some(gate) = self.synced.take() {
            let all = self.merge.all();
            info!(instances = all.len(), took = ?read.took, "instances read");
            let basis = Basis::read_since(Instant::now() - read.took);
            self.updates
                .send(Update::AllInstances(all).on(basis))
                .await?;
            self.feed.holds("instances", self.merge.served());
            gate.open();
            return Ok(());
        }
        self.publish(changes).await
    }

    /// There is nothing to compare the first list with, and whoever routes by it may hold more from before. A BBS whose
    /// database was lost lists nothing at first, then some, and does not vouch for it; so what it does not vouch for
    /// is believed after a while only, and nothing never. Rows that cannot be read are a format that we do not know.
    fn plausible(&mut self, read: Read) -> Result<Read, Error> {
        if self.synced.is_none() {
            return Ok(read);
        }
        let (listed, unreadable) = (read.list.instances.len(), read.dropped.len());
        if unreadable > MAX_UNREADABLE && unreadable > listed {
            return Err(Error::Unreadable { listed, unreadable });
        }
        let doubted = *self.doubted.get_or_insert_with(Instant::now);
        let patient = !read.list.instances.is_empty() && doubted.elapsed() >= self.confirm_after;
        if read.list.fresh || patient {
            Ok(read)
        } else {
            Err(Error::NotFresh)
        }
    }

    /// Before the first complete list there is nothing to which changes could be added.
    async fn publish(&mut self, changes: InstanceChanges) -> Result<(), Closed> {
        self.feed.holds("instances", self.merge.served());
        if changes.is_empty() || self.synced.is_some() {
            return Ok(());
        }
        let InstanceChanges { current, gone } = changes;
        let update = Update::Instances { current, gone };
        self.updates.send(update.on(Basis::Told)).await
    }
}
