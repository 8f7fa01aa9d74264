//! The feed of policies against a simulated policy server, over real mutual TLS.

use std::{future::Future, sync::Arc, time::Duration};

use copilot::{
    feed::{Feeds, Problem, Status},
    model::{Basis, Confirmations, Policy, PortRange, Report, Transport, Update},
    outbound::{self, Sockets},
    policy::{Outputs, Poller, Settings},
    sim::{
        pki::Pki,
        policy::{Fault, PolicyServer},
    },
};
use prometheus_client::registry::Registry;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// Polls all the time.
const OFTEN: Duration = Duration::from_millis(10);

async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, event)
        .await
        .expect("it should have happened by now")
}

/// A policy server that nobody polls yet.
struct Peers {
    server: PolicyServer,
    settings: Settings,
    folder: TempDir,
}

impl Peers {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let pki = Pki::new(folder.path(), "policies").unwrap();
        let identity = pki.issue("server", &["127.0.0.1"]).unwrap();
        let server = PolicyServer::start_on_loopback(&identity, pki.ca())
            .await
            .unwrap();
        let settings = Settings {
            peer: outbound::Settings {
                address: server.url(),
                ca: pki.ca().to_owned(),
                identity: Some(pki.issue("copilot", &["copilot"]).unwrap()),
                connect_timeout: SOON,
                request_timeout: SOON,
            },
            poll_interval: OFTEN,
            backoff: (Duration::from_millis(5), Duration::from_millis(20)),
        };
        Self {
            server,
            settings,
            folder,
        }
    }

    fn poll(self) -> Polling {
        let feed = Feeds::new(&mut Registry::default()).register("policies", SOON);
        let status = feed.status();
        // So small that the feed has to wait for its reader.
        let (sender, updates) = mpsc::channel(1);
        let confirmations = watch::Sender::default();
        let outputs = Outputs {
            updates: sender,
            confirmations: confirmations.subscribe(),
            feed,
        };
        let shutdown = CancellationToken::new();
        let poller = Poller::new(self.settings, Arc::new(Sockets), outputs).unwrap();
        Polling {
            server: self.server,
            updates,
            confirmations,
            status,
            task: tokio::spawn(poller.run(shutdown.clone())),
            shutdown,
            _folder: self.folder,
        }
    }
}

/// A running poller, and what it says.
struct Polling {
    server: PolicyServer,
    updates: mpsc::Receiver<Report>,
    confirmations: watch::Sender<Confirmations>,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
    _folder: TempDir,
}

impl Polling {
    /// A poller that has read a policy from `a` to `b`.
    async fn started() -> Self {
        let peers = Peers::start().await;
        peers.server.allow("a", "b", 8080);
        let mut polling = peers.poll();
        assert_eq!(polling.policies().await, allowed(&[("a", "b")]));
        polling
    }

    /// A poller that has read twenty policies.
    async fn with_twenty() -> Self {
        let peers = Peers::start().await;
        for app in 0..20 {
            peers.server.allow(&format!("app-{app}"), "b", 8080);
        }
        let mut polling = peers.poll();
        assert_eq!(polling.policies().await.len(), 20);
        polling
    }

    /// What the next update says.
    async fn policies(&mut self) -> Vec<Policy> {
        let report = soon(self.updates.recv()).await.expect("the poller runs");
        match report.update {
            Update::AllPolicies(policies) => policies,
            other => panic!("{other:?}"),
        }
    }

    async fn problem(&mut self, kind: &str) -> Problem {
        let has_kind = |status: &Status| {
            let problem = status.problem.as_ref();
            problem.is_some_and(|problem| problem.kind == kind)
        };
        let last = self.status.clone();
        let status = tokio::time::timeout(SOON, self.status.wait_for(has_kind)).await;
        let status = status.unwrap_or_else(|_| panic!("{:?} is no {kind}", last.borrow().problem));
        status.unwrap().problem.clone().unwrap()
    }

    async fn is_well(&mut self) {
        let is_well = |status: &Status| status.problem.is_none() && status.last_success.is_some();
        soon(self.status.wait_for(is_well)).await.unwrap();
    }

