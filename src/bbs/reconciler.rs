//! The owner of the merge: is told of the events, asks for lists, and sends what changed.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{
        Notify,
        mpsc::{
            self,
            error::{SendError, TrySendError},
        },
        watch,
    },
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tracing::{debug, info};

use super::{
    Error, Outputs, Settings,
    client::{Client, ProcessRead, Read},
    events::StreamEvent,
    first::FirstList,
    merge::{InstanceChanges, Merge, News},
    observation::Event,
    parse,
    processes::Question,
    subscription::{Message, Subscription, TURN},
};
use crate::{
    backoff::Backoff,
    feed::{Dropped, Drops, Feed, Kind},
    model::{AppGuid, Basis, Confirmations, Instance, InstanceGuid, Report, Update},
    readiness::Gate,
};

/// Events between the reader and the merge: half a minute of the busiest stream that was measured, some tens of megabytes.
const QUEUE: usize = 16_384;
/// So many processes are read one by one. An evacuation of a cell has some hundred.
const MAX_DOUBTFUL: usize = 10;
/// What a list said first is announced by then, if events come at all.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(2);

/// Nobody receives the updates any more.
type Closed = SendError<Report>;

/// Follows the BBS until nobody receives the updates.
pub(super) async fn follow(client: Client, settings: &Settings, outputs: Outputs) {
    let (min, max) = settings.backoff;
    let client = Arc::new(client);
    let (sender, messages) = mpsc::channel(QUEUE);
    let restart = Arc::new(Notify::new());
    let subscription = Subscription {
        client: Arc::clone(&client),
        restart: Arc::clone(&restart),
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
        merge: Merge::default(),
        first: Some(FirstList::new(settings.confirm_after)),
        updates: outputs.updates,
        confirmations: outputs.confirmations,
        subscription: restart,
        touched_apps: outputs.touched_apps,
        questions: outputs.questions,
        feed: outputs.lists,
        synced: Some(outputs.synced),
        followed: Followed::default(),
        backoff: Backoff::new(min, max),
        sync_interval: settings.sync_interval,
        // The first list is to follow a subscription; without one it is better than nothing.
        next_list: Instant::now() + settings.peer.connect_timeout,
        rested: Instant::now(),
        unannounced: None,
        failures: 0,
        reads: JoinSet::new(),
        is_called_off: false,
        process_reads: JoinSet::new(),
        turn,
    };
    if reconciler.run(messages).await.is_err() {
        info!("nobody receives the instances any more");
    }
}

/// What a list said first, of which events should have told.
#[derive(Debug)]
struct Unannounced {
    news: News,
    due: Instant,
}

/// How far lists have followed the present subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Followed {
    /// There was no subscription yet.
    #[default]
    Never,
    /// It has just begun; a list that is under way is older.
    NotYet,
    /// A list was asked for.
    Asked,
    /// A list was merged: what changes from now on is announced by events.
    Listed,
}

struct Reconciler {
    client: Arc<Client>,
    merge: Merge,
    /// Until a list is believed, and something is served.
    first: Option<FirstList>,
    updates: mpsc::Sender<Report>,
    /// When a list could confirm what the publisher holds.
    confirmations: watch::Receiver<Confirmations>,
    /// Ends the subscription.
    subscription: Arc<Notify>,
    /// Changes that a list brought and no event announced so far.
    unannounced: Option<Unannounced>,
    touched_apps: Vec<mpsc::Sender<AppGuid>>,
    questions: mpsc::Receiver<Question>,
    feed: Feed,
    /// Opened by the first complete list.
    synced: Option<Gate>,
    followed: Followed,
    backoff: Backoff,
    sync_interval: Duration,
    next_list: Instant,
    /// No list begins before: a BBS is at work on them for half of its time at the most, whatever asks for them, but for one
    /// that was called off.
    rested: Instant,
    /// How many lists in a row have failed.
    failures: u32,
    /// One at most.
    reads: JoinSet<Result<Read, Error>>,
    /// Whether the one before was called off.
    is_called_off: bool,
    /// Of single processes.
    process_reads: JoinSet<Result<ProcessRead, Error>>,
    turn: Interval,
}

