//! TCP routes: a list of their own, read whole each time. There are as many as router groups have ports at the most.
//!
//! Cloud Controller asks the Routing API about each TCP domain, once for each page, and answers 500 where that fails. So this
//! list has its own client, and what becomes of it is nothing to the other routes.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use tokio::{
    select,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    IDLE, TOUCHED,
    context::{Flow, report},
    first::FirstRead,
    full_reads::{found, keep},
    index::Index,
    schedule::Schedule,
};
use crate::{
    backoff::Backoff,
    capi::{
        domains::{DomainChanges, Domains, RouteKind},
        error::Error,
        http::Client,
        reads::full::FullRead,
        settings::{Settings, TcpIo, TcpSettings},
        wire::Located,
    },
    guids::GuidMap,
    model::{AppGuid, Basis, Refusal, Route, RouteGuid, Update},
    outbound::Transport,
    tls,
};

/// Reads the TCP routes again and again, and soon after an app is touched.
pub struct TcpPoller {
    settings: TcpSettings,
    page_size: u32,
    confirm_after: Duration,
    io: TcpIo,
    client: Client,
    domains: Domains,
    index: Index,
    first: FirstRead,
    /// What the last read lacked, and is told all the same, since another has its port.
    doubted: BTreeSet<RouteGuid>,
    /// What was found last, and told.
    sent: Option<Vec<Route>>,
    /// When the last read began that was believed, and when the last of all did.
    began: Option<Instant>,
    last: Option<Instant>,
    schedule: Schedule,
}

impl TcpPoller {
    /// Prepares everything; the first request is made by [`TcpPoller::run`].
    ///
    /// # Errors
    /// The CAs of Cloud Controller cannot be used.
    pub fn new(
        settings: &Settings,
        tcp: TcpSettings,
        transport: Arc<dyn Transport>,
        io: TcpIo,
    ) -> Result<Self, tls::Error> {
        let (page_size, confirm_after) = (settings.page_size, settings.confirm_after);
        let domains = Domains::new(
            tcp.domains.clone(),
            RouteKind::Tcp,
            settings.annotations.clone(),
            page_size,
            confirm_after,
        );
        Ok(Self {
            client: Client::new(settings, transport, &io.token, &[&io.routes])?,
            domains,
            page_size,
            confirm_after,
            index: Index::default(),
            first: FirstRead::default(),
            doubted: BTreeSet::new(),
            sent: None,
            began: None,
            last: None,
            schedule: Schedule::new(Backoff::new(settings.min_backoff, settings.max_backoff)),
            settings: tcp,
            io,
        })
    }

