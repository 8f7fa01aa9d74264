//! A sink that checks after each response whether it has all that its VirtualServices name.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use copilot::{
    proto::istio::{
        mcp::v1alpha1::{Resource, Resources},
        networking::v1alpha3::{DestinationRule, ServiceEntry, VirtualService},
    },
    sim::sink::{Replica, State},
    snapshot::{Collection, Form, Kind, Snapshot},
};
use prost::Name;

use super::peers::{Peer, Protocol};

pub const SERVICES: &str = "ServiceEntry";
pub const RULES: &str = "DestinationRule";
pub const ROUTES: &str = "VirtualService";
pub const GATEWAYS: &str = "Gateway";
/// What a sink here may ask for.
pub const KINDS: [&str; 4] = [SERVICES, RULES, ROUTES, GATEWAYS];
/// What belongs together.
const TOGETHER: [&str; 3] = [SERVICES, RULES, ROUTES];

/// After it, others go on without an answer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What the VirtualServices of a version name that is there with them, whenever they are published.
#[derive(Debug, Clone, Default)]
struct Needs {
    services: BTreeSet<String>,
    rules: BTreeSet<String>,
}

#[derive(Debug)]
pub struct Sink {
    pub protocol: Protocol,
    pub server: Peer,
    pub held: State,
    newest: Option<Arc<Snapshot>>,
    asked: BTreeSet<&'static str>,
    needs: HashMap<String, Needs>,
    on_their_way: VecDeque<(Resources, Instant)>,
    unanswered: VecDeque<(Resources, bool, Instant)>,
    /// The guids of who answers at a place, or did so until a short while ago.
    pub answering: BTreeMap<String, BTreeSet<String>>,
    /// The services that were not there for a time, whatever of them is on its way: their rules' names ended with them.
    pub ended: BTreeSet<String>,
    /// The kinds of which it refused the last response.
    refusing: BTreeSet<&'static str>,
    /// An answer was so late that others went on without it.
    is_late: bool,
    /// How often it was checked that nothing is missing.
    pub checks: u64,
}

