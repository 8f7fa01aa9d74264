//! What changes of apps and routes cost: which resources are encoded again, and in which collections.

use copilot::model::{Asked, Destination, HeaderName, LoadBalancing, Protocol, Weight};

use super::*;

const SERVICES: Kind = Kind::VirtualService;
const ENTRIES: Kind = Kind::ServiceEntry;

/// What is encoded for an update, and the collections that differ then.
async fn cost(running: &mut Running, update: Update) -> (u64, Vec<&'static str>) {
    let (encoded, before) = (running.encoded(), snapshot(running));
    running.send(update).await;
    let after = running.next().await;
    let changed = changed_collections(&before, &after);
    (running.encoded() - encoded, changed)
}

fn snapshot(running: &Running) -> Arc<Snapshot> {
    running.outputs.snapshots.borrow().clone().unwrap()
}

fn routes(current: Vec<Route>) -> Update {
    Update::Routes {
        current,
        gone: vec![],
    }
}

fn one_instance(n: usize, port: u16) -> Update {
    Update::Instances {
        current: vec![foundation::instance(n, 0, port)],
        gone: vec![],
    }
}

fn gone_instance(n: usize) -> Update {
    Update::Instances {
        current: vec![],
        gone: vec![foundation::instance(n, 0, 0).guid.clone()],
    }
}

/// The `n`th route, under another hostname or path.
fn renamed(n: usize, host: &str, path: &str) -> Route {
    Route {
        host: Hostname::parse(host).unwrap(),
        path: path.into(),
        ..foundation::route(n)
    }
}

/// The `n`th route to these apps.
fn mapped(n: usize, apps: &[usize]) -> Route {
    let to = apps
        .iter()
        .map(|app| foundation::route(*app).destinations[0].clone());
    let mut destinations: Vec<Destination> = to.collect();
    destinations.sort();
    Route {
        destinations: destinations.into(),
        ..foundation::route(n)
    }
}

/// A route whose owner asks for that.
fn asking(mut route: Route, texts: &[(&str, &str)]) -> Route {
    route.ask(Asked::parse(texts.iter().copied()));
    route
}

/// A publisher of routes, each of an app of its own with an instance.
async fn published(routes: Vec<Route>, instances: impl IntoIterator<Item = usize>) -> Running {
    let mut running = start(Settings {
        keep_empty_service_entries: true,
        ..settings([Input::Routes, Input::Instances])
    });
    let instances = instances
        .into_iter()
        .map(|n| foundation::instance(n, 0, 61_000));
    running
        .send(Update::AllInstances(instances.collect()))
        .await;
    running.send(Update::AllRoutes(routes)).await;
    running.next().await;
    running
}

#[tokio::test(start_paused = true)]
async fn an_instance_of_an_app_with_three_routes_encodes_three_resources_of_one_collection() {
    let app = foundation::route(7);
    let mut routes: Vec<_> = (0..20).map(foundation::route).collect();
    for (n, host, path) in [(20, "other.example.com", ""), (21, app.host.as_str(), "/a")] {
        routes.push(Route {
            destinations: app.destinations.clone(),
            ..renamed(n, host, path)
        });
    }
    // What its hostnames have besides is others' business.
    routes.push(renamed(22, app.host.as_str(), "/b"));
    let mut running = published(routes, 0..20).await;
    let entries = vec![ENTRIES.collection()];
    let moved = cost(&mut running, one_instance(7, 61_999)).await;
    assert_eq!(moved, (3, entries.clone()));
    let second = Update::Instances {
        current: vec![foundation::instance(7, 1, 61_500)],
        gone: vec![],
    };
    assert_eq!(cost(&mut running, second).await, (3, entries.clone()));
    assert_eq!(cost(&mut running, gone_instance(7)).await, (3, entries));
}

