//! Routes that are refused: withdrawn with the first snapshot after it is said, from every collection at once.

use copilot::model::Refusal;

use super::*;

/// What a route without options has.
const SERVED: [Kind; 2] = [Kind::VirtualService, Kind::ServiceEntry];

/// The kinds of which the snapshot has a resource of the hostname, for Pilots or for istiods.
fn kinds(snapshot: &Snapshot, host: &Hostname) -> Vec<Kind> {
    let has = |kind: &Kind| {
        let name = kind.name(host, false);
        let for_pilots = snapshot.get(*kind).unwrap().get(&name).is_some();
        for_pilots || snapshot.xds(*kind).unwrap().get(&name).is_some()
    };
    OF_HOSTS.into_iter().filter(has).collect()
}

#[tokio::test]
async fn a_refused_route_has_no_service_and_no_endpoint_in_any_snapshot_that_follows() {
    let mut running = start(Settings {
        keep_empty_service_entries: true,
        ..settings([Input::Routes, Input::Instances])
    });
    let instances = |count| {
        let instances = (0..count).map(|n| foundation::instance(0, n, 61_000));
        Update::AllInstances(instances.collect())
    };
    let route = foundation::route(0);
    running.send(instances(1)).await;
    running.send(Update::AllRoutes(vec![route.clone()])).await;
    let snapshot = running.next().await;
    assert_eq!(kinds(&snapshot, &route.host), SERVED);

    let refused = vec![(route.guid.clone(), Refusal::RouteService)];
    running.send(Update::Refused(refused)).await;
    let answer = running.next().await;
    assert_eq!(kinds(&answer, &route.host), [Kind::VirtualService]);
    let key = (Kind::VirtualService.collection(), route.host.to_string());
    let rejected = running.outputs.rejected.borrow().clone();
    assert_eq!(rejected[&key][0].rule, "route-service");

    // Whatever becomes of its instances, nothing of it is published.
    running.send(instances(3)).await;
    let beside = foundation::route(1);
    let more = Update::Routes {
        current: vec![beside.clone()],
        gone: vec![],
    };
    running.send(more).await;
    let snapshot = running.next().await;
    assert_eq!(kinds(&snapshot, &route.host), [Kind::VirtualService]);
    let name = Kind::VirtualService.name(&route.host, false);
    let version = |snapshot: &Snapshot| {
        let collection = snapshot.get(Kind::VirtualService).unwrap();
        collection.get(&name).unwrap().version
    };
    assert_eq!(version(&snapshot), version(&answer));

    let again = Update::Routes {
        current: vec![route.clone()],
        gone: vec![],
    };
    running.send(again).await;
    let snapshot = running.next().await;
    assert_eq!(kinds(&snapshot, &route.host), SERVED);
    assert!(running.outputs.rejected.borrow().is_empty());
}

#[tokio::test]
async fn what_is_refused_and_not_known_changes_nothing() {
    let mut running = start(settings([Input::Routes]));
    running
        .send(Update::AllRoutes(vec![foundation::route(0)]))
        .await;
    running.next().await;
    let unknown = vec![("unknown".into(), Refusal::RoutePolicies)];
    running.send(Update::Refused(unknown)).await;
    let beside = Update::Routes {
        current: vec![foundation::route(1)],
        gone: vec![],
    };
    running.send(beside).await;
    let snapshot = running.next().await;
    let served = kinds(&snapshot, &foundation::route(0).host);
    assert_eq!(served, [Kind::VirtualService], "it has no instance");
}
