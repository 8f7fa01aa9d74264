//! Between full reads: routes that may have changed are read by guid and by app.

use std::{collections::BTreeSet, fmt::Display, time::Duration};

use tokio::time::Instant;

use super::{Flow, Poller, report};
use crate::{
    capi::{
        Error,
        full_read::PATH,
        harvest::Harvest,
        keyset::Keyset,
        list::{List, filter},
        pending::Batch,
        wire::Located,
    },
    model::{RouteGuid, Update},
};

/// What became of the routes that were read again.
struct Refreshed {
    /// Those of the mesh, as they are now.
    current: Vec<Located>,
    /// Those that are no more: asked for by guid, and missing.
    gone: Vec<RouteGuid>,
    /// What the next turn is to read.
    rest: Batch,
}

impl Poller {
    /// Looks at what changed lately.
    pub(super) async fn read_tails(&mut self) -> Flow {
        let started = Instant::now();
        let mut failed = false;
        let mut bindings = Vec::new();
        for tail in &mut self.tails {
            match tail.read(&mut self.client, &self.domains).await {
                Ok(findings) => {
                    let now = Instant::now();
                    self.pending.changed(findings.changed, now);
                    self.pending.announced(findings.announced, now);
                    bindings.extend(findings.bindings);
                    if findings.has_nameless_binding {
                        self.listing.want();
                    }
                }
                Err(error) => {
                    report(&self.io.tail, &error);
                    failed = true;
                }
            }
        }
        let interval = self.settings.tail_interval * self.client.slowdown();
        if failed {
            self.tailing.failed(interval);
        } else {
            self.tailing.succeeded(interval);
            self.succeeded(started);
        }
        self.check_overflow();
        self.take_in_events(bindings).await
    }

    /// Reads the routes that are due, as many as one request can name, and sends what became of them.
    pub(super) async fn refresh(&mut self) -> Flow {
        let now = Instant::now();
        let batch = self.pending.take(now, &self.index);
        if batch.is_empty() {
            return Flow::Continue(());
        }
        let read = self.read_batch(&batch).await;
        self.follow_domains().await?;
        match read {
            Ok(mut refreshed) => {
                // After the routes, so that no binding of one of them is missed.
                if self.list_bindings_of(&refreshed.current).await? {
                    self.refreshing.succeeded(Duration::ZERO);
                    self.succeeded(now);
                } else {
                    self.leave_unclear(&mut refreshed);
                }
                if !refreshed.rest.is_empty() {
                    self.pending.postpone(refreshed.rest, self.refreshing.at());
                }
                self.upsert(refreshed.current, refreshed.gone).await
            }
            Err(error) => {
                report(&self.io.tail, &error);
                self.refreshing.failed(Duration::ZERO);
                self.pending.postpone(batch, self.refreshing.at());
                self.check_overflow();
                Flow::Continue(())
            }
        }
    }

    /// Bindings cannot be read: what is known of known routes stays, and new ones wait.
    fn leave_unclear(&mut self, refreshed: &mut Refreshed) {
        self.refreshing.failed(Duration::ZERO);
        let index = &self.index;
        let known = |located: &mut Located| index.contains(&located.route.guid);
        let unclear = refreshed.current.extract_if(.., |located| !known(located));
        let unclear = unclear.map(|located| located.route.guid);
        refreshed.rest.routes.extend(unclear);
    }

    /// Well only when all are: what the tails find and what becomes of it.
    fn succeeded(&self, started: Instant) {
        if !self.tailing.fails() && !self.refreshing.fails() && !self.resolving.fails() {
            self.io.tail.succeeded(started.elapsed());
        }
    }

    async fn read_batch(&mut self, batch: &Batch) -> Result<Refreshed, Error> {
        let (domains, room) = self.domains.filter();
        let mut rest = batch.clone();
        let mut harvest = Harvest::default();
        let apps = first(&mut rest.apps, room);
        self.read_by("app_guids", &apps, domains.as_ref(), &mut harvest)
            .await?;
        rest.routes.retain(|guid| !harvest.present.contains(guid));
        // The apps that are left bring more of these routes along.
        let asked = if rest.apps.is_empty() {
            first(&mut rest.routes, room)
        } else {
            BTreeSet::new()
        };
        self.read_by("guids", &asked, domains.as_ref(), &mut harvest)
            .await?;
        harvest.settle(&mut self.client, &mut self.domains).await?;
        for dropped in harvest.dropped {
            self.io.routes.dropped(dropped);
        }
        let gone: Vec<_> = asked.difference(&harvest.present).cloned().collect();
        if domains.is_some() {
            self.meet_strangers(&gone);
        }
        Ok(Refreshed {
            current: harvest.routes,
            gone,
            rest,
        })
    }

    /// Routes that are neither known nor in the list of the mesh's domains may be of a domain that was made anew under
    /// its name.
    fn meet_strangers(&mut self, missing: &[RouteGuid]) {
        for route in missing.iter().filter(|route| !self.index.contains(route)) {
            self.strangers.meet(route);
        }
        if self.strangers.are_waiting() {
            self.resolving.want();
        }
    }

    async fn read_by<T: Display>(
        &mut self,
        name: &str,
        guids: &BTreeSet<T>,
        domains: Option<&(String, String)>,
        harvest: &mut Harvest,
    ) -> Result<(), Error> {
        if guids.is_empty() {
            return Ok(());
        }
        let filters = domains.cloned().into_iter().chain([filter(name, guids)]);
        let keyset = Keyset::new("created_at", self.settings.page_size, None);
        List::new(PATH, filters.collect(), keyset)
            .read(&mut self.client, |raw| harvest.add(raw, &self.domains))
            .await
    }

    async fn upsert(&mut self, mut current: Vec<Located>, mut gone: Vec<RouteGuid>) -> Flow {
        // Pages overlap where several routes were created in one second.
        let mut seen = BTreeSet::new();
        current.retain(|located| seen.insert(located.route.guid.clone()));
        for located in &mut current {
            located.route.refused = self.refusal(located);
            self.index.upsert(located);
        }
        if let Some(read) = &mut self.read {
            // It may have found a route that was not known before.
            read.overlay(&current, &gone);
        }
        gone.retain(|guid| self.index.remove(guid));
        if current.is_empty() && gone.is_empty() {
            return Flow::Continue(());
        }
        self.io.routes.holds("routes", self.index.len());
        let current = current.into_iter().map(|located| located.route).collect();
        self.send(Update::Routes { current, gone }).await
    }
}

/// Takes out as many as `room` of `guids`.
fn first<T: Ord>(guids: &mut BTreeSet<T>, room: usize) -> BTreeSet<T> {
    std::iter::from_fn(|| guids.pop_first())
        .take(room)
        .collect()
}
