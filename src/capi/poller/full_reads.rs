//! Full reads: page by page, and believed or not when they are complete.

use std::{collections::BTreeMap, mem, ops::ControlFlow, time::Duration};

use tokio::time::Instant;
use tracing::info;

use super::{
    access::Access,
    context::{Context, Flow, report},
    first::{FirstRead, Found},
    index::Index,
    schedule::Schedule,
};
use crate::{
    backoff::Backoff,
    capi::{domains, reads::full::FullRead, wire::Located},
    feed::Feed,
    model::{Basis, Reading, RouteGuid, Update},
};

/// Routes that a full read finds while bindings cannot be read; more of them wait for the next one.
const MAX_UNCLEAR: usize = 1000;

pub(super) struct FullReads {
    first: FirstRead,
    read: Option<FullRead>,
    read_again: bool,
    /// Whether one was complete and believed.
    has_synced: bool,
    /// When the last one began that was complete.
    began: Option<Instant>,
    schedule: Schedule,
}

impl FullReads {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            first: FirstRead::default(),
            read: None,
            read_again: false,
            has_synced: false,
            began: None,
            schedule: Schedule::new(backoff),
        }
    }

    /// When the next page is due, if a read could confirm something at a time: one that begins then or later.
    pub(super) fn at(&self, confirms: Option<Instant>) -> Instant {
        let at = self.schedule.at();
        match (confirms, self.began) {
            (Some(confirms), Some(began)) if began < confirms && !self.schedule.fails() => {
                at.min(confirms)
            }
            _ => at,
        }
    }

    /// Whether one was complete and believed.
    pub(super) fn has_synced(&self) -> bool {
        self.has_synced
    }

    /// Whether the next page is the first that is ever read.
    pub(super) fn is_at_start(&self) -> bool {
        !self.has_synced() && self.read.is_none()
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
    pub(super) fn overlay(&mut self, guid: &RouteGuid, now: Option<&Located>, told: bool) {
        if let Some(read) = &mut self.read {
            read.overlay(guid, now, told);
        }
    }

    /// Begins a full read or reads its next page. Whether all were read.
    pub(super) async fn read_page(
        &mut self,
        context: &mut Context,
        access: &mut Access,
    ) -> ControlFlow<(), bool> {
        let page_size = context.settings.page_size;
        let confirms = self.first.is_doubted() || context.confirmation().is_some();
        if self.read.is_none() && confirms {
            context.client.renew();
        }
        let read = self.read.take();
        let mut read = read.unwrap_or_else(|| FullRead::new(page_size, context.client.budget()));
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
        mut read: FullRead,
        context: &mut Context,
        access: &mut Access,
    ) -> ControlFlow<(), bool> {
        let are_bindings_known = access.list_bindings(context).await?;
        if !access.is_known() {
            self.retry(read, context);
            return ControlFlow::Continue(false);
        }
        if context.confirmation().is_some() {
            read.keep_to_its_own();
        }
        // Until something is served, there is nothing that a read could be compared with.
        let verdict = if self.has_synced() && !context.is_starting() {
            self.first = FirstRead::default();
            Ok(())
        } else {
            let is_first_doubt = !self.first.is_doubted();
            self.first
                .judge(found(&read))
                .map_err(|doubt| (doubt, is_first_doubt))
        };
        self.began = Some(read.started);
        let kept = keep(&mut read, &context.index, &context.io.routes);
        context.io.routes.holds("kept_routes", kept);
        match verdict {
            Ok(()) => {
                let (routes, unclear) = read.routes.into_values().partition(|located| {
                    are_bindings_known || context.index.contains(&located.route.guid)
                });
                // Whether these are bound is asked again, of each.
                read_again(unclear, context);
                let reading = Reading {
                    began: read.started,
                    ended: Instant::now(),
                    restrictions: are_bindings_known,
                };
                self.commit(routes, reading, context, access).await?;
            }
            Err((doubt, is_first_doubt)) => {
                // Nobody is served before it is settled.
                let is_new = is_first_doubt && self.first.is_doubted();
                // What a read before has found is not gone by two that are one.
                let at_once = is_new && !self.has_synced();
                report(&context.io.routes, &doubt.into());
                let next = context.settings.confirm_after;
                self.schedule
                    .succeeded(if at_once { Duration::ZERO } else { next });
            }
        }
        ControlFlow::Continue(true)
    }

    async fn commit(
        &mut self,
        mut routes: Vec<Located>,
        reading: Reading,
        context: &mut Context,
        access: &Access,
    ) -> Flow {
        let took = reading.began.elapsed();
        for located in &mut routes {
            context.index.keep_settings(located);
            located.route.refused = access.refusal(located);
        }
        let may_hold = context.confirmation().is_some();
        context.index.rebuild(&routes, may_hold);
        let feed = &context.io.routes;
        feed.holds("routes", routes.len());
        feed.holds("domains", access.domains.guids().count());
        let seconds = took.as_secs_f64();
        info!(routes = routes.len(), seconds, "full read");
        let routes = routes.into_iter().map(|located| located.route).collect();
        context
            .send(Update::AllRoutes(routes), Basis::Read(reading))
            .await?;
        context.io.routes.succeeded(took);
        self.has_synced = true;
        if let Some(synced) = context.io.synced.take() {
            synced.open();
        }
        let mut next = context.settings.full_read_interval;
        if may_hold && !reading.restrictions {
            // Restrictions that are held wait for their bindings, and the rest for the next read.
            next = next.min(context.settings.confirm_after * context.client.slowdown());
        }
        self.schedule.succeeded(next);
        if std::mem::take(&mut self.read_again) {
            self.schedule.make_due();
        }
        Flow::Continue(())
    }
}

pub(super) fn found(read: &FullRead) -> Found {
    let dropped = read.dropped.named().values();
    let missing = dropped.filter(|dropped| dropped.reason == domains::MISSING);
    Found {
        routes: read.routes.len(),
        unreadable: read.unreadable(),
        missing: missing.map(|domain| domain.name.clone()).collect(),
    }
}

/// What says nothing that we understand is as it was. How many routes that is of.
pub(super) fn keep(read: &mut FullRead, index: &Index, feed: &Feed) -> usize {
    let unclear = read.unclear.iter().filter_map(|guid| index.get(guid));
    let mut kept: Vec<_> = unclear.cloned().collect();
    // Any of those that are missing may be one of these; but no more of them than there are such rows.
    let missing: Vec<_> = index.missing_from(&read.routes).cloned().collect();
    if missing.len() <= read.nameless {
        kept.extend(missing);
    }
    let kept: BTreeMap<_, _> = kept
        .into_iter()
        .map(|located| (located.route.guid.clone(), located))
        .collect();
    let count = kept.len();
    read.routes.extend(kept);
    let mut dropped = mem::take(&mut read.dropped);
    dropped.annotate(|dropped| index.say_what_stays(dropped));
    // Even of a read that is not believed: what it could not read may be the reason.
    feed.dropped_in_read(dropped);
    count
}

fn read_again(unclear: Vec<Located>, context: &mut Context) {
    let unclear = unclear.into_iter().take(MAX_UNCLEAR);
    context.read_again(unclear.map(|located| located.route.guid).collect());
}
