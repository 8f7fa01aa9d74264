//! What lies of a read cost whoever is served: nothing, until later reads agree.

use std::collections::BTreeMap;

use copilot::{
    istio::Kind,
    model::{Basis, Process, Reading, Refusal},
    proto::istio::networking::v1alpha3::{ServiceEntry, Sidecar},
    publisher::{Metrics, State},
};
use prost::Message;
use tokio::time::Instant;

use super::*;

const ROUTES: usize = 40;

/// A publisher's state of forty external and forty internal routes with an instance each, and policies among these.
struct Mesh {
    state: State,
    now: Instant,
}

fn routes() -> Vec<Route> {
    let internal = (ROUTES..2 * ROUTES).map(foundation::internal_route);
    (0..ROUTES).map(foundation::route).chain(internal).collect()
}

fn instances() -> Vec<Arc<copilot::model::Instance>> {
    let instances = 0..2 * ROUTES;
    instances
        .map(|n| foundation::instance(n, 0, 61_000))
        .collect()
}

fn policies() -> Vec<copilot::model::Policy> {
    foundation::policies(2 * ROUTES)
}

impl Mesh {
    fn new() -> Self {
        Self::of(Join::Described, Update::AllRoutes(routes()))
    }

    fn of(join: Join, routes: Update) -> Self {
        let settings = Settings {
            join,
            ..settings([Input::Routes, Input::Instances])
        };
        let metrics = Metrics::new(&mut Registry::default());
        let mut mesh = Self {
            state: State::new(&settings, metrics).unwrap(),
            now: Instant::now(),
        };
        for update in [
            routes,
            Update::AllInstances(instances()),
            Update::AllPolicies(policies()),
        ] {
            mesh.read(update);
        }
        mesh.publish().expect("the first snapshot");
        mesh
    }

    /// A complete read, a second after the one before.
    fn read(&mut self, update: Update) {
        self.now += Duration::from_secs(1);
        let basis = Basis::Read(Reading {
            restrictions: true,
            began: self.now,
            ended: self.now,
        });
        self.state.take(update.on(basis), self.now);
    }

    /// What is different for sinks.
    fn publish(&mut self) -> Option<Snapshot> {
        self.state.publish_at(self.now.into_std())
    }

    fn held(&self) -> usize {
        self.state.held().len()
    }
}

fn without_destinations(mut route: Route) -> Route {
    route.destinations.clear();
    route
}

fn elsewhere(instance: &Arc<copilot::model::Instance>) -> Arc<copilot::model::Instance> {
    let mut instance = instance.as_ref().clone();
    instance.ports.clear();
    Arc::new(instance)
}

/// Reads that lose much of a foundation, each in another way.
fn lies() -> Vec<(&'static str, Basis, Update)> {
    let read = Basis::Read(Reading {
        restrictions: true,
        began: Instant::now(),
        ended: Instant::now(),
    });
    let instances = instances();
    let gone = |guids: Vec<_>| Update::Routes {
        current: vec![],
        gone: guids,
    };
    let all: Vec<_> = routes().into_iter().map(|route| route.guid).collect();
    let open = |mut route: Route| {
        route.internal = !route.internal;
        route
    };
    vec![
        ("no routes", read, Update::AllRoutes(vec![])),
        (
            "three routes",
            read,
            Update::AllRoutes(routes()[..3].to_vec()),
        ),
        (
            "no destinations",
            read,
            Update::AllRoutes(routes().into_iter().map(without_destinations).collect()),
        ),
        (
            "internal routes that are external, and the other way round",
            read,
            Update::AllRoutes(routes().into_iter().map(open).collect()),
        ),
        ("none of the named routes", Basis::Asked, gone(all)),
        (
            "no destinations of the named routes",
            Basis::Asked,
            Update::Routes {
                current: routes().into_iter().map(without_destinations).collect(),
                gone: vec![],
            },
        ),
        ("no instances", read, Update::AllInstances(vec![])),
        (
            "every other instance",
            read,
            Update::AllInstances(instances.iter().step_by(2).cloned().collect()),
        ),
        (
            "no ports",
            read,
            Update::AllInstances(instances.iter().map(elsewhere).collect()),
        ),
        ("no policies", read, Update::AllPolicies(vec![])),
        (
            "half of the policies",
            read,
            Update::AllPolicies(policies().into_iter().step_by(3).collect()),
        ),
    ]
}

