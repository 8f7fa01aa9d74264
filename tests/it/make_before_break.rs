//! Make before break: after any prefix of what was sent on a stream, no VirtualService names a service that the sink does
//! not have.
//!
//! The streams' own state machines, without sockets and at a time that the test moves on; one scenario over sockets.

#![expect(clippy::unwrap_used, reason = "what a test expects to be there")]

mod daemon;
mod foundation;
mod peers;
mod sink;
mod whole;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use copilot::{
    proto::istio::networking::v1alpha3::{
        ClientTlsSettings, Destination, DestinationRule, Gateway, HttpRoute, HttpRouteDestination,
        ServiceEntry, TrafficPolicy, VirtualService,
    },
    snapshot::{Collection, Encoded, Kind, Snapshot},
};
use proptest::{collection::vec, option, prelude::*, sample::subsequence};
use prost::Name;

use self::{
    peers::Protocol,
    sink::{GATEWAYS, KINDS, PATIENCE, ROUTES, RULES, SERVICES, Sink},
};

/// What a foundation publishes: any state of it may follow any other.
#[derive(Debug, Clone, Default)]
struct Published {
    /// The services that each hostname's VirtualService names.
    routes: BTreeMap<u8, BTreeSet<u8>>,
    /// The services that there are beside those, and what is different about each.
    services: BTreeMap<u8, u8>,
    /// The services with a DestinationRule.
    rules: BTreeSet<u8>,
    /// What may answer at a service's endpoints, by its rule.
    names: BTreeMap<u8, BTreeSet<u8>>,
    gateway: u8,
}

impl Published {
    fn snapshot(&self) -> Arc<Snapshot> {
        let named = self.routes.values().flatten();
        let all: BTreeSet<u8> = named.chain(self.services.keys()).copied().collect();
        let host = |service: u8| format!("{service}.routes.cloudfoundry");
        let services = all.iter().map(|service| {
            let content = self.services.get(service).copied().unwrap_or_default();
            let entry = ServiceEntry {
                hosts: vec![host(*service)],
                addresses: vec![format!("10.0.0.{content}")],
                ..ServiceEntry::default()
            };
            (service.to_string(), entry)
        });
        let rules = self.rules.intersection(&all).map(|service| {
            let answering = self.names.get(service).into_iter().flatten();
            let answering: Vec<_> = answering
                .map(|content| format!("10.0.0.{content}"))
                .collect();
            let tls = (!answering.is_empty()).then(|| ClientTlsSettings {
                subject_alt_names: answering,
                ..ClientTlsSettings::default()
            });
            let rule = DestinationRule {
                host: host(*service),
                traffic_policy: tls.map(|tls| TrafficPolicy {
                    tls: Some(tls),
                    ..TrafficPolicy::default()
                }),
                ..DestinationRule::default()
            };
            (service.to_string(), rule)
        });
        let routes = self.routes.iter().map(|(name, services)| {
            let route = services.iter().map(|service| HttpRouteDestination {
                destination: Some(Destination {
                    host: host(*service),
                    ..Destination::default()
                }),
                ..HttpRouteDestination::default()
            });
            let http = HttpRoute {
                route: route.collect(),
                ..HttpRoute::default()
            };
            let routes = VirtualService {
                hosts: vec![format!("{name}.example.com")],
                http: vec![http],
                ..VirtualService::default()
            };
            (name.to_string(), routes)
        });
        let gateway = Gateway {
            selector: [("n".to_owned(), self.gateway.to_string())].into(),
            ..Gateway::default()
        };
        let collections = [
            (SERVICES, collection(services)),
            (RULES, collection(rules)),
            (ROUTES, collection(routes)),
            (GATEWAYS, collection([("gateway".to_owned(), gateway)])),
        ];
        let collections = collections.into_iter().map(|(kind, collection)| {
            let kind = Kind::from_name(kind).unwrap();
            (kind, Arc::new(collection))
        });
        Arc::new(Snapshot::new(collections.collect()))
    }
}

fn collection<M: prost::Message + Name>(
    resources: impl IntoIterator<Item = (String, M)>,
) -> Collection {
    let edits = resources.into_iter().map(|(name, body)| {
        let encoded = Encoded::new(&name, 0, &body);
        (name.into(), Some(encoded))
    });
    Collection::default().edited(edits.collect())
}

