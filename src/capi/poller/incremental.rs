//! Between full reads: what changed lately is found, read again and sent.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{
    access::Access,
    context::{Context, Flow, report},
    full_reads::FullReads,
    schedule::Schedule,
    told::Told,
};
use crate::{
    backoff::Backoff,
    capi::{
        reads::{
            refresh::{Refreshed, refresh},
            tail::{Binding, Source, Tail},
        },
        settings::Settings,
        wire::Located,
    },
    model::{AppGuid, Basis, Update},
};

pub(super) struct IncrementalReads {
    tails: Vec<Tail>,
    told: Told,
    tailing: Schedule,
    refreshing: Schedule,
}

impl IncrementalReads {
    pub(super) fn new(settings: &Settings, backoff: &Backoff) -> Self {
        let sources = [
            (settings.tail_audit_events, Source::AuditEvents),
            (settings.tail_updated_at, Source::UpdatedRoutes),
        ];
        let with_bindings = !settings.serve_bound_routes;
        let tails = sources
            .into_iter()
            .filter(|(is_on, _)| *is_on)
            .map(|(_, source)| Tail::new(source, with_bindings, settings.page_size))
            .collect();
        Self {
            tails,
            told: Told::default(),
            tailing: Schedule::new(backoff.clone()),
            refreshing: Schedule::new(backoff.clone()),
        }
    }

    /// When the tails are read, if there are any.
    pub(super) fn at(&self) -> Option<Instant> {
        (!self.tails.is_empty()).then_some(self.tailing.at())
    }

    /// The first full read begins where the tails do, so that nothing is lost between them. A tail that cannot tell now
    /// tells later, and the next full read closes the gap.
    pub(super) async fn seed(&mut self, context: &mut Context, access: &Access) {
        for tail in &mut self.tails {
            if let Err(error) = tail.seed(&mut context.client, &access.domains).await {
                report(&context.io.tail, &error);
            }
        }
    }

    /// Looks at what changed lately.
    pub(super) async fn read_tails(&mut self, context: &mut Context, access: &mut Access) -> Flow {
        let started = Instant::now();
        let mut failed = false;
        let mut bindings = Vec::new();
        for tail in &mut self.tails {
            match tail.read(&mut context.client, &access.domains).await {
                Ok(findings) => {
                    let now = Instant::now();
                    self.told.add(findings.said, now);
                    context.pending.changed(findings.changed, now);
                    context.pending.announced(findings.announced, now);
                    for (route, binding) in &findings.bindings {
                        if *binding == Binding::Deleted {
                            self.told.add_unbound(route.clone(), now);
                        }
                    }
                    bindings.extend(findings.bindings);
                    if findings.has_nameless_binding {
                        access.want_bindings();
                    }
                }
                Err(error) => {
                    report(&context.io.tail, &error);
                    failed = true;
                }
            }
        }
        let interval = context.settings.tail_interval * context.client.slowdown();
        if failed {
            self.tailing.failed(interval);
        } else {
            self.tailing.succeeded(interval);
            self.succeeded(started, context, access);
        }
        access.take_in_events(context, bindings).await
    }