#[tokio::test]
async fn no_lie_of_one_read_changes_a_byte_of_what_is_served() {
    for (lie, basis, update) in lies() {
        let mut mesh = Mesh::new();
        mesh.now += Duration::from_secs(1);
        let basis = match basis {
            Basis::Read(_) => Basis::Read(Reading {
                restrictions: true,
                began: mesh.now,
                ended: mesh.now,
            }),
            other => other,
        };
        mesh.state.take(update.on(basis), mesh.now);
        assert_eq!(mesh.held(), 1, "{lie}");
        let changed = mesh.publish().map(|snapshot| format!("{snapshot:?}"));
        assert_eq!(changed, None, "{lie}");

        mesh.read(Update::AllRoutes(routes()));
        mesh.read(Update::AllInstances(instances()));
        mesh.read(Update::AllPolicies(policies()));
        assert!(mesh.publish().is_none(), "{lie}");
        assert_eq!(mesh.held(), 0, "{lie}");
    }
}

#[tokio::test]
async fn what_is_new_and_changed_in_a_read_that_loses_much_is_served() {
    let mut mesh = Mesh::new();
    let mut moved = foundation::instance(0, 0, 61_999).as_ref().clone();
    moved.since = 1;
    let new = foundation::instance(2 * ROUTES, 0, 61_000);
    mesh.state.apply(Update::Routes {
        current: vec![foundation::route(2 * ROUTES)],
        gone: vec![],
    });
    mesh.publish().expect("a new route");
    mesh.read(Update::AllInstances(vec![Arc::new(moved), new]));
    assert_eq!(mesh.held(), 1);
    let snapshot = mesh.publish().expect("a new instance and one that moved");
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    assert_eq!(entries.len(), 2 * ROUTES + 1);
}

#[tokio::test]
async fn rows_that_all_claim_one_place_put_nobody_out() {
    let mut mesh = Mesh::new();
    let claim = |instance: &Arc<copilot::model::Instance>| {
        let mut instance = instance.as_ref().clone();
        instance.host_address = "10.9.9.9".parse().unwrap();
        instance.container_address = Some("10.199.9.9".parse().unwrap());
        Arc::new(instance)
    };
    mesh.read(Update::AllInstances(
        instances().iter().map(claim).collect(),
    ));
    let snapshot = mesh.publish().expect("one that has moved there");
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    assert_eq!(entries.len(), 2 * ROUTES);
}

/// At the place of another one.
fn at_the_place_of(n: usize, by: usize) -> Arc<copilot::model::Instance> {
    let place = foundation::instance(n, 0, 61_000);
    let mut instance = foundation::instance(by, 0, 61_000).as_ref().clone();
    instance.host_address = place.host_address;
    instance.container_address = place.container_address;
    instance.ports.clone_from(&place.ports);
    instance.since = 1;
    Arc::new(instance)
}

