//! From what the foundation says to what sinks hold: lingering and the order on streams together.

use copilot::{
    istio::{self, Kind, Verify},
    model::{AppGuid, Refusal, Route, Update},
    publisher::{Metrics, Settings, State},
    sim::foundation,
};
use prometheus_client::registry::Registry;

use super::*;
use crate::{
    make_before_break::{
        foundation::{Foundation, any_foundation, instance, place},
        sink::{endpoints_of, named_by, services_of},
    },
    publisher::tls::backend,
};

const LINGER: Duration = Duration::from_secs(15);
/// How long what is left of a service stays.
const SETTLING: Duration = Duration::from_secs(5);
/// What a refused route's VirtualService names: nothing.
const NOWHERE: &str = "refused.invalid";

/// A publisher without its task, and what it has to keep to.
struct Publisher {
    state: State,
    linger: Duration,
    /// Whether services without instances are served.
    keep_empty: bool,
    foundation: Foundation,
    /// Where the instances of each service were, and whose they were.
    led_to: BTreeMap<String, BTreeMap<String, AppGuid>>,
    /// The same places, with those of nobody's.
    endpoints: BTreeMap<String, BTreeSet<String>>,
    /// The apps to which each external route has ever led.
    apps: BTreeMap<String, BTreeSet<AppGuid>>,
    /// Until when each service has to stay that was named.
    stays: BTreeMap<String, Instant>,
    /// The services that may have lost their last instance with what was published last.
    emptied: BTreeSet<String>,
    /// Whether there are other instances than when something was published last.
    has_moved: bool,
    /// The services that nothing names any more since before there were other instances.
    moved: BTreeSet<String>,
    /// Where they were then.
    places: BTreeMap<String, AppGuid>,
    named: BTreeSet<String>,
    /// Whose instances are or were at a place, by their guids, until when those are named at the least.
    answering: BTreeMap<String, BTreeMap<String, Option<Instant>>>,
    /// All services that there have been.
    services: BTreeSet<String>,
    /// Those that were not there for a time: the names of their rules ended with them.
    ended: BTreeSet<String>,
    /// When something was published last.
    now: Option<Instant>,
}

impl Publisher {
    fn new(linger: Duration, keep_empty: bool) -> Self {
        let settings = Settings {
            linger,
            keep_empty_service_entries: keep_empty,
            backend_tls: Some(backend(Verify::Instance)),
            ..Settings::default()
        };
        let metrics = Metrics::new(&mut Registry::default());
        Self {
            state: State::new(&settings, metrics).unwrap(),
            linger,
            keep_empty,
            foundation: Foundation::default(),
            led_to: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            apps: BTreeMap::new(),
            stays: BTreeMap::new(),
            emptied: BTreeSet::new(),
            has_moved: false,
            moved: BTreeSet::new(),
            places: BTreeMap::new(),
            named: BTreeSet::new(),
            answering: BTreeMap::new(),
            services: BTreeSet::new(),
            ended: BTreeSet::new(),
            now: None,
        }
    }

    /// Follows who answers where, as of what is published now. Whoever was named no more may be so still for a slow sink.
    fn follow(&mut self, now: Instant) {
        let until = now + self.linger;
        for (_, named) in self.answering.values_mut().flatten() {
            named.get_or_insert(until);
        }
        for instance in &self.foundation.instances {
            let guids = self.answering.entry(place(instance)).or_default();
            let named = guids.entry(instance.guid.to_string()).or_default();
            named.take_if(|until| *until > now);
        }
        self.now = Some(now);
    }

    /// The guids of those, by place: where one of them is named no more, a slow sink may still mean that one.
    fn answering(&self) -> BTreeMap<String, BTreeSet<String>> {
        let is_named = |until: &Option<Instant>| until.is_none_or(|until| Some(until) > self.now);
        let answering = self.answering.iter();
        let answering = answering.filter(|(_, guids)| guids.values().all(is_named));
        let answering =
            answering.map(|(place, guids)| (place.clone(), guids.keys().cloned().collect()));
        answering.collect()
    }

    fn change(&mut self, foundation: Foundation) {
        self.state
            .apply(Update::AllRoutes(foundation.routes.clone()));
        self.state
            .apply(Update::AllInstances(foundation.instances.clone()));
        for route in foundation.routes.iter().filter(|route| !route.internal) {
            let apps = self.apps.entry(istio::service(&route.host, &route.path));
            let destinations = route.destinations.iter();
            let to = destinations.map(|to| to.workload.app.clone());
            apps.or_default().extend(to);
        }
        self.foundation = foundation;
    }

