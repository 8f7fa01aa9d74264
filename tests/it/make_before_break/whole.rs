//! From what the foundation says to what sinks hold: lingering and the order on streams together.

use copilot::{
    istio::{self, Kind},
    model::{
        AppPort, Destination, Hostname, Instance, Protocol as Spoken, Refusal, Route, Update,
        Weight,
    },
    publisher::{Metrics, Settings, State},
    sim::foundation,
};
use prometheus_client::registry::Registry;

use super::*;
use crate::make_before_break::sink::{named_by, services_of};

const LINGER: Duration = Duration::from_secs(15);
/// What a refused route's VirtualService names: nothing.
const NOWHERE: &str = "refused.invalid";

/// What a foundation may look like; any other may follow.
#[derive(Debug, Clone, Default)]
struct Foundation {
    routes: Vec<Route>,
    instances: Vec<Arc<Instance>>,
}

fn route() -> impl Strategy<Value = Route> {
    let hosts = vec![
        "a.example.com",
        "b.example.com",
        "*.example.com",
        "i.apps.internal",
    ];
    let weight = prop_oneof![
        2 => Just(Weight::Instances),
        1 => (1u32..3).prop_map(Weight::Fixed),
    ];
    let destination = (0usize..3, weight, any::<bool>());
    let refused = prop_oneof![5 => Just(None), 1 => Just(Some(Refusal::RouteService))];
    let host = prop::sample::select(hosts);
    let path = prop::sample::select(vec!["", "/p"]);
    (host, path, refused, vec(destination, 0..3)).prop_map(|(host, path, refused, to)| {
        let internal = host.ends_with(".internal");
        let destinations: BTreeSet<_> = to
            .into_iter()
            .map(|(app, weight, http2)| Destination {
                workload: foundation::route(app).destinations[0].workload.clone(),
                port: AppPort::Number(8080),
                weight,
                protocol: if http2 { Spoken::Http2 } else { Spoken::Http1 },
            })
            .collect();
        Route {
            guid: format!("{host}{path}").as_str().into(),
            host: Hostname::parse(host).unwrap(),
            path: if internal { "" } else { path }.into(),
            internal,
            refused,
            destinations: destinations.into_iter().collect(),
            ..foundation::route(0)
        }
    })
}

fn any_foundation() -> impl Strategy<Value = Foundation> {
    let routes = vec(route(), 0..6).prop_map(|routes| {
        let by_guid = routes.into_iter().map(|route| (route.guid.clone(), route));
        by_guid.collect::<BTreeMap<_, _>>().into_values().collect()
    });
    let instances = vec((0usize..3, 0usize..2), 0..5).prop_map(|instances| {
        let once: BTreeSet<_> = instances.into_iter().collect();
        let once = once.into_iter();
        once.map(|(app, index)| {
            let port = 61_000 + u16::try_from(10 * app + index).unwrap();
            foundation::instance(app, index, port)
        })
        .collect()
    });
    (routes, instances).prop_map(|(routes, instances)| Foundation { routes, instances })
}

/// A publisher without its task, and what it has to keep to.
struct Publisher {
    state: State,
    foundation: Foundation,
    /// Until when each service has to stay that was named.
    stays: BTreeMap<String, Instant>,
    named: BTreeSet<String>,
}

impl Publisher {
    fn new(linger: Duration) -> Self {
        let settings = Settings {
            linger,
            keep_empty_service_entries: true,
            ..Settings::default()
        };
        let metrics = Metrics::new(&mut Registry::default());
        Self {
            state: State::new(&settings, metrics).unwrap(),
            foundation: Foundation::default(),
            stays: BTreeMap::new(),
            named: BTreeSet::new(),
        }
    }

    fn change(&mut self, foundation: Foundation) {
        self.state
            .apply(Update::AllRoutes(foundation.routes.clone()));
        self.state
            .apply(Update::AllInstances(foundation.instances.clone()));
        self.foundation = foundation;
    }

    fn publish(&mut self, now: Instant) -> Option<Arc<Snapshot>> {
        let ends = self.state.next_end().is_some_and(|at| at <= now);
        if !self.state.is_due() && !ends {
            return None;
        }
        let snapshot = Arc::new(self.state.publish_at(now)?);
        self.check(&snapshot, now);
        Some(snapshot)
    }

    /// What is named is there, what was named stays for its time, and what is refused goes at once.
    fn check(&mut self, snapshot: &Snapshot, now: Instant) {
        let of = |kind: Kind| snapshot.xds(kind.collection()).unwrap();
        let mut named = named_by(of(Kind::VirtualService));
        named.remove(NOWHERE);
        let there = services_of(of(Kind::ServiceEntry));
        assert!(named.is_subset(&there), "{named:?} of {there:?}");
        let of_refused = |service: &String| {
            let routes = self.foundation.routes.iter();
            let mut refused = routes.filter(|route| route.refused.is_some() && !route.internal);
            refused.any(|route| istio::is_of(service, &istio::service(&route.host, &route.path)))
        };
        assert!(!there.iter().any(of_refused), "refused, and there");
        for service in self.named.difference(&named) {
            self.stays.insert(service.clone(), now + LINGER);
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
            assert!(is_internal || there.contains(service), "{service} has gone");
        }
        self.named = named;
    }
}

#[derive(Debug, Clone)]
enum Happens {
    Change(Foundation),
    Publish,
    To(Step),
}

fn story() -> impl Strategy<Value = Vec<Happens>> {
    let happens = prop_oneof![
        2 => any_foundation().prop_map(Happens::Change),
        3 => Just(Happens::Publish),
        10 => step().prop_map(Happens::To),
    ];
    vec(happens, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_the_foundation_does_no_route_leads_to_a_service_that_is_not_there(
        protocol in prop::sample::select(Protocol::ALL.as_slice()),
        asked in subsequence(KINDS.as_slice(), 0..=KINDS.len()).prop_shuffle(),
        story in story(),
    ) {
        let mut now = Instant::now();
        let mut publisher = Publisher::new(LINGER);
        let mut sink = Sink::new(protocol);
        for kind in asked {
            sink.ask(kind, now);
        }
        for happens in story {
            match happens {
                Happens::Change(foundation) => publisher.change(foundation),
                Happens::Publish => {
                    if let Some(snapshot) = publisher.publish(now) {
                        sink.publish(&snapshot);
                    }
                }
                Happens::To(step) => step.happen(&mut sink, &mut now),
            }
        }
        sink.settle(&mut now);
        // Nothing that has been refused, and nothing that lingers.
        let last = Foundation {
            routes: vec![foundation::route(9)],
            instances: vec![foundation::instance(9, 0, 61_000)],
        };
        publisher.change(last.clone());
        sink.publish(&publisher.publish(now).unwrap());
        sink.settle(&mut now);
        now += LINGER;
        if let Some(snapshot) = publisher.publish(now) {
            sink.publish(&snapshot);
        }
        sink.settle(&mut now);
        sink.assert_newest();
        // A replica that has not seen any of it.
        let mut other = Publisher::new(LINGER);
        other.change(last);
        sink.publish(&other.publish(now).unwrap());
        prop_assert!(!sink.send(now), "replicas differ");
    }
}