#[tokio::test]
async fn what_is_held_and_others_have_the_place_of_is_warned_of_whenever_it_becomes_more() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(Arc::new(log.reopen().unwrap()))
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let warnings = || {
        let written = std::fs::read_to_string(log.path()).unwrap();
        written.matches("has others at the places").count()
    };
    let mut mesh = Mesh::new();
    // Twenty are gone; others are at the places of this many of them.
    let list = |taken: usize| {
        let others = (0..taken).map(|n| at_the_place_of(n, 2 * ROUTES + n));
        Update::AllInstances(instances()[20..].iter().cloned().chain(others).collect())
    };
    for (taken, expected) in [(0, 0), (1, 1), (1, 1), (3, 2), (3, 2)] {
        mesh.read(list(taken));
        assert_eq!((mesh.held(), warnings()), (1, expected), "{taken}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_told_anew_only_where_it_is_different() {
    let mut running = start(settings([Input::Routes, Input::Instances]));
    for update in [
        Update::AllRoutes(routes()),
        Update::AllInstances(instances()),
        Update::AllInstances(instances()[20..].to_vec()),
    ] {
        let basis = Basis::read_since(Instant::now());
        running.updates.send(update.on(basis)).await.unwrap();
    }
    running.next().await;
    let held = &mut running.outputs.held;
    assert_eq!(
        held.wait_for(|held| held.len() == 1).await.unwrap().len(),
        1
    );
    let runs = Update::Instances {
        current: vec![foundation::instance(30, 1, 61_000)],
        gone: vec![],
    };
    running.updates.send(runs.on(Basis::Asked)).await.unwrap();
    running.next().await;
    assert!(!running.outputs.held.has_changed().unwrap());
}

#[tokio::test]
async fn a_true_loss_goes_in_its_time_with_all_that_was_held() {
    let mut mesh = Mesh::new();
    let half = || instances().into_iter().step_by(2).collect::<Vec<_>>();
    mesh.read(Update::AllInstances(half()));
    for _ in 0..2 {
        mesh.now += Duration::from_secs(29);
        assert!(mesh.publish().is_none());
        assert_eq!(mesh.held(), 1);
        mesh.read(Update::AllInstances(half()));
    }
    assert_eq!(mesh.held(), 0);
    let snapshot = mesh.publish().expect("half of the instances");
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    assert_eq!(entries.len(), ROUTES, "those that are left");
}

#[tokio::test]
async fn a_new_restriction_is_never_held_and_one_that_goes_is() {
    let mut mesh = Mesh::new();
    let bound = |mut route: Route| {
        route.refused = Some(Refusal::RouteService);
        route
    };
    mesh.read(Update::AllRoutes(routes().into_iter().map(bound).collect()));
    assert_eq!(mesh.held(), 0);
    let snapshot = mesh.publish().expect("refusals");
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    assert!(entries.is_empty());
    mesh.read(Update::AllRoutes(routes()));
    assert_eq!(mesh.held(), 1);
    assert!(mesh.publish().is_none(), "still restricted");
}

#[tokio::test]
async fn while_routes_are_held_they_can_be_restricted_and_instances_come_and_go() {
    let mut mesh = Mesh::new();
    mesh.read(Update::AllRoutes(vec![]));
    assert_eq!(mesh.held(), 1);
    let bound = vec![(foundation::route(3).guid, Refusal::RouteService)];
    mesh.state.apply(Update::Refused(bound));
    let gone = vec![foundation::instance(5, 0, 61_000).guid.clone()];
    mesh.state.apply(Update::Instances {
        current: vec![foundation::instance(4, 1, 61_000)],
        gone,
    });
    let snapshot = mesh.publish().expect("a refusal and two changes");
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    assert_eq!(entries.len(), 2 * ROUTES - 2);
}

#[tokio::test]
async fn what_is_told_unmapped_goes_while_the_rest_of_its_route_is_held() {
    let mut mesh = Mesh::new();
    let mut shared = foundation::route(0);
    let [own, other] = [0, 1].map(|n| foundation::route(n).destinations[0].clone());
    shared.destinations.push(other.clone());
    shared.destinations.sort_unstable();
    mesh.state.apply(Update::Routes {
        current: vec![shared.clone()],
        gone: vec![],
    });
    let name = format!("{}.routes.cloudfoundry", shared.host);
    let ports = |snapshot: &Snapshot| endpoints(snapshot).remove(&name).map(|all| all.len());
    assert_eq!(ports(&mesh.publish().unwrap()), Some(2));
    mesh.read(Update::AllRoutes(vec![]));
    for (gone, left) in [(other, Some(1)), (own, None)] {
        let unmapped = Update::Unmapped(shared.guid.clone(), gone.workload);
        mesh.state.apply(unmapped);
        assert_eq!(ports(&mesh.publish().unwrap()), left);
        mesh.read(Update::AllRoutes(vec![]));
        assert_eq!(mesh.held(), 1);
    }
}

#[tokio::test]
async fn a_route_that_nobody_answers_at_the_moment_stays_with_those_that_are_held() {
    let mut mesh = Mesh::new();
    let restarting = foundation::instance(5, 0, 61_000);
    mesh.state.apply(Update::Instances {
        current: vec![],
        gone: vec![restarting.guid.clone()],
    });
    mesh.publish().expect("one instance less");
    mesh.read(Update::AllRoutes(vec![]));
    assert_eq!(mesh.held(), 1);
    mesh.state.apply(Update::Instances {
        current: vec![restarting],
        gone: vec![],
    });
    let snapshot = mesh.publish().expect("it is back");
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    assert_eq!(entries.len(), 2 * ROUTES);
}

/// How long it takes until what complete reads lack is gone, and how many it takes, each when it could confirm that.
fn until_gone(mesh: &mut Mesh, lacking: impl Fn() -> Update) -> (Duration, u32) {
    let began = mesh.now;
    let mut reads = 0;
    loop {
        mesh.read(lacking());
        reads += 1;
        let asked = mesh.state.confirmations();
        let asked = [asked.routes, asked.instances, asked.policies];
        match asked.into_iter().flatten().min() {
            Some(at) => mesh.now = mesh.now.max(at),
            None => return (mesh.now - began, reads),
        }
    }
}

#[tokio::test]
async fn what_no_event_tells_is_gone_after_three_reads_in_a_time_by_its_share() {
    let third = || Update::AllRoutes(routes().split_off(2 * ROUTES / 3));
    let most = || Update::AllRoutes(routes().split_off(ROUTES + ROUTES / 2));
    let all = || Update::AllInstances(vec![]);
    for (lacking, share, seconds) in [
        (&third as &dyn Fn() -> Update, "a third", 20),
        (&most, "three quarters", 60),
        (&all, "everything", 600),
    ] {
        let mut mesh = Mesh::new();
        let (took, reads) = until_gone(&mut mesh, lacking);
        let time = Duration::from_secs(seconds);
        assert!(
            (time..time + Duration::from_secs(3)).contains(&took),
            "{share}: {took:?}"
        );
        assert_eq!(reads, 3, "{share}");
        mesh.publish().expect("what is left");
    }
}

/// Where each service's instances are, by the service's hostname.
fn endpoints(snapshot: &Snapshot) -> BTreeMap<String, Vec<u32>> {
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    let entries = entries.iter().map(|resource| {
        let body = resource.decode().body.unwrap();
        let entry = ServiceEntry::decode(&*body.value).unwrap();
        let ports = entry.endpoints.iter().flat_map(|to| to.ports.values());
        let mut ports: Vec<_> = ports.copied().collect();
        ports.sort_unstable();
        (entry.hosts[0].clone(), ports)
    });
    entries.collect()
}

#[tokio::test]
async fn an_instance_that_has_moved_is_where_it_is_now_though_others_of_its_app_are_held() {
    let mut mesh = Mesh::new();
    let second = (0..2 * ROUTES).map(|n| foundation::instance(n, 1, 61_100));
    mesh.read(Update::AllInstances(
        instances().into_iter().chain(second).collect(),
    ));
    mesh.publish().expect("a second instance of each");
    let mut moved = instances();
    let mut first = moved[0].as_ref().clone();
    first.ports[0].host = 61_999;
    moved[0] = Arc::new(first);
    mesh.read(Update::AllInstances(moved));
    assert_eq!(mesh.held(), 1);
    let served = endpoints(&mesh.publish().expect("one that has moved"));
    let service = istio::service(&foundation::route(0).host, "");
    assert_eq!(served[&service], [61_100, 61_999]);
}

#[tokio::test]
async fn a_route_leads_to_what_is_new_and_to_what_is_held() {
    let mut mesh = Mesh::new();
    let second = (0..ROUTES).map(|n| foundation::instance(n, 1, 61_100));
    let new = foundation::instance(2 * ROUTES, 0, 61_999);
    mesh.state.apply(Update::Instances {
        current: second.chain([new]).collect(),
        gone: vec![],
    });
    let new = foundation::route(2 * ROUTES).destinations;
    let elsewhere = routes().into_iter().map(|route| Route {
        destinations: new.clone(),
        ..route
    });
    mesh.read(Update::AllRoutes(elsewhere.collect()));
    assert_eq!(mesh.held(), 1);
    let served = endpoints(&mesh.publish().expect("the new destination"));
    let services = (0..ROUTES).map(|n| istio::service(&foundation::route(n).host, ""));
    for service in services {
        assert_eq!(served[&service], [61_000, 61_100, 61_999], "{service}");
    }
}

#[tokio::test]
async fn what_only_cloud_controller_describes_is_put_back_as_that() {
    let mut mesh = Mesh::new();
    let undescribed = |instance: Arc<copilot::model::Instance>| {
        let mut instance = instance.as_ref().clone();
        instance.workload = None;
        Arc::new(instance)
    };
    let processes = instances().into_iter().map(|instance| Process {
        guid: instance.process.capi_process().clone(),
        workload: instance.workload.clone().unwrap(),
    });
    let instances: Vec<_> = instances().into_iter().map(undescribed).collect();
    mesh.state.apply(Update::AllInstances(instances));
    mesh.state.apply(Update::Processes {
        known: processes.collect(),
        unknown: vec![],
    });
    assert!(mesh.publish().is_none(), "the same as before");
    mesh.read(Update::AllInstances(vec![]));
    assert_eq!(mesh.held(), 1);
    assert!(mesh.publish().is_none());
}

#[tokio::test]
async fn one_new_restriction_lets_no_other_loss_of_sidecars_pass() {
    let mut mesh = Mesh::new();
    let gone = instances().split_off(ROUTES).into_iter();
    mesh.state.apply(Update::Instances {
        current: vec![],
        gone: gone.map(|instance| instance.guid.clone()).collect(),
    });
    let before = mesh.publish();
    let before = sidecar_hosts(&before.expect("internal hostnames without instances"));
    let mut read = routes();
    read[ROUTES].refused = Some(Refusal::RouteService);
    read[ROUTES + 1..]
        .iter_mut()
        .for_each(|route| route.destinations.clear());
    mesh.read(Update::AllRoutes(read));
    assert_eq!(mesh.held(), 1);
    let after = sidecar_hosts(&mesh.publish().expect("a restriction"));
    assert_ne!(after, before);
    let restricted = foundation::internal_route(ROUTES).host;
    let but_for_it = before.into_iter().map(|(app, mut hosts)| {
        hosts.retain(|host| !host.ends_with(&format!("/{restricted}")));
        (app, hosts)
    });
    assert_eq!(
        after,
        but_for_it.filter(|(_, hosts)| !hosts.is_empty()).collect()
    );
}

/// Where each app may connect to.
fn sidecar_hosts(snapshot: &Snapshot) -> BTreeMap<String, Vec<String>> {
    let sidecars = snapshot.get(Kind::Sidecar).unwrap();
    let sidecars = sidecars.iter().map(|resource| {
        let body = resource.decode().body.unwrap();
        let sidecar = Sidecar::decode(&*body.value).unwrap();
        let hosts = sidecar.egress.into_iter().flat_map(|egress| egress.hosts);
        (resource.name.to_string(), hosts.collect())
    });
    sidecars.collect()
}
