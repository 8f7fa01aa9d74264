//! Bursts: what goes together, and how far they are from each other.

#![cfg(feature = "sim")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::*;
use crate::{
    delivery::Dialogue,
    proto::istio::networking::v1alpha3::VirtualService,
    sim::istiod::{ack, request},
    snapshot::{Collection, Encoded, Snapshot},
};

const GATEWAYS: &str = "networking.istio.io/v1/Gateway";
const ROUTES: &str = "networking.istio.io/v1/VirtualService";
const DISTANCE: Duration = Duration::from_millis(200);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Collections with one resource each, whose content is a number.
fn snapshot(gateways: u32, routes: u32) -> Arc<Snapshot> {
    let collections = [(Kind::Gateway, gateways), (Kind::VirtualService, routes)];
    let collections = collections.map(|(kind, content)| {
        let body = VirtualService {
            hosts: vec![content.to_string()],
            ..VirtualService::default()
        };
        let encoded = Encoded::new("a", 0, &body);
        let edits = BTreeMap::from([("a".into(), Some(encoded))]);
        (kind, Arc::new(Collection::default().edited(edits)))
    });
    Arc::new(Snapshot::new(collections.into_iter().collect()))
}

/// A stream at a time that only the test moves on.
struct Stream {
    server: Dialogue<DiscoveryRequest, DiscoveryResponse>,
    now: Instant,
}

impl Stream {
    /// One that holds the first state since long ago.
    fn at_rest(types: &[&str]) -> Self {
        let mut stream = Self {
            server: Dialogue::new::<StateOfTheWorld>(DISTANCE),
            now: Instant::now(),
        };
        stream.publish(0, 0);
        for type_url in types {
            stream.hear(request(type_url));
        }
        assert_eq!(stream.burst().len(), types.len());
        stream.now += ms(10_000);
        stream
    }

    fn publish(&mut self, gateways: u32, routes: u32) {
        self.server.publish(snapshot(gateways, routes));
    }

    fn hear(&mut self, request: DiscoveryRequest) {
        self.server.hear(request, self.now).unwrap();
    }

    fn next(&mut self) -> Option<DiscoveryResponse> {
        self.server.next(self.now)
    }

    /// What is sent now, each acknowledged at once, by type.
    fn burst(&mut self) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(response) = self.next() {
            self.hear(ack(&response));
            sent.push(response.type_url);
        }
        sent
    }

    /// In how long it says that it has to be looked at again.
    fn waits(&self) -> Option<Duration> {
        let due_at = self.server.due_at(self.now)?;
        Some(due_at - self.now)
    }
}

#[test]
fn a_change_after_a_rest_goes_at_once_and_the_next_one_after_the_distance() {
    let mut stream = Stream::at_rest(&[ROUTES]);
    stream.publish(0, 1);
    assert_eq!(stream.burst(), [ROUTES]);
    stream.now += ms(1);
    stream.publish(0, 2);
    assert_eq!(stream.waits(), Some(ms(199)));
    stream.now += ms(198);
    assert!(stream.burst().is_empty());
    stream.publish(0, 3);
    stream.now += ms(1);
    assert_eq!(stream.burst(), [ROUTES]);
    stream.now += DISTANCE;
    assert_eq!(stream.waits(), None, "nothing has changed since");
    assert!(stream.burst().is_empty(), "both changes were in one state");
}

#[test]
fn all_that_is_due_is_in_one_burst_also_what_waits_for_an_answer() {
    let mut stream = Stream::at_rest(&[GATEWAYS, ROUTES]);
    stream.publish(0, 1);
    let first = stream.next().unwrap();
    stream.now += DISTANCE;
    stream.publish(1, 2);
    assert_eq!(stream.next().unwrap().type_url, GATEWAYS);
    assert!(stream.next().is_none());
    stream.hear(ack(&first));
    assert_eq!(stream.next().unwrap().type_url, ROUTES);
}

#[test]
fn the_distance_counts_from_the_answer_and_is_no_shorter_than_the_sink_took_for_it() {
    let mut stream = Stream::at_rest(&[GATEWAYS, ROUTES]);
    stream.publish(1, 1);
    let responses = [stream.next().unwrap(), stream.next().unwrap()];
    stream.now += ms(500);
    for response in &responses {
        stream.hear(ack(response));
    }
    stream.publish(2, 2);
    assert_eq!(stream.waits(), Some(ms(500)));
    assert!(stream.burst().is_empty());
    stream.now += ms(500);
    assert_eq!(stream.burst().len(), 2);
}

#[test]
fn a_sink_that_never_answers_for_one_type_gets_the_others_in_time() {
    let mut stream = Stream::at_rest(&[GATEWAYS, ROUTES]);
    stream.publish(1, 0);
    assert_eq!(stream.next().unwrap().type_url, GATEWAYS);
    for content in 1..5 {
        stream.now += DISTANCE;
        stream.publish(1, content);
        assert_eq!(stream.burst(), [ROUTES]);
    }
}

#[test]
fn whoever_asks_does_not_wait_and_is_told_what_is_newest() {
    let mut stream = Stream::at_rest(&[ROUTES]);
    stream.publish(0, 1);
    assert_eq!(stream.burst(), [ROUTES]);
    stream.publish(1, 2);
    assert!(stream.burst().is_empty());
    stream.hear(request(GATEWAYS));
    let newest = snapshot(1, 2);
    let mut sent = Vec::new();
    while let Some(response) = stream.next() {
        let kind = types::kind(&response.type_url).unwrap();
        let collection = newest.xds(kind).unwrap();
        assert_eq!(response.version_info, collection.version().to_string());
        sent.push(response.type_url);
    }
    sent.sort();
    assert_eq!(sent, [GATEWAYS, ROUTES]);
}

/// As when it was measured with an istiod: twenty changes a second, for a minute.
#[test]
fn a_source_that_changes_all_the_time_is_told_of_in_as_many_bursts_as_the_distance_allows() {
    let mut stream = Stream::at_rest(&[GATEWAYS, ROUTES]);
    let start = stream.now;
    let (mut bursts, mut newest, mut told) = (0, 0, 0);
    for tick in 0..6000u32 {
        stream.now = start + ms(10) * tick;
        if tick % 5 == 0 {
            newest += 1;
            stream.publish(newest, newest);
        }
        let sent = stream.burst();
        if !sent.is_empty() {
            assert_eq!(sent.len(), 2, "both that are due");
            bursts += 1;
            told = newest;
        }
        assert!(newest - told <= 4, "a change has waited too long");
    }
    assert_eq!((bursts, newest), (300, 1200));
}
