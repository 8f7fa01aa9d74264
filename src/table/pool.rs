//! A route as the gorouter keeps it: one pool of the instances of all its destinations.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddrV4,
    sync::Arc,
};

use super::{
    bytes,
    host::HostView,
    key::by_key,
    reach::{Endpoint, Unreachable},
};
use crate::model::{
    AppPort, Destination, Instance, LoadBalancing, Protocol, Refusal, Route, RouteSettings, Weight,
    Workload,
};

/// The routes of a hostname and a path. They are several where their owner spelled one URL in several ways, and share
/// the requests then as the destinations of one route do.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    host: HostView<'a>,
    /// Those that are spelled alike are neighbours, the one that counts before the others. Never empty.
    routes: &'a [Arc<Route>],
}

/// Into how many parts a weight can be divided.
const FRACTION: u64 = 1 << 20;

/// What a part of a pool's requests is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// All that is not divided; of a pool that is divided by protocol, HTTP/1.1.
    Whole,
    /// The destinations that speak HTTP/2, beside others that do not.
    Http2,
    /// One destination.
    To(Target),
}

/// What the requests for a destination are sent to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Whose instances.
    pub workload: Workload,
    /// The container port.
    pub port: AppPort,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// A part of a pool, to whose instances requests are sent in the same way.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// What tells it from the others.
    pub which: Which,
    /// What its instances speak.
    pub protocol: Protocol,
    /// Whether they are reached over TLS.
    pub is_tls: bool,
    /// Its share of the requests, in proportion to the other parts'.
    pub share: u64,
    destinations: Vec<&'a Destination>,
}

impl<'a> Pool<'a> {
    /// The pools of a hostname, the longest path first.
    pub(super) fn all(host: HostView<'a>) -> impl DoubleEndedIterator<Item = Self> + use<'a> {
        let pools = host.routes.chunk_by(|a, b| a.key() == b.key());
        pools.map(move |routes| Self { host, routes })
    }

    /// The pool of one of the hostname's paths.
    pub(super) fn of(host: HostView<'a>, key: &str) -> Option<Self> {
        let order = |route: &Arc<Route>| by_key(&route.key()).cmp(&by_key(key));
        let begin = host.routes.partition_point(|route| order(route).is_lt());
        let rest = &host.routes[begin..];
        let routes = &rest[..rest.partition_point(|route| order(route).is_eq())];
        (!routes.is_empty()).then_some(Self { host, routes })
    }

    /// Whose it is.
    pub fn host(&self) -> HostView<'a> {
        self.host
    }

