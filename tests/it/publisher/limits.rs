//! Routes beyond what one hostname, or one app, has.

use copilot::{
    model::{Asked, Refusal},
    table::Limits,
};

use super::*;

fn limited() -> Settings {
    Settings {
        limits: Limits {
            host_routes: 2,
            app_routes: 3,
            ..Limits::default()
        },
        ..settings([Input::Routes, Input::Instances])
    }
}

fn instances(count: usize) -> Update {
    Update::AllInstances(
        (0..count)
            .map(|n| foundation::instance(n, 0, 61_000))
            .collect(),
    )
}

fn services(snapshot: &Snapshot) -> usize {
    snapshot.get(Kind::ServiceEntry).unwrap().len()
}

impl Running {
    /// What is said of the routes of a hostname or an app that are left out, and how many are in all.
    fn left_out(&self, of: &str) -> (Option<String>, u64) {
        let rejected = self.outputs.rejected.borrow().clone();
        let reasons = rejected.get(&("routes", of.to_owned()));
        let reason = reasons.map(|reasons| reasons[0].to_string());
        let count = self.metric(r#"copilot_table_items{item="left_out_routes"}"#);
        (reason, count)
    }
}

#[tokio::test]
async fn the_newest_routes_of_a_hostname_are_left_out_named_and_counted_until_there_is_room() {
    let mut running = start(limited());
    let host = foundation::route(0).host;
    let route = |n: usize| Route {
        host: host.clone(),
        path: format!("/{n}").as_str().into(),
        ..foundation::route(n)
    };
    running.send(instances(4)).await;
    let newest_first = (0..4).rev().map(route).collect();
    running.send(Update::AllRoutes(newest_first)).await;
    let snapshot = running.next().await;
    assert_eq!(services(&snapshot), 2);
    let [third, fourth] = [2, 3].map(|n| format!("{} ({host}/{n})", route(n).guid));
    let said = format!(
        "2 routes are served and the 2 newest (of one age, as all that are pushed, the last by guid) left out: {fourth}, {third}"
    );
    assert_eq!(running.left_out(host.as_str()), (Some(said), 2));

    for (gone, left) in [(0, 1), (1, 0)] {
        let update = Update::Routes {
            current: vec![],
            gone: vec![route(gone).guid],
        };
        running.send(update).await;
        let snapshot = running.next().await;
        assert_eq!(services(&snapshot), 2);
        let name = istio::service(&host, "/2");
        let entries = snapshot.get(Kind::ServiceEntry).unwrap();
        assert!(entries.get(&name).is_some(), "there is room for it");
        let (reason, count) = running.left_out(host.as_str());
        assert_eq!((reason.is_some(), count), (left > 0, left));
    }
}

#[tokio::test]
async fn the_newest_routes_to_an_app_do_not_lead_there_and_those_of_others_stay() {
    let mut running = start(limited());
    let mut routes: Vec<_> = (0..5).map(foundation::route).collect();
    let crowded = routes[0].destinations[0].clone();
    for route in &mut routes[1..] {
        route.destinations.push(crowded.clone());
        route.destinations.sort_unstable();
    }
    running.send(instances(5)).await;
    running.send(Update::AllRoutes(routes.clone())).await;
    let snapshot = running.next().await;
    assert_eq!(services(&snapshot), 5, "each has an app of its own");
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    let endpoints = routes.iter().map(|route| {
        let entry = entries.get(&istio::service(&route.host, "")).unwrap();
        istio::endpoints(entry).len()
    });
    assert_eq!(endpoints.collect::<Vec<_>>(), [1, 2, 2, 1, 1]);
    let (reason, count) = running.left_out(&format!("{} web", crowded.workload.app));
    assert!(reason.is_some());
    assert_eq!(count, 2);
}

#[tokio::test]
async fn refused_routes_and_others_do_not_take_each_others_places() {
    let mut running = start(limited());
    let host = foundation::route(0).host;
    let route = |n: usize| Route {
        host: host.clone(),
        path: format!("/{n}").as_str().into(),
        refused: (n < 3).then_some(Refusal::RoutePolicies),
        ..foundation::route(n)
    };
    running.send(instances(6)).await;
    running
        .send(Update::AllRoutes((0..6).map(route).collect()))
        .await;
    let snapshot = running.next().await;
    assert_eq!(services(&snapshot), 2, "of those that are not refused");
    let (reason, count) = running.left_out(host.as_str());
    let reason = reason.unwrap();
    assert!(reason.starts_with("4 routes are served"), "{reason}");
    let [refused, open] = [2, 5].map(|n| route(n).guid.to_string());
    assert!(
        reason.contains(&refused) && reason.contains(&open),
        "{reason}"
    );
    assert_eq!(count, 2);
}

#[tokio::test]
async fn what_owners_ask_for_beyond_the_bytes_of_a_hostname_is_left_out_and_named_and_no_route_is()
{
    let mut running = start(Settings {
        limits: Limits {
            host_bytes: 12_000,
            ..Limits::default()
        },
        ..settings([Input::Routes, Input::Instances])
    });
    let host = foundation::route(0).host;
    let lines = (0..7).map(|n| format!("x-{n}: {}\n", "v".repeat(250)));
    let asked = Asked::parse([("request-headers-set", &*lines.collect::<String>())]);
    let route = |n: usize| {
        let mut route = Route {
            host: host.clone(),
            path: format!("/{n}").as_str().into(),
            ..foundation::route(n)
        };
        route.ask(asked.clone());
        route
    };
    running.send(instances(10)).await;
    running
        .send(Update::AllRoutes((0..10).map(route).collect()))
        .await;
    assert_eq!(services(running.next().await.as_ref()), 10);
    let (reason, count) = running.left_out(host.as_str());
    let reason = reason.unwrap();
    assert!(
        reason.contains("no room for the") && reason.contains(&route(9).guid.to_string()),
        "{reason}"
    );
    assert_eq!(count, 0);
}