    /// Reads the routes that are due, as many as one request can name, and sends what became of them.
    pub(super) async fn refresh(
        &mut self,
        context: &mut Context,
        access: &mut Access,
        full: &mut FullReads,
    ) -> Flow {
        let now = Instant::now();
        let batch = context.pending.take(now, &context.index);
        if batch.is_empty() {
            return Flow::Continue(());
        }
        let page_size = context.settings.page_size;
        let mut read = refresh(&batch, page_size, &mut context.client, &mut access.domains).await;
        if let Ok(refreshed) = &mut read {
            let is_kept = |located: &mut Located| {
                let guid = &located.route.guid;
                refreshed.unclear.contains(guid) && context.index.contains(guid)
            };
            refreshed.current.extract_if(.., is_kept).for_each(drop);
            let mut dropped = std::mem::take(&mut refreshed.dropped);
            dropped.annotate(|dropped| context.index.say_what_stays(dropped));
            context.io.routes.dropped(dropped);
            if refreshed.is_filtered {
                access.note_unmatched(&refreshed.gone, &context.index);
            }
        }
        access.follow_domains(context).await?;
        match read {
            Ok(mut refreshed) => {
                // After the routes, so that no binding of one of them is missed.
                if access.list_bindings_of(context, &refreshed.current).await? {
                    self.refreshing.succeeded(Duration::ZERO);
                    self.succeeded(now, context, access);
                } else {
                    self.leave_unclear(&mut refreshed, context);
                }
                let rest = std::mem::take(&mut refreshed.rest);
                if !rest.is_empty() {
                    context.pending.postpone(rest, self.refreshing.at());
                }
                self.upsert(refreshed, context, access, full).await
            }
            Err(error) => {
                report(&context.io.tail, &error);
                self.refreshing.failed(Duration::ZERO);
                context.pending.postpone(batch, self.refreshing.at());
                Flow::Continue(())
            }
        }
    }

    /// Bindings cannot be read: what is known of known routes stays, and new ones wait.
    fn leave_unclear(&mut self, refreshed: &mut Refreshed, context: &Context) {
        self.refreshing.failed(Duration::ZERO);
        let known = |located: &mut Located| context.index.contains(&located.route.guid);
        let unclear = refreshed.current.extract_if(.., |located| !known(located));
        let unclear = unclear.map(|located| located.route.guid);
        refreshed.rest.routes.extend(unclear);
    }

    /// Sends what became of routes: what events said, as that; the rest, as what was asked for.
    async fn upsert(
        &self,
        refreshed: Refreshed,
        context: &mut Context,
        access: &Access,
        full: &mut FullReads,
    ) -> Flow {
        let Refreshed {
            mut current, gone, ..
        } = refreshed;
        // Pages overlap where several routes were created in one second.
        let mut seen = BTreeSet::new();
        current.retain(|located| seen.insert(located.route.guid.clone()));
        for located in &mut current {
            context.index.keep_settings(located);
            located.route.refused = access.refusal(located);
        }
        let now = Instant::now();
        let [mut told, mut asked] = [const { (Vec::new(), Vec::new()) }; 2];
        for located in current {
            let guid = &located.route.guid;
            let is_told = |app: &AppGuid| self.told.is_unmapped(guid, app, now);
            let is_unbound = self.told.is_unbound(guid, now) && context.index.leads_as(&located);
            let is_told = context.index.upsert(&located, is_told) || is_unbound;
            full.overlay(guid, Some(&located), is_told);
            let to = if is_told { &mut told } else { &mut asked };
            to.0.push(located.route);
        }
        for guid in gone {
            let is_deleted = self.told.is_deleted(&guid, now);
            let is_told = |app: &AppGuid| self.told.is_unmapped(&guid, app, now);
            let is_told = context.index.lose(&guid, is_deleted, is_told);
            full.overlay(&guid, None, is_told == Some(true));
            if let Some(is_told) = is_told {
                let to = if is_told { &mut told } else { &mut asked };
                to.1.push(guid);
            }
        }
        for ((current, gone), basis) in [(told, Basis::Told), (asked, Basis::Asked)] {
            if !current.is_empty() || !gone.is_empty() {
                context.io.routes.holds("routes", context.index.len());
                let update = Update::Routes { current, gone };
                context.send(update, basis).await?;
            }
        }
        Flow::Continue(())
    }

    /// Well only when all are: what the tails find and what becomes of it.
    fn succeeded(&self, started: Instant, context: &Context, access: &Access) {
        if !self.tailing.fails() && !self.refreshing.fails() && !access.do_domains_fail() {
            context.io.tail.succeeded(started.elapsed());
        }
    }
}
