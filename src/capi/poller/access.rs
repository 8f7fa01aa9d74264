//! Who may reach the routes: what domains and bindings say is followed, restrictions first.

use std::{collections::BTreeSet, ops::ControlFlow, time::Duration};

use tokio::time::Instant;

use super::{
    context::{Context, Flow, report},
    index::Index,
    schedule::OnDemand,
};
use crate::{
    backoff::Backoff,
    capi::{
        domains::{DomainChanges, Domains, RouteKind, Unmatched},
        http::MAX_GUIDS,
        reads::{
            batch::Batch,
            bindings::{BindingChanges, Bindings},
            tail::Binding,
        },
        settings::Settings,
        wire::Located,
    },
    model::{Basis, Refusal, RouteGuid, Update},
};

/// What is known of restrictions, and when it is read again.
pub(super) struct Access {
    pub(super) domains: Domains,
    unmatched: Unmatched,
    /// `None` where bound routes are served like all others.
    bindings: Option<Bindings>,
    domain_reads: OnDemand,
    binding_reads: OnDemand,
}

impl Access {
    pub(super) fn new(settings: &Settings, backoff: &Backoff) -> Self {
        let (page_size, confirm_after) = (settings.page_size, settings.confirm_after);
        let bindings = || Bindings::new(page_size, confirm_after);
        Self {
            domains: Domains::new(
                settings.domains.clone(),
                RouteKind::Http,
                settings.annotations.clone(),
                page_size,
                confirm_after,
            ),
            unmatched: Unmatched::default(),
            bindings: (!settings.serve_bound_routes).then(bindings),
            domain_reads: OnDemand::new(backoff.clone()),
            binding_reads: OnDemand::new(backoff.clone()),
        }
    }

    /// When something is to be read, if it is.
    pub(super) fn at(&self) -> Option<Instant> {
        let reads = [self.domain_reads.at(), self.binding_reads.at()];
        reads.into_iter().flatten().min()
    }

    /// Reads what is due.
    pub(super) async fn read(&mut self, context: &mut Context, now: Instant) -> Flow {
        let is_due = |read: &OnDemand| read.at().is_some_and(|at| at <= now);
        if is_due(&self.domain_reads) {
            self.resolve(context).await?;
        }
        if is_due(&self.binding_reads) {
            self.list_bindings(context).await?;
        }
        Flow::Continue(())
    }

    /// There is reason to read all bindings.
    pub(super) fn want_bindings(&mut self) {
        self.binding_reads.want();
    }

    /// Whether the domains could not be read the last time.
    pub(super) fn do_domains_fail(&self) -> bool {
        self.domain_reads.fails()
    }

    /// Routes that are neither known nor in the list of the mesh's domains may be of a domain that was made anew under
    /// its name.
    pub(super) fn note_unmatched(&mut self, missing: &[RouteGuid], known: &Index) {
        for route in missing.iter().filter(|route| !known.contains(route)) {
            self.unmatched.note(route);
        }
        if self.unmatched.has_any() {
            self.domain_reads.want();
        }
    }

    /// Why a route is not served, if it is not.
    pub(super) fn refusal(&self, located: &Located) -> Option<Refusal> {
        if self.domains.is_enforced(&located.domain) {
            return Some(Refusal::RoutePolicies);
        }
        let bindings = self.bindings.as_ref()?;
        bindings
            .has(&located.route.guid)
            .then_some(Refusal::RouteService)
    }

    /// Whether nothing is missing that a first answer needs.
    pub(super) fn is_known(&self) -> bool {
        let bindings = self.bindings.as_ref();
        bindings.is_none_or(Bindings::are_known)
    }

    /// Reads the domains out of turn: because of routes that none of them has, or of a doubt.
    async fn resolve(&mut self, context: &mut Context) -> Flow {
        let started = Instant::now();
        match self.domains.resolve(&mut context.client).await {
            Ok(dropped) => {
                let interval = context.settings.domains_interval * context.client.slowdown();
                match self.domains.doubt() {
                    Some(_) => self.domain_reads.repeat(interval),
                    None => self.domain_reads.succeeded(interval),
                }
                context.io.routes.dropped(dropped);
                self.follow_domains(context).await?;
                self.unmatched.set_aside();
                self.succeeded(started, context);
            }
            Err(error) => {
                report(&context.io.tail, &error);
                self.domain_reads.failed();
            }
        }
        Flow::Continue(())
    }

