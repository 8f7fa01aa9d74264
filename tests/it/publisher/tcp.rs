//! TCP routes: for how long all others wait for them, and what they cost.

use std::{collections::BTreeSet, time::Duration};

use copilot::{
    istio::{Kind, OF_HOSTS},
    model::{Basis, Hostname, Protocol, Reading, Route, Source, Update},
    publisher::{Metrics, State},
    sim::foundation,
    snapshot::Snapshot,
};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::{Input, Running, Settings, changed_collections, settings, start};

fn tcp_settings() -> Settings {
    Settings {
        tcp_ports: (1024..=1033).collect(),
        ..settings([Input::Routes, Input::TcpRoutes, Input::Instances])
    }
}

fn running() -> Running {
    start(tcp_settings())
}

/// A route at a port to the app of the `n`th one.
fn tcp(n: usize, port: u16) -> Route {
    let mut route = foundation::route(n);
    route.guid = format!("tcp-{port}").as_str().into();
    route.host = Hostname::parse("tcp.example.com").unwrap().with_port(port);
    for to in &mut route.destinations {
        to.protocol = Protocol::Tcp;
    }
    route
}

/// The same of the other domain, which is younger.
fn rival(n: usize, port: u16) -> Route {
    let mut route = tcp(n, port);
    route.guid = format!("org-{port}").as_str().into();
    route.host = Hostname::parse("tcp.example.org").unwrap().with_port(port);
    route.created_at += 1;
    route
}

async fn tell_others(running: &Running, count: usize) {
    let routes = (0..count).map(foundation::route).collect();
    running.send(Update::AllRoutes(routes)).await;
    let instances = (0..count).map(|n| foundation::instance(n, 0, 61_000));
    running
        .send(Update::AllInstances(instances.collect()))
        .await;
}

#[tokio::test(start_paused = true)]
async fn all_others_are_published_without_them_after_half_a_minute_and_with_them_where_they_come() {
    let mut late = running();
    let begun = Instant::now();
    tell_others(&late, 3).await;
    let first = late.next().await;
    let waited = begun.elapsed();
    assert!(
        (30..31).contains(&waited.as_secs()),
        "the grace is half a minute, and not {waited:?}"
    );
    assert_eq!(first.get(Kind::VirtualService).unwrap().len(), 3);
    late.send(Update::AllTcpRoutes(vec![tcp(0, 1024)])).await;
    let second = late.next().await;
    assert_eq!(second.get(Kind::VirtualService).unwrap().len(), 4);

    let mut early = running();
    let begun = Instant::now();
    tell_others(&early, 3).await;
    early.send(Update::AllTcpRoutes(vec![tcp(0, 1024)])).await;
    let first = early.next().await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(first.get(Kind::VirtualService).unwrap().len(), 4);
}

