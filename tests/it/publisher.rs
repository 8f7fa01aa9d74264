//! What a change costs, in counts; when snapshots are published; what is withheld.

mod arbitrary;
mod counts;
mod divisions;
mod eras;
mod held;
mod limits;
mod linger;
mod places;
mod pushed;
mod refused;
mod remembered;
mod sidecars;
mod tcp;
pub mod tls;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

pub use copilot::publisher::{Input, Settings};
use copilot::{
    guard,
    istio::{self, Kind, OF_HOSTS},
    metrics,
    model::{Basis, Hostname, Report, Route, Update},
    publisher::{Outputs, Publisher},
    readiness::Readiness,
    sim::foundation,
    snapshot::Snapshot,
    table::Join,
};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running publisher and its peers.
pub struct Running {
    pub updates: mpsc::Sender<Report>,
    pub outputs: Outputs,
    registry: Registry,
    readiness: Readiness,
    _stop: DropGuard,
}

/// Who is told everything once, and that may be a foundation of which nothing runs, believes it.
pub fn told_once() -> guard::Settings {
    guard::Settings {
        free: u64::MAX,
        ..guard::Settings::default()
    }
}

pub fn settings(required: impl IntoIterator<Item = Input>) -> Settings {
    Settings {
        debounce_max: Duration::from_millis(100),
        required: BTreeSet::from_iter(required),
        vip_range: Some("127.128.0.0/9".parse().unwrap()),
        ..Settings::default()
    }
}

pub fn start(settings: Settings) -> Running {
    let mut registry = Registry::default();
    let readiness = Readiness::default();
    let (updates, inbox) = mpsc::channel(16);
    let (publisher, outputs) = Publisher::new(settings, inbox, &readiness, &mut registry).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(publisher.run(stop.clone()));
    Running {
        updates,
        outputs,
        registry,
        readiness,
        _stop: stop.drop_guard(),
    }
}

impl Running {
    pub async fn send(&self, update: Update) {
        self.updates.send(update.on(Basis::Told)).await.unwrap();
    }

    async fn next(&mut self) -> Arc<Snapshot> {
        let changed = self.outputs.snapshots.changed();
        tokio::time::timeout(Duration::from_mins(1), changed)
            .await
            .expect("a snapshot")
            .unwrap();
        self.outputs
            .snapshots
            .borrow_and_update()
            .clone()
            .expect("a snapshot")
    }

    /// A counter or gauge, by its name and labels.
    fn metric(&self, name: &str) -> u64 {
        let page = metrics::page(&self.registry);
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {page}"))
            .parse()
            .unwrap()
    }

    fn encoded(&self) -> u64 {
        self.metric("copilot_resources_encoded_total")
    }

    /// How often each kind's collection has got another version, the kinds in their order.
    fn versions(&self) -> [u64; 3] {
        OF_HOSTS.map(|kind| {
            let collection = kind.collection();
            self.metric(&format!(
                r#"copilot_collection_changes_total{{collection="{collection}"}}"#
            ))
        })
    }

    /// Sends an update that says nothing new, and a new route after it: the next snapshot is the route's alone.
    async fn send_unchanged(&mut self, update: Update, route: Route) {
        let (encoded, snapshots) = (
            self.encoded(),
            self.metric("copilot_generation_seconds_count"),
        );
        let [services, rules, entries] = self.versions();
        let name = Kind::VirtualService.name(&route.host, route.internal);
        self.send(update).await;
        // Taken in, and given the time in which a snapshot would be due.
        drop(self.updates.reserve_many(self.updates.max_capacity()).await);
        tokio::time::advance(Duration::from_secs(1)).await;
        self.send(Update::Routes {
            current: vec![route],
            gone: vec![],
        })
        .await;
        let snapshot = self.next().await;
        let services_now = snapshot.get(Kind::VirtualService).unwrap();
        assert!(services_now.get(&name).is_some());
        assert_eq!(
            self.metric("copilot_generation_seconds_count"),
            snapshots + 1
        );
        // Without an instance, a route is its hostname's VirtualService.
        assert_eq!(self.encoded(), encoded + 1);
        assert_eq!(self.versions(), [services + 1, rules, entries]);
    }
}

/// The collections that differ between two snapshots.
fn changed_collections(before: &Snapshot, after: &Snapshot) -> Vec<&'static str> {
    after
        .iter()
        .filter(|(kind, collection)| before.get(*kind).unwrap().version() != collection.version())
        .map(|(kind, _)| kind.collection())
        .collect()
}