impl Reconciler {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) -> Result<(), Closed> {
        loop {
            self.feed.turned();
            tokio::select! {
                // A steady stream of events is not to hold lists off.
                biased;
                () = sleep_until(self.next_list.max(self.rested)), if self.reads.is_empty() => self.request_list(),
                Some(read) = self.reads.join_next() => {
                    let read = read.expect("reading a list does not panic");
                    self.on_read(read).await?;
                }
                Some(read) = self.process_reads.join_next() => {
                    let read = read.expect("reading a list does not panic");
                    self.on_process_read(read).await?;
                }
                Some(Question { app, reply }) = self.questions.recv() => {
                    // Whoever asked may have gone.
                    let _gone = reply.send(self.merge.processes_of(&app));
                }
                Ok(()) = self.confirmations.changed() => self.confirm_after(None),
                message = messages.recv() => match message {
                    Some(Message::Subscribed) => self.on_subscribed(),
                    Some(Message::Event(event)) => self.on_event(*event).await?,
                    // The reader only ends with this loop.
                    None => return Ok(()),
                },
                _ = self.turn.tick() => self.look_for_silence(),
            }
        }
    }

    fn on_subscribed(&mut self) {
        self.followed = Followed::NotYet;
        self.unannounced = None;
        let is_called_off = self.call_off();
        // While lists fail, a new subscription is no reason to ask more often.
        if is_called_off || self.failures == 0 {
            self.next_list = Instant::now();
        }
    }

    /// A list that is older than the subscription is asked for again in any case, and may hang on a connection that whoever
    /// has just answered knows nothing of. Only once in a row: streams that end all the time are not to hold lists off.
    fn call_off(&mut self) -> bool {
        if self.is_called_off || self.reads.is_empty() {
            return false;
        }
        debug!("a list that began before the subscription is called off");
        self.is_called_off = true;
        self.reads = JoinSet::new();
        // The next list says what they would have said.
        self.process_reads = JoinSet::new();
        true
    }

    /// A list can confirm what the publisher holds: it is asked for then. One that began later than that has been.
    fn confirm_after(&mut self, began: Option<Instant>) {
        let at = self.confirmations.borrow_and_update().instances;
        let at = at.filter(|at| began.is_none_or(|began| began < *at));
        self.next_list = self.next_list.min(at.unwrap_or(self.next_list));
    }

    fn request_list(&mut self) {
        if self.followed == Followed::NotYet {
            self.followed = Followed::Asked;
        }
        // What is subscribed to while this list is under way sets it to an earlier time.
        self.next_list = Instant::now() + self.sync_interval;
        let confirms = self.is_in_doubt() || self.first.is_some();
        if confirms {
            self.client.renew();
        }
        let (client, mark) = (Arc::clone(&self.client), self.merge.mark());
        self.reads.spawn(async move { client.read(mark).await });
    }

    async fn on_event(&mut self, event: StreamEvent) -> Result<(), Closed> {
        let mut parts = Drops::default();
        let guid = event.instance();
        let event = parse::event(event, &mut parts);
        self.feed.dropped(parts);
        let event = match event {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(()),
            Err(mut item) => {
                self.say_what_stays(guid.as_ref(), &mut item);
                self.feed.dropped(item);
                return Ok(());
            }
        };
        if let Event::Desired(desired) | Event::DesiredRemoved(desired) = &event
            && let Some(app) = &desired.app
        {
            self.announce(app);
        }
        let basis = self.basis(&event);
        let ends = (self.is_in_doubt() && basis == Basis::Told).then(|| event.clone());
        // The publisher may hold what lists lack, and is told of its end all the same.
        let ended = self.merge.ended(&event);
        let mut changes = self.merge.event(event, Instant::now());
        changes.gone.extend(ended);
        let mut running = InstanceChanges::default();
        if let Some(event) = ends {
            self.merge.repeat_end(&event, &mut changes);
            // Of what goes on running, only a list that is in doubt can take something away.
            let goes_on = |instance: &mut Arc<Instance>| instance.routable;
            running.current = changes.current.extract_if(.., goes_on).collect();
        }
        for guid in self.merge.take_kept() {
            self.feed.dropped(kept(&guid));
        }
        self.read_doubtful();
        if !running.is_empty() {
            self.publish(running, Basis::Asked).await?;
        }
        self.publish(changes, basis).await
    }

    /// Whether the publisher holds what lists lack.
    fn is_in_doubt(&self) -> bool {
        self.confirmations.borrow().instances.is_some()
    }

    /// What an event ends is gone. Of one that says that an instance runs, only a list that is in doubt can take that away.
    fn basis(&self, event: &Event) -> Basis {
        match event {
            Event::Observed(observed)
                if self.is_in_doubt() && observed.routable && observed.endpoint.is_some() =>
            {
                Basis::Asked
            }
            _ => Basis::Told,
        }
    }

    /// Tells whoever reads routes that those of an app may have changed.
    fn announce(&self, app: &AppGuid) {
        for touched in &self.touched_apps {
            // A full queue loses nothing for good: the routes' own feed finds the change a little later.
            if let Err(TrySendError::Full(_)) = touched.try_send(app.clone()) {
                debug!(%app, "not announced: too many touched apps");
            }
        }
    }

    /// Reads one process after the other of which an instance may be gone, or all if there are many.
    fn read_doubtful(&mut self) {
        if self.merge.doubtful() > MAX_DOUBTFUL {
            self.merge.forget_doubtful();
            self.next_list = Instant::now();
        }
        if self.process_reads.is_empty()
            && let Some(process) = self.merge.next_doubtful()
        {
            let (client, mark) = (Arc::clone(&self.client), self.merge.mark());
            self.process_reads
                .spawn(async move { client.read_process(process, mark).await });
        }
    }

    /// Of an instance that is known, a row that cannot be read leaves what was known.
    fn say_what_stays(&self, guid: Option<&InstanceGuid>, item: &mut Dropped) {
        if guid.is_some_and(|guid| self.merge.knows(guid)) {
            item.detail.push_str("; what was known of it stays");
        }
    }

    async fn on_read(&mut self, read: Result<Read, Error>) -> Result<(), Closed> {
        self.is_called_off = false;
        let mut read = match read.and_then(|read| self.judge(read)) {
            Ok(read) => read,
            Err(error) => {
                self.on_failure(&error);
                return Ok(());
            }
        };
        self.failures = 0;
        self.backoff.reset();
        let (began, fresh) = (read.began, read.list.fresh);
        self.rested = Instant::now() + began.elapsed();
        let is_empty = read.list.instances.is_empty();
        for (guid, name) in &read.list.unclear.instances {
            let item = name.as_ref().and_then(|name| read.dropped.get_mut(name));
            if let Some(item) = item {
                self.say_what_stays(Some(guid), item);
            }
        }
        let is_in_doubt = self.is_in_doubt();
        if !is_in_doubt {
            self.merge.forget_lost();
        }
        let now = Instant::now();
        let changes = if is_in_doubt {
            self.merge.list_after_doubt(read.list, read.mark, now)
        } else {
            self.merge.list(read.list, read.mark, now)
        };
        let kept = self.merge.take_kept();
        let mut dropped = read.dropped;
        dropped.append(read.parts);
        dropped.extend(kept.iter().map(self::kept));
        self.feed.dropped_in_read(dropped);
        self.follow_news();
        self.confirm_after(Some(began));
        // A BBS that has lost its database lists nothing, and vouches for nothing.
        let basis = if fresh || !is_empty {
            Basis::read_since(began)
        } else {
            Basis::Asked
        };
        self.feed.holds("instances", self.merge.served());
        self.feed.succeeded(began.elapsed());
        // What was held is confirmed only by saying all of it again.
        if self.synced.is_some() || is_in_doubt || !changes.is_empty() {
            let all = self.merge.all();
            let (now, gone) = (changes.current.len(), changes.gone.len());
            let (instances, seconds) = (all.len(), began.elapsed().as_secs_f64());
            info!(instances, changed = now, gone, seconds, "instances read");
            self.updates
                .send(Update::AllInstances(all).on(basis))
                .await?;
        }
        if let Some(gate) = self.synced.take() {
            gate.open();
        }
        Ok(())
    }

    fn judge(&mut self, read: Read) -> Result<Read, Error> {
        // Before anything is served there is still nothing that the next one could be compared with.
        if self.synced.is_none() && !self.confirmations.borrow().is_starting {
            self.first = None;
        }
        match &mut self.first {
            Some(first) => Ok(first.judge(read)?),
            None => Ok(read),
        }
    }

    fn on_failure(&mut self, error: &Error) {
        self.feed.failed(error.kind(), error);
        let pause = match error {
            Error::Doubt(doubt) => FirstList::retry(*doubt),
            _ => None,
        };
        let pause = pause.unwrap_or_else(|| self.backoff.delay());
        self.next_list = self.next_list.min(Instant::now() + pause);
        // A BBS that does not answer may not send events either. One that answers badly may.
        let is_silent = matches!(error.kind(), Kind::Timeout | Kind::Connect);
        if self.failures == 0 && is_silent {
            self.subscription.notify_waiters();
        }
        self.failures += 1;
    }

    async fn on_process_read(&mut self, read: Result<ProcessRead, Error>) -> Result<(), Closed> {
        self.read_doubtful();
        match read {
            Ok(ProcessRead {
                process,
                list,
                mark,
            }) => {
                let changes = self.merge.list_process(&process, list, mark);
                self.publish(changes, Basis::Asked).await
            }
            // All are read instead.
            Err(error) => {
                debug!(%error, "a process could not be read");
                self.next_list = Instant::now();
                Ok(())
            }
        }
    }

    /// What a list says first, although there is a subscription, is announced within moments; else the stream is deaf.
    fn follow_news(&mut self) {
        let news = self.merge.take_news();
        match self.followed {
            Followed::Asked => self.followed = Followed::Listed,
            Followed::Listed if self.unannounced.is_none() => {
                let due = Instant::now() + ANNOUNCED_WITHIN;
                self.unannounced = news.map(|news| Unannounced { news, due });
            }
            _ => {}
        }
    }

    fn look_for_silence(&mut self) {
        let is_due = |news: &mut Unannounced| news.due <= Instant::now();
        if let Some(Unannounced { news, .. }) = self.unannounced.take_if(is_due)
            && !self.merge.is_announced(&news)
        {
            info!("lists bring what no event announced, the subscription is begun anew");
            self.subscription.notify_waiters();
        }
    }

    /// Before the first complete list there is nothing to which changes could be added.
    async fn publish(&mut self, changes: InstanceChanges, basis: Basis) -> Result<(), Closed> {
        self.feed.holds("instances", self.merge.served());
        if changes.is_empty() || self.synced.is_some() {
            return Ok(());
        }
        let InstanceChanges { current, gone } = changes;
        let update = Update::Instances { current, gone };
        self.updates.send(update.on(basis)).await
    }
}

fn kept(guid: &InstanceGuid) -> Dropped {
    Dropped {
        name: format!("instance {guid}"),
        reason: "ports",
        detail: "its row lacks ports that its container has; what was known of it stays".to_owned(),
    }
}