/// A complete read that takes no time.
async fn reads(running: &Running, update: Update) {
    let now = Instant::now();
    let basis = Basis::Read(Reading {
        began: now,
        ended: now,
        restrictions: true,
    });
    running.updates.send(update.on(basis)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_that_lacks_all_but_tcp_routes_stays_in_doubt_whatever_else_is_read() {
    let running = running();
    let instances = (0..30).map(|n| foundation::instance(n, 0, 61_000));
    let routes = (0..10).map(|n| tcp(n, 1024 + u16::try_from(n).unwrap()));
    let routes: Vec<_> = routes.collect();
    reads(&running, Update::AllTcpRoutes(routes.clone())).await;
    reads(&running, Update::AllInstances(instances.collect())).await;
    for _ in 0..2 {
        reads(&running, Update::AllRoutes(Vec::new())).await;
        reads(&running, Update::AllTcpRoutes(routes.clone())).await;
        tokio::time::advance(Duration::from_secs(5)).await;
        tokio::task::yield_now().await;
        let held = running.outputs.held.borrow()[0].part.amount;
        assert_eq!(held.endpoints, 20);
        assert!(running.outputs.snapshots.borrow().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_instances_have_tcp_routes_alone_does_not_wait_where_those_come_last() {
    let mut running = running();
    let begun = Instant::now();
    let read = async |update| reads(&running, update).await;
    let instances = (0..20).map(|n| foundation::instance(n % 10, n / 10, 61_000));
    read(Update::AllRoutes(Vec::new())).await;
    read(Update::AllInstances(instances.collect())).await;
    let mut held = running.outputs.held.clone();
    let held = held.wait_for(|held| !held.is_empty()).await.unwrap()[0].clone();
    assert_eq!(held.part.amount.endpoints, 20);
    let routes = (0..10).map(|n| tcp(n, 1024 + u16::try_from(n).unwrap()));
    read(Update::AllTcpRoutes(routes.collect())).await;
    let first = running.next().await;
    assert_eq!(first.get(Kind::VirtualService).unwrap().len(), 10);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_one_encodes_what_it_concerns_and_no_gateway() {
    let mut running = running();
    tell_others(&running, 20).await;
    let all = |routes: &[Route]| Update::AllTcpRoutes(routes.to_vec());
    let mut routes: Vec<_> = (0..8u16).map(|n| tcp(n.into(), 1024 + n)).collect();
    running.send(all(&routes)).await;
    let mut before = running.next().await;

    // Another app: its service, which istiods have otherwise than Pilots. A new route: its service, and the port.
    let [services, _, entries] = OF_HOSTS.map(Kind::collection);
    routes[3].destinations = tcp(9, 1027).destinations;
    let mapped = all(&routes);
    let moved = Update::Instances {
        current: vec![foundation::instance(12, 0, 61_999)],
        gone: vec![],
    };
    routes.push(tcp(10, 1032));
    let created = all(&routes);
    // Of an app without TCP routes nothing of them is.
    for (update, count, collections) in [
        (mapped, 2, vec![entries]),
        (moved, 1, vec![entries]),
        (created, 3, vec![entries, services]),
    ] {
        let encoded = running.encoded();
        running.send(update).await;
        let after = running.next().await;
        assert_eq!(running.encoded(), encoded + count);
        let mut changed = changed_collections(&before, &after);
        changed.sort_unstable();
        assert_eq!(changed, collections);
        before = after;
    }
}

#[tokio::test(start_paused = true)]
async fn the_ports_of_a_domain_that_is_enforced_are_closed_at_once_and_no_others() {
    let mut running = running();
    tell_others(&running, 3).await;
    let routes = vec![tcp(0, 1024), rival(1, 1025)];
    running.send(Update::AllTcpRoutes(routes)).await;
    running.next().await;
    let enforced = BTreeSet::from([Hostname::parse("tcp.example.com").unwrap()]);
    running.send(Update::Enforced(enforced)).await;
    let after = running.next().await;
    let services = after.get(Kind::VirtualService).unwrap();
    let names: Vec<_> = services.iter().map(|service| service.name).collect();
    assert_eq!(names.len(), 4);
    assert!(names.contains(&"copilot-tcp-service-for-tcp.example.org-1025"));
}

/// The domains that have the ports of the ingress, by port.
fn holders(snapshot: &Snapshot) -> Vec<String> {
    let services = snapshot.get(Kind::VirtualService).unwrap();
    let names = services.iter().map(|service| service.name);
    let tcp = names.filter_map(|name| name.strip_prefix("copilot-tcp-service-for-"));
    tcp.map(str::to_owned).collect()
}

/// Ten ports that two domains have, the first of which leads nowhere.
#[test]
fn while_a_read_is_held_that_lacks_a_domain_no_port_goes_over_to_another() {
    let metrics = Metrics::new(&mut Registry::default());
    let mut state = State::new(&tcp_settings(), metrics).unwrap();
    let mut now = Instant::now();
    let mut read = |state: &mut State, update: Update| {
        now += Duration::from_secs(11);
        let (began, ended) = (now, now);
        let report = update.on(Basis::Read(Reading {
            began,
            ended,
            restrictions: true,
        }));
        state.take(report, now);
        state.publish_at(now.into_std())
    };
    let ports = || (0..10).zip(1024..=1033);
    let mut older: Vec<_> = ports().map(|(n, port)| tcp(n, port)).collect();
    older[0].destinations.clear();
    let younger = || ports().map(|(n, port)| rival(10 + n, port));
    let instances = (0..20).map(|n| foundation::instance(n, 0, 61_000));
    read(&mut state, Update::AllRoutes(Vec::new()));
    read(&mut state, Update::AllInstances(instances.collect()));
    let all = older.iter().cloned().chain(younger()).collect();
    let first = read(&mut state, Update::AllTcpRoutes(all)).unwrap();
    let of_com: Vec<_> = ports()
        .map(|(_, port)| format!("tcp.example.com-{port}"))
        .collect();
    assert_eq!(holders(&first), of_com);

    let lacking = || Update::AllTcpRoutes(younger().collect());
    for _ in 0..2 {
        assert!(
            read(&mut state, lacking()).is_none(),
            "nothing is different"
        );
        let mut held = state.held().into_iter();
        assert!(held.any(|held| held.source == Source::TcpRoutes));
    }
    let of_org: Vec<_> = ports()
        .map(|(_, port)| format!("tcp.example.org-{port}"))
        .collect();
    assert!(state.decide(Source::TcpRoutes, true, Instant::now()));
    let last = read(&mut state, lacking()).expect("it is believed");
    let mut now_there = holders(&last);
    now_there.retain(|name| !of_com.contains(name));
    assert_eq!(now_there, of_org);
}

#[test]
fn of_very_many_routes_at_other_ports_a_thousand_are_kept_and_the_others_counted() {
    let metrics = Metrics::new(&mut Registry::default());
    let mut state = State::new(&tcp_settings(), metrics).unwrap();
    let of_ingress = || (1024..=1033).map(|port| tcp(0, port));
    let outside = (2000..5000).map(|port| tcp(0, port));
    state.apply(Update::AllRoutes(Vec::new()));
    state.apply(Update::AllInstances(vec![foundation::instance(
        0, 0, 61_000,
    )]));
    state.apply(Update::AllTcpRoutes(of_ingress().chain(outside).collect()));
    let snapshot = state.publish().unwrap();
    assert_eq!(holders(&snapshot).len(), 10);
    assert_eq!(state.saved(false).routes.len(), 1010);
    let rejected = state.rejected();
    let named = rejected.keys().filter(|(_, host)| host.starts_with("tcp."));
    assert_eq!(named.count(), 1000);
    let more = &rejected[&("routes", "TCPRoutes.Ports".to_owned())][0];
    assert_eq!(more.rule, "port");
    assert!(more.detail.starts_with("2000 more routes"), "{more:?}");

    state.apply(Update::AllTcpRoutes(of_ingress().collect()));
    state.publish();
    assert!(state.rejected().is_empty());
}
