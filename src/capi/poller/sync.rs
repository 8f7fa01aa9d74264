//! Full reads, and the reads of processes that go with them.

use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::{Flow, Poller, report};
use crate::{
    capi::{
        Doubt, domains,
        full_read::FullRead,
        guard::Lack,
        wire::{Located, MALFORMED},
    },
    model::Update,
};

/// Routes that a full read finds while bindings cannot be read; more of them wait for the next one.
const MAX_UNCLEAR: usize = 1000;

impl Poller {
    /// Begins a full read or reads its next page.
    pub(super) async fn read_page(&mut self) -> Flow {
        let mut read = match self.read.take() {
            Some(read) => read,
            None => self.begin().await,
        };
        let step = read.step(&mut self.client, &mut self.domains).await;
        self.follow_domains().await?;
        match step {
            Ok(true) => return self.finish(read).await,
            Ok(false) => {
                self.reading.succeeded(Duration::ZERO);
                self.read = Some(read);
            }
            Err(error) => {
                report(&self.io.routes, &error);
                self.reading.failed(Duration::ZERO);
                // The routes of the last complete read stay, however often this fails.
                self.read = (read.failed() <= self.settings.page_retries).then_some(read);
            }
        }
        Flow::Continue(())
    }

    /// The first read begins where the tails do, so that nothing is lost between them. A tail that cannot tell now
    /// tells later, and the next full read closes the gap.
    async fn begin(&mut self) -> FullRead {
        if !self.has_synced {
            for tail in &mut self.tails {
                if let Err(error) = tail.seed(&mut self.client, &self.domains).await {
                    report(&self.io.tail, &error);
                }
            }
        }
        FullRead::new(self.settings.page_size)
    }

    /// All routes are read. Bindings come last, so that none of a route that was read is missed.
    async fn finish(&mut self, mut read: FullRead) -> Flow {
        let are_bindings_known = self.list_bindings().await?;
        if !self.is_access_known() {
            self.reading.failed(Duration::ZERO);
            self.read = (read.failed() <= self.settings.page_retries).then_some(read);
            return Flow::Continue(());
        }
        let read = read.complete();
        self.processes.ask_again();
        self.io.processes.dropped_in_read(Vec::new());
        let named = |reason| {
            let dropped = read.dropped.iter();
            dropped.filter(move |dropped| dropped.reason == reason)
        };
        let lack = Lack {
            everything: read.routes.is_empty(),
            domains: named(domains::MISSING)
                .map(|domain| domain.name.clone())
                .collect(),
            routes: self.index.missing_from(&read.routes),
        };
        let (known, unreadable) = (self.index.len(), named(MALFORMED).count());
        let verdict = self.guard.judge(known, read.routes.len(), lack, unreadable);
        // Even of a read that is not believed: what it could not read may be the reason.
        self.io.routes.dropped_in_read(read.dropped);
        match verdict {
            Ok(()) => {
                let routes = read.routes.into_values();
                self.commit(routes, are_bindings_known, read.started).await
            }
            Err(doubt) => {
                let next = match doubt {
                    // No second read helps: the cause is to be found first.
                    Doubt::Unreadable { .. } => self.settings.full_read_interval,
                    _ => self.settings.confirm_after,
                };
                report(&self.io.routes, &doubt.into());
                self.reading.succeeded(next);
                Flow::Continue(())
            }
        }
    }

    async fn commit(
        &mut self,
        routes: impl Iterator<Item = Located>,
        are_bindings_known: bool,
        started: Instant,
    ) -> Flow {
        let took = started.elapsed();
        let (mut routes, unclear): (Vec<_>, Vec<_>) = routes
            .partition(|located| are_bindings_known || self.index.contains(&located.route.guid));
        for located in &mut routes {
            located.route.refused = self.refusal(located);
        }
        self.index.rebuild(&routes);
        // Whether these are bound is asked again, of each.
        let unclear = unclear.into_iter().take(MAX_UNCLEAR);
        self.look_again(unclear.map(|located| located.route.guid).collect());
        self.io.routes.holds("routes", routes.len());
        self.io
            .routes
            .holds("domains", self.domains.guids().count());
        info!(routes = routes.len(), elapsed = ?took, "full read");
        let routes = routes.into_iter().map(|located| located.route).collect();
        self.send(Update::AllRoutes(routes)).await?;
        self.io.routes.succeeded(took);
        self.has_synced = true;
        if let Some(synced) = self.io.synced.take() {
            synced.open();
        }
        self.reading.succeeded(self.settings.full_read_interval);
        if std::mem::take(&mut self.read_again) {
            self.reading.hurry();
        }
        Flow::Continue(())
    }

    /// Asks for processes that the BBS does not describe.
    pub(super) async fn ask_for_processes(&mut self) -> Flow {
        let started = Instant::now();
        let page_size = self.settings.page_size;
        match self.processes.ask(&mut self.client, page_size).await {
            Ok(answer) => {
                self.asking.succeeded(Duration::ZERO);
                self.io.processes.succeeded(started.elapsed());
                for dropped in answer.dropped {
                    self.io.processes.dropped(dropped);
                }
                self.send(Update::Processes {
                    known: answer.known,
                    unknown: answer.unknown,
                })
                .await
            }
            Err(error) => {
                report(&self.io.processes, &error);
                self.asking.failed(Duration::ZERO);
                Flow::Continue(())
            }
        }
    }
}
