//! What must hold of what sinks are served, whatever becomes of the peers.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use copilot::{
    istio::Kind,
    model::AppGuid,
    proto::istio::networking::v1alpha3::{ServiceEntry, Sidecar, VirtualService},
    sim::sink::{Replica, State},
};
use prost::Message;
use tokio::time::Instant;

use super::{
    lies::{GHOST, GHOSTS},
    sinks::Protocol,
    world::{Pair, Reach, TCP_DOMAIN, World},
};

/// For how long something has to be true before it may not be lost: a peer that lags, or a slow answer, is of before.
const YOUNG: Duration = Duration::from_mins(1);
/// How long a stream takes at most to bring all that its daemon has.
const SETTLED: Duration = Duration::from_secs(10);
/// How long a change takes to reach sinks while all is well.
const SOON: Duration = Duration::from_secs(25);
/// For how long more a loss is held, where all that reads take away is.
const HELD: Duration = Duration::from_secs(20);

/// How long a change takes to reach sinks while all is well, after peers have lied or have not.
pub(super) fn soon(lies: bool) -> Duration {
    if lies { SOON + HELD } else { SOON }
}

/// How long a daemon that never knew the policies waits for them before it serves the default Sidecar.
const GRACE: Duration = Duration::from_secs(30);

/// For how long such a daemon may lack TCP routes.
pub(super) const LACKS_TCP: Duration = Duration::from_mins(5);

/// How old something is at most that a daemon which ends has not written down.
const UNSAVED: Duration = Duration::from_secs(15);

/// How long the guid of an app is, which its name begins with.
const GUID: usize = 36;

/// What is served, and what should be.
#[derive(Debug, Clone)]
pub(super) struct Oracle(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    world: World,
    /// Whether peers lie.
    lies: bool,
    began: Instant,
    failures: Vec<String>,
    /// The content that each version of a collection stands for, and the other way round.
    contents: BTreeMap<(Scope, String), u64>,
    versions: BTreeMap<(Scope, u64), String>,
    views: BTreeMap<usize, View>,
    /// Where each sink is since it went there.
    homes: BTreeMap<usize, Home>,
    /// The daemons that began without a state file and were told no policies yet, and since when.
    without_policies: BTreeMap<usize, Instant>,
    /// When daemons, this process of one or another, were told the policies last.
    told_policies: BTreeMap<usize, Instant>,
    /// The daemons that began without one, and when.
    without_file: BTreeMap<usize, Instant>,
    /// When daemons began.
    began_at: BTreeMap<usize, Instant>,
    /// When the last of their earlier processes ended that had served anything, and so written it down.
    saved_at: BTreeMap<usize, Instant>,
}

/// The daemon that a sink reads from.
#[derive(Debug)]
struct Home {
    daemon: usize,
    /// When it answered first.
    answered: Option<Instant>,
    /// Whether the process there now has answered.
    serves: bool,
    /// What has gone there that was not true any more.
    buried: BTreeSet<Pair>,
}

impl Home {
    fn of(daemon: usize) -> Self {
        Self {
            daemon,
            answered: None,
            serves: false,
            buried: BTreeSet::new(),
        }
    }
}

/// A collection, and whether xDS says it.
type Scope = (bool, String);

/// What a sink holds, as its proxies would use it.
#[derive(Debug, Default, Clone)]
pub(super) struct View {
    pub(super) pairs: BTreeSet<Pair>,
    pub(super) reaches: BTreeSet<Reach>,
    /// The services that VirtualServices name, with their hostnames; and those that are not there.
    named: BTreeMap<String, String>,
    absent: BTreeSet<String>,
    /// Those that were named first and are not there yet, and since when.
    early: BTreeMap<String, Instant>,
    versions: BTreeMap<Scope, String>,
    /// Whether all collections are of the present stream.
    is_whole: bool,
}