    /// Polls until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        // Large, since it awaits reads.
        shutdown.run_until_cancelled(Box::pin(self.follow())).await;
    }

    /// Ends only when a peer inside the process is gone.
    async fn follow(&mut self) -> Flow {
        loop {
            self.client.turned();
            if self.next() <= Instant::now() {
                self.read().await?;
            }
            self.wait().await;
        }
    }

    fn confirms(&self) -> Option<Instant> {
        self.io.confirmations.borrow().tcp_routes
    }

    fn next(&self) -> Instant {
        let mut next = self.schedule.at();
        if let (Some(confirms), Some(last)) = (self.confirms(), self.last)
            && last < confirms
            && !self.schedule.fails()
        {
            next = next.min(confirms);
        }
        let limit = self.client.rate_limited_until();
        limit.map_or(next, |until| next.max(until))
    }

    async fn wait(&mut self) {
        let wake = self.next().min(Instant::now() + IDLE);
        let mut touched = Vec::new();
        select! {
            biased;
            1.. = self.io.touched_apps.recv_many(&mut touched, TOUCHED) => self.touched(&touched),
            // What a read could confirm, and when, has changed.
            Ok(()) = self.io.confirmations.changed() => {}
            () = sleep_until(wake) => {}
        }
    }

    /// Apps may be mapped otherwise now. One that has a TCP route is worth a read soon; any other may have got one, and there
    /// is always some other.
    fn touched(&mut self, apps: &[AppGuid]) {
        let TcpSettings {
            interval, gather, ..
        } = self.settings;
        let has_routes = apps.iter().any(|app| self.index.has_routes_of(app));
        let distance = if has_routes {
            gather
        } else {
            gather.max(interval / 2)
        };
        let distance = distance * self.client.slowdown();
        let earliest = self.last.map_or_else(Instant::now, |last| last + distance);
        if !self.schedule.fails() {
            self.schedule.bring_forward(earliest);
        }
    }

    async fn read(&mut self) -> Flow {
        let started = Instant::now();
        self.last = Some(started);
        let may_hold = self.confirms().is_some();
        if self.first.is_doubted() || may_hold || !self.doubted.is_empty() {
            self.client.renew();
        }
        let mut read = FullRead::new(self.page_size, self.client.budget());
        if let Err(error) = self.read_pages(&mut read).await? {
            report(&self.io.routes, &error);
            self.schedule.failed(Duration::ZERO);
            return Flow::Continue(());
        }
        let is_first_doubt = !self.first.is_doubted();
        // Until something is served, there is nothing that a read could be compared with.
        let is_starting = self.began.is_none() || self.io.confirmations.borrow().is_starting;
        let verdict = if is_starting {
            self.first.judge(found(&read))
        } else {
            self.first = FirstRead::default();
            Ok(())
        };
        let kept = keep(&mut read, &self.index, &self.io.routes);
        let kept = kept + self.keep_ports(&mut read.routes);
        self.io.routes.holds("kept_routes", kept);
        if let Err(doubt) = verdict {
            // Nobody is served before it is settled.
            let at_once = is_first_doubt && self.first.is_doubted();
            report(&self.io.routes, &doubt.into());
            let next = if at_once {
                Duration::ZERO
            } else {
                self.confirm_after
            };
            self.schedule.succeeded(next);
            return Flow::Continue(());
        }
        let routes: Vec<_> = read.routes.into_values().collect();
        self.commit(routes, started, may_hold).await
    }

    /// By one read no port goes over to a route of another domain: its clients would be another tenant's for as long as that read
    /// was wrong. A route that it lacks stays, and an older one that it brings waits. How many routes are kept as they were.
    fn keep_ports(&mut self, found: &mut GuidMap<RouteGuid, Located>) -> usize {
        let mut wanted: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for host in found.values().map(|located| &located.route.host) {
            wanted.entry(host.port()).or_default().insert(host);
        }
        let has_heir = |lost: &&Located| {
            let host = &lost.route.host;
            let mut hosts = wanted.get(&host.port()).into_iter().flatten();
            hosts.any(|other| *other != host)
        };
        let before = std::mem::take(&mut self.doubted);
        let lost = self.index.missing_from(found).filter(has_heir);
        let lost = lost.filter(|lost| !before.contains(&lost.route.guid));
        let lost: Vec<_> = lost.cloned().collect();
        for located in &lost {
            let guid = &located.route.guid;
            self.doubted.insert(guid.clone());
            found.insert(guid.clone(), located.clone());
        }
        let mut takers = takers(&self.index, found);
        takers.retain(|guid| !before.contains(guid));
        for guid in &takers {
            let known = self.index.present().find(|known| known.route.guid == *guid);
            match known {
                Some(known) => found.insert(guid.clone(), known.clone()),
                None => found.remove(guid),
            };
        }
        let kept = lost.len() + takers.len();
        self.doubted.extend(takers);
        kept
    }

    async fn read_pages(&mut self, read: &mut FullRead) -> ControlFlow<(), Result<(), Error>> {
        loop {
            let step = read.step(&mut self.client, &mut self.domains).await;
            self.follow_domains().await?;
            match step {
                Ok(true) => return ControlFlow::Continue(Ok(())),
                Ok(false) => self.client.turned(),
                Err(error) => return ControlFlow::Continue(Err(error)),
            }
        }
    }

    /// Follows what the last read of the domains changed: a restriction counts whatever becomes of the routes.
    async fn follow_domains(&mut self) -> Flow {
        let DomainChanges {
            enforced,
            is_doubted,
            ..
        } = self.domains.take_changes();
        if !enforced.is_empty() {
            self.sent = None;
            self.send(Update::Enforced(enforced), Basis::Told).await?;
        }
        if let (true, Some(doubt)) = (is_doubted, self.domains.doubt()) {
            report(&self.io.routes, &doubt.into());
        }
        Flow::Continue(())
    }

    async fn send(&self, update: Update, basis: Basis) -> Flow {
        match self.io.updates.send(update.on(basis)).await {
            Ok(()) => Flow::Continue(()),
            Err(_) => Flow::Break(()),
        }
    }

    async fn commit(&mut self, mut routes: Vec<Located>, started: Instant, may_hold: bool) -> Flow {
        let took = started.elapsed();
        for located in &mut routes {
            let is_enforced = self.domains.is_enforced(&located.domain);
            located.route.refused = is_enforced.then_some(Refusal::RoutePolicies);
        }
        self.index.rebuild(&routes, may_hold);
        let feed = &self.io.routes;
        feed.holds("routes", routes.len());
        feed.holds("domains", self.domains.guids().count());
        if self.began.is_none() {
            info!(routes = routes.len(), "first read of TCP routes");
        }
        let mut routes: Vec<_> = routes.into_iter().map(|located| located.route).collect();
        routes.sort_unstable_by(|one, other| one.guid.cmp(&other.guid));
        // Whoever holds something waits for reads that say the same.
        if may_hold || self.sent.as_ref() != Some(&routes) {
            self.sent = Some(routes.clone());
            let update = Update::AllTcpRoutes(routes);
            self.send(update, Basis::read_since(started)).await?;
        }
        self.began = Some(started);
        let is_open = self.domains.doubt().is_some();
        if !is_open {
            self.io.routes.succeeded(took);
        }
        let interval = self.settings.interval * self.client.slowdown();
        let has_doubts = is_open || !self.doubted.is_empty();
        let longest = if has_doubts {
            self.confirm_after
        } else {
            interval
        };
        self.schedule.succeeded(interval.min(longest));
        Flow::Continue(())
    }
}

/// The routes that would have a port which by the last read was another one's, though that is still there.
fn takers(index: &Index, found: &GuidMap<RouteGuid, Located>) -> Vec<RouteGuid> {
    let rank = |route: &Route| (route.created_at, route.host.clone());
    let mut holders: BTreeMap<_, &Route> = BTreeMap::new();
    for Located { route, .. } in index.present() {
        let holder = holders.entry(route.host.port()).or_insert(route);
        if rank(route) < rank(holder) {
            *holder = route;
        }
    }
    let is_there = |holder: &&&Route| {
        let now = found.get(&holder.guid);
        now.is_some_and(|now| now.route.host == holder.host)
    };
    let routes = found.values().map(|located| &located.route);
    let takers = routes.filter(|route| {
        let holder = holders.get(&route.host.port()).filter(is_there);
        holder.is_some_and(|holder| holder.host != route.host && rank(route) < rank(holder))
    });
    takers.map(|route| route.guid.clone()).collect()
}
