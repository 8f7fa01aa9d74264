//! When a service goes that nothing names any more, though nothing else happens.

use tokio::time::Instant;

use super::*;

const LINGER: Duration = Duration::from_secs(15);

fn routes(current: Vec<Route>, gone: Vec<Route>) -> Update {
    let gone = gone.into_iter().map(|route| route.guid).collect();
    Update::Routes { current, gone }
}

fn has_service(snapshot: &Snapshot, n: usize) -> bool {
    let name = istio::service(&foundation::route(n).host, "");
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    entries.get(&name).is_some()
}

#[tokio::test(start_paused = true)]
async fn the_publisher_wakes_for_each_service_whose_time_is_over_and_for_nothing_else() {
    let settings = Settings {
        linger: LINGER,
        keep_empty_service_entries: true,
        ..settings([])
    };
    let mut running = start(settings);
    let all: Vec<_> = (0..2).map(foundation::route).collect();
    let instances = (0..2).map(|n| foundation::instance(n, 0, 61_000));
    running
        .send(Update::AllInstances(instances.collect()))
        .await;
    running.send(Update::AllRoutes(all.clone())).await;
    while !has_service(&*running.next().await, 1) {}

    let begin = Instant::now();
    running.send(routes(vec![], vec![all[0].clone()])).await;
    let snapshot = running.next().await;
    assert!(has_service(&snapshot, 0));
    assert_eq!(running.metric("copilot_lingering_services"), 1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    running.send(routes(vec![], vec![all[1].clone()])).await;
    running.next().await;
    assert_eq!(running.metric("copilot_lingering_services"), 2);
    let published = running.metric("copilot_generation_seconds_count");

    for (n, after) in [(0, LINGER), (1, LINGER + Duration::from_secs(5))] {
        let snapshot = running.next().await;
        assert!(!has_service(&snapshot, n));
        let took = begin.elapsed();
        let latest = after + Duration::from_millis(200);
        assert!((after..latest).contains(&took), "after {took:?}");
    }
    assert_eq!(running.metric("copilot_lingering_services"), 0);
    tokio::time::sleep(Duration::from_hours(1)).await;
    let runs = running.metric("copilot_generation_seconds_count") - published;
    assert_eq!(runs, 2, "one for each");
}