impl Oracle {
    pub(super) fn new(world: World, lies: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            world,
            lies,
            began: Instant::now(),
            failures: Vec::new(),
            contents: BTreeMap::new(),
            versions: BTreeMap::new(),
            views: BTreeMap::new(),
            homes: BTreeMap::new(),
            without_policies: BTreeMap::new(),
            told_policies: BTreeMap::new(),
            without_file: BTreeMap::new(),
            began_at: BTreeMap::new(),
            saved_at: BTreeMap::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Does something with the foundation.
    pub(super) fn world<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.inner().world)
    }

    /// Something is as it must not be.
    pub(super) fn fails(&self, what: &str) {
        let mut inner = self.inner();
        let at = inner.began.elapsed().as_secs_f64();
        inner.failures.push(format!("{at:.3} s: {what}"));
    }

    /// Whether something was not as it must be.
    pub(super) fn has_failed(&self) -> bool {
        !self.inner().failures.is_empty()
    }

    /// The first that was not as it must be, with what happened before.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let inner = self.inner();
        let Some(failure) = inner.failures.first() else {
            return Ok(());
        };
        let history = &inner.world.history;
        let lately = &history[history.len().saturating_sub(40)..];
        Err(format!("{failure}\n  {}", lately.join("\n  ")))
    }

    /// A sink has another stream: with another daemon, which may know less.
    pub(super) fn moves(&self, sink: usize, daemon: usize) {
        let mut inner = self.inner();
        inner.views.remove(&sink);
        inner.homes.insert(sink, Home::of(daemon));
    }

    /// A daemon begins, and finds no state file or a whole one.
    pub(super) fn begins(&self, daemon: usize, has_file: bool) {
        let has_served = self.serves(daemon);
        let mut inner = self.inner();
        let began = inner.began;
        let saved_at = inner.saved_at.entry(daemon).or_insert(began);
        if has_served {
            *saved_at = Instant::now();
        }
        for home in inner
            .homes
            .values_mut()
            .filter(|home| home.daemon == daemon)
        {
            home.buried.clear();
            home.serves = false;
        }
        inner.began_at.insert(daemon, Instant::now());
        if has_file {
            inner.without_file.remove(&daemon);
        } else {
            inner.without_policies.insert(daemon, Instant::now());
            inner.without_file.insert(daemon, Instant::now());
        }
    }

    /// Whether the process of a daemon has answered a sink.
    pub(super) fn serves(&self, daemon: usize) -> bool {
        let inner = self.inner();
        let mut homes = inner.homes.values();
        homes.any(|home| home.daemon == daemon && home.serves)
    }

    /// What a daemon was told of the policies last, it was told then.
    pub(super) fn told_policies(&self, daemon: usize, at: Instant) {
        let mut inner = self.inner();
        inner.told_policies.insert(daemon, at);
        if inner
            .without_policies
            .get(&daemon)
            .is_some_and(|began| *began < at)
        {
            inner.without_policies.remove(&daemon);
        }
    }

    /// A sink has applied a response. `is_whole` once it has all collections of its present stream.
    pub(super) fn look(&self, (sink, speaks): (usize, Protocol), state: &State, is_whole: bool) {
        let mut view = View::of(state, speaks);
        let now = Instant::now();
        let mut failures = Vec::new();
        let mut inner = self.inner();
        let before = inner.views.remove(&sink).unwrap_or_default();
        view.is_whole = is_whole;
        let services = view.follows(&before, now);
        // A new route that a lie leaves without destinations is named before it has a service.
        if !inner.lies {
            for service in services {
                failures.push(format!(
                    "sink {sink} ({speaks:?}): {service} was named before it was there"
                ));
            }
        }
        inner.views.insert(sink, view.clone());
        // What only the other daemon knew goes response by response.
        let home = inner.homes.get_mut(&sink);
        let is_at_home =
            home.is_some_and(|home| home.answered.get_or_insert(now).elapsed() > SETTLED);
        if let Some(home) = inner.homes.get_mut(&sink) {
            home.serves = true;
        }
        let is_past_grace = inner.is_past_grace(sink);
        let may_lack_tcp = inner.may_lack_tcp(sink);
        let home = inner.homes.get(&sink);
        let told_policies = home.and_then(|home| inner.told_policies.get(&home.daemon));
        let told_policies = told_policies.copied();
        let truth = &inner.world.truth;
        let is_known = |since: Instant, unsaved: Duration| {
            since + YOUNG <= now && inner.was_saved(sink, since, unsaved)
        };
        // Endpoints are counted: a lie that hides one of a hostname's and has a new one takes nothing away by that.
        let is_exchanged = |host: &String| {
            let mut gained = view.pairs.difference(&before.pairs);
            inner.lies && gained.any(|(of, _)| of == host)
        };
        for lost in before.pairs.difference(&view.pairs) {
            let since = truth.since.get(lost).filter(|_| !is_exchanged(&lost.0));
            let is_lacking = may_lack_tcp && lost.0.starts_with(TCP_DOMAIN);
            let unsaved = if lost.0.starts_with(TCP_DOMAIN) {
                // Nobody waits for them beside a state file, and the process before may have read one late.
                UNSAVED + 2 * YOUNG
            } else if inner.world.pushes {
                // What is pushed first may be of before, and nothing is asked for after it.
                YOUNG
            } else {
                UNSAVED
            };
            let is_known = since.is_some_and(|since| is_known(*since, unsaved));
            if is_at_home && !is_lacking && is_known {
                failures.push(format!("sink {sink} ({speaks:?}) has lost {lost:?}"));
            }
        }
        // They are counted, too.
        let is_exchanged = |app: &AppGuid| {
            let mut gained = view.reaches.difference(&before.reaches);
            inner.lies && gained.any(|(of, _)| of == app)
        };
        for lost in before.reaches.difference(&view.reaches) {
            let since = truth.reaches.get(lost).filter(|_| !is_exchanged(&lost.0));
            // A daemon that was not told since then shows that late, with the Sidecars that it kept back.
            let is_known = |since| is_known(since, UNSAVED) && told_policies > Some(since);
            if is_at_home && !is_past_grace && since.is_some_and(|since| is_known(*since)) {
                failures.push(format!("sink {sink} ({speaks:?}) has lost {lost:?}"));
            }
        }
        for pair in &view.pairs {
            if !truth.since.contains_key(pair)
                && truth.end(pair).is_none()
                && !inner.may_be_told(pair)
            {
                failures.push(format!("sink {sink} is served {pair:?}, which never was"));
            }
        }
        let is_long_gone = |pair: &Pair| {
            let end = truth.end(pair).filter(|_| !truth.since.contains_key(pair));
            end.is_some_and(|end| end + YOUNG <= now)
        };
        let gone = before.pairs.difference(&view.pairs);
        let gone: BTreeSet<_> = gone.filter(|pair| is_long_gone(pair)).cloned().collect();
        let come: BTreeSet<_> = view.pairs.difference(&before.pairs).cloned().collect();
        let come_back = come.into_iter().filter(is_long_gone);
        let come_back: Vec<_> = come_back.collect();
        if let Some(home) = inner.homes.get_mut(&sink) {
            for pair in come_back.iter().filter(|pair| home.buried.contains(pair)) {
                failures.push(format!("sink {sink} is served {pair:?} again"));
            }
            home.buried.extend(gone);
        }
        for (name, replica) in &state.collections {
            failures.extend(inner.compare(&(speaks.is_xds(), name.clone()), replica));
        }
        drop(inner);
        for what in failures {
            self.fails(&what);
        }
    }

    /// All is well and has been: what changed a while ago is served.
    pub(super) fn is_prompt(&self, calm: Instant) {
        let mut failures = Vec::new();
        {
            let inner = self.inner();
            let soon = soon(inner.lies);
            // TCP routes are known by reads alone: what they lack is held anew where they lack more.
            let of = |(host, _): &Pair| {
                let is_tcp = host.starts_with(TCP_DOMAIN);
                if is_tcp { soon + HELD } else { soon }
            };
            let long_ago = |pair: &Pair, at: &Instant| (*at).max(calm) + of(pair) <= Instant::now();
            let truth = &inner.world.truth;
            for (sink, view) in &inner.views {
                let known = truth.since.iter().filter(|(pair, at)| long_ago(pair, at));
                for (missing, _) in known.filter(|(pair, _)| !view.pairs.contains(*pair)) {
                    failures.push(format!("sink {sink} is still not served {missing:?}"));
                }
                let gone = view.pairs.iter();
                let gone = gone.filter(|pair| !truth.since.contains_key(*pair));
                // Of TCP routes it may be all, and of many endpoints: that takes long.
                let is_over = |pair: &&Pair| {
                    let end = truth.end(pair).filter(|_| !pair.0.starts_with(TCP_DOMAIN));
                    end.is_some_and(|at| long_ago(pair, &at))
                };
                for stale in gone.filter(is_over) {
                    failures.push(format!("sink {sink} is still served {stale:?}"));
                }
            }
        }
        for what in failures {
            self.fails(&what);
        }
    }

    /// Whether all sinks hold what is true, and the same.
    pub(super) fn converged(&self, sinks: usize) -> Result<(), String> {
        let inner = self.inner();
        let truth: BTreeSet<_> = inner.world.truth.since.keys().cloned().collect();
        let mut versions: BTreeMap<&Scope, &String> = BTreeMap::new();
        if inner.views.len() < sinks {
            return Err("not all sinks hold something".to_owned());
        }
        for (sink, view) in &inner.views {
            if view.pairs != truth {
                let missing: Vec<_> = truth.difference(&view.pairs).collect();
                let stale: Vec<_> = view.pairs.difference(&truth).collect();
                return Err(format!(
                    "sink {sink} lacks {missing:?}, still has {stale:?}"
                ));
            }
            let reaches: BTreeSet<_> = inner.world.truth.reaches.keys().cloned().collect();
            if view.reaches != reaches {
                let missing: Vec<_> = reaches.difference(&view.reaches).collect();
                let stale: Vec<_> = view.reaches.difference(&reaches).collect();
                return Err(format!(
                    "sink {sink} lacks {missing:?}, still has {stale:?}"
                ));
            }
            for (scope, version) in &view.versions {
                let others = *versions.entry(scope).or_insert(version);
                if others != version {
                    return Err(format!(
                        "sink {sink} has {scope:?} {version}, others {others}"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Inner {
    /// Whether something that never was may be told where peers lie.
    fn may_be_told(&self, pair @ (host, address): &Pair) -> bool {
        let is_ghost = host.starts_with(GHOST)
            || GHOSTS
                .into_iter()
                .any(|of| address.to_string().starts_with(of));
        self.lies && (is_ghost || self.world.truth.is_of_one_app(pair))
    }

    /// Whether the daemon of a sink serves Sidecars although it was never told the policies truly: what it takes away of
    /// them then is no loss.
    fn is_past_grace(&self, sink: usize) -> bool {
        let home = self.homes.get(&sink);
        let since = home.and_then(|home| self.without_policies.get(&home.daemon));
        since.is_some_and(|since| since.elapsed() >= GRACE)
    }

    /// Whether what is true since then was not too new to be in what the daemon of a sink began with, or is long since.
    fn was_saved(&self, sink: usize, since: Instant, unsaved: Duration) -> bool {
        let home = self.homes.get(&sink);
        let at = |times: &BTreeMap<usize, Instant>| times.get(&home?.daemon).copied();
        let Some((began, saved)) = at(&self.began_at).zip(at(&self.saved_at)) else {
            return true;
        };
        since + unsaved <= saved || since > began || began.elapsed() > 2 * YOUNG
    }

    /// Whether the daemon of a sink began a while ago without a state file: then nobody else waits for TCP routes, which
    /// the Routing API may keep from it.
    fn may_lack_tcp(&self, sink: usize) -> bool {
        let home = self.homes.get(&sink);
        let since = home.and_then(|home| self.without_file.get(&home.daemon));
        since.is_some_and(|since| since.elapsed() >= GRACE && since.elapsed() < LACKS_TCP)
    }

    /// That a version stands for one content, and a content for one version.
    fn compare(&mut self, scope: &Scope, replica: &Replica) -> Option<String> {
        let content = hash(replica);
        let version = replica.version.clone();
        let known = self.contents.entry((scope.clone(), version.clone()));
        let known = *known.or_insert(content);
        if known != content {
            return Some(format!("{scope:?} {version} has two contents"));
        }
        let known = self.versions.entry((scope.clone(), content));
        let known = known.or_insert_with(|| version.clone());
        (*known != version).then(|| format!("one content of {scope:?}: {known}, {version}"))
    }
}

fn hash(replica: &Replica) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, resource) in &replica.resources {
        name.hash(&mut hasher);
        // Of a port that is another route's now, nothing else may be different.
        let created = resource.metadata.as_ref();
        let created = created.and_then(|metadata| metadata.create_time.as_ref());
        created.map(|time| time.seconds).hash(&mut hasher);
        resource
            .body
            .as_ref()
            .map(|body| &body.value)
            .hash(&mut hasher);
    }
    hasher.finish()
}

fn decoded<M: Message + Default>(state: &State, collection: &str) -> Vec<M> {
    let held = state.collections.get(collection);
    let resources = held.into_iter().flat_map(|held| held.resources.values());
    let bodies = resources.filter_map(|resource| resource.body.as_ref());
    bodies
        .map(|body| M::decode(body.value.as_slice()).unwrap())
        .collect()
}

impl View {
    /// The services that were named by a new VirtualService, and came right after it, though where they lead to was known.
    /// What a stream begins with names services of apps that do not run, too.
    fn follows(&mut self, before: &Self, now: Instant) -> Vec<String> {
        let known: BTreeSet<_> = before.pairs.iter().map(|(_, address)| *address).collect();
        let mut failures = Vec::new();
        for (service, at) in &before.early {
            let Some(host) = self.named.get(service) else {
                continue;
            };
            if self.absent.contains(service) {
                self.early.insert(service.clone(), *at);
                continue;
            }
            let mut of_host = self.pairs.iter().filter(|(of, _)| of == host);
            let is_known = of_host.any(|(_, address)| known.contains(address));
            if is_known && *at + Duration::from_secs(1) > now {
                failures.push(service.clone());
            }
        }
        let hosts: BTreeSet<_> = before.named.values().collect();
        for service in self.absent.iter().filter(|_| before.is_whole) {
            if self
                .named
                .get(service)
                .is_some_and(|host| !hosts.contains(host))
            {
                self.early.insert(service.clone(), now);
            }
        }
        failures
    }

    pub(super) fn of(state: &State, speaks: Protocol) -> Self {
        let mut services: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for entry in decoded::<ServiceEntry>(state, Kind::ServiceEntry.collection()) {
            let addresses = entry.endpoints.iter();
            let addresses: Vec<_> = addresses.filter_map(|to| to.address.parse().ok()).collect();
            for host in entry.hosts {
                services.entry(host).or_default().extend(&addresses);
            }
        }
        let mut view = Self::default();
        for service in decoded::<VirtualService>(state, Kind::VirtualService.collection()) {
            let http = service.http.iter().flat_map(|http| &http.route);
            let http = http.map(|way| &way.destination);
            let tcp = service.tcp.iter().flat_map(|tcp| &tcp.route);
            let tcp = tcp.map(|way| &way.destination);
            let ports = service.tcp.iter().flat_map(|tcp| &tcp.r#match);
            let ports: Vec<_> = ports
                .map(|matched| format!("{TCP_DOMAIN}:{}", matched.port))
                .collect();
            // The host of TCP routes is nobody's name.
            let hosts = if ports.is_empty() {
                &service.hosts
            } else {
                &ports
            };
            for to in http.chain(tcp).filter_map(Option::as_ref) {
                for host in hosts {
                    view.named.insert(to.host.clone(), host.clone());
                }
                let Some(addresses) = services.get(&to.host) else {
                    view.absent.insert(to.host.clone());
                    continue;
                };
                for host in hosts {
                    let pairs = addresses.iter().map(|address| (host.clone(), *address));
                    view.pairs.extend(pairs);
                }
            }
        }
        for (host, addresses) in services {
            if host.ends_with(copilot::sim::cloud_foundry::INTERNAL_DOMAIN) {
                let pairs = addresses.into_iter().map(|address| (host.clone(), address));
                view.pairs.extend(pairs);
            }
        }
        for sidecar in decoded::<Sidecar>(state, Kind::Sidecar.collection()) {
            let selector = sidecar.workload_selector.unwrap_or_default();
            let apps = selector.labels.values();
            let apps: Vec<_> = apps.filter_map(|name| name.get(..GUID)).collect();
            for host in sidecar.egress.iter().flat_map(|egress| &egress.hosts) {
                let host = host.strip_prefix("internal/").unwrap_or(host);
                let reaches = apps
                    .iter()
                    .map(|app| (AppGuid::from(*app), host.to_owned()));
                view.reaches.extend(reaches);
            }
        }
        let versions = state.collections.iter();
        view.versions = versions
            .map(|(name, replica)| ((speaks.is_xds(), name.clone()), replica.version.clone()))
            .collect();
        view
    }
}
