//! The one task that owns what was pushed: makes changes in the order of the calls, and tells the publisher.

use std::{ops::ControlFlow, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    Full, Io, Pushed, Refused, Unclear,
    change::Change,
    journal::{Journal, Ticket},
};
use crate::{
    feed::{Dropped, Kind},
    model::{Basis, Report},
};

/// An idle loop still comes round this often, to show that it is not stuck.
const IDLE: Duration = Duration::from_secs(5);

/// What a call wants of the registrar. Each is answered once it is done; a caller that has gone is not missed.
pub(super) enum Command {
    /// To make a change.
    Apply(Change, oneshot::Sender<Result<(), Full>>),
    /// To begin a BulkSync.
    Open(oneshot::Sender<Ticket>),
    /// To put everything in the place of what is known.
    Replace(Box<BulkSync>, oneshot::Sender<Result<(), Refused>>),
    /// To look at what is known.
    Look(Box<dyn FnOnce(&Pushed) + Send>),
}

/// A BulkSync that was received as a whole.
pub(super) struct BulkSync {
    /// Among those that are under way, until it is executed.
    pub(super) _place: OwnedSemaphorePermit,
    pub(super) ticket: Ticket,
    pub(super) began: Instant,
    pub(super) pushed: Pushed,
    pub(super) unclear: Unclear,
    pub(super) dropped: Vec<Dropped>,
}

/// Why a first BulkSync is not believed yet: it is what a broken query looks like too, while sinks may hold the routes of
/// an earlier process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the first BulkSync has no routes; a second one in a row has to confirm it")]
struct Unconfirmed;

/// Owns what was pushed.
pub struct Registrar {
    commands: mpsc::Receiver<Command>,
    io: Io,
    pushed: Pushed,
    journal: Journal,
    has_synced: bool,
    /// Whether a route of the last BulkSync leads to an app.
    leads: bool,
    /// If the BulkSync before was not believed: the first ticket that can confirm it.
    confirmed_from: Option<u64>,
}

/// Whether the publisher is still there.
type Flow = ControlFlow<()>;

impl Registrar {
    pub(super) fn new(commands: mpsc::Receiver<Command>, io: Io) -> Self {
        Self {
            commands,
            io,
            pushed: Pushed::default(),
            journal: Journal::default(),
            has_synced: false,
            leads: false,
            confirmed_from: None,
        }
    }

    /// Serves the calls until `shutdown`. Those that come later are answered UNAVAILABLE.
    pub async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.serve()).await;
    }

    /// Ends only when a peer inside the process is gone.
    async fn serve(&mut self) -> Flow {
        let mut idle = interval(IDLE);
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.io.feed.turned();
            let under_way = self.journal.under_way();
            self.io.feed.holds("bulk_syncs_under_way", under_way);
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.execute(command).await?,
                    None => return Flow::Break(()),
                },
                _ = idle.tick() => {}
            }
        }
    }

    async fn execute(&mut self, command: Command) -> Flow {
        match command {
            Command::Apply(change, reply) => {
                let outcome = self.apply(&change);
                self.conclude(outcome, reply).await
            }
            Command::Open(reply) => {
                // Dropped where the caller has gone, and then forgotten.
                drop(reply.send(self.journal.open()));
                Flow::Continue(())
            }
            Command::Replace(sync, reply) => {
                let outcome = self.replace(*sync);
                self.conclude(outcome, reply).await
            }
            Command::Look(look) => {
                look(&self.pushed);
                Flow::Continue(())
            }
        }
    }

    /// Answers when the publisher has been told.
    async fn conclude<E>(
        &self,
        outcome: Result<Option<Report>, E>,
        reply: oneshot::Sender<Result<(), E>>,
    ) -> Flow {
        let answer = match outcome {
            Ok(report) => {
                if let Some(report) = report
                    && self.io.updates.send(report).await.is_err()
                {
                    return Flow::Break(());
                }
                // Also of what the publisher need not know: a mapping may come before its route.
                self.report_sizes();
                Ok(())
            }
            Err(error) => Err(error),
        };
        drop(reply.send(answer));
        Flow::Continue(())
    }

    /// While the publisher holds what a BulkSync lacked, it may know more: what is upserted then takes nothing away from
    /// that, and what is deleted may be known to it alone.
    fn apply(&mut self, change: &Change) -> Result<Option<Report>, Full> {
        let update = self.pushed.apply(change.clone())?;
        self.journal.note(change);
        let is_held = self.io.confirmations.borrow().routes.is_some();
        Ok(match change.deletion().filter(|_| is_held) {
            Some(deletion) => Some(deletion.on(Basis::Told)),
            None => {
                update.map(|update| update.on(if is_held { Basis::Asked } else { Basis::Told }))
            }
        })
    }

    /// Puts a BulkSync in the place of what is known, with what is newer on top of it. One that is not believed yet
    /// is well received all the same: Cloud Controller's client ends its process at any error.
    fn replace(&mut self, sync: BulkSync) -> Result<Option<Report>, Refused> {
        let newer = self.journal.close(&sync.ticket)?;
        let is_empty = sync.pushed.sizes().routes == 0;
        let leads = sync.pushed.leads();
        let mut pushed = sync.pushed;
        let kept = pushed.keep(&sync.unclear, &self.pushed)?;
        for change in newer {
            pushed.take(change)?;
        }
        let is_starting = self.io.confirmations.borrow().is_starting;
        let is_new = !self.has_synced || is_starting && self.pushed.sizes().routes > 0;
        if is_empty && is_new && !self.is_confirmed_by(&sync.ticket) {
            self.io.feed.failed(Kind::Unconfirmed, &Unconfirmed);
            return Ok(None);
        }
        self.confirmed_from = None;
        self.journal.overtake(&sync.ticket);
        let confirms = self.io.confirmations.borrow().routes.is_some();
        let is_other = pushed != self.pushed || leads != self.leads;
        let is_news = !self.has_synced || is_other || confirms;
        (self.pushed, self.leads) = (pushed, leads);
        self.io
            .feed
            .dropped_in_read(sync.dropped.into_iter().collect());
        self.io.feed.holds("kept_items", kept);
        self.io.feed.succeeded(sync.began.elapsed());
        if !self.has_synced {
            self.has_synced = true;
            let sizes = self.pushed.sizes();
            info!(
                sizes.routes,
                sizes.mappings, sizes.associations, "first BulkSync"
            );
        }
        if let Some(gate) = self.io.synced.take() {
            gate.open();
        }
        let basis = Basis::read_since(sync.began);
        Ok(is_news.then(|| self.pushed.all(leads).on(basis)))
    }

    /// One that was under way when the doubt arose may come from the same query.
    fn is_confirmed_by(&mut self, ticket: &Ticket) -> bool {
        let next = self.journal.next_number();
        ticket.number >= *self.confirmed_from.get_or_insert(next)
    }

    fn report_sizes(&self) {
        let sizes = self.pushed.sizes();
        self.io.feed.holds("routes", sizes.routes);
        self.io.feed.holds("mappings", sizes.mappings);
        self.io.feed.holds("associations", sizes.associations);
    }
}

#[cfg(test)]
mod tests;
