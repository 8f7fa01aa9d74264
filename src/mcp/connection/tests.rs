//! The protocol's rules, one at a time.

#![cfg(feature = "sim")]

mod bursts;
mod conversations;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use prost::Message as _;

use super::*;
use crate::{
    delivery::{Frames, MAX_COLLECTIONS, MAX_LISTED},
    proto::{
        google::rpc,
        istio::{mcp::v1alpha1::Resources, networking::v1alpha3::VirtualService},
    },
    sim::sink::{self, Replica},
    snapshot::{Collection, Encoded, Snapshot},
};

const A: &str = "istio/networking/v1alpha3/virtualservices";
const B: &str = "istio/networking/v1alpha3/gateways";

/// Resources named by letters, each with a content of its own.
fn collection(resources: &[(char, u8)]) -> Arc<Collection> {
    let edits = resources.iter().map(|(name, content)| {
        let body = VirtualService {
            hosts: vec![content.to_string()],
            ..VirtualService::default()
        };
        let name = name.to_string();
        let encoded = Encoded::new(&name, 0, &body);
        (name.into(), Some(encoded))
    });
    Arc::new(Collection::default().edited(edits.collect()))
}

fn snapshot(a: &[(char, u8)], b: &[(char, u8)]) -> Arc<Snapshot> {
    let collections = [
        (Kind::VirtualService, collection(a)),
        (Kind::Gateway, collection(b)),
    ];
    Arc::new(Snapshot::new(collections.into_iter().collect()))
}

/// A connection with the sink's end of the conversation.
struct Stream(StreamState);

impl Default for Stream {
    fn default() -> Self {
        Self(StreamState::new::<Mcp>(Duration::ZERO))
    }
}

impl Stream {
    fn with(snapshot: Arc<Snapshot>) -> Self {
        let mut stream = Self::default();
        stream.0.on_snapshot(snapshot);
        stream
    }

    fn send(&mut self, request: RequestResources) -> Heard {
        Mcp::hear(&mut self.0, request, Instant::now()).unwrap()
    }

    fn next(&mut self) -> Option<Resources> {
        Some(decoded(self.0.next(Instant::now())?))
    }

    fn ack(&mut self, response: &Resources, incremental: bool) {
        let event = self.send(RequestResources {
            incremental,
            ..sink::ack(response)
        });
        assert!(matches!(event, Heard::Acked(_)), "{event:?}");
    }
}

fn incremental(collection: &str, listed: &[(&str, &str)]) -> RequestResources {
    RequestResources {
        incremental: true,
        initial_resource_versions: listed
            .iter()
            .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
            .collect(),
        ..sink::request(collection)
    }
}

fn decoded(response: Response) -> Resources {
    Resources::decode(Frames::of::<Mcp>(response).unwrap().into_message()).unwrap()
}

fn names(response: &Resources) -> String {
    let names = response.resources.iter().map(|resource| {
        let metadata = resource.metadata.as_ref().unwrap();
        metadata.name.clone()
    });
    names.collect()
}

#[test]
fn is_silent_until_there_is_a_snapshot() {
    let mut stream = Stream::default();
    stream.send(sink::request(A));
    assert!(!stream.0.is_due(Instant::now()));
    assert_eq!(stream.next(), None);
    stream.0.on_snapshot(snapshot(&[], &[]));
    assert_eq!(stream.next().unwrap().collection, A);
    assert_eq!(stream.next(), None);
}

#[test]
fn nonces_count_all_responses_of_the_stream() {
    let mut stream = Stream::with(snapshot(&[('a', 0)], &[]));
    stream.send(sink::request(A));
    stream.send(sink::request(B));
    let nonces = [stream.next().unwrap().nonce, stream.next().unwrap().nonce];
    assert_eq!(nonces, ["1", "2"]);
}

#[test]
fn holds_the_next_version_until_the_pending_one_is_acked() {
    let mut stream = Stream::with(snapshot(&[('a', 0)], &[]));
    stream.send(sink::request(A));
    let first = stream.next().unwrap();
    stream.0.on_snapshot(snapshot(&[('a', 1)], &[]));
    stream.0.on_snapshot(snapshot(&[('b', 0)], &[]));
    assert_eq!(stream.next(), None);
    stream.ack(&first, false);
    let second = stream.next().unwrap();
    assert_eq!((names(&second).as_str(), &*second.nonce), ("b", "2"));
}