    fn publish(&mut self, now: Instant) -> Option<Arc<Snapshot>> {
        let ends = self.state.next_end().is_some_and(|at| at <= now);
        if !self.state.is_due() && !ends {
            return None;
        }
        self.follow(now);
        let snapshot = Arc::new(self.state.publish_at(now)?);
        self.check(&snapshot, now);
        let places = self.foundation.places();
        self.has_moved = self.places != places;
        self.places = places;
        if self.has_moved {
            self.moved.extend(self.stays.keys().cloned());
        }
        self.moved.retain(|service| !self.named.contains(service));
        Some(snapshot)
    }

    /// What is named is there, what was named stays for its time, and what is refused goes at once.
    fn check(&mut self, snapshot: &Snapshot, now: Instant) {
        let of = |kind: Kind| snapshot.xds(kind).unwrap();
        let mut named = named_by(of(Kind::VirtualService));
        named.remove(NOWHERE);
        let there = services_of(of(Kind::ServiceEntry));
        let is_exempt = !self.keep_empty;
        assert!(
            is_exempt || named.is_subset(&there),
            "{named:?} of {there:?}"
        );
        let of_refused = |service: &String| {
            let routes = self.foundation.routes.iter();
            let mut refused = routes.filter(|route| route.refused.is_some() && !route.internal);
            refused.any(|route| istio::is_of(service, &istio::service(&route.host, &route.path)))
        };
        assert!(!there.iter().any(of_refused), "refused, and there");
        let ended = self.services.difference(&there);
        self.ended.extend(ended.cloned());
        self.services.extend(there.iter().cloned());
        for service in self.named.difference(&named) {
            self.stays.insert(service.clone(), now + self.linger);
        }
        let refused: Vec<_> = self
            .stays
            .keys()
            .filter(|one| of_refused(one))
            .cloned()
            .collect();
        for service in named.iter().chain(&refused) {
            self.stays.remove(service);
        }
        self.stays.retain(|_, until| *until > now);
        for service in self.stays.keys() {
            // Internal hostnames are services themselves, of which no VirtualService has to know.
            let is_internal = service.ends_with(".internal");
            let is_exempt = is_internal || (!self.keep_empty && self.is_emptied(service));
            assert!(is_exempt || there.contains(service), "{service} has gone");
        }
        let known = self
            .led_to
            .keys()
            .filter(|service| self.is_emptied(service));
        self.emptied = known.cloned().collect();
        self.check_endpoints(snapshot, now);
        self.named = named;
    }

    /// Whether a service is that of a route, or of a hostname, that is refused.
    fn is_refused(&self, service: &str) -> bool {
        let routes = self.foundation.routes.iter();
        let mut refused = routes.filter(|route| route.refused.is_some());
        refused.any(|route| {
            if route.internal {
                service == route.host.as_str()
            } else {
                istio::is_of(service, &istio::service(&route.host, &route.path))
            }
        })
    }

    /// Whether a service may have no instances any more: none runs, or its route, which is there, leads to others.
    fn is_emptied(&self, service: &str) -> bool {
        self.running(service).is_empty() || self.is_of_a_route(service)
    }

    fn is_of_a_route(&self, service: &str) -> bool {
        let mut routes = self.foundation.routes.iter();
        service.ends_with(".internal")
            || routes.any(|route| {
                let whole = istio::service(&route.host, &route.path);
                // A part for one destination has its app in its name.
                istio::is_of(service, &whole) && !service.starts_with("cf--to-")
            })
    }

    /// Whether a service's route, as it is now, leads to an app.
    fn leads_to(&self, service: &str, app: &AppGuid) -> bool {
        let mut routes = self.foundation.routes.iter();
        routes.any(|route| {
            let whole = istio::service(&route.host, &route.path);
            let mut destinations = route.destinations.iter();
            istio::is_of(service, &whole) && destinations.any(|to| to.workload.app == *app)
        })
    }

    /// Of the instances that a service had when it was published last, those that still run.
    fn running(&self, service: &str) -> BTreeSet<String> {
        let places = self.foundation.places();
        let until_now = self.led_to.get(service).into_iter().flatten();
        let still = until_now.filter(|(place, app)| places.get(*place) == Some(*app));
        still.map(|(place, _)| place.clone()).collect()
    }

