//! Random conversations between a server and a sink that applies what it is sent.

use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Publish(Vec<(u8, u8)>, Vec<(u8, u8)>),
    Send,
    /// The sink reads the oldest response on its way, and answers.
    Read {
        reject: bool,
        incremental: bool,
    },
    Stale(bool),
    Renew(bool, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let resources = || vec((0u8..6, 0u8..3), 0..6);
    let step = prop_oneof![
        3 => (resources(), resources()).prop_map(|(a, b)| Step::Publish(a, b)),
        4 => Just(Step::Send),
        4 => (proptest::bool::weighted(0.2), any::<bool>())
            .prop_map(|(reject, incremental)| Step::Read { reject, incremental }),
        1 => any::<bool>().prop_map(Step::Stale),
        1 => any::<(bool, bool)>().prop_map(|(a, incremental)| Step::Renew(a, incremental)),
    ];
    vec(step, 0..60)
}

/// A server's end and a sink's end, with responses on their way between them.
struct Pair {
    stream: Stream,
    newest: Option<Arc<Snapshot>>,
    sink: BTreeMap<String, Replica>,
    on_their_way: VecDeque<Resources>,
    wants_deltas: BTreeMap<String, bool>,
    /// The nonce that the server waits for, by collection.
    outstanding: BTreeMap<String, String>,
}

impl Pair {
    fn new(incremental: bool) -> Self {
        let mut pair = Self {
            stream: Stream::default(),
            newest: None,
            sink: BTreeMap::new(),
            on_their_way: VecDeque::new(),
            wants_deltas: BTreeMap::new(),
            outstanding: BTreeMap::new(),
        };
        for name in [A, B] {
            pair.subscribe(name, incremental);
        }
        pair
    }

    fn subscribe(&mut self, name: &str, incremental: bool) {
        self.stream.send(RequestResources {
            incremental,
            ..sink::request(name)
        });
        self.wants_deltas.insert(name.to_owned(), incremental);
        self.outstanding.remove(name);
    }

    fn publish(&mut self, a: &[(u8, u8)], b: &[(u8, u8)]) {
        let named = |resources: &[(u8, u8)]| {
            let map: BTreeMap<_, _> = resources.iter().copied().collect();
            let named = map.into_iter().map(|(n, c)| (char::from(b'a' + n), c));
            named.collect::<Vec<_>>()
        };
        let newest = snapshot(&named(a), &named(b));
        self.newest = Some(newest.clone());
        self.stream.0.on_snapshot(newest);
    }

    fn send(&mut self) -> Result<bool, TestCaseError> {
        let Some(response) = self.stream.next() else {
            prop_assert!(!self.stream.0.is_due(Instant::now()));
            return Ok(false);
        };
        let name = response.collection.clone();
        let published = self.newest.as_ref().unwrap();
        let kind = Mcp::kind(&name).unwrap();
        let newest = published.get(kind).unwrap().version().to_string();
        prop_assert_eq!(&response.system_version_info, &newest, "an older state");
        prop_assert!(!response.incremental || self.wants_deltas[&name]);
        let outstanding = self.outstanding.insert(name, response.nonce.clone());
        prop_assert_eq!(outstanding, None, "two responses outstanding");
        self.on_their_way.push_back(response);
        Ok(true)
    }

    fn read(&mut self, reject: bool, incremental: bool) {
        let Some(response) = self.on_their_way.pop_front() else {
            return;
        };
        let name = response.collection.clone();
        let answer = if reject {
            sink::nack(&response, 3, "no")
        } else {
            sink::ack(&response)
        };
        self.stream.send(RequestResources {
            incremental,
            ..answer
        });
        if self.outstanding.get(&name) == Some(&response.nonce) {
            self.outstanding.remove(&name);
            self.wants_deltas.insert(name.clone(), incremental);
        }
        if !reject {
            self.sink.entry(name).or_default().apply(response);
        }
    }
}

proptest! {
    #[test]
    fn any_conversation_ends_with_the_newest_state_at_the_sink(
        incremental in any::<bool>(),
        steps in steps(),
    ) {
        let mut pair = Pair::new(incremental);
        for step in steps {
            match step {
                Step::Publish(a, b) => pair.publish(&a, &b),
                Step::Send => { pair.send()?; }
                Step::Read { reject, incremental } => pair.read(reject, incremental),
                Step::Stale(a) => {
                    let name = if a { A } else { B };
                    let event = pair.stream.send(RequestResources {
                        response_nonce: "stale".to_owned(),
                        ..sink::request(name)
                    });
                    prop_assert!(matches!(event, Heard::Stale));
                }
                Step::Renew(a, incremental) => pair.subscribe(if a { A } else { B }, incremental),
            }
        }
        // A state that nobody has rejected yet.
        pair.publish(&[(9, 9)], &[(9, 9), (10, 9)]);
        while !pair.on_their_way.is_empty() || pair.send()? {
            pair.read(false, incremental);
        }
        for (name, expected) in [(A, vec!["j"]), (B, vec!["j", "k"])] {
            let held: Vec<_> = pair.sink[name].resources.keys().map(String::as_str).collect();
            prop_assert_eq!(held, expected);
        }
    }
}