    /// Waits until so many more polls were answered and judged.
    async fn more_polls(&self, polls: u64) {
        // Each begins only when the one before it is done with.
        let requests = self.server.requests() + polls + 1;
        soon(self.server.requested(requests)).await;
    }

    fn has_sent_nothing(&mut self) -> bool {
        matches!(
            self.updates.try_recv(),
            Err(mpsc::error::TryRecvError::Empty)
        )
    }

    /// A fault is reported as `kind`, sends nothing, and is over when it ends: the next change arrives.
    async fn withstands(&mut self, fault: Fault, kind: &str) -> Problem {
        self.server.fail(Some(fault));
        let problem = self.problem(kind).await;
        self.server.fail(None);
        self.is_well().await;
        self.server.allow("c", "d", 8080);
        assert_eq!(
            self.policies().await,
            allowed(&[("a", "b"), ("c", "d")]),
            "nothing before the change"
        );
        problem
    }
}

fn allowed(pairs: &[(&str, &str)]) -> Vec<Policy> {
    let pairs = pairs.iter();
    pairs
        .map(|(source, destination)| allowed_at(source, destination, Transport::Tcp, (8080, 8080)))
        .collect()
}

fn allowed_at(
    source: &str,
    destination: &str,
    transport: Transport,
    (first, last): (u16, u16),
) -> Policy {
    Policy {
        source: source.into(),
        destination: destination.into(),
        transport,
        ports: PortRange::new(first, last).unwrap(),
    }
}

#[tokio::test]
async fn reads_the_policies_sorted_with_their_protocols_and_ports() {
    let peers = Peers::start().await;
    for (source, protocol, ports) in [
        ("b", "tcp", (8080, 8080)),
        ("b", "udp", (53, 53)),
        ("b", "tcp", (80, 443)),
        ("a", "tcp", (1, 65_535)),
    ] {
        peers.server.allow_ports(source, "c", protocol, ports);
    }
    let mut polling = peers.poll();
    let expected = [
        allowed_at("a", "c", Transport::Tcp, (1, 65_535)),
        allowed_at("b", "c", Transport::Tcp, (80, 443)),
        allowed_at("b", "c", Transport::Tcp, (8080, 8080)),
        allowed_at("b", "c", Transport::Udp, (53, 53)),
    ];
    assert_eq!(polling.policies().await, expected);
    polling.is_well().await;
    assert_eq!(polling.status.borrow().counts["policies"], 4);
}

#[tokio::test]
async fn a_change_is_sent_and_an_unchanged_answer_in_another_order_is_not() {
    let mut polling = Polling::started().await;
    polling.server.allow("b", "a", 8080);
    let expected = allowed(&[("a", "b"), ("b", "a")]);
    assert_eq!(polling.policies().await, expected);
    polling.more_polls(5).await;

    // Another port of the same pair is a policy of its own.
    polling.server.allow("a", "b", 9090);
    let other = allowed_at("a", "b", Transport::Tcp, (9090, 9090));
    let [first, last] = expected.try_into().unwrap();
    assert_eq!(polling.policies().await, [first, other, last]);
    polling.server.forbid("a", "b");
    assert_eq!(polling.policies().await, allowed(&[("b", "a")]));
    assert_eq!(polling.status.borrow().problem, None);
}

#[tokio::test]
async fn a_slow_answer_is_waited_for() {
    let mut polling = Polling::started().await;
    polling.server.hold();
    soon(polling.server.holds_one()).await;
    polling.server.allow("c", "d", 8080);
    assert!(polling.has_sent_nothing());
    polling.server.release();
    let expected = allowed(&[("a", "b"), ("c", "d")]);
    assert_eq!(polling.policies().await, expected);
    polling.is_well().await;
}

#[tokio::test]
async fn a_server_that_is_down_from_the_start_is_reported_and_read_once_it_is_there() {
    let peers = Peers::start().await;
    peers.server.allow("a", "b", 8080);
    peers.server.stop().await;
    let mut polling = peers.poll();
    let problem = polling.problem("connect").await;
    assert!(problem.message.starts_with("connecting to https://127"));
    polling.server.resume().await.unwrap();
    assert_eq!(polling.policies().await, allowed(&[("a", "b")]));
    polling.is_well().await;
}