async fn a_change_costs_what_it_changes(routes: usize) {
    let mut running = start(settings([Input::Routes, Input::Instances]));
    let all_routes = |count: usize| Update::AllRoutes((0..count).map(foundation::route).collect());
    let all_instances = || -> Vec<_> {
        (0..routes)
            .flat_map(|n| [0, 1].map(|index| foundation::instance(n, index, 61_000)))
            .collect()
    };
    running.send(all_routes(routes)).await;
    running.send(Update::AllInstances(all_instances())).await;
    let first = running.next().await;
    let initial = 2 * routes as u64;
    assert_eq!(running.encoded(), initial);
    // The empty one, and this one: however many steps it took. Nothing is said of how services are reached.
    assert_eq!(running.versions(), [2, 1, 2]);

    let moved = foundation::instance(7, 0, 61_999);
    running
        .send(Update::Instances {
            current: vec![moved.clone()],
            gone: vec![],
        })
        .await;
    let second = running.next().await;
    assert_eq!(
        running.encoded(),
        initial + 1,
        "one instance is in one ServiceEntry"
    );
    assert_eq!(
        changed_collections(&first, &second),
        [Kind::ServiceEntry.collection()]
    );
    let (old, new) = (
        first.get(Kind::ServiceEntry).unwrap(),
        second.get(Kind::ServiceEntry).unwrap(),
    );
    assert_eq!(new.diff(old).changed.len(), 1);

    let mut instances = all_instances();
    instances[14] = moved;
    running
        .send_unchanged(all_routes(routes), foundation::route(routes))
        .await;
    running
        .send_unchanged(
            Update::AllInstances(instances),
            foundation::route(routes + 1),
        )
        .await;

    let encoded = running.encoded();
    let before = running.outputs.snapshots.borrow().clone().unwrap();
    running
        .send(Update::Instances {
            current: vec![foundation::instance(routes, 0, 61_000)],
            gone: vec![],
        })
        .await;
    let after = running.next().await;
    assert_eq!(running.encoded(), encoded + 1, "its service");
    assert_eq!(
        changed_collections(&before, &after),
        [Kind::ServiceEntry.collection()]
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_costs_what_it_changes_at_20_000_routes() {
    a_change_costs_what_it_changes(20_000).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_costs_what_it_changes_at_100_000_routes() {
    a_change_costs_what_it_changes(100_000).await;
}

#[tokio::test]
async fn nothing_is_published_before_every_required_input_was_read_completely() {
    let mut running = start(settings([
        Input::Routes,
        Input::Instances,
        Input::Processes,
    ]));
    running
        .send(Update::Routes {
            current: vec![foundation::route(1)],
            gone: vec![],
        })
        .await;
    running
        .send(Update::AllRoutes(vec![foundation::route(0)]))
        .await;
    let mut instance = foundation::instance(0, 0, 61_000).as_ref().clone();
    instance.workload = None;
    let process = instance.process.capi_process().clone();
    running
        .send(Update::AllInstances(vec![instance.into()]))
        .await;

    // The question to Cloud Controller shows that all three were taken in; still there is no snapshot.
    running
        .outputs
        .undescribed
        .wait_for(|asked| asked.contains(&process))
        .await
        .unwrap();
    assert!(running.outputs.snapshots.borrow().is_none());
    assert_eq!(
        running.readiness.pending(),
        ["first snapshot", "processes from Cloud Controller"]
    );

    let workload = foundation::route(0).destinations[0].workload.clone();
    let known = vec![copilot::model::Process {
        guid: process,
        workload,
    }];
    running
        .send(Update::Processes {
            known,
            unknown: vec![],
        })
        .await;
    let snapshot = running.next().await;
    assert_eq!(snapshot.get(Kind::ServiceEntry).unwrap().len(), 1);
    assert!(running.readiness.pending().is_empty());
}

#[tokio::test]
async fn an_empty_foundation_is_published_too() {
    let mut running = start(settings([Input::Routes, Input::Instances]));
    running.send(Update::AllRoutes(vec![])).await;
    running.send(Update::AllInstances(vec![])).await;
    let snapshot = running.next().await;
    assert_eq!(snapshot.get(Kind::Gateway).unwrap().len(), 1);
    assert!(snapshot.get(Kind::VirtualService).unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_steady_stream_of_changes_is_published_at_the_ceiling() {
    let debounce_after = Duration::from_millis(10);
    let mut running = start(Settings {
        debounce_after,
        ..settings([Input::Routes])
    });
    running.send(Update::AllRoutes(vec![])).await;
    running.next().await;

    let begun = tokio::time::Instant::now();
    let mut interval = tokio::time::interval(debounce_after / 2);
    let mut published = running.outputs.snapshots.clone();
    for n in 0.. {
        tokio::select! {
            _ = interval.tick() => {
                running.send(Update::Routes { current: vec![foundation::route(n)], gone: vec![] }).await;
            }
            _ = published.changed() => break,
        }
    }
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_millis(95) && waited <= Duration::from_millis(110),
        "{waited:?}"
    );
}

#[tokio::test]
async fn an_invalid_hostname_is_withheld_and_named_and_the_rest_is_served() {
    let mut running = start(settings([Input::Routes]));
    let mut bad = foundation::route(0);
    bad.host = Hostname::parse("under_score.example.com").unwrap();
    running
        .send(Update::AllRoutes(vec![bad, foundation::route(1)]))
        .await;
    let snapshot = running.next().await;
    assert_eq!(snapshot.get(Kind::VirtualService).unwrap().len(), 1);
    let rejected = running.outputs.rejected.borrow().clone();
    let key = (
        Kind::VirtualService.collection(),
        "under_score.example.com".to_owned(),
    );
    let expected = r#"hostname "under_score.example.com": "under_score" is not a DNS label"#;
    assert_eq!(rejected[&key][0].to_string(), expected);

    running
        .send(Update::AllRoutes(vec![
            foundation::route(1),
            foundation::route(2),
        ]))
        .await;
    running.next().await;
    assert!(
        running.outputs.rejected.borrow().is_empty(),
        "forgotten with the route"
    );
}

#[tokio::test]
async fn what_the_config_leaves_out_is_told_before_anything_is_published() {
    let invalid = istio::validate::Invalid {
        rule: "certificate",
        detail: "the certificate has no DNS name".to_owned(),
    };
    let mut settings = settings([Input::Routes]);
    settings.left_out = vec![("TLSPems[0].CertChain".to_owned(), invalid)];
    let running = start(settings);
    assert_eq!(running.outputs.rejected.borrow().len(), 1);
}