    /// The path by which it is found.
    pub fn key(&self) -> Cow<'a, str> {
        self.routes[0].key()
    }

    /// When the oldest of its routes was created, in seconds since the Unix epoch.
    pub fn created_at(&self) -> i64 {
        let created = self.routes.iter().map(|route| route.created_at);
        created.min().unwrap_or_default()
    }

    /// Why it has no service, if it has none: one route that is refused withholds all.
    pub fn refused(&self) -> Option<Refusal> {
        self.routes.iter().find_map(|route| route.refused)
    }

    /// All its routes, also those that are not served.
    pub fn all_routes(&self) -> impl Iterator<Item = &'a Route> + use<'a> {
        self.routes.iter().map(Arc::as_ref)
    }

    /// The routes that are served: one for each spelling.
    pub fn routes(&self) -> impl Iterator<Item = &'a Route> + use<'a> {
        let is_open = self.refused().is_none();
        self.alike().map(holder).filter(move |_| is_open)
    }

    /// The routes with destinations that are not served, because another one is or is refused: each with that one.
    pub fn hidden(&self) -> impl Iterator<Item = (&'a Route, &'a Route)> + use<'a> {
        let refused = self.routes.iter().find(|route| route.refused.is_some());
        self.alike().flat_map(move |alike| {
            let holder = refused.map_or_else(|| holder(alike), Arc::as_ref);
            let others = alike.iter().map(Arc::as_ref).filter(move |route| {
                let has_lost = route.guid != holder.guid && !route.destinations.is_empty();
                has_lost && route.refused.is_none()
            });
            others.map(move |route| (route, holder))
        })
    }

    fn alike(&self) -> impl Iterator<Item = &'a [Arc<Route>]> + use<'a> {
        self.routes.chunk_by(|a, b| a.path == b.path)
    }

    /// How its owner wants an instance to be picked: of several routes the oldest that says so counts.
    pub fn load_balancing(&self) -> Option<(&'a Route, &'a LoadBalancing)> {
        let choosing = self
            .routes()
            .filter_map(|route| Some((route, route.load_balancing.as_deref()?)));
        choosing.min_by_key(|(route, _)| (route.created_at, &route.guid))
    }

    /// The routes that are served and lead to something: what others ask for is nothing to it.
    pub fn mapped(&self) -> impl Iterator<Item = &'a Route> + use<'a> {
        self.routes().filter(|route| !route.destinations.is_empty())
    }

    /// What its owner asks for beside that: of several routes the oldest that asks for anything counts. A path is replaced
    /// only where they all ask for that: it makes two of all their destinations, and each was counted with its own.
    pub fn settings(&self) -> Option<(&'a Route, Arc<RouteSettings>)> {
        let asking = self
            .mapped()
            .filter_map(|route| Some((route, route.settings.as_ref()?)));
        let (route, settings) = asking.min_by_key(|(route, _)| (route.created_at, &route.guid))?;
        let rewrite = |route: &Route| route.settings.as_ref()?.rewrite.clone();
        let mut rewrites = self.mapped().map(rewrite);
        let is_whole =
            settings.rewrite.is_none() || rewrites.all(|other| other == settings.rewrite);
        let settings = if is_whole {
            settings.clone()
        } else {
            Arc::new(settings.without_rewrite())
        };
        Some((route, settings))
    }

    /// At most what its owner asks for takes in a VirtualService. That follows from what a VirtualService sees of it: where
    /// it is another, whoever tells of it is touched.
    pub fn asked_bytes(&self) -> usize {
        let Some((_, settings)) = self.settings() else {
            return 0;
        };
        let targets: BTreeSet<_> = if self.has_weights() {
            self.destinations().map(Target::of).collect()
        } else {
            BTreeSet::new()
        };
        bytes::asked_of_pool(&settings, self.key().len(), targets.len())
    }

    pub(super) fn destinations(&self) -> impl Iterator<Item = &'a Destination> + use<'a> {
        self.routes().flat_map(|route| &route.destinations)
    }

    /// Whether nobody takes its requests, so that they go on to another pool. A refusal takes them all.
    pub fn is_empty(&self) -> bool {
        self.refused().is_none()
            && self
                .destinations()
                .all(|to| self.reached(to).next().is_none())
    }

    /// The instances of a destination that can be sent to, and where.
    fn reached(
        &self,
        to: &'a Destination,
    ) -> impl Iterator<Item = (Endpoint, &'a Instance)> + use<'a> {
        let host = self.host;
        let instances = host.instances(&to.workload);
        instances.filter_map(move |instance| Some((host.reach(instance, to.port).ok()?, instance)))
    }

    /// Each destination with the instances that can be sent to.
    pub(super) fn reachable(
        &self,
    ) -> impl Iterator<Item = (&'a Destination, &'a Instance)> + use<'a> {
        let pool = *self;
        self.destinations()
            .flat_map(move |to| pool.reached(to).map(move |(_, instance)| (to, instance)))
    }

    /// The instances of its destinations that run and cannot be sent to, and why.
    pub fn unreachable(&self) -> impl Iterator<Item = (Unreachable, &'a Instance)> + use<'a> {
        let host = self.host;
        self.destinations().flat_map(move |to| {
            let instances = host.instances(&to.workload);
            instances.filter_map(move |instance| {
                let why = host.reach(instance, to.port).err()?;
                Some((why, instance))
            })
        })
    }

    /// The instances of a part, by where they are reached; none twice.
    pub fn endpoints(&self, part: &Part<'a>) -> BTreeMap<SocketAddrV4, &'a Instance> {
        let destinations = part.destinations.iter();
        let reached = destinations.flat_map(|to| self.reached(to));
        let reached = reached.filter(|(endpoint, _)| endpoint.is_tls == part.is_tls);
        let mut endpoints: BTreeMap<_, _> = reached
            .map(|(endpoint, instance)| (endpoint.at, instance))
            .collect();
        if part.which == Which::Http2 {
            // Of an app that is mapped in both protocols, by two spellings of one URL, each instance is still one.
            let beside = self.destinations();
            let beside = beside.filter(|to| to.protocol == Protocol::Http1);
            for (endpoint, _) in beside.flat_map(|to| self.reached(to)) {
                endpoints.remove(&endpoint.at);
            }
        }
        endpoints
    }

    /// The parts that it has to be served in, never none: by destination if weights were asked for, else by protocol; and
    /// each of those by whether over TLS, while instances are behind either.
    pub fn parts(&self) -> Vec<Part<'a>> {
        let mut parts = if self.has_weights() {
            self.by_target()
        } else {
            self.divided(|to| match to.protocol {
                Protocol::Http1 | Protocol::Tcp => Which::Whole,
                Protocol::Http2 => Which::Http2,
            })
        };
        if parts.windows(2).all(|pair| pair[0].which == pair[1].which) {
            for part in &mut parts {
                part.which = Which::Whole;
            }
        }
        if parts.is_empty() {
            parts.push(Part {
                which: Which::Whole,
                protocol: if self.host.is_tcp() {
                    Protocol::Tcp
                } else {
                    Protocol::default()
                },
                is_tls: self.host.expects_tls(),
                share: 1,
                destinations: Vec::new(),
            });
        }
        parts
    }

    /// The parts, if each destination is one.
    pub fn by_target(&self) -> Vec<Part<'a>> {
        self.divided(|to| Which::To(Target::of(to)))
    }

    /// Whether its destinations are not all reached at one port and in one protocol.
    pub(super) fn has_several_ports(&self) -> bool {
        let mut ports = self.destinations().map(|to| (to.port, to.protocol));
        let first = ports.next();
        ports.any(|port| Some(port) != first)
    }

    /// Whether its owner asked for weights. The push API gives each destination 1 where nobody did.
    pub(super) fn has_weights(&self) -> bool {
        let is_none = |weight| matches!(weight, Weight::Instances | Weight::Running(1));
        self.destinations().any(|to| !is_none(to.weight))
    }

    fn divided(&self, which: impl Fn(&Destination) -> Which) -> Vec<Part<'a>> {
        let mut groups: BTreeMap<Which, Vec<&'a Destination>> = BTreeMap::new();
        for to in self.destinations() {
            groups.entry(which(to)).or_default().push(to);
        }
        let groups = groups.into_iter();
        let mut parts: Vec<_> = groups
            .flat_map(|(which, destinations)| self.by_tls(&which, &destinations))
            .collect();
        if parts.len() > 1 {
            self.share_out(&mut parts);
        }
        parts
    }

    /// A part for each sort of endpoint of the destinations' instances; of the usual sort where there are none.
    fn by_tls(&self, which: &Which, destinations: &[&'a Destination]) -> Vec<Part<'a>> {
        let reached = destinations.iter().flat_map(|to| self.reached(to));
        let mut endpoints: BTreeSet<_> = reached.map(|(endpoint, _)| endpoint.is_tls).collect();
        if endpoints.is_empty() {
            endpoints.insert(self.host.expects_tls());
        }
        let parts = endpoints.into_iter().map(|is_tls| Part {
            which: which.clone(),
            protocol: destinations[0].protocol,
            is_tls,
            share: 1,
            destinations: destinations.to_vec(),
        });
        parts.collect()
    }

    /// What a part would get that is stopped goes to the others in proportion.
    fn share_out(&self, parts: &mut [Part<'a>]) {
        let running = parts.iter().map(|part| self.endpoints(part).len() as u64);
        let running: Vec<_> = running.collect();
        let wanted = if self.has_weights() {
            weights(parts, &running)
        } else {
            running.clone()
        };
        let shares = [
            wanted,
            // Only those run that were given nothing.
            running,
            // None runs: where the first that does is expected.
            parts.iter().map(|part| part.weight(1)).collect(),
        ];
        let is_some = |shares: &Vec<u64>| shares.iter().any(|share| *share > 0);
        // Where nobody was given anything either, all are alike, as they are from the start.
        for (part, share) in std::iter::zip(
            parts,
            shares.into_iter().find(is_some).into_iter().flatten(),
        ) {
            part.share = share;
        }
    }
}

impl<'a> HostView<'a> {
    /// Its pools, the longest path first.
    pub fn pools(self) -> impl Iterator<Item = Pool<'a>> {
        Pool::all(self)
    }

    /// The pool of one of its paths, by its key.
    pub fn pool(self, key: &str) -> Option<Pool<'a>> {
        Pool::of(self, key)
    }

    /// Whether an internal hostname's requests have to be told apart: by path, by weight, by port or by protocol.
    pub fn is_divided(self) -> bool {
        let mut pools = self.pools();
        let (Some(pool), None) = (pools.next(), pools.next()) else {
            return true;
        };
        !pool.key().is_empty() || pool.has_weights() || pool.has_several_ports()
    }

    /// Whether an internal hostname is reached over TLS: by one name, apps speak either to all of its instances.
    pub fn has_internal_tls(&self) -> bool {
        self.facts.tls.internal && self.without_internal_tls().next().is_none()
    }

    /// The instances because of which an internal hostname is not reached over TLS.
    pub fn without_internal_tls(&self) -> impl Iterator<Item = &'a Instance> + use<'a> {
        let host = *self;
        let is_wanted = host.facts.tls.internal;
        let reachable = host.pools().flat_map(|pool| pool.reachable());
        let without = reachable.filter(move |(to, instance)| {
            let endpoint = host.reach_inside(instance, to.port, true);
            is_wanted && endpoint.is_ok_and(|endpoint| !endpoint.is_tls)
        });
        without.map(|(_, instance)| instance)
    }
}