impl Sink {
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            server: Peer::new(protocol),
            held: State::default(),
            newest: None,
            asked: BTreeSet::new(),
            needs: HashMap::new(),
            on_their_way: VecDeque::new(),
            unanswered: VecDeque::new(),
            answering: BTreeMap::new(),
            ended: BTreeSet::new(),
            refusing: BTreeSet::new(),
            is_late: false,
            checks: 0,
        }
    }

    pub fn ask(&mut self, kind: &'static str, now: Instant) {
        if self.asked.insert(kind) {
            self.server.ask(&self.protocol.asks_for(kind), now);
        }
    }

    pub fn publish(&mut self, snapshot: &Arc<Snapshot>) {
        let collection = |kind| of(snapshot, self.protocol, kind);
        let named = named_by(collection(ROUTES));
        let services = services_of(collection(SERVICES));
        let rules = hosts(collection(RULES), |rule: DestinationRule| vec![rule.host]);
        let there = Needs {
            services: &named & &services,
            rules: &(&named & &services) & &rules,
        };
        let version = collection(ROUTES).version().to_string();
        let needs = self.needs.entry(version).or_insert(there.clone());
        needs.services = &needs.services & &there.services;
        needs.rules = &needs.rules & &there.rules;
        self.newest = Some(snapshot.clone());
        self.server.publish(snapshot.clone());
    }

    /// These have no instances any more: those of them that its kind is not told of now are missed by nobody.
    pub fn excuse(&mut self, services: &BTreeSet<String>) {
        let newest = self.newest.as_ref().unwrap();
        let there = services_of(of(newest, self.protocol, SERVICES));
        for needs in self.needs.values_mut() {
            let is_needed =
                |service: &String| !services.contains(service) || there.contains(service);
            needs.services.retain(is_needed);
            needs.rules.retain(is_needed);
        }
    }

    /// Access fails closed: these go at once, whoever still names them.
    pub fn forgive(&mut self, is_refused: impl Fn(&str) -> bool) {
        for needs in self.needs.values_mut() {
            needs.services.retain(|service| !is_refused(service));
            needs.rules.retain(|service| !is_refused(service));
        }
    }

    /// Nobody keeps a service that is gone when its instances are others.
    pub fn forgive_what_is_gone(&mut self, has_moved: impl Fn(&str) -> bool) {
        let newest = self.newest.clone().unwrap();
        let there = services_of(of(&newest, self.protocol, SERVICES));
        self.forgive(|service| !there.contains(service) && has_moved(service));
    }

    /// The next response is sent, if one is due.
    pub fn send(&mut self, now: Instant) -> bool {
        self.watch_the_clock(now);
        let Some(response) = self.server.next(now) else {
            return false;
        };
        let is_outstanding = self
            .unanswered
            .iter()
            .map(|(one, ..)| one)
            .chain(self.on_their_way.iter().map(|(one, _)| one))
            .any(|one| one.collection == response.collection);
        assert!(!is_outstanding, "two of {}", response.collection);
        self.on_their_way.push_back((response, now));
        true
    }

    /// Reads the oldest response, and takes it or not; the answer is for later.
    pub fn read(&mut self, rejects: bool) -> Option<&'static str> {
        let (response, sent) = self.on_their_way.pop_front()?;
        let kind = self.kind(&response);
        if rejects {
            self.refusing.insert(kind);
        } else {
            self.refusing.remove(kind);
            self.held.apply(response.clone());
        }
        self.unanswered.push_back((response, rejects, sent));
        self.check();
        Some(kind)
    }

    fn kind(&self, response: &Resources) -> &'static str {
        let is_it = |kind: &&str| self.protocol.asks_for(kind) == response.collection;
        KINDS.into_iter().find(is_it).unwrap()
    }

    /// Answers one of the responses that it has read.
    pub fn answer(&mut self, index: usize, now: Instant) {
        self.watch_the_clock(now);
        if self.unanswered.is_empty() {
            return;
        }
        let index = index % self.unanswered.len();
        let answered = self.unanswered.remove(index);
        let (response, rejects, _) = answered.unwrap();
        self.server.answer(&response, rejects, now);
    }

    /// Answers all that it has read but those of one kind.
    pub fn answer_all_but(&mut self, kind: &str, now: Instant) {
        let silent = self.protocol.asks_for(kind);
        let is_other = |(one, ..): &(Resources, bool, Instant)| one.collection != silent;
        while let Some(index) = self.unanswered.iter().position(is_other) {
            self.answer(index, now);
        }
    }

    /// Answers what was sent so long ago.
    pub fn answer_older(&mut self, age: Duration, now: Instant) {
        let is_old = |(.., sent): &(Resources, bool, Instant)| now.duration_since(*sent) >= age;
        while let Some(index) = self.unanswered.iter().position(is_old) {
            self.answer(index, now);
        }
    }

    /// A response that is sent, taken and, unless others wait longer for that, acknowledged.
    pub fn exchange(&mut self, now: Instant) -> Option<&'static str> {
        let kind = self.send(now).then(|| self.read(false)).flatten()?;
        if self.owes() == 1 {
            self.answer(0, now);
        }
        Some(kind)
    }

    /// How many answers it owes.
    pub fn owes(&self) -> usize {
        self.unanswered.len()
    }

    /// How many responses it has taken of a kind.
    pub fn applied(&self, kind: &str) -> u64 {
        let held = self.held.collections.get(&self.protocol.asks_for(kind));
        held.map_or(0, |replica| replica.applied)
    }

    /// How many resources it holds of each kind.
    pub fn counts<const N: usize>(&self, kinds: [&str; N]) -> [usize; N] {
        kinds.map(|kind| {
            let held = &self.held.collections[&self.protocol.asks_for(kind)];
            held.resources.len()
        })
    }

    /// Takes and accepts whatever comes, until nothing does.
    pub fn settle(&mut self, now: &mut Instant) {
        for _ in 0..1000 {
            if self.send(*now) {
                continue;
            }
            if !self.on_their_way.is_empty() {
                self.read(false);
            } else if !self.unanswered.is_empty() {
                self.answer(0, *now);
            } else if let Some(due_at) = self.server.due_at(*now) {
                *now = due_at;
            } else {
                self.is_late = false;
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// That it holds what was published last of all that it has asked for.
    pub fn assert_newest(&self) {
        self.assert_newest_of(&KINDS);
    }

    /// The same of some kinds.
    pub fn assert_newest_of(&self, kinds: &[&str]) {
        let newest = self.newest.as_ref().unwrap();
        for kind in self.asked.iter().filter(|kind| kinds.contains(kind)) {
            let form = if self.protocol.is_xds() {
                Form::Ads
            } else {
                Form::Mcp
            };
            let published = of(newest, self.protocol, kind).iter().map(|resource| {
                let name = form.name(resource.name).into_owned();
                (name, resource.version.to_string())
            });
            let published: BTreeMap<_, _> = published.collect();
            let held = self.held.collections.get(&self.protocol.asks_for(kind));
            let held = held.map(Replica::versions);
            assert_eq!(held, Some(published), "{kind} over {:?}", self.protocol);
        }
    }

    fn watch_the_clock(&mut self, now: Instant) {
        let waiting = self.on_their_way.iter().map(|(one, sent)| (one, sent));
        let read = self.unanswered.iter().map(|(one, _, sent)| (one, sent));
        let mut all = waiting.chain(read);
        self.is_late |= all.any(|(one, sent)| {
            let belongs = TOGETHER.contains(&self.kind(one));
            belongs && *sent + PATIENCE <= now
        });
    }

    /// No service leads to where nobody may answer by the rule of that service.
    fn check_names(&mut self) {
        let is_waited_for = [SERVICES, RULES].map(|kind| !self.refusing.contains(kind));
        if self.is_late || is_waited_for != [true, true] {
            return;
        }
        let held = |kind| self.held.collections.get(&self.protocol.asks_for(kind));
        let (Some(services), Some(rules)) = (held(SERVICES), held(RULES)) else {
            return;
        };
        let names = names(rules);
        for resource in services.resources.values() {
            let entry: ServiceEntry = body(resource);
            let names = names.get(&entry.hosts[0]);
            let Some(names) = names.filter(|_| !self.ended.contains(&entry.hosts[0])) else {
                continue;
            };
            self.checks += 1;
            for address in &entry.addresses {
                assert!(
                    names.contains(address),
                    "{address} for {names:?} over {:?}",
                    self.protocol
                );
            }
            for place in places(&entry) {
                let answering = self.answering.get(&place).into_iter().flatten();
                let mut answering = answering.peekable();
                assert!(
                    answering.peek().is_none() || answering.any(|guid| names.contains(guid)),
                    "{place} for {names:?} over {:?}",
                    self.protocol
                );
            }
        }
    }

    /// Whoever refuses, or does not answer, is not waited for.
    fn check(&mut self) {
        self.check_names();
        if self.is_late || self.refusing.contains(ROUTES) {
            return;
        }
        let held = |kind| self.held.collections.get(&self.protocol.asks_for(kind));
        let Some(routes) = held(ROUTES) else { return };
        let needs = &self.needs[&routes.version];
        if let Some(services) = held(SERVICES).filter(|_| !self.refusing.contains(SERVICES)) {
            let there = services.resources.values().flat_map(|resource| {
                let entry: ServiceEntry = body(resource);
                entry.hosts
            });
            self.checks += 1;
            assert_there(&needs.services, &there.collect(), SERVICES, self.protocol);
        }
        if let Some(rules) = held(RULES).filter(|_| !self.refusing.contains(RULES)) {
            let there = rules.resources.values();
            let there = there.map(|resource| body::<DestinationRule>(resource).host);
            self.checks += 1;
            assert_there(&needs.rules, &there.collect(), RULES, self.protocol);
        }
    }
}

/// The names of who may answer at a service's endpoints, where its rule has any.
fn names(rules: &Replica) -> BTreeMap<String, Vec<String>> {
    let rules = rules.resources.values().map(body::<DestinationRule>);
    let named = rules.filter_map(|rule| {
        let names = rule.traffic_policy?.tls?.subject_alt_names;
        (!names.is_empty()).then_some((rule.host, names))
    });
    named.collect()
}

fn assert_there(
    needed: &BTreeSet<String>,
    there: &BTreeSet<String>,
    kind: &str,
    protocol: Protocol,
) {
    let missing: Vec<_> = needed.difference(there).collect();
    assert!(
        missing.is_empty(),
        "no {kind} of {missing:?} over {protocol:?}"
    );
}

/// What a stream is served of a kind.
fn of<'a>(snapshot: &'a Snapshot, protocol: Protocol, kind: &str) -> &'a Collection {
    let kind = Kind::from_name(kind).unwrap();
    let found = if protocol.is_xds() {
        snapshot.xds(kind)
    } else {
        snapshot.get(kind)
    };
    found.unwrap()
}

