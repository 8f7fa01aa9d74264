//! The poller: full reads, what was touched in between, and undescribed processes, one request at a time.
//!
//! Each part owns its state, and is lent what all of them need ([`Context`]).

mod access;
mod context;
mod first;
mod full_reads;
mod incremental;
mod index;
mod pending;
mod schedule;
mod tcp;
mod told;

use std::{sync::Arc, time::Duration};

use tokio::{
    select,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub use self::tcp::TcpPoller;
use self::{
    access::Access,
    context::{Context, Flow, report},
    full_reads::FullReads,
    incremental::IncrementalReads,
    index::Index,
    pending::Pending,
    schedule::Schedule,
};
use super::{
    http::Client,
    reads::{batch::Batch, processes::Processes},
    settings::{Io, MAX_PAGE_SIZE, Settings},
};
use crate::{
    backoff::Backoff,
    feed::Drops,
    model::{Basis, Update},
    outbound::Transport,
    tls,
};

/// An idle loop still comes round this often, to show that it is not stuck.
const IDLE: Duration = Duration::from_secs(5);
/// Touched apps that are taken off the channel at a time.
const TOUCHED: usize = 256;

/// Polls Cloud Controller and sends what it finds.
///
/// Everything happens in one task, so what is read later is newer, and no two reads overtake each other. A full read
/// goes page by page with the rest in between: a touched app waits for one page, not for all.
pub struct Poller {
    context: Context,
    access: Access,
    full: FullReads,
    incremental: IncrementalReads,
    processes: Processes,
    asking: Schedule,
}

impl Poller {
    /// Prepares everything; the first request is made by [`Poller::run`].
    pub fn new(
        settings: Settings,
        transport: Arc<dyn Transport>,
        io: Io,
    ) -> Result<Self, tls::Error> {
        let settings = Settings {
            page_size: settings.page_size.clamp(1, MAX_PAGE_SIZE),
            ..settings
        };
        let backoff = Backoff::new(settings.min_backoff, settings.max_backoff);
        Ok(Self {
            access: Access::new(&settings, &backoff),
            full: FullReads::new(backoff.clone()),
            incremental: IncrementalReads::new(&settings, &backoff),
            processes: Processes::default(),
            asking: Schedule::new(backoff),
            context: Context {
                client: Client::new(
                    &settings,
                    transport,
                    &io.token,
                    &[&io.routes, &io.tail, &io.processes, &io.access],
                )?,
                index: Index::default(),
                pending: Pending::new(settings.gather, settings.recheck_after.clone()),
                settings,
                io,
            },
        })
    }

    /// Polls until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        // Large, since it awaits reads.
        shutdown.run_until_cancelled(Box::pin(self.follow())).await;
    }

    /// Ends only when a peer inside the process is gone.
    async fn follow(&mut self) -> Flow {
        self.look_at_undescribed();
        loop {
            self.turned();
            if self.context.client.rate_limited_until().is_none() {
                self.turn().await?;
            }
            self.wait().await?;
        }
    }

    /// Does each thing that is due once: none of them can hold up the others for long.
    async fn turn(&mut self) -> Flow {
        let Self {
            context,
            access,
            full,
            incremental,
            processes,
            ..
        } = self;
        context.pending.slow_down(context.client.slowdown());
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if full.at(context.confirmation()) <= now {
            if full.is_at_start() {
                incremental.seed(context, access).await;
            }
            if full.read_page(context, access).await? {
                processes.ask_again();
                context.io.processes.dropped_in_read(Drops::default());
            }
            full.take_overflow(context);
        }
        // A change is a change only to what is known.
        if full.has_synced() {
            if is_due(incremental.at()) {
                incremental.read_tails(context, access).await?;
            }
            access.read(context, now).await?;
            full.take_overflow(context);
            incremental.refresh(context, access, full).await?;
            full.take_overflow(context);
        }
        if is_due(self.asking_at()) {
            self.ask_for_processes().await?;
        }
        Flow::Continue(())
    }

    async fn wait(&mut self) -> Flow {
        let wake = self.next_turn();
        let Self { context, .. } = self;
        let mut touched = Vec::new();
        select! {
            biased;
            // Without a BBS the channel is closed from the start, and the rest goes on.
            1.. = context.io.touched_apps.recv_many(&mut touched, TOUCHED) => {
                let batch = Batch {
                    apps: touched.into_iter().collect(),
                    ..Batch::default()
                };
                context.pending.announced(batch, Instant::now());
                self.full.take_overflow(context);
            }
            // What a read could confirm, and when, has changed.
            Ok(()) = context.io.confirmations.changed() => {}
            changed = context.io.undescribed.changed() => {
                if changed.is_err() {
                    return Flow::Break(());
                }
                self.look_at_undescribed();
            }
            () = sleep_until(wake) => {}
        }
        Flow::Continue(())
    }

    fn next_turn(&self) -> Instant {
        let idle = Instant::now() + IDLE;
        if let Some(until) = self.context.client.rate_limited_until() {
            return until.min(idle);
        }
        let mut wake = idle.min(self.full.at(self.context.confirmation()));
        if self.full.has_synced() {
            let pending = self.context.pending.next();
            wake = [self.incremental.at(), self.access.at(), pending]
                .into_iter()
                .flatten()
                .fold(wake, Instant::min);
        }
        self.asking_at().map_or(wake, |at| wake.min(at))
    }

    fn look_at_undescribed(&mut self) {
        let guids = self.context.io.undescribed.borrow_and_update().clone();
        self.processes.undescribed(guids);
    }

    fn asking_at(&self) -> Option<Instant> {
        let has_questions = self.processes.has_questions();
        has_questions.then_some(self.asking.at())
    }

    /// Asks for processes that the BBS does not describe.
    async fn ask_for_processes(&mut self) -> Flow {
        let started = Instant::now();
        let Self { context, .. } = self;
        let page_size = context.settings.page_size;
        let answer = match self.processes.ask(&mut context.client, page_size).await {
            Ok(answer) => answer,
            Err(error) => {
                report(&context.io.processes, &error);
                self.asking.failed(Duration::ZERO);
                return Flow::Continue(());
            }
        };
        self.asking.succeeded(Duration::ZERO);
        context.io.processes.succeeded(started.elapsed());
        context.io.processes.dropped(answer.dropped);
        let (known, unknown) = (answer.known, answer.unknown);
        context
            .send(Update::Processes { known, unknown }, Basis::Asked)
            .await
    }

    fn turned(&self) {
        self.context.client.turned();
        if let Some(remaining) = self.context.client.remaining_requests() {
            let remaining = usize::try_from(remaining).unwrap_or(usize::MAX);
            self.context
                .io
                .routes
                .holds("remaining_requests", remaining);
        }
    }
}