/// Maps, unmaps, scales and stops apps of a route among so many.
async fn mapping_an_app_encodes_one_service(count: usize) {
    let all = (0..count).map(foundation::route).collect();
    let mut running = published(all, 0..count).await;
    let (blue, green) = (count / 2, count / 3);
    for update in [
        routes(vec![mapped(blue, &[blue, green])]),
        routes(vec![mapped(blue, &[green])]),
        routes(vec![mapped(blue, &[])]),
        routes(vec![mapped(blue, &[blue])]),
        gone_instance(blue),
        one_instance(blue, 61_500),
    ] {
        let told = format!("{update:?}");
        let cost = cost(&mut running, update).await;
        assert_eq!(cost, (1, vec![ENTRIES.collection()]), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn blue_green_by_mapping_encodes_the_service_alone_at_1_000_routes_and_at_100_000() {
    for count in [1_000, 100_000] {
        mapping_an_app_encodes_one_service(count).await;
    }
}

#[tokio::test(start_paused = true)]
async fn blue_green_by_mapping_leaves_the_rule_of_a_route_with_options_as_it_is() {
    let choosing = |apps: &[usize], header: &str| Route {
        load_balancing: Some(Box::new(LoadBalancing::Hash(
            HeaderName::parse(header).unwrap(),
        ))),
        ..mapped(7, apps)
    };
    let mut all: Vec<_> = (0..20).map(foundation::route).collect();
    all[7] = choosing(&[7], "x-user");
    let mut running = published(all, 0..20).await;
    for apps in [&[7, 8][..], &[8]] {
        let cost = cost(&mut running, routes(vec![choosing(apps, "x-user")])).await;
        assert_eq!(cost, (1, vec![ENTRIES.collection()]), "{apps:?}");
    }
    // Its service is looked at too, and is as it was.
    let chosen = cost(&mut running, routes(vec![choosing(&[8], "x-other")])).await;
    assert_eq!(chosen, (2, vec![Kind::DestinationRule.collection()]));
}

#[tokio::test(start_paused = true)]
async fn a_changed_setting_encodes_the_virtual_service_and_a_changed_cookie_the_rule() {
    let mut running = published((0..20).map(foundation::route).collect(), 0..20).await;
    // Its service is looked at too, and is as it was.
    for texts in [&[("timeout", "5s")][..], &[("timeout", "6s")], &[]] {
        let cost = cost(
            &mut running,
            routes(vec![asking(foundation::route(7), texts)]),
        )
        .await;
        assert_eq!(cost, (2, vec![SERVICES.collection()]), "{texts:?}");
    }
    // With the first cookie the VirtualService is looked at, which says what is tried again of a client that is kept.
    for (texts, looked_at) in [
        (&[("session-affinity", "A")][..], 3),
        (&[("session-affinity", "B")], 2),
    ] {
        let cost = cost(
            &mut running,
            routes(vec![asking(foundation::route(7), texts)]),
        )
        .await;
        let rules = vec![Kind::DestinationRule.collection()];
        assert_eq!(cost, (looked_at, rules), "{texts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_setting_of_a_wildcard_encodes_those_who_go_on_to_it_and_its_cookie_its_own_rule()
{
    let wildcard = |texts: &[(&str, &str)]| {
        let wildcard = renamed(50, "*.apps.example.com", "");
        asking(wildcard, texts)
    };
    let hosts = (0..20).map(|n| match n % 2 {
        0 => renamed(n, &format!("app-{n}.apps.example.com"), "/1"),
        _ => foundation::route(n),
    });
    let mut running = published(hosts.chain([wildcard(&[])]).collect(), 0..60).await;
    for texts in [&[("timeout", "5s")][..], &[("timeout", "6s")]] {
        let cost = cost(&mut running, routes(vec![wildcard(texts)])).await;
        // Ten hostnames, its own, and its service, which is as it was.
        assert_eq!(cost, (12, vec![SERVICES.collection()]), "{texts:?}");
    }
    for (cookie, looked_at) in [("A", 13), ("B", 2)] {
        let texts = [("timeout", "6s"), ("session-affinity", cookie)];
        let cost = cost(&mut running, routes(vec![wildcard(&texts)])).await;
        let rules = vec![Kind::DestinationRule.collection()];
        assert_eq!(cost, (looked_at, rules), "{cookie}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_setting_of_an_internal_route_comes_and_goes_with_its_virtual_service_alone() {
    let internal = |texts| {
        let route = Route {
            internal: true,
            ..renamed(50, "shop.apps.internal", "")
        };
        asking(route, texts)
    };
    let hosts = (0..20).map(foundation::route);
    let mut running = published(hosts.chain([internal(&[])]).collect(), 0..60).await;
    for texts in [&[("timeout", "5s")][..], &[("timeout", "6s")], &[]] {
        let (_, changed) = cost(&mut running, routes(vec![internal(texts)])).await;
        assert_eq!(changed, [SERVICES.collection()], "{texts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wildcard_costs_the_hostnames_that_fall_back_to_it_and_no_others() {
    let wildcard = |to| Route {
        destinations: foundation::route(to).destinations,
        ..renamed(5_000, "*.apps.example.com", "")
    };
    // Of 4,000 hostnames below it, 1,000 have a path alone, and those of a nearer wildcard go no further. No path has
    // letters, or it would be encoded for each era.
    let hosts = (0..4_000).map(|n| match n % 4 {
        0 => renamed(n, &format!("app-{n}.apps.example.com"), "/1"),
        1 => renamed(n, &format!("app-{n}.near.apps.example.com"), "/1"),
        _ => foundation::route(n),
    });
    let near = renamed(4_001, "*.near.apps.example.com", "");
    let mut all: Vec<_> = hosts.chain([near]).collect();
    all.push(wildcard(5_000));
    let mut running = published(all, 0..6_000).await;

    // Its instances and its apps are its own business.
    let entries = vec![ENTRIES.collection()];
    for update in [one_instance(5_000, 61_999), routes(vec![wildcard(5_001)])] {
        assert_eq!(cost(&mut running, update).await, (1, entries.clone()));
    }
    // As is that its last instance goes: there is nothing to go on to.
    assert_eq!(cost(&mut running, gone_instance(5_001)).await, (1, entries));

    // That it is divided is not: 1,000 hostnames and its own, its services, and nothing else.
    let mut divided = wildcard(5_000);
    divided
        .destinations
        .extend(foundation::route(5_002).destinations);
    for to in &mut divided.destinations {
        to.weight = Weight::Fixed(50);
    }
    divided.destinations.sort();
    let (encoded, _) = cost(&mut running, routes(vec![divided])).await;
    assert_eq!(encoded, 1_001 + 2);
    let gone = Update::Routes {
        current: vec![],
        gone: vec![wildcard(5_000).guid],
    };
    assert_eq!(cost(&mut running, gone).await.0, 1_000);
    assert_eq!(
        cost(&mut running, routes(vec![wildcard(5_000)])).await.0,
        1_001 + 1
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_instance_of_a_route_costs_its_virtual_service_only_where_there_is_a_fall_back() {
    let mut all: Vec<_> = (0..50).map(foundation::route).collect();
    let mut running = published(all.clone(), 0..51).await;
    let entries = vec![ENTRIES.collection()];
    for update in [gone_instance(7), one_instance(7, 61_001)] {
        assert_eq!(cost(&mut running, update).await, (1, entries.clone()));
    }
    all.push(renamed(50, "*.apps.example.com", ""));
    let mut running = published(all, 0..51).await;
    let mut both = vec![ENTRIES.collection(), SERVICES.collection()];
    both.sort_unstable();
    for update in [gone_instance(7), one_instance(7, 61_001)] {
        assert_eq!(cost(&mut running, update).await, (2, both.clone()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_weight_costs_the_virtual_service_and_an_instance_of_such_a_route_its_own_service() {
    let weighted = |weights: [u32; 2]| {
        let mut route = mapped(0, &[0, 1]);
        for (to, weight) in std::iter::zip(&mut route.destinations, weights) {
            to.weight = Weight::Fixed(weight);
        }
        route
    };
    let mut running = published(vec![weighted([90, 10])], 0..2).await;
    // Its services are looked at too, and are as they were.
    let weight = cost(&mut running, routes(vec![weighted([50, 50])])).await;
    assert_eq!(weight, (3, vec![SERVICES.collection()]));
    let moved = cost(&mut running, one_instance(1, 61_999)).await;
    assert_eq!(moved, (2, vec![ENTRIES.collection()]));
}

#[tokio::test(start_paused = true)]
async fn services_that_are_no_more_are_withdrawn_with_the_division_of_their_route() {
    let mixed = || {
        let mut route = mapped(0, &[0, 1]);
        route.destinations[1].protocol = Protocol::Http2;
        route
    };
    let mut running = published(vec![mixed()], 0..2).await;
    let names = |running: &Running| {
        let entries = snapshot(running).xds(ENTRIES).unwrap().clone();
        entries
            .iter()
            .map(|entry| entry.name.to_owned())
            .collect::<Vec<_>>()
    };
    let whole = ENTRIES.name(&foundation::route(0).host, false);
    assert_eq!(names(&running), [whole.clone(), format!("cf--h2.{whole}")]);
    cost(&mut running, routes(vec![mapped(0, &[0])])).await;
    assert_eq!(names(&running), [whole]);
    cost(&mut running, routes(vec![mixed()])).await;
    let gone = vec![foundation::route(0).guid];
    let update = Update::Routes {
        current: vec![],
        gone,
    };
    cost(&mut running, update).await;
    assert!(names(&running).is_empty());
}