fn body<M: prost::Message + Default + Name>(resource: &Resource) -> M {
    let body = resource.body.as_ref().unwrap();
    assert_eq!(body.type_url, M::type_url());
    M::decode(&*body.value).unwrap()
}

fn hosts<M: prost::Message + Default + Name>(
    collection: &Collection,
    hosts: impl Fn(M) -> Vec<String>,
) -> BTreeSet<String> {
    let resources = collection.iter();
    resources
        .flat_map(|resource| hosts(body(&resource.decode())))
        .collect()
}

/// The services that there are.
pub fn services_of(collection: &Collection) -> BTreeSet<String> {
    hosts(collection, |entry: ServiceEntry| entry.hosts)
}

/// Where each service's instances are.
pub fn endpoints_of(collection: &Collection) -> BTreeMap<String, BTreeSet<String>> {
    let services = collection.iter().map(|resource| {
        let entry: ServiceEntry = body(&resource.decode());
        (entry.hosts[0].clone(), places(&entry))
    });
    services.collect()
}

fn places(entry: &ServiceEntry) -> BTreeSet<String> {
    let places = entry.endpoints.iter().map(|endpoint| {
        let port = endpoint.ports.values().next().unwrap();
        format!("{}:{port}", endpoint.address)
    });
    places.collect()
}

/// The hosts that requests are sent on to.
pub fn named_by(collection: &Collection) -> BTreeSet<String> {
    hosts(collection, |routes: VirtualService| {
        let ways = routes.http.into_iter().flat_map(|http| http.route);
        let destinations = ways.filter_map(|way| way.destination);
        destinations.map(|destination| destination.host).collect()
    })
}