#[tokio::test]
async fn a_server_that_goes_away_is_reported_until_it_is_back() {
    let mut polling = Polling::started().await;
    polling.server.stop().await;
    polling.problem("connect").await;
    polling.server.allow("c", "d", 8080);
    polling.server.resume().await.unwrap();
    let expected = allowed(&[("a", "b"), ("c", "d")]);
    assert_eq!(polling.policies().await, expected);
    polling.is_well().await;
}

#[tokio::test]
async fn an_error_names_its_status() {
    let mut polling = Polling::started().await;
    let problem = polling.withstands(Fault::Status(500), "server_error").await;
    assert!(problem.message.contains("answered 500"), "{problem:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut polling = Polling::started().await;
    let problem = polling.withstands(Fault::Status(302), "foreign").await;
    assert!(problem.message.contains("answered 302"), "{problem:?}");
}

#[tokio::test]
async fn what_is_no_json_is_a_failure() {
    let mut polling = Polling::started().await;
    polling.withstands(Fault::Garbage, "malformed").await;
}

#[tokio::test]
async fn a_list_that_is_shorter_than_it_says_is_a_failure() {
    let mut polling = Polling::started().await;
    let problem = polling.withstands(Fault::Short, "truncated").await;
    assert!(problem.message.contains("lists 0 policies"), "{problem:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure() {
    let mut polling = Polling::started().await;
    polling.withstands(Fault::Truncated, "truncated").await;
    let mut polling = Polling::started().await;
    polling.withstands(Fault::Reset, "connect").await;
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let mut polling = Polling::started().await;
    let problem = polling.withstands(Fault::Endless, "too_large").await;
    assert!(problem.message.contains("67108864"), "{problem:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let mut peers = Peers::start().await;
    peers.server.fail(Some(Fault::Hang));
    peers.server.allow("a", "b", 8080);
    peers.settings.peer.request_timeout = Duration::from_millis(500);
    let mut polling = peers.poll();
    let problem = polling.problem("timeout").await;
    assert!(problem.message.contains("500ms"), "{problem:?}");
    polling.server.fail(None);
    assert_eq!(polling.policies().await, allowed(&[("a", "b")]));
}

#[tokio::test]
async fn a_bad_policy_is_named_and_the_others_are_sent() {
    let mut polling = Polling::started().await;
    let bad = json!({
        "source": {"id": "../up"},
        "destination": {"id": "b", "protocol": "tcp", "ports": {"start": 1, "end": 2}},
    });
    polling.server.add_raw(bad);
    polling.server.allow("c", "d", 8080);
    let expected = allowed(&[("a", "b"), ("c", "d")]);
    assert_eq!(polling.policies().await, expected);
    let names_it = |status: &Status| status.dropped.named().contains_key("../up to b");
    soon(polling.status.wait_for(names_it)).await.unwrap();
    assert_eq!(polling.status.borrow().problem, None);
}

#[tokio::test]
async fn a_list_of_junk_is_counted_named_to_a_number_and_changes_nothing() {
    let mut polling = Polling::started().await;
    let secret = r#"{"source":"hush-hush"},"#.repeat(99_999);
    let body = format!(r#"{{"total_policies":100000,"policies":[{secret}0]}}"#);
    polling.server.fail(Some(Fault::Says(body.leak())));
    let is_counted = |status: &Status| status.dropped.len() == 100_000;
    let status = soon(polling.status.wait_for(is_counted)).await.unwrap();
    let named = status.dropped.named();
    assert_eq!(named.len(), 1000);
    assert!(named.values().all(|item| !item.detail.contains("hush")));
    drop(status);
    assert!(polling.updates.try_recv().is_err(), "what was known stays");
    polling.server.fail(None);
    let is_clean = |status: &Status| status.dropped.is_empty();
    soon(polling.status.wait_for(is_clean)).await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_refused_by_name() {
    let mut peers = Peers::start().await;
    let foreign = Pki::new(peers.folder.path(), "foreign").unwrap();
    peers.settings.peer.identity = Some(foreign.issue("stranger", &["stranger"]).unwrap());
    let mut polling = peers.poll();
    let problem = polling.problem("tls").await;
    let advice = "the policy server refuses our client certificate";
    assert!(problem.message.contains(advice), "{problem:?}");
    assert_eq!(polling.server.requests(), 0);
}

#[tokio::test]
async fn a_server_of_another_authority_is_asked_nothing() {
    let mut peers = Peers::start().await;
    let foreign = Pki::new(peers.folder.path(), "foreign").unwrap();
    peers.settings.peer.ca = foreign.ca().to_owned();
    let mut polling = peers.poll();
    let problem = polling.problem("tls").await;
    let advice = "the policy server's certificate does not fit";
    assert!(problem.message.contains(advice), "{problem:?}");
    assert_eq!(polling.server.requests(), 0);
}

#[tokio::test]
async fn p1_a_later_answer_is_told_as_it_is() {
    let mut polling = Polling::with_twenty().await;
    for app in 0..10 {
        polling.server.forbid(&format!("app-{app}"), "b");
    }
    while polling.policies().await.len() > 10 {}
    polling.server.clear();
    let report = soon(polling.updates.recv()).await.unwrap();
    assert!(matches!(report.basis, Basis::Read(_)), "{report:?}");
    assert!(matches!(report.update, Update::AllPolicies(policies) if policies.is_empty()));
    polling.is_well().await;
}

#[tokio::test]
async fn p1_an_answer_that_could_confirm_something_is_told_although_it_is_no_news() {
    let mut peers = Peers::start().await;
    peers.settings.poll_interval = Duration::from_hours(1);
    peers.server.allow("a", "b", 8080);
    let mut polling = peers.poll();
    polling.policies().await;
    for requests in 2..4 {
        let now = Instant::now();
        polling
            .confirmations
            .send_modify(|confirmations| confirmations.policies = Some(now));
        let report = soon(polling.updates.recv()).await.unwrap();
        assert!(matches!(report.basis, Basis::Read(reading) if reading.began >= now));
        assert_eq!(polling.server.requests(), requests);
    }
}

#[tokio::test]
async fn policies_that_cannot_be_read_may_be_any_of_those_that_are_missing() {
    let mut polling = Polling::with_twenty().await;
    polling.server.add_raw(json!({"source": {}}));
    polling.more_polls(1).await;
    polling.server.forbid("app-0", "b");
    let names_it = |status: &Status| status.counts["kept_policies"] == 1;
    soon(polling.status.wait_for(names_it)).await.unwrap();
    polling.more_polls(2).await;
    assert!(polling.has_sent_nothing());
    assert_eq!(polling.status.borrow().problem, None);
    polling.server.forbid("app-1", "b");
    assert_eq!(polling.policies().await.len(), 18, "one is not two");
}

#[tokio::test]
async fn a_first_answer_of_policies_that_cannot_be_read_is_not_believed() {
    let peers = Peers::start().await;
    peers.server.add_raw(json!({"source": {}}));
    let mut polling = peers.poll();
    polling.problem("unreadable").await;
    polling.more_polls(2).await;
    assert!(polling.has_sent_nothing());
    polling.server.allow("a", "b", 8080);
    assert_eq!(polling.policies().await, allowed(&[("a", "b")]));
}

#[tokio::test]
async fn a_first_answer_without_policies_has_to_be_confirmed() {
    let mut peers = Peers::start().await;
    // The second one is asked for at once.
    peers.settings.poll_interval = Duration::from_hours(1);
    peers.server.hold();
    peers.server.answer_one();
    let mut polling = peers.poll();
    polling.problem("unconfirmed").await;
    assert!(polling.has_sent_nothing());
    polling.server.answer_one();
    assert_eq!(polling.policies().await, allowed(&[]));
    polling.is_well().await;
}

#[tokio::test]
async fn ends_when_it_is_told_to_even_while_it_waits_for_an_answer() {
    let polling = Polling::started().await;
    polling.server.hold();
    soon(polling.server.holds_one()).await;
    polling.shutdown.cancel();
    soon(polling.task).await.unwrap();
}

#[tokio::test]
async fn ends_when_nobody_receives_the_policies() {
    let polling = Polling::started().await;
    drop(polling.updates);
    polling.server.allow("c", "d", 8080);
    soon(polling.task).await.unwrap();
}
