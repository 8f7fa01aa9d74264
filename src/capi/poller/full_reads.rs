//! Full reads: page by page, and believed or not when they are complete.

use std::{ops::ControlFlow, time::Duration};

use tokio::time::Instant;
use tracing::info;

use super::{
    access::Access,
    context::{Context, Flow, report},
    schedule::Schedule,
};
use crate::{
    backoff::Backoff,
    capi::{
        domains,
        guard::{Doubt, Guard, Lack},
        reads::full::FullRead,
        wire::{Located, MALFORMED},
    },
    model::{Basis, RouteGuid, Update},
};

/// Routes that a full read finds while bindings cannot be read; more of them wait for the next one.
const MAX_UNCLEAR: usize = 1000;

pub(super) struct FullReads {
    guard: Guard,
    read: Option<FullRead>,
    read_again: bool,
    has_synced: bool,
    schedule: Schedule,
}

impl FullReads {
    pub(super) fn new(guard: Guard, backoff: Backoff) -> Self {
        Self {
            guard,
            read: None,
            read_again: false,
            has_synced: false,
            schedule: Schedule::new(backoff),
        }
    }

    /// When the next page is due.
    pub(super) fn at(&self) -> Instant {
        self.schedule.at()
    }

    /// Whether one was complete and believed.
    pub(super) fn has_synced(&self) -> bool {
        self.has_synced
    }

    /// Whether the next page is the first that is ever read.
    pub(super) fn is_at_start(&self) -> bool {
        !self.has_synced && self.read.is_none()
    }

    /// Finds what is too much to look at piece by piece; a read in progress may have passed it already.
    pub(super) fn take_overflow(&mut self, context: &mut Context) {
        if context.pending.overflow() {
            if self.read.is_some() {
                self.read_again = true;
            } else {
                self.schedule.make_due();
            }
        }
    }

    /// What was read in between, and a read in progress may not have: it may have found a route that was not known
    /// before.
    pub(super) fn overlay(&mut self, current: &[Located], gone: &[RouteGuid]) {
        if let Some(read) = &mut self.read {
            read.overlay(current, gone);
        }
    }

    /// Begins a full read or reads its next page. Whether all were read.
    pub(super) async fn read_page(
        &mut self,
        context: &mut Context,
        access: &mut Access,
    ) -> ControlFlow<(), bool> {
        let page_size = context.settings.page_size;
        let read = self.read.take();
        let mut read = read.unwrap_or_else(|| FullRead::new(page_size));
        let step = read.step(&mut context.client, &mut access.domains).await;
        access.follow_domains(context).await?;
        match step {
            Ok(true) => return self.finish(read, context, access).await,
            Ok(false) => {
                self.schedule.succeeded(Duration::ZERO);
                self.read = Some(read);
            }
            Err(error) => {
                report(&context.io.routes, &error);
                self.retry(read, context);
            }
        }
        ControlFlow::Continue(false)
    }

    /// The routes of the last complete read stay, however often this fails.
    fn retry(&mut self, mut read: FullRead, context: &Context) {
        self.schedule.failed(Duration::ZERO);
        self.read = (read.failed() <= context.settings.page_retries).then_some(read);
    }

    /// All routes are read. Bindings come last, so that none of a route that was read is missed.
    async fn finish(
        &mut self,
        read: FullRead,
        context: &mut Context,
        access: &mut Access,
    ) -> ControlFlow<(), bool> {
        let are_bindings_known = access.list_bindings(context).await?;
        if !access.is_known() {
            self.retry(read, context);
            return ControlFlow::Continue(false);
        }
        let named = |reason| {
            let dropped = read.dropped.iter();
            dropped.filter(move |dropped| dropped.reason == reason)
        };
        let lack = Lack {
            everything: read.routes.is_empty(),
            domains: named(domains::MISSING)
                .map(|domain| domain.name.clone())
                .collect(),
            routes: context.index.missing_from(&read.routes),
        };
        let (known, unreadable) = (context.index.len(), named(MALFORMED).count());
        let verdict = self.guard.judge(known, read.routes.len(), lack, unreadable);
        // Even of a read that is not believed: what it could not read may be the reason.
        context.io.routes.dropped_in_read(read.dropped);
        match verdict {
            Ok(()) => {
                let (routes, unclear) = read.routes.into_values().partition(|located| {
                    are_bindings_known || context.index.contains(&located.route.guid)
                });
                // Whether these are bound is asked again, of each.
                read_again(unclear, context);
                self.commit(routes, read.started, context, access).await?;
            }
            Err(doubt) => {
                let next = match doubt {
                    // No second read helps: the cause is to be found first.
                    Doubt::Unreadable { .. } => context.settings.full_read_interval,
                    _ => context.settings.confirm_after,
                };
                report(&context.io.routes, &doubt.into());
                self.schedule.succeeded(next);
            }
        }
        ControlFlow::Continue(true)
    }

    async fn commit(
        &mut self,
        mut routes: Vec<Located>,
        started: Instant,
        context: &mut Context,
        access: &Access,
    ) -> Flow {
        let took = started.elapsed();
        for located in &mut routes {
            located.route.refused = access.refusal(located);
        }
        context.index.rebuild(&routes);
        let feed = &context.io.routes;
        feed.holds("routes", routes.len());
        feed.holds("domains", access.domains.guids().count());
        info!(routes = routes.len(), elapsed = ?took, "full read");
        let routes = routes.into_iter().map(|located| located.route).collect();
        context
            .send(Update::AllRoutes(routes), Basis::read_since(started))
            .await?;
        context.io.routes.succeeded(took);
        self.has_synced = true;
        if let Some(synced) = context.io.synced.take() {
            synced.open();
        }
        self.schedule.succeeded(context.settings.full_read_interval);
        if std::mem::take(&mut self.read_again) {
            self.schedule.make_due();
        }
        Flow::Continue(())
    }
}

fn read_again(unclear: Vec<Located>, context: &mut Context) {
    let unclear = unclear.into_iter().take(MAX_UNCLEAR);
    context.read_again(unclear.map(|located| located.route.guid).collect());
}
