//! Random conversations between a server and a client that applies what it is sent.

#![cfg(feature = "sim")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::*;
use crate::{
    delivery::Frames,
    proto::istio::networking::v1alpha3::VirtualService,
    sim::istiod::{delta_ack, delta_nack, delta_request},
    snapshot::{Collection, Encoded, Snapshot},
};

const TYPE: &str = "networking.istio.io/v1/VirtualService";

#[derive(Debug, Clone)]
enum Step {
    Publish(Vec<(u8, u8)>),
    Send,
    /// The client reads the oldest response on its way, and answers.
    Read {
        reject: bool,
    },
    Change {
        wanted: Vec<u8>,
        given_up: Vec<u8>,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Names beyond those of resources are the wildcard, and one that no resource has.
    let names = || vec(0u8..6, 0..3);
    let step = prop_oneof![
        3 => vec((0u8..4, 0u8..3), 0..4).prop_map(Step::Publish),
        4 => Just(Step::Send),
        4 => proptest::bool::weighted(0.2).prop_map(|reject| Step::Read { reject }),
        2 => (names(), names()).prop_map(|(wanted, given_up)| Step::Change { wanted, given_up }),
    ];
    vec(step, 0..60)
}

fn name(n: u8) -> String {
    match n {
        0 => "*".to_owned(),
        1 => "no-slash".to_owned(),
        n => format!("cloudfoundry/{}", n - 2),
    }
}

fn snapshot(contents: &BTreeMap<u8, u8>) -> Arc<Snapshot> {
    let edits = contents.iter().map(|(name, content)| {
        let body = VirtualService {
            hosts: vec![content.to_string()],
            ..VirtualService::default()
        };
        let name = name.to_string();
        let encoded = Encoded::new(&name, 0, &body);
        (name.into(), Some(encoded))
    });
    let collection = Collection::default().edited(edits.collect());
    let collections = [(Kind::VirtualService, Arc::new(collection))];
    Arc::new(Snapshot::new(collections.into_iter().collect()))
}

/// A server's end and a client's end, with responses on their way between them.
struct Pair {
    state: StreamState,
    newest: BTreeMap<u8, u8>,
    everything: bool,
    names: BTreeSet<String>,
    /// What the client holds: versions by name.
    held: BTreeMap<String, String>,
    on_their_way: VecDeque<DeltaDiscoveryResponse>,
}

impl Pair {
    fn new(names: &[u8]) -> Self {
        let mut pair = Self {
            state: StreamState::new::<Delta>(Duration::ZERO),
            newest: BTreeMap::new(),
            everything: names.is_empty(),
            names: BTreeSet::new(),
            held: BTreeMap::new(),
            on_their_way: VecDeque::new(),
        };
        pair.change(names, &[]);
        pair
    }

    fn hear(&mut self, request: DeltaDiscoveryRequest) -> Heard {
        Delta::hear(&mut self.state, request, Instant::now()).unwrap()
    }

    fn publish(&mut self) {
        self.state.on_snapshot(snapshot(&self.newest));
    }

    fn change(&mut self, wanted: &[u8], given_up: &[u8]) {
        let named = |names: &[u8]| names.iter().copied().map(name).collect::<Vec<_>>();
        for name in named(given_up) {
            self.everything &= name != "*";
            self.names.remove(&name);
        }
        for name in named(wanted) {
            if name == "*" {
                self.everything = true;
            } else {
                self.names.insert(name);
            }
        }
        // A client forgets what it has given up.
        let (everything, kept) = (self.everything, &self.names);
        self.held
            .retain(|name, _| everything || kept.contains(name));
        self.hear(DeltaDiscoveryRequest {
            resource_names_subscribe: named(wanted),
            resource_names_unsubscribe: named(given_up),
            ..delta_request(TYPE)
        });
    }

    fn send(&mut self) -> bool {
        let Some(response) = self.state.next(Instant::now()) else {
            return false;
        };
        let message = Frames::of::<Delta>(response).unwrap().into_message();
        let response = DeltaDiscoveryResponse::decode(message).unwrap();
        let mut told: Vec<_> = response.resources.iter().map(|entry| &entry.name).collect();
        told.extend(&response.removed_resources);
        let once: BTreeSet<_> = told.iter().collect();
        assert_eq!(once.len(), told.len(), "a name twice: {told:?}");
        self.on_their_way.push_back(response);
        true
    }

    fn read(&mut self, reject: bool) {
        let Some(response) = self.on_their_way.pop_front() else {
            return;
        };
        if reject {
            self.hear(delta_nack(&response, 3, "no"));
            return;
        }
        self.hear(delta_ack(&response));
        for entry in response.resources {
            // It may have been given up since.
            if self.everything || self.names.contains(&entry.name) {
                self.held.insert(entry.name, entry.version);
            }
        }
        for name in &response.removed_resources {
            self.held.remove(name);
        }
    }

    /// What the client wants of the newest state.
    fn expected(&self) -> BTreeMap<String, String> {
        let newest = snapshot(&self.newest);
        let collection = newest.xds(Kind::VirtualService).unwrap();
        let resources = collection.iter().map(|resource| {
            let name = format!("cloudfoundry/{}", resource.name);
            (name, resource.version.to_string())
        });
        resources
            .filter(|(name, _)| self.everything || self.names.contains(name))
            .collect()
    }
}

#[test]
fn deltas_do_not_wait_for_each_other() {
    let mut pair = Pair::new(&[]);
    pair.state = StreamState::new::<Delta>(Duration::from_hours(1));
    pair.change(&[], &[]);
    for content in 0..3 {
        pair.newest.insert(0, content);
        pair.publish();
        assert!(pair.send());
        pair.read(false);
    }
}

#[test]
fn what_is_asked_for_while_a_response_is_on_its_way_is_sent_after_its_answer() {
    for reject in [false, true] {
        let mut pair = Pair::new(&[2]);
        pair.newest = [(0, 0), (1, 0)].into();
        pair.publish();
        assert!(pair.send());
        pair.change(&[3], &[]);
        pair.read(reject);
        assert!(pair.send(), "after a NACK: {reject}");
        pair.read(false);
        assert_eq!(pair.held, pair.expected());
    }
}

proptest! {
    #[test]
    fn any_conversation_ends_with_what_the_client_wants_of_the_newest_state(
        names in vec(0u8..6, 0..3),
        steps in steps(),
    ) {
        let mut pair = Pair::new(&names);
        let mut has_rejected = false;
        for step in steps {
            match step {
                Step::Publish(resources) => {
                    pair.newest = resources.into_iter().collect();
                    pair.publish();
                }
                Step::Send => { pair.send(); }
                Step::Read { reject } => {
                    if !pair.on_their_way.is_empty() {
                        has_rejected = reject;
                    }
                    pair.read(reject);
                }
                Step::Change { wanted, given_up } => pair.change(&wanted, &given_up),
            }
        }
        if has_rejected {
            // What was rejected is not sent again: a state that is new, though little in it is.
            pair.newest.insert(3, 9);
            pair.publish();
        }
        while !pair.on_their_way.is_empty() || pair.send() {
            pair.read(false);
        }
        prop_assert_eq!(&pair.held, &pair.expected());
    }
}
