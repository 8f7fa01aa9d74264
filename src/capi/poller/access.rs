//! Who may reach the routes: what domains and bindings say is followed, restrictions first.

use std::{collections::BTreeSet, ops::ControlFlow, time::Duration};

use tokio::time::Instant;
use tracing::info;

use super::{Flow, Poller, report};
use crate::{
    capi::{
        Doubt,
        bindings::{Bindings, Changes},
        domains::News,
        list::MAX_GUIDS,
        pending::Batch,
        tail::Binding,
        wire::Located,
    },
    model::{Refusal, RouteGuid, Update},
};

impl Poller {
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
    pub(super) fn is_access_known(&self) -> bool {
        let bindings = self.bindings.as_ref();
        bindings.is_none_or(Bindings::are_known)
    }

    /// Withholds what is known of these routes, at once.
    async fn refuse(&mut self, routes: impl IntoIterator<Item = RouteGuid>, why: Refusal) -> Flow {
        let routes = routes.into_iter();
        let news: Vec<_> = routes
            .filter(|guid| self.index.refuse(guid, why))
            .map(|guid| (guid, why))
            .collect();
        if news.is_empty() {
            return Flow::Continue(());
        }
        info!(routes = news.len(), ?why, "routes are withheld");
        self.send(Update::Refused(news)).await
    }

    /// Reads these routes again.
    pub(super) fn look_again(&mut self, routes: BTreeSet<RouteGuid>) {
        if routes.is_empty() {
            return;
        }
        let batch = Batch {
            routes,
            ..Batch::default()
        };
        self.pending.changed(batch, Instant::now());
        self.check_overflow();
    }

    /// Reads the domains out of turn: because of routes that none of them has, or of a doubt.
    pub(super) async fn resolve(&mut self) -> Flow {
        let started = Instant::now();
        match self.domains.resolve(&mut self.client).await {
            Ok(dropped) => {
                let interval = self.settings.domains_interval * self.client.slowdown();
                match self.domains.doubt() {
                    Some(_) => self.resolving.repeat(interval),
                    None => self.resolving.succeeded(interval),
                }
                for dropped in dropped {
                    self.io.routes.dropped(dropped);
                }
                self.follow_domains().await?;
                self.strangers.dismiss();
                self.access_is_well(started);
            }
            Err(error) => {
                report(&self.io.tail, &error);
                self.resolving.failed();
            }
        }
        Flow::Continue(())
    }

    /// Follows what the last reads of domains changed.
    pub(super) async fn follow_domains(&mut self) -> Flow {
        let News {
            enforced,
            stale,
            is_doubted,
        } = self.domains.take_news();
        let refused = self.index.of_domains(&enforced);
        self.refuse(refused, Refusal::RoutePolicies).await?;
        if !stale.is_empty() {
            let mut routes = self.index.of_domains(&stale);
            routes.append(&mut self.strangers.take());
            self.look_again(routes);
        }
        if let (true, Some(doubt)) = (is_doubted, self.domains.doubt()) {
            report(&self.io.access, &doubt.into());
            self.resolving.repeat(self.settings.confirm_after);
        }
        Flow::Continue(())
    }

    /// Reads all bindings. Whether it is known of every route now whether it is bound.
    pub(super) async fn list_bindings(&mut self) -> ControlFlow<(), bool> {
        let started = Instant::now();
        let Some(bindings) = &mut self.bindings else {
            self.access_is_well(started);
            return ControlFlow::Continue(true);
        };
        let said = match bindings.list(&mut self.client).await {
            Ok(said) => said,
            Err(error) => {
                report(&self.io.access, &error);
                self.listing.failed();
                return ControlFlow::Continue(false);
            }
        };
        let changes = bindings.take_in(&said, Instant::now());
        let doubt = bindings.doubt().cloned();
        self.io.access.dropped_in_read(said.dropped);
        match doubt {
            Some(Doubt::Unbound { .. }) => self.listing.repeat(self.settings.confirm_after),
            // No second read helps against rows that cannot be read.
            _ => self.listing.succeeded(Duration::ZERO),
        }
        let unbound = changes.unbound.iter().cloned().collect();
        self.follow_bindings(changes).await?;
        self.look_again(unbound);
        match &doubt {
            Some(doubt) => report(&self.io.access, &doubt.clone().into()),
            None => self.access_is_well(started),
        }
        let is_known = !matches!(doubt, Some(Doubt::UnreadableBindings { .. }));
        ControlFlow::Continue(is_known)
    }

    /// Reads the bindings of routes that were just read. Whether it is known of every one whether it is bound.
    pub(super) async fn list_bindings_of(&mut self, routes: &[Located]) -> ControlFlow<(), bool> {
        let Some(bindings) = &mut self.bindings else {
            return ControlFlow::Continue(true);
        };
        if routes.is_empty() || !bindings.are_listed() {
            return ControlFlow::Continue(true);
        }
        if routes.len() > MAX_GUIDS {
            return self.list_bindings().await;
        }
        let guids = routes.iter().map(|located| located.route.guid.clone());
        let said = match bindings.list_of(&mut self.client, guids.collect()).await {
            Ok(said) => said,
            Err(error) => {
                report(&self.io.access, &error);
                return ControlFlow::Continue(false);
            }
        };
        let now = Instant::now();
        let changes = bindings.take_in(&said, now);
        let is_known = said.is_complete();
        for dropped in said.dropped {
            self.io.access.dropped(dropped);
        }
        self.follow_bindings(changes).await?;
        if is_known {
            self.access_is_well(now);
        }
        ControlFlow::Continue(is_known)
    }

    /// Follows what a read of bindings changed, but for the routes that are bound no longer: these are read again.
    async fn follow_bindings(&mut self, changes: Changes) -> Flow {
        let bound = self.bindings.as_ref().map_or(0, Bindings::len);
        self.io.access.holds("bound_routes", bound);
        self.refuse(changes.bound, Refusal::RouteService).await?;
        if !changes.unsure.is_empty() {
            let batch = Batch {
                routes: changes.unsure,
                ..Batch::default()
            };
            let later = Instant::now() + self.settings.confirm_after;
            self.pending.postpone(batch, later);
        }
        Flow::Continue(())
    }

    /// What events say of bindings counts before it is read: that a route is bound, at once; that it is not, when it is
    /// read.
    pub(super) async fn take_in_events(&mut self, events: Vec<(RouteGuid, Binding)>) -> Flow {
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
        self.refuse(bound, Refusal::RouteService).await
    }

    /// All that is to be known was read, and nothing of it is in doubt.
    fn access_is_well(&self, started: Instant) {
        let bindings = self.bindings.as_ref();
        let is_doubted = bindings.is_some_and(|bindings| bindings.doubt().is_some());
        if !self.listing.fails() && !is_doubted && self.domains.doubt().is_none() {
            self.io.access.succeeded(started.elapsed());
        }
    }
}
