//! Bursts to a Pilot, at times that only the test moves on.

use super::*;
use crate::delivery::Dialogue;

const RULES: &str = "istio/networking/v1alpha3/destinationrules";
const SERVICES: &str = "istio/networking/v1alpha3/serviceentries";
const DISTANCE: Duration = Duration::from_millis(500);

/// A stream that holds the first state since long ago.
struct AtRest {
    server: Dialogue<RequestResources, Resources>,
    now: Instant,
}

impl AtRest {
    fn new(incremental: bool) -> Self {
        let mut stream = Self {
            server: Dialogue::new::<Mcp>(DISTANCE),
            now: Instant::now(),
        };
        stream.publish(0, 0);
        for name in [A, RULES, SERVICES] {
            let request = RequestResources {
                incremental,
                ..sink::request(name)
            };
            stream.server.hear(request, stream.now).unwrap();
        }
        assert_eq!(stream.burst(incremental).len(), 3);
        stream.now += 100 * DISTANCE;
        stream
    }

    /// Routes with their rules, and services.
    fn publish(&mut self, routes: u8, services: u8) {
        let contents = [
            (Kind::VirtualService, routes),
            (Kind::DestinationRule, routes),
            (Kind::ServiceEntry, services),
        ];
        let collections = contents.map(|(kind, content)| (kind, collection(&[('a', content)])));
        let snapshot = Snapshot::new(collections.into_iter().collect());
        self.server.publish(Arc::new(snapshot));
    }

    /// What is sent now, each answered at once.
    fn burst(&mut self, incremental: bool) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(response) = self.server.next(self.now) {
            let answer = RequestResources {
                incremental,
                ..sink::ack(&response)
            };
            self.server.hear(answer, self.now).unwrap();
            sent.push(response.collection);
        }
        sent
    }

    /// In how long it says that it has to be looked at again.
    fn waits(&self) -> Option<Duration> {
        Some(self.server.due_at(self.now)? - self.now)
    }
}

#[test]
fn rules_services_and_routes_go_together_and_their_successors_after_the_distance() {
    let mut stream = AtRest::new(false);
    for content in 1..4 {
        stream.publish(content, content);
        assert_eq!(stream.burst(false), [RULES, SERVICES, A], "in this order");
        stream.now += DISTANCE / 500;
        stream.publish(content + 10, content + 10);
        assert!(stream.burst(false).is_empty());
        assert_eq!(stream.waits(), Some(DISTANCE / 500 * 499));
        stream.now += DISTANCE;
    }
}

#[test]
fn services_alone_wait_half_as_long_and_what_comes_beside_them_has_them_wait_with_it() {
    let mut stream = AtRest::new(false);
    stream.publish(0, 1);
    assert_eq!(stream.burst(false), [SERVICES]);
    stream.publish(0, 2);
    assert_eq!(stream.waits(), Some(DISTANCE / 2));
    stream.publish(1, 3);
    assert_eq!(stream.waits(), Some(DISTANCE));
    stream.now += DISTANCE / 2;
    assert!(stream.burst(false).is_empty());
    stream.now += DISTANCE / 2;
    assert_eq!(stream.burst(false), [RULES, SERVICES, A]);
    stream.publish(1, 4);
    stream.now += DISTANCE / 2;
    assert_eq!(stream.burst(false), [SERVICES]);
}

#[test]
fn deltas_do_not_wait() {
    let mut stream = AtRest::new(true);
    for content in 1..20 {
        stream.publish(content, content);
        assert_eq!(stream.burst(true).len(), 3);
    }
}