impl Part<'_> {
    /// What was asked for it; `unasked` for each destination of which nobody said anything.
    fn weight(&self, unasked: u64) -> u64 {
        let weights = self.destinations.iter().map(|to| match to.weight {
            Weight::Fixed(weight) | Weight::Running(weight) => weight.into(),
            Weight::Instances => unasked,
        });
        weights.sum()
    }
}

/// What was asked for the destinations, in proportion to the instances where these have endpoints of both sorts.
fn weights(parts: &[Part<'_>], running: &[u64]) -> Vec<u64> {
    let is_split = parts.windows(2).any(|pair| pair[0].which == pair[1].which);
    let scale = if is_split { FRACTION } else { 1 };
    // Those of one destination.
    let mut sums: BTreeMap<_, u64> = BTreeMap::new();
    for (part, own) in std::iter::zip(parts, running) {
        *sums.entry(&part.which).or_default() += own;
    }
    let of = |(part, own): (&Part<'_>, &u64)| {
        let all = sums[&part.which];
        let weight = u128::from(part.weight(all)) * u128::from(scale * own);
        let weight = weight.checked_div(all.into()).unwrap_or_default();
        u64::try_from(weight).expect("no more than a sum of weights, scaled")
    };
    std::iter::zip(parts, running).map(of).collect()
}

impl Target {
    /// That of a destination.
    pub fn of(to: &Destination) -> Self {
        Self {
            workload: to.workload.clone(),
            port: to.port,
            protocol: to.protocol,
        }
    }
}

/// Of routes that are spelled alike, the one that counts: the first that leads anywhere.
fn holder(alike: &[Arc<Route>]) -> &Route {
    let mapped = alike.iter().find(|route| !route.destinations.is_empty());
    mapped.unwrap_or(&alike[0])
}