#[test]
fn a_rejected_version_is_not_sent_again_but_the_next_is() {
    let mut stream = Stream::with(snapshot(&[('a', 0)], &[]));
    stream.send(sink::request(A));
    let first = stream.next().unwrap();
    let event = stream.send(sink::nack(&first, 2, "bad"));
    assert!(matches!(event, Heard::Nacked { code: 2, .. }), "{event:?}");
    assert_eq!(stream.next(), None);
    stream.0.on_snapshot(snapshot(&[('b', 0)], &[]));
    assert_eq!(names(&stream.next().unwrap()), "b");
}

#[test]
fn an_answer_with_another_nonce_changes_nothing() {
    let mut stream = Stream::with(snapshot(&[('a', 0)], &[]));
    stream.send(sink::request(A));
    stream.send(sink::request(B));
    let (first, second) = (stream.next().unwrap(), stream.next().unwrap());
    let (a, b) = if first.collection == A {
        (first, second)
    } else {
        (second, first)
    };
    stream.0.on_snapshot(snapshot(&[('b', 0)], &[]));
    let swapped = RequestResources {
        response_nonce: b.nonce.clone(),
        ..sink::request(A)
    };
    for stale in [
        swapped,
        sink::nack(
            &Resources {
                nonce: "x".into(),
                ..a.clone()
            },
            3,
            "",
        ),
    ] {
        assert!(matches!(stream.send(stale), Heard::Stale));
        assert_eq!(stream.next(), None);
    }
    stream.ack(&a, false);
    assert_eq!(names(&stream.next().unwrap()), "b");
    stream.ack(&b, false);
    assert!(matches!(stream.send(sink::ack(&b)), Heard::Stale), "twice");
}

#[test]
fn a_new_request_is_answered_in_full_even_while_a_response_is_pending() {
    let mut stream = Stream::with(snapshot(&[('a', 0), ('b', 0)], &[]));
    for nonce in ["1", "2"] {
        stream.send(sink::request(A));
        let response = stream.next().unwrap();
        assert_eq!((names(&response).as_str(), &*response.nonce), ("ab", nonce));
        assert_eq!(stream.next(), None);
    }
}

#[test]
fn deltas_follow_what_was_acked() {
    let mut stream = Stream::with(snapshot(&[('a', 0), ('b', 0), ('c', 0)], &[]));
    stream.send(incremental(A, &[]));
    let first = stream.next().unwrap();
    assert!(first.incremental);
    assert_eq!(names(&first), "abc");
    stream.ack(&first, true);

    stream
        .0
        .on_snapshot(snapshot(&[('a', 0), ('b', 1), ('d', 0)], &[]));
    let second = stream.next().unwrap();
    assert!(second.incremental);
    assert_eq!(names(&second), "bd");
    assert_eq!(second.removed_resources, ["c"]);

    // Rejected: the next one starts again from the first.
    stream.send(RequestResources {
        incremental: true,
        ..sink::nack(&second, 2, "bad")
    });
    stream
        .0
        .on_snapshot(snapshot(&[('a', 0), ('b', 2), ('d', 0)], &[]));
    let third = stream.next().unwrap();
    assert_eq!(names(&third), "bd");
    assert_eq!(third.removed_resources, ["c"]);
    stream.ack(&third, true);

    stream.0.on_snapshot(snapshot(&[], &[]));
    let last = stream.next().unwrap();
    assert_eq!(names(&last), "");
    assert_eq!(last.removed_resources, ["a", "b", "d"]);
}

#[test]
fn an_empty_delta_is_not_sent_but_counts_as_seen() {
    let mut stream = Stream::with(snapshot(&[('a', 0)], &[]));
    stream.send(incremental(A, &[]));
    let first = stream.next().unwrap();
    stream.ack(&first, true);
    stream.0.on_snapshot(snapshot(&[('a', 1)], &[]));
    let second = stream.next().unwrap();
    stream.send(RequestResources {
        incremental: true,
        ..sink::nack(&second, 2, "bad")
    });
    // Back to what the sink holds.
    stream.0.on_snapshot(snapshot(&[('a', 0)], &[]));
    assert!(stream.0.is_due(Instant::now()));
    assert_eq!(stream.next(), None);
    assert!(!stream.0.is_due(Instant::now()));
}

#[test]
fn a_state_is_full_unless_the_last_request_asked_for_deltas() {
    let mut stream = Stream::with(snapshot(&[('a', 0), ('b', 0)], &[]));
    stream.send(incremental(A, &[]));
    let first = stream.next().unwrap();
    stream.ack(&first, false);
    stream.0.on_snapshot(snapshot(&[('a', 0), ('b', 1)], &[]));
    let second = stream.next().unwrap();
    assert!(!second.incremental);
    assert_eq!(names(&second), "ab");
    stream.ack(&second, true);
    stream.0.on_snapshot(snapshot(&[('a', 0), ('b', 2)], &[]));
    assert_eq!(names(&stream.next().unwrap()), "b");
}