    /// What lingers keeps its instances while they run, gets no others, and leads to nobody's who was never asked for.
    fn check_endpoints(&mut self, snapshot: &Snapshot, now: Instant) {
        let places = self.foundation.places();
        let of = |collection: Option<&Arc<Collection>>| endpoints_of(collection.unwrap());
        let led_to = of(snapshot.xds(Kind::ServiceEntry));
        for (service, endpoints) in &led_to {
            if !self.endpoints.contains_key(service) {
                continue;
            }
            // A route that others stand in for has its service still, with the instances that it leads to.
            if self.is_of_a_route(service) || !self.stays.contains_key(service) {
                continue;
            }
            for place in self.running(service) {
                assert!(endpoints.contains(&place), "{place} of {service} has gone");
            }
            let mut of_route = self
                .apps
                .iter()
                .filter(|(one, _)| istio::is_of(service, one));
            let (_, apps) = of_route.next().unwrap();
            let is_new = self.stays[service] > now + self.linger.saturating_sub(SETTLING);
            for place in endpoints {
                if is_new && !places.contains_key(place) {
                    // The last ones of a service that has just been left.
                    assert!(self.running(service).is_empty(), "{service} has others");
                    continue;
                }
                let before = &self.endpoints[service];
                let owner = places.get(place);
                // What a held route is to be divided among is there before it is named again.
                let is_led_to = owner.is_some_and(|owner| self.leads_to(service, owner));
                assert!(
                    before.contains(place) || is_led_to,
                    "{place} of {service} is new"
                );
                assert!(
                    owner.is_some_and(|owner| apps.contains(owner)),
                    "{service} leads to {place} of {owner:?}"
                );
            }
        }
        let owned = |endpoints: BTreeSet<String>| {
            let owned = endpoints.into_iter();
            let owned =
                owned.filter_map(|place| Some((place.clone(), places.get(&place)?.clone())));
            owned.collect()
        };
        self.endpoints.clone_from(&led_to);
        let led_to = led_to.into_iter();
        self.led_to = led_to
            .map(|(service, endpoints)| (service, owned(endpoints)))
            .collect();
    }
}

#[derive(Debug, Clone)]
enum Happens {
    Change(Foundation),
    Publish,
    /// Something on one of the streams.
    To(usize, Step),
}

fn story() -> impl Strategy<Value = Vec<Happens>> {
    let happens = prop_oneof![
        2 => any_foundation().prop_map(Happens::Change),
        3 => Just(Happens::Publish),
        20 => (any::<usize>(), step()).prop_map(|(index, step)| Happens::To(index, step)),
    ];
    vec(happens, 0..200)
}

/// What all streams of a daemon are told.
struct Mesh {
    publisher: Publisher,
    sinks: Vec<Sink>,
}