    /// Follows what the last reads of domains changed.
    pub(super) async fn follow_domains(&mut self, context: &mut Context) -> Flow {
        let DomainChanges {
            enforced,
            stale,
            is_doubted,
        } = self.domains.take_changes();
        let refused = context.index.of_domains(&enforced);
        context.refuse(refused, Refusal::RoutePolicies).await?;
        // The publisher may know routes that no read has found yet.
        if context.index.is_empty() && !enforced.is_empty() {
            context
                .send(Update::Enforced(enforced), Basis::Told)
                .await?;
        }
        if !stale.is_empty() {
            let mut routes = context.index.of_domains(&stale);
            routes.append(&mut self.unmatched.take());
            context.read_again(routes);
        }
        if let (true, Some(doubt)) = (is_doubted, self.domains.doubt()) {
            report(&context.io.access, &doubt.into());
            self.domain_reads.repeat(context.settings.confirm_after);
        }
        Flow::Continue(())
    }

    /// Reads all bindings. Whether it is known of every route now whether it is bound.
    pub(super) async fn list_bindings(&mut self, context: &mut Context) -> ControlFlow<(), bool> {
        let started = Instant::now();
        let Some(bindings) = &mut self.bindings else {
            self.succeeded(started, context);
            return ControlFlow::Continue(true);
        };
        let found = match bindings.list(&mut context.client).await {
            Ok(found) => found,
            Err(error) => {
                report(&context.io.access, &error);
                self.binding_reads.failed();
                return ControlFlow::Continue(false);
            }
        };
        let changes = bindings.take_in(&found, Instant::now());
        let doubt = bindings.doubt().cloned();
        context.io.access.dropped_in_read(found.dropped);
        // No second read helps against rows that cannot be read.
        if bindings.has_unsure() {
            self.binding_reads.repeat(context.settings.confirm_after);
        } else {
            self.binding_reads.succeeded(Duration::ZERO);
        }
        let unbound = changes.unbound.iter().cloned().collect();
        self.follow_bindings(context, changes).await?;
        context.read_again(unbound);
        let is_known = doubt.is_none();
        match doubt {
            Some(doubt) => report(&context.io.access, &doubt.into()),
            None => self.succeeded(started, context),
        }
        ControlFlow::Continue(is_known)
    }

    /// Reads the bindings of routes that were just read. Whether it is known of every one whether it is bound.
    pub(super) async fn list_bindings_of(
        &mut self,
        context: &mut Context,
        routes: &[Located],
    ) -> ControlFlow<(), bool> {
        let Some(bindings) = &mut self.bindings else {
            return ControlFlow::Continue(true);
        };
        if routes.is_empty() || !bindings.are_listed() {
            return ControlFlow::Continue(true);
        }
        if routes.len() > MAX_GUIDS {
            return self.list_bindings(context).await;
        }
        let guids = routes.iter().map(|located| located.route.guid.clone());
        let found = match bindings.list_of(&mut context.client, guids.collect()).await {
            Ok(found) => found,
            Err(error) => {
                report(&context.io.access, &error);
                return ControlFlow::Continue(false);
            }
        };
        let now = Instant::now();
        let changes = bindings.take_in(&found, now);
        let is_known = found.is_complete();
        context.io.access.dropped(found.dropped);
        self.follow_bindings(context, changes).await?;
        if is_known {
            self.succeeded(now, context);
        }
        ControlFlow::Continue(is_known)
    }

    /// Follows what a read of bindings changed, but for the routes that are bound no longer: these are read again.
    async fn follow_bindings(&mut self, context: &mut Context, changes: BindingChanges) -> Flow {
        let bound = self.bindings.as_ref().map_or(0, Bindings::len);
        context.io.access.holds("bound_routes", bound);
        context.refuse(changes.bound, Refusal::RouteService).await?;
        if !changes.unsure.is_empty() {
            let batch = Batch::of_routes(changes.unsure);
            let later = Instant::now() + context.settings.confirm_after;
            context.pending.postpone(batch, later);
        }
        Flow::Continue(())
    }

    /// What events say of bindings counts before it is read: that a route is bound, at once; that it is not, when it is
    /// read.
    pub(super) async fn take_in_events(
        &mut self,
        context: &mut Context,
        events: Vec<(RouteGuid, Binding)>,
    ) -> Flow {
        let Some(bindings) = &mut self.bindings else {
            return Flow::Continue(());
        };
        let mut bound = BTreeSet::new();
        for (route, binding) in events {
            match binding {
                Binding::Made => {
                    bindings.announce(&route);
                    bound.insert(route);
                }
                Binding::Deleted => {
                    bindings.release(&route);
                    // It came and went: what is read will tell.
                    bound.remove(&route);
                }
            }
        }
        context.refuse(bound, Refusal::RouteService).await
    }

    /// All that is to be known was read, and nothing of it is in doubt.
    fn succeeded(&self, started: Instant, context: &Context) {
        let bindings = self.bindings.as_ref();
        let is_doubted = bindings.is_some_and(|bindings| bindings.doubt().is_some());
        if !self.binding_reads.fails() && !is_doubted && self.domains.doubt().is_none() {
            context.io.access.succeeded(started.elapsed());
        }
    }
}
