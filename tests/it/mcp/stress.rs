//! M-47: many sinks, many collections, changes all the time, some of them rejected.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use copilot::{
    proto::istio::mcp::v1alpha1::RequestResources,
    sim::sink::{self, State, Stream},
    snapshot::{Collection, Encoded, Kind},
};
use tokio::sync::watch;

use super::harness::{Harness, StreamExt as _, resource, soon};

const SINKS: usize = 20;
const ROUNDS: u32 = 3000;

/// Names and versions of resources; shared texts, since there are ten thousand of these.
type Held = BTreeMap<Arc<str>, Arc<str>>;

/// What each version of each collection holds.
type Versions = Arc<Mutex<HashMap<(&'static str, String), Arc<Held>>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m47_every_response_leaves_a_sink_with_exactly_the_version_it_names() {
    let harness = Harness::start().await;
    let names = Kind::ALL.map(Kind::collection);
    let versions = Versions::default();
    let (last_round, done) = watch::channel(false);
    let mut sinks = tokio::task::JoinSet::new();
    for n in 0..SINKS {
        let stream = harness.stream().await;
        let sink = Sink {
            // All full, all deltas, and now one, now the other.
            incremental: [0, 50, 100][n % 3],
            random: fastrand::Rng::with_seed(n as u64),
            done: done.clone(),
            versions: versions.clone(),
        };
        sinks.spawn(sink.run(stream, names.to_vec()));
    }
    publish(&harness, &names, &versions, &last_round).await;
    while let Some(applied) = soon(sinks.join_next()).await {
        assert!(applied.unwrap() >= names.len());
    }
    harness.stop().await;
}

async fn publish(
    harness: &Harness,
    names: &[&'static str],
    versions: &Versions,
    last_round: &watch::Sender<bool>,
) {
    let mut random = fastrand::Rng::with_seed(47);
    let mut state = BTreeMap::new();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for round in 0..=ROUNDS {
        tick.tick().await;
        // Nobody rejects the last one, and all change with it.
        let last = round == ROUNDS;
        last_round.send_replace(last);
        for name in names {
            if !last && round > 0 && random.bool() {
                continue;
            }
            let edits = edits(round, &mut random);
            let (collection, held): &mut (Collection, Held) = state.entry(*name).or_default();
            *collection = collection.edited(edits.clone());
            edit(held, edits);
            let version = (*name, collection.version().to_string());
            let held = Arc::new(held.clone());
            versions.lock().unwrap().insert(version, held);
        }
        let collections = state
            .iter()
            .map(|(name, (collection, _))| (*name, collection.clone()));
        harness.publish_collections(&collections.collect());
    }
}

/// Up to ten changes, one of which is certain.
fn edits(round: u32, random: &mut fastrand::Rng) -> BTreeMap<Arc<str>, Option<Encoded>> {
    let edits = (0..random.usize(0..10)).map(|_| {
        let name = random.u32(0..100).to_string();
        let edit = random.bool().then(|| resource(&name, round));
        (name.into(), edit)
    });
    let mut edits: BTreeMap<Arc<str>, _> = edits.collect();
    edits.insert("certain".into(), Some(resource("certain", round)));
    edits
}

fn edit(held: &mut Held, edits: BTreeMap<Arc<str>, Option<Encoded>>) {
    for (name, edit) in edits {
        match edit {
            Some(resource) => held.insert(name, resource.version().to_string().into()),
            None => held.remove(&name),
        };
    }
}

struct Sink {
    /// In what percentage of its requests it asks for deltas.
    incremental: u8,
    random: fastrand::Rng,
    done: watch::Receiver<bool>,
    versions: Versions,
}

impl Sink {
    /// Follows all collections to their last version; returns how many responses it applied.
    async fn run(mut self, mut stream: Stream, names: Vec<&'static str>) -> usize {
        for name in &names {
            let request = self.request(sink::request(name));
            stream.send(request).await;
        }
        let mut state = State::default();
        let mut finished = BTreeSet::new();
        let mut applied = 0;
        let last = resource("certain", ROUNDS).version().to_string().into();
        while finished.len() < names.len() {
            let response = stream.response().await;
            let done = *self.done.borrow();
            if !done && self.random.u8(0..100) == 0 {
                let nack = self.request(sink::nack(&response, 3, "at random"));
                stream.send(nack).await;
                continue;
            }
            let ack = self.request(sink::ack(&response));
            let name = *names
                .iter()
                .find(|name| **name == response.collection)
                .unwrap();
            state.apply(response);
            applied += 1;
            let replica = &state.collections[name];
            let expected = self.versions.lock().unwrap()[&(name, replica.version.clone())].clone();
            let versions = replica.versions();
            let versions = versions.iter().map(|(name, version)| (&**name, &**version));
            let expected_versions = expected.iter().map(|(name, version)| (&**name, &**version));
            assert!(
                versions.eq(expected_versions),
                "{name} at {}: {replica:?}",
                replica.version
            );
            stream.send(ack).await;
            if expected.get("certain") == Some(&last) {
                finished.insert(name);
            }
        }
        applied
    }

    fn request(&mut self, request: RequestResources) -> RequestResources {
        RequestResources {
            incremental: self.random.u8(0..100) < self.incremental,
            ..request
        }
    }
}