impl Mesh {
    fn new(asked: &[&'static str], keep_empty: bool, now: Instant) -> Self {
        let mut sinks: Vec<_> = Protocol::ALL.into_iter().map(Sink::new).collect();
        for sink in &mut sinks {
            for kind in asked {
                sink.ask(kind, now);
            }
        }
        Self {
            publisher: Publisher::new(LINGER, keep_empty),
            sinks,
        }
    }

    fn publish(&mut self, now: Instant) {
        if let Some(snapshot) = self.publisher.publish(now) {
            for sink in &mut self.sinks {
                sink.publish(&snapshot);
                sink.answering = self.publisher.answering();
                sink.ended.clone_from(&self.publisher.ended);
                sink.excuse(&self.publisher.emptied);
                sink.forgive(|service| self.publisher.is_refused(service));
                sink.forgive_what_is_gone(|service| {
                    self.publisher.has_moved || self.publisher.moved.contains(service)
                });
            }
        }
    }

    fn happen(&mut self, happens: Happens, now: &mut Instant) {
        match happens {
            Happens::Change(foundation) => self.publisher.change(foundation),
            Happens::Publish => self.publish(*now),
            Happens::To(index, step) => {
                let count = self.sinks.len();
                step.happen(&mut self.sinks[index % count], now);
            }
        }
    }

    fn settle(&mut self, now: &mut Instant) {
        for sink in &mut self.sinks {
            sink.settle(now);
            sink.ended.clear();
        }
        self.publisher.ended.clear();
    }
}

/// The versions of all collections of both eras.
fn versions(snapshot: &Snapshot) -> BTreeMap<Kind, [String; 2]> {
    let collections = snapshot.iter().map(|(kind, classic)| {
        let xds = snapshot.xds(kind).unwrap();
        (kind, [classic, xds].map(|one| one.version().to_string()))
    });
    collections.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_the_foundation_does_no_route_leads_to_a_service_that_is_not_there(
        asked in subsequence(KINDS.as_slice(), 0..=KINDS.len()).prop_shuffle(),
        keep_empty in any::<bool>(),
        story in story(),
    ) {
        let mut now = Instant::now();
        let mut mesh = Mesh::new(&asked, keep_empty, now);
        for happens in story {
            mesh.happen(happens, &mut now);
        }
        mesh.settle(&mut now);
        // Services and routes that no sink has refused yet, and then nothing that lingers.
        let last = Foundation {
            routes: vec![foundation::route(9)],
            instances: vec![instance(9, 0, 61_000)],
        };
        mesh.publisher.change(last);
        mesh.publish(now);
        mesh.settle(&mut now);
        now += LINGER;
        mesh.publish(now);
        mesh.settle(&mut now);
        for sink in &mesh.sinks {
            sink.assert_newest_of(&[SERVICES, ROUTES]);
        }
    }

    #[test]
    fn when_nothing_lingers_any_more_all_is_as_after_a_fresh_start(
        keep_empty in any::<bool>(),
        linger in prop::sample::select(vec![Duration::ZERO, LINGER]),
        story in vec((any_foundation(), any::<bool>(), 0u64..20), 1..12),
    ) {
        let mut now = Instant::now();
        let mut old = Publisher::new(linger, keep_empty);
        let mut newest = None;
        for (foundation, is_published, seconds) in story {
            old.change(foundation);
            if is_published {
                newest = old.publish(now).or(newest);
            }
            now += Duration::from_secs(seconds);
        }
        newest = old.publish(now).or(newest);
        while let Some(end) = old.state.next_end() {
            prop_assert!(end > now || linger.is_zero());
            now = end;
            newest = old.publish(now).or(newest);
        }
        let mut fresh = Publisher::new(linger, keep_empty);
        fresh.change(old.foundation.clone());
        let fresh = fresh.publish(now).unwrap();
        prop_assert_eq!(versions(&newest.unwrap()), versions(&fresh));
    }
}

/// A route to the first app, which is published, and then another state.
fn afterwards(linger: Duration, then: Foundation) -> (Publisher, Instant, Arc<Snapshot>) {
    let now = Instant::now();
    let mut publisher = Publisher::new(linger, true);
    publisher.change(Foundation {
        routes: vec![foundation::route(0)],
        instances: vec![instance(0, 0, 61_000), instance(0, 1, 61_001)],
    });
    publisher.publish(now).unwrap();
    publisher.change(then);
    let snapshot = publisher.publish(now).unwrap();
    (publisher, now, snapshot)
}

/// How many endpoints the first route's service has, if it is there.
fn endpoints(snapshot: &Snapshot) -> Option<usize> {
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    let service = istio::service(&foundation::route(0).host, "");
    endpoints_of(entries).get(&service).map(BTreeSet::len)
}

#[test]
fn a_deleted_routes_service_stays_with_the_instances_that_run_for_its_time() {
    let app = vec![instance(0, 0, 61_000), instance(0, 1, 61_001)];
    let deleted = Foundation {
        instances: app,
        ..Foundation::default()
    };
    let (mut publisher, now, snapshot) = afterwards(LINGER, deleted);
    assert_eq!(endpoints(&snapshot), Some(2));
    // One ends, and its place is another tenant's.
    publisher.change(Foundation {
        routes: Vec::new(),
        instances: vec![instance(0, 0, 61_000), instance(1, 0, 61_001)],
    });
    let snapshot = publisher.publish(now).unwrap();
    assert_eq!(endpoints(&snapshot), Some(1));
    let just_before = LINGER.checked_sub(Duration::from_millis(1)).unwrap();
    assert!(publisher.publish(now + just_before).is_none());
    let snapshot = publisher.publish(now + LINGER).unwrap();
    assert_eq!(endpoints(&snapshot), None);
    assert_eq!(publisher.state.next_end(), None);
}

#[test]
fn a_refused_routes_service_does_not_stay_nor_one_that_already_lingers() {
    let refused = Route {
        refused: Some(Refusal::RouteService),
        ..foundation::route(0)
    };
    let instances = vec![instance(0, 0, 61_000)];
    let refused = Foundation {
        routes: vec![refused],
        instances: instances.clone(),
    };
    let (publisher, _, snapshot) = afterwards(LINGER, refused.clone());
    assert_eq!(endpoints(&snapshot), None);
    assert_eq!(publisher.state.next_end(), None);
    let deleted = Foundation {
        instances,
        ..Foundation::default()
    };
    let (mut publisher, now, snapshot) = afterwards(LINGER, deleted);
    assert_eq!(endpoints(&snapshot), Some(1));
    publisher.change(refused);
    let snapshot = publisher.publish(now).unwrap();
    assert_eq!(endpoints(&snapshot), None);
}

#[test]
fn nothing_stays_where_that_is_turned_off() {
    let deleted = Foundation {
        instances: vec![instance(0, 0, 61_000)],
        ..Foundation::default()
    };
    let (publisher, _, snapshot) = afterwards(Duration::ZERO, deleted);
    assert_eq!(endpoints(&snapshot), None);
    assert_eq!(publisher.state.next_end(), None);
}

/// Whether a sink holds a service, or a rule for it.
fn holds_service(sink: &Sink, service: &str) -> bool {
    [SERVICES, RULES].into_iter().any(|kind| {
        let held = sink.held.collections.get(&sink.protocol.asks_for(kind));
        let mut names = held.into_iter().flat_map(|held| held.resources.keys());
        names.any(|name| name.rsplit('/').next() == Some(service))
    })
}

#[test]
fn no_stream_keeps_an_instance_that_has_ended_however_slow_its_sink() {
    let service = istio::service(&foundation::route(0).host, "");
    let instances = |of_first: usize| vec![instance(of_first, 0, 61_000), instance(1, 0, 61_001)];
    // The place is another tenant's while the service lingers, or when it has lingered for as long as it may.
    for is_late in [false, true] {
        let mut now = Instant::now();
        let mut mesh = Mesh::new(&KINDS, true, now);
        let step = |mesh: &mut Mesh, routes: &[usize], of_first, now| {
            mesh.publisher.change(Foundation {
                routes: routes.iter().copied().map(foundation::route).collect(),
                instances: instances(of_first),
            });
            mesh.publish(now);
        };
        step(&mut mesh, &[0, 1], 0, now);
        mesh.settle(&mut now);
        now += Duration::from_secs(1);
        step(&mut mesh, &[0], 0, now);
        for sink in &mut mesh.sinks {
            while sink.send(now) {
                sink.read(false);
                sink.answer_all_but(ROUTES, now);
            }
            assert!(sink.owes() == 1 && holds_service(sink, &service));
        }
        step(&mut mesh, &[], if is_late { 0 } else { 2 }, now);
        now += LINGER;
        mesh.publish(now);
        step(&mut mesh, &[], 2, now);
        now += Duration::from_secs(1);
        for sink in &mut mesh.sinks {
            while sink.send(now) {
                sink.read(false);
                sink.answer_all_but(ROUTES, now);
            }
            assert!(!holds_service(sink, &service), "over {:?}", sink.protocol);
        }
        mesh.settle(&mut now);
    }
}

#[test]
fn no_stream_keeps_the_service_of_a_route_that_is_refused_however_slow_its_sink() {
    let instances = vec![instance(0, 0, 61_000), instance(1, 0, 61_001)];
    let service = istio::service(&foundation::route(0).host, "");
    let refused = Route {
        refused: Some(Refusal::RouteService),
        ..foundation::route(0)
    };
    let step = |routes: Vec<Route>| Foundation {
        routes,
        instances: instances.clone(),
    };
    // It is open until it is refused, or lingers then, or has lingered for as long as it may.
    for is_gone_for in [None, Some(Duration::ZERO), Some(LINGER)] {
        let mut now = Instant::now();
        let mut mesh = Mesh::new(&KINDS, true, now);
        mesh.publisher
            .change(step(vec![foundation::route(0), foundation::route(1)]));
        mesh.publish(now);
        mesh.settle(&mut now);
        now += Duration::from_secs(1);
        // VirtualServices that nobody answers.
        mesh.publisher.change(step(vec![foundation::route(0)]));
        mesh.publish(now);
        for sink in &mut mesh.sinks {
            while sink.send(now) {
                sink.read(false);
                sink.answer_all_but(ROUTES, now);
            }
            assert!(sink.owes() == 1 && holds_service(sink, &service));
        }
        if let Some(time) = is_gone_for {
            mesh.publisher.change(step(Vec::new()));
            mesh.publish(now);
            now += time;
            mesh.publish(now);
        }
        mesh.publisher.change(step(vec![refused.clone()]));
        mesh.publish(now);
        now += Duration::from_secs(1);
        for sink in &mut mesh.sinks {
            while sink.send(now) {
                let kind = sink.read(false);
                sink.answer_all_but(ROUTES, now);
                let is_kept = kind == Some(SERVICES) && holds_service(sink, &service);
                assert!(!is_kept, "over {:?} {is_gone_for:?}", sink.protocol);
            }
            assert!(!holds_service(sink, &service), "over {:?}", sink.protocol);
        }
        mesh.settle(&mut now);
    }
}
