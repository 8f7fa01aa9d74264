//! Sidecars: what policies cost, and who waits for them.

use copilot::{
    istio::{DEFAULT_SIDECAR, Kind},
    model::{Policy, PortRange, Transport},
};

use super::*;

/// The names of the Sidecars.
fn sidecars(snapshot: &Snapshot) -> Vec<&str> {
    let sidecars = snapshot.get(Kind::Sidecar).unwrap();
    sidecars.iter().map(|resource| resource.name).collect()
}

/// Internal routes, two instances each, and ten policies for each app.
async fn a_change_among_policies_costs_what_it_changes(routes: usize) {
    let mut running = start(Settings {
        policies: Some(Duration::from_secs(10)),
        ..settings([Input::Routes, Input::Instances])
    });
    let all = (0..routes).map(foundation::internal_route).collect();
    let instances =
        (0..routes).flat_map(|n| [0, 1].map(|index| foundation::instance(n, index, 61_000)));
    let mut policies = foundation::policies(routes);
    running.send(Update::AllPolicies(policies.clone())).await;
    running
        .send(Update::AllInstances(instances.collect()))
        .await;
    running.send(Update::AllRoutes(all)).await;
    let first = running.next().await;
    // Of each route a ServiceEntry, what only istiods are told of it, and its app's Sidecar.
    let initial = 3 * routes as u64;
    assert_eq!(running.encoded(), initial);
    assert_eq!(sidecars(&first).len(), routes + 1);

    running
        .send(Update::Instances {
            current: vec![],
            gone: vec![foundation::instance(7, 0, 61_000).guid.clone()],
        })
        .await;
    let second = running.next().await;
    assert_eq!(running.encoded(), initial + 1);
    let entries = Kind::ServiceEntry.collection();
    assert_eq!(changed_collections(&first, &second), [entries]);

    let moved = &mut policies[75];
    moved.destination = foundation::app(100);
    running.send(Update::AllPolicies(policies)).await;
    let third = running.next().await;
    assert_eq!(running.encoded(), initial + 2);
    assert_eq!(
        changed_collections(&second, &third),
        [Kind::Sidecar.collection()]
    );
    let (old, new) = (
        second.get(Kind::Sidecar).unwrap(),
        third.get(Kind::Sidecar).unwrap(),
    );
    assert_eq!(new.diff(old).changed.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_instance_costs_no_sidecar_and_a_policy_one_at_300_to_20_000_internal_routes() {
    for routes in [300, 1_000, 5_000, 20_000] {
        a_change_among_policies_costs_what_it_changes(routes).await;
    }
}

#[tokio::test(start_paused = true)]
async fn routes_do_not_wait_for_policies_and_sidecars_are_withheld_until_they_come() {
    // Faults 30 and 31 of the original.
    let grace = Duration::from_secs(10);
    let mut running = start(Settings {
        policies: Some(grace),
        ..settings([Input::Routes])
    });
    let route = foundation::internal_route(0);
    running.send(Update::AllRoutes(vec![route])).await;
    let first = running.next().await;
    assert_eq!(first.xds(Kind::DestinationRule).unwrap().len(), 1);
    assert!(first.get(Kind::Sidecar).is_none());

    tokio::time::advance(grace / 2).await;
    let policy = Policy {
        source: foundation::app(1),
        destination: foundation::app(0),
        transport: Transport::Tcp,
        ports: PortRange::new(8080, 8080).unwrap(),
    };
    running
        .send(Update::AllPolicies(vec![policy.clone()]))
        .await;
    let second = running.next().await;
    assert!(second.get(Kind::Sidecar).is_some());
    assert_eq!(
        sidecars(&second),
        [&policy.source.to_string(), DEFAULT_SIDECAR]
    );
    running.send(Update::AllPolicies(vec![])).await;
    assert_eq!(sidecars(&*running.next().await), [DEFAULT_SIDECAR]);
}

#[tokio::test(start_paused = true)]
async fn policies_that_do_not_come_leave_the_default_sidecar_after_a_while() {
    let grace = Duration::from_secs(10);
    let mut running = start(Settings {
        policies: Some(grace),
        ..settings([Input::Routes])
    });
    let begun = tokio::time::Instant::now();
    running.send(Update::AllRoutes(vec![])).await;
    assert!(running.next().await.get(Kind::Sidecar).is_none());
    let second = running.next().await;
    assert_eq!(sidecars(&second), [DEFAULT_SIDECAR]);
    assert!(begun.elapsed() >= grace && begun.elapsed() < 2 * grace);
}

#[tokio::test]
async fn without_a_policy_server_the_default_sidecar_is_there_at_once() {
    // Fault 33 of the original.
    let mut running = start(settings([Input::Routes]));
    running.send(Update::AllRoutes(vec![])).await;
    assert_eq!(sidecars(&*running.next().await), [DEFAULT_SIDECAR]);
}

#[tokio::test]
async fn a_policy_whose_source_can_have_no_sidecar_is_named_and_the_others_count() {
    let mut running = start(Settings {
        policies: Some(Duration::from_mins(1)),
        ..settings([Input::Routes])
    });
    let policy = |source: &str| Policy {
        source: source.into(),
        destination: foundation::app(0),
        transport: Transport::Tcp,
        ports: PortRange::new(8080, 8080).unwrap(),
    };
    let policies = ["a/b", DEFAULT_SIDECAR, "good"].map(policy).to_vec();
    running.send(Update::AllPolicies(policies)).await;
    let route = foundation::internal_route(0);
    running.send(Update::AllRoutes(vec![route])).await;
    let snapshot = running.next().await;
    assert_eq!(sidecars(&snapshot), [DEFAULT_SIDECAR, "good"]);
    let rejected = running.outputs.rejected.borrow().clone();
    for name in ["a/b", DEFAULT_SIDECAR] {
        assert_eq!(
            rejected[&(Kind::Sidecar.collection(), name.to_owned())][0].rule,
            "name"
        );
    }

    running
        .send(Update::AllPolicies(vec![policy("good")]))
        .await;
    let rejected = &mut running.outputs.rejected;
    let emptied = rejected.wait_for(|rejected| rejected.is_empty());
    tokio::time::timeout(Duration::from_secs(20), emptied)
        .await
        .expect("forgotten with its policy")
        .unwrap();
    let snapshot = running.outputs.snapshots.borrow().clone().unwrap();
    assert_eq!(sidecars(&snapshot), [DEFAULT_SIDECAR, "good"]);
}