#[derive(Debug, Clone)]
enum Step {
    Ask(&'static str),
    Send,
    Read { rejects: bool },
    Answer(usize),
    Wait(Duration),
}

fn published() -> impl Strategy<Value = Published> {
    let services = || vec(0u8..6, 1..3).prop_map(BTreeSet::from_iter);
    let routes = vec((0u8..3, services()), 0..4).prop_map(BTreeMap::from_iter);
    let others = vec((0u8..6, 0u8..3), 0..4).prop_map(BTreeMap::from_iter);
    let rules = vec(0u8..6, 0..4).prop_map(BTreeSet::from_iter);
    (routes, others, rules, 0u8..2).prop_map(|(routes, services, rules, gateway)| Published {
        routes,
        services,
        rules,
        gateway,
        ..Published::default()
    })
}

impl Step {
    fn happen(self, sink: &mut Sink, now: &mut Instant) {
        match self {
            Self::Ask(kind) => sink.ask(kind, *now),
            Self::Send => drop(sink.send(*now)),
            Self::Read { rejects } => drop(sink.read(rejects)),
            Self::Answer(index) => sink.answer(index, *now),
            Self::Wait(time) => *now += time,
        }
    }
}

/// What may happen on a stream.
fn step() -> impl Strategy<Value = Step> {
    let waits = vec![0, 1, 100, 200, 1000, 16_000, 31_000];
    prop_oneof![
        1 => prop::sample::select(KINDS.as_slice()).prop_map(Step::Ask),
        6 => Just(Step::Send),
        6 => prop::bool::weighted(0.1).prop_map(|rejects| Step::Read { rejects }),
        6 => any::<usize>().prop_map(Step::Answer),
        2 => prop::sample::select(waits).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
    ]
}

/// One route to one service, with a DestinationRule.
fn only(service: u8, content: u8) -> Arc<Snapshot> {
    let services = BTreeSet::from([service]);
    let published = Published {
        routes: [(0, services.clone())].into(),
        services: [(service, content)].into(),
        rules: services,
        gateway: content,
        ..Published::default()
    };
    published.snapshot()
}

/// A sink that holds the first state, and has said so.
fn settled(protocol: Protocol, kinds: &[&'static str], now: &mut Instant) -> Sink {
    let mut sink = Sink::new(protocol);
    for kind in kinds {
        sink.ask(kind, *now);
    }
    sink.publish(&only(0, 0));
    sink.settle(now);
    *now += Duration::from_mins(1);
    sink
}

#[test]
fn what_a_route_names_is_sent_before_it_and_goes_after_it() {
    for protocol in Protocol::ALL {
        let mut now = Instant::now();
        let mut sink = settled(protocol, &KINDS, &mut now);
        sink.publish(&only(1, 0));
        let mut sent = Vec::new();
        while let Some(kind) = sink.exchange(now) {
            sent.push(kind);
            if sent.len() == 3 {
                // What was there before is there still: of both named kinds there are two.
                assert_eq!(sent[2], ROUTES, "over {protocol:?}");
                assert_eq!(sink.counts([SERVICES, RULES]), [2, 2]);
                // The next burst.
                now += Duration::from_millis(500);
            }
        }
        assert_eq!(sent.len(), 5, "{sent:?} over {protocol:?}");
        assert_eq!(sink.counts([SERVICES, RULES]), [1, 1]);
        sink.assert_newest();
    }
}

/// Longer than what is between two bursts.
const STEP: Duration = Duration::from_millis(600);

/// Before each message there is something new, as if it took that long to send one.
#[test]
fn changes_without_end_keep_nobody_waiting() {
    for protocol in Protocol::ALL {
        // The sink answers at once, or when some more could have been sent.
        for delay in 0..4 {
            let mut now = Instant::now();
            let mut sink = settled(protocol, &KINDS, &mut now);
            let before = KINDS.map(|kind| sink.applied(kind));
            for change in 0..400u16 {
                let change = (change % 200) as u8;
                sink.publish(&only(change, change));
                now += STEP;
                if sink.send(now) {
                    sink.read(false);
                }
                sink.answer_older(STEP * delay, now);
            }
            for (kind, before) in KINDS.into_iter().zip(before) {
                let applied = sink.applied(kind) - before;
                assert!(
                    applied > 40,
                    "{kind} {applied} times over {protocol:?}, {delay}"
                );
            }
        }
    }
}

#[test]
fn the_routes_of_a_state_are_sent_though_newer_services_wait_for_an_answer() {
    for protocol in Protocol::ALL {
        let mut now = Instant::now();
        let mut sink = settled(protocol, &[SERVICES, ROUTES], &mut now);
        sink.publish(&only(1, 0));
        assert!(sink.send(now));
        sink.read(false);
        // Only now, when the services of the state before are on their way.
        sink.publish(&only(2, 0));
        now += Duration::from_secs(1);
        assert_eq!(sink.exchange(now), Some(ROUTES), "over {protocol:?}");
        assert_eq!(sink.exchange(now), None, "the newer ones wait");
        sink.answer(0, now);
        assert_eq!(sink.exchange(now + Duration::from_secs(1)), Some(SERVICES));
    }
}

#[test]
fn who_does_not_answer_for_one_kind_gets_the_others_after_a_while() {
    for protocol in Protocol::ALL {
        for silent in [SERVICES, RULES, ROUTES] {
            let mut now = Instant::now();
            let mut sink = settled(protocol, &KINDS, &mut now);
            let published = only(1, 1);
            sink.publish(&published);
            while sink.send(now) {
                sink.read(false);
            }
            sink.answer_all_but(silent, now);
            sink.publish(&only(2, 2));
            now += PATIENCE;
            let mut told = BTreeSet::new();
            while sink.send(now) {
                told.extend(sink.read(false));
                sink.answer_all_but(silent, now);
            }
            let others = KINDS.into_iter().filter(|kind| *kind != silent);
            assert_eq!(told, others.collect(), "without {silent} over {protocol:?}");
        }
    }
}

#[test]
fn who_refuses_or_does_not_ask_is_not_waited_for() {
    for protocol in Protocol::ALL {
        let mut now = Instant::now();
        let mut sink = settled(protocol, &[RULES, ROUTES], &mut now);
        sink.publish(&only(1, 0));
        assert!(sink.send(now));
        assert_eq!(sink.read(true), Some(RULES));
        sink.answer(0, now);
        assert_eq!(sink.exchange(now), Some(ROUTES), "over {protocol:?}");
    }
}

/// What is published and what happens after it, if anything is.
type Story = Vec<(Option<Published>, Step)>;

fn story() -> impl Strategy<Value = Story> {
    vec((option::weighted(0.2, published()), step()), 0..100)
}

fn converse(sink: &mut Sink, story: Story, now: &mut Instant) {
    for (published, step) in story {
        if let Some(published) = published {
            sink.publish(&published.snapshot());
        }
        step.happen(sink, now);
    }
}

/// Every service stays, and has a rule with the names of all that was ever there: services and names linger.
fn with_names(story: &mut Story) {
    let mut names: BTreeMap<u8, BTreeSet<u8>> = BTreeMap::new();
    for published in story
        .iter_mut()
        .filter_map(|(published, _)| published.as_mut())
    {
        for service in 0..6 {
            let content = *published.services.entry(service).or_default();
            names.entry(service).or_default().insert(content);
        }
        published.rules = (0..6).collect();
        published.names.clone_from(&names);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_conversation_names_who_may_answer_before_it_leads_there(
        protocol in prop::sample::select(Protocol::ALL.as_slice()),
        mut story in story(),
    ) {
        let mut now = Instant::now();
        let mut sink = Sink::new(protocol);
        for kind in KINDS {
            sink.ask(kind, now);
        }
        with_names(&mut story);
        converse(&mut sink, story, &mut now);
        sink.settle(&mut now);
    }

    #[test]
    fn any_conversation_makes_before_it_breaks_and_ends_with_the_newest_state(
        protocol in prop::sample::select(Protocol::ALL.as_slice()),
        asked in subsequence(KINDS.as_slice(), 0..=KINDS.len()).prop_shuffle(),
        story in story(),
    ) {
        let mut now = Instant::now();
        let mut sink = Sink::new(protocol);
        for kind in asked {
            sink.ask(kind, now);
        }
        converse(&mut sink, story, &mut now);
        sink.settle(&mut now);
        // A state that nobody has refused yet.
        let services = BTreeSet::from([9]);
        let last = Published {
            routes: [(9, services.clone())].into(),
            rules: services,
            gateway: 9,
            ..Published::default()
        };
        sink.publish(&last.snapshot());
        sink.settle(&mut now);
        sink.assert_newest();
    }
}