#[test]
fn a_sink_that_lists_what_it_holds_gets_the_difference() {
    let current = snapshot(&[('a', 0), ('b', 0)], &[]);
    let version = current
        .get(Kind::VirtualService)
        .unwrap()
        .get("a")
        .unwrap()
        .version
        .to_string();
    let mut stream = Stream::with(current);
    stream.send(incremental(
        A,
        &[("a", &version), ("b", "old"), ("zombie", "1")],
    ));
    let response = stream.next().unwrap();
    assert!(response.incremental);
    assert_eq!(names(&response), "b");
    assert_eq!(response.removed_resources, ["zombie"]);
}

#[test]
fn a_list_that_is_too_long_to_keep_is_answered_with_the_full_state() {
    let mut stream = Stream::with(snapshot(&[('a', 0)], &[]));
    stream.send(incremental(A, &[("zombie", &"x".repeat(MAX_LISTED))]));
    let response = stream.next().unwrap();
    assert!(!response.incremental);
    assert_eq!(names(&response), "a");
}

#[test]
fn the_first_request_is_answered_even_if_nothing_differs() {
    let mut stream = Stream::with(snapshot(&[], &[]));
    stream.send(incremental(A, &[]));
    let response = stream.next().unwrap();
    assert!(response.incremental && response.resources.is_empty());
}

#[test]
fn an_unknown_collection_is_answered_empty_with_a_version() {
    let mut stream = Stream::with(snapshot(&[('a', 0)], &[]));
    stream.send(sink::request("nobody/knows"));
    let response = stream.0.next(Instant::now()).unwrap();
    assert!(response.unknown);
    let response = decoded(response);
    assert!(response.resources.is_empty() && !response.system_version_info.is_empty());
    stream.ack(&response, false);
    stream.0.on_snapshot(snapshot(&[('b', 0)], &[]));
    assert_eq!(stream.next(), None);
}

#[test]
fn a_stream_may_ask_for_only_so_much() {
    let mut stream = Stream::default();
    for n in 0..MAX_COLLECTIONS {
        stream.send(sink::request(&n.to_string()));
    }
    let refused = |stream: &mut Stream, collection: &str| {
        Mcp::hear(&mut stream.0, sink::request(collection), Instant::now()).unwrap_err()
    };
    assert_eq!(refused(&mut stream, "more"), Refusal::Collections);
    assert_eq!(refused(&mut stream, &"x".repeat(257)), Refusal::Name);
}

#[test]
fn the_answer_to_a_trigger_is_swallowed() {
    let mut stream = Stream::with(snapshot(&[], &[]));
    let answer = RequestResources {
        error_detail: Some(rpc::Status {
            code: 12,
            ..rpc::Status::default()
        }),
        ..sink::request("$triggerCollection")
    };
    assert!(matches!(stream.send(answer), Heard::Ignored));
    assert_eq!(stream.next(), None);
}

#[test]
fn collections_take_turns() {
    let mut stream = Stream::with(snapshot(&[('a', 0)], &[]));
    stream.send(sink::request(A));
    stream.send(sink::request(B));
    let mut sent = Vec::new();
    for round in 1..=4 {
        let response = stream.next().unwrap();
        stream.ack(&response, false);
        sent.push(response.collection);
        stream
            .0
            .on_snapshot(snapshot(&[('a', round)], &[('a', round)]));
    }
    assert_eq!(sent, [B, A, B, A]);
}

#[test]
fn a_withheld_collection_is_answered_when_it_is_known_and_the_others_do_not_wait() {
    const WITHHELD: &str = "istio/networking/v1alpha3/sidecars";
    let known = snapshot(&[('a', 1)], &[]);
    let withholding = Snapshot::clone(&known).withholding(Kind::Sidecar);
    let mut stream = Stream::with(Arc::new(withholding));
    stream.send(sink::request(WITHHELD));
    assert!(!stream.0.is_due(Instant::now()));
    stream.send(sink::request(A));
    stream.send(sink::request("nobody/knows/this"));
    let mut answered = Vec::new();
    while let Some(response) = stream.next() {
        answered.push(response.collection);
    }
    answered.sort();
    assert_eq!(answered, [A, "nobody/knows/this"]);
    stream.0.on_snapshot(known);
    assert_eq!(stream.next().unwrap().collection, WITHHELD);
}
