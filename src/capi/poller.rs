//! The poller: full reads, what was touched in between, and undescribed processes, one request at a time.

mod access;
mod chore;
mod refresh;
mod sync;

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use tokio::{
    select,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::chore::{Chore, Errand};
use super::{
    Io, MAX_PAGE_SIZE, Settings,
    bindings::Bindings,
    client::Client,
    domains::Domains,
    error::Error,
    full_read::FullRead,
    guard::Guard,
    index::Index,
    pending::{Batch, Pending},
    processes::Processes,
    strangers::Strangers,
    tail::{Source, Tail},
};
use crate::{backoff::Backoff, feed::Feed, model::Update, outbound::Transport, tls};

/// An idle loop still comes round this often, to show that it is not stuck.
const IDLE: Duration = Duration::from_secs(5);
/// Touched apps that are taken off the channel at a time.
const TOUCHED: usize = 256;

/// Polls Cloud Controller and sends what it finds.
///
/// Everything happens in one task, so what is read later is newer, and no two reads overtake each other. A full read
/// goes page by page with the rest in between: a touched app waits for one page, not for all.
pub struct Poller {
    settings: Settings,
    io: Io,
    client: Client,
    domains: Domains,
    /// `None` where bound routes are served like all others.
    bindings: Option<Bindings>,
    strangers: Strangers,
    index: Index,
    guard: Guard,
    read: Option<FullRead>,
    read_again: bool,
    has_synced: bool,
    pending: Pending,
    tails: Vec<Tail>,
    processes: Processes,
    reading: Chore,
    tailing: Chore,
    refreshing: Chore,
    asking: Chore,
    resolving: Errand,
    listing: Errand,
}

/// Whether the peers inside the process are still there.
type Flow = ControlFlow<()>;

impl Poller {
    /// Prepares everything; the first request is made by [`Poller::run`].
    pub fn new(
        settings: Settings,
        transport: Arc<dyn Transport>,
        io: Io,
    ) -> Result<Self, tls::Error> {
        let page_size = settings.page_size.clamp(1, MAX_PAGE_SIZE);
        let sources = [
            (settings.tail_audit_events, Source::AuditEvents),
            (settings.tail_updated_at, Source::UpdatedRoutes),
        ];
        let with_bindings = !settings.serve_bound_routes;
        let tails = sources
            .into_iter()
            .filter(|(is_on, _)| *is_on)
            .map(|(_, source)| Tail::new(source, with_bindings, page_size))
            .collect();
        let (max_percent, confirm_after) = (settings.max_shrink_percent, settings.confirm_after);
        let backoff = Backoff::new(settings.min_backoff, settings.max_backoff);
        Ok(Self {
            client: Client::new(&settings, transport, &io)?,
            domains: Domains::new(settings.domains.clone(), page_size, confirm_after),
            bindings: with_bindings.then(|| Bindings::new(page_size, max_percent, confirm_after)),
            strangers: Strangers::default(),
            index: Index::default(),
            guard: Guard::new(max_percent),
            read: None,
            read_again: false,
            has_synced: false,
            pending: Pending::new(settings.gather, settings.recheck_after.clone()),
            tails,
            processes: Processes::default(),
            reading: Chore::new(backoff.clone()),
            tailing: Chore::new(backoff.clone()),
            refreshing: Chore::new(backoff.clone()),
            asking: Chore::new(backoff.clone()),
            resolving: Errand::new(backoff.clone()),
            listing: Errand::new(backoff),
            settings: Settings {
                page_size,
                ..settings
            },
            io,
        })
    }

    /// Polls until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.follow()).await;
    }

    /// Ends only when a peer inside the process is gone.
    async fn follow(&mut self) -> Flow {
        self.look_at_undescribed();
        loop {
            self.turned();
            if self.client.quiet_until().is_none() {
                self.turn().await?;
            }
            self.wait().await?;
        }
    }

    /// Does each thing that is due once: none of them can hold up the others for long.
    async fn turn(&mut self) -> Flow {
        self.pending.slow_down(self.client.slowdown());
        let now = Instant::now();
        if self.reading.at() <= now {
            self.read_page().await?;
        }
        // A change is a change only to what is known.
        if self.has_synced {
            if self.tailing.at() <= now && !self.tails.is_empty() {
                self.read_tails().await?;
            }
            let is_due = |errand: &Errand| errand.at().is_some_and(|at| at <= now);
            if is_due(&self.resolving) {
                self.resolve().await?;
            }
            if is_due(&self.listing) {
                self.list_bindings().await?;
            }
            self.refresh().await?;
        }
        if self.asking.at() <= now && self.processes.has_questions() {
            self.ask_for_processes().await?;
        }
        Flow::Continue(())
    }

    async fn wait(&mut self) -> Flow {
        let wake = self.next_turn();
        let mut touched = Vec::new();
        select! {
            () = sleep_until(wake) => {}
            // Without a BBS the channel is closed from the start, and the rest goes on.
            1.. = self.io.touched_apps.recv_many(&mut touched, TOUCHED) => {
                let batch = Batch {
                    apps: touched.into_iter().collect(),
                    ..Batch::default()
                };
                self.pending.announced(batch, Instant::now());
                self.check_overflow();
            }
            changed = self.io.undescribed.changed() => {
                if changed.is_err() {
                    return Flow::Break(());
                }
                self.look_at_undescribed();
            }
        }
        Flow::Continue(())
    }

    fn look_at_undescribed(&mut self) {
        let guids = self.io.undescribed.borrow_and_update().clone();
        self.processes.undescribed(guids);
    }

    fn next_turn(&self) -> Instant {
        let idle = Instant::now() + IDLE;
        if let Some(until) = self.client.quiet_until() {
            return until.min(idle);
        }
        let mut wake = idle.min(self.reading.at());
        if self.has_synced {
            let tail = (!self.tails.is_empty()).then_some(self.tailing.at());
            let (domains, bindings) = (self.resolving.at(), self.listing.at());
            wake = [tail, domains, bindings, self.pending.next()]
                .into_iter()
                .flatten()
                .fold(wake, Instant::min);
        }
        if self.processes.has_questions() {
            wake = wake.min(self.asking.at());
        }
        wake
    }

    fn turned(&self) {
        self.client.turned();
        if let Some(remaining) = self.client.remaining_requests() {
            let remaining = usize::try_from(remaining).unwrap_or(usize::MAX);
            self.io.routes.holds("remaining_requests", remaining);
        }
    }

    /// A full read finds what is too much to look at piece by piece; one in progress may have passed it already.
    fn check_overflow(&mut self) {
        if self.pending.overflow() {
            if self.read.is_some() {
                self.read_again = true;
            } else {
                self.reading.hurry();
            }
        }
    }

    async fn send(&self, update: Update) -> Flow {
        match self.io.updates.send(update).await {
            Ok(()) => Flow::Continue(()),
            Err(_) => Flow::Break(()),
        }
    }
}

fn report(feed: &Feed, error: &Error) {
    feed.failed(error.kind(), error);
}
