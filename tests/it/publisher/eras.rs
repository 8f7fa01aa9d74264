//! What Pilots and istiods are served: one collection, unless a resource in it has to differ; and what that costs.

use copilot::{
    istio::{Defaults, Requests},
    model::{Asked, Cookie, CookieName, HeaderName, LoadBalancing, Protocol, Retries},
    proto::istio::networking::v1alpha3::{DestinationRule, ServiceEntry, VirtualService},
    snapshot::Collection,
};
use prost::Message;

use super::*;

const RULES: Kind = Kind::DestinationRule;
const ENTRIES: Kind = Kind::ServiceEntry;

fn choosing(n: usize, choice: LoadBalancing) -> Route {
    Route {
        load_balancing: Some(Box::new(choice)),
        ..foundation::route(n)
    }
}

fn hash() -> LoadBalancing {
    LoadBalancing::Hash(HeaderName::parse("x-user").unwrap())
}

fn both(snapshot: &Snapshot, kind: Kind) -> (&Arc<Collection>, &Arc<Collection>) {
    (snapshot.get(kind).unwrap(), snapshot.xds(kind).unwrap())
}

/// The kinds of which the eras are served different collections.
fn differing(snapshot: &Snapshot) -> Vec<Kind> {
    let differs = |kind: &Kind| {
        let (classic, xds) = both(snapshot, *kind);
        !Arc::ptr_eq(classic, xds)
    };
    OF_HOSTS.into_iter().filter(differs).collect()
}

fn body<M: Message + Default>(collection: &Collection, kind: Kind, n: usize) -> Option<M> {
    let name = kind.name(&foundation::route(n).host, false);
    let body = collection.get(&name)?.decode().body?;
    Some(M::decode(body.value.as_slice()).unwrap())
}

/// A publisher with so many routes of one instance each.
async fn published(settings: Settings, routes: Vec<Route>) -> (Running, Arc<Snapshot>) {
    let mut running = start(settings);
    let instances = (0..routes.len()).map(|n| foundation::instance(n, 0, 61_000));
    running
        .send(Update::AllInstances(instances.collect()))
        .await;
    running.send(Update::AllRoutes(routes)).await;
    let snapshot = running.next().await;
    (running, snapshot)
}

fn required() -> Settings {
    settings([Input::Routes, Input::Instances])
}

fn keeping() -> Settings {
    Settings {
        keep_empty_service_entries: true,
        ..required()
    }
}

async fn change(running: &mut Running, routes: Vec<Route>) -> Arc<Snapshot> {
    running
        .send(Update::Routes {
            current: routes,
            gone: vec![],
        })
        .await;
    running.next().await
}

async fn start_instance(running: &mut Running, n: usize) -> Arc<Snapshot> {
    running
        .send(Update::Instances {
            current: vec![foundation::instance(n, 0, 61_999)],
            gone: vec![],
        })
        .await;
    running.next().await
}

async fn stop_instance(running: &mut Running, n: usize) -> Arc<Snapshot> {
    running
        .send(Update::Instances {
            current: vec![],
            gone: vec![foundation::instance(n, 0, 0).guid.clone()],
        })
        .await;
    running.next().await
}

#[tokio::test]
async fn both_eras_are_served_one_and_the_same_where_nothing_differs() {
    let mut http2 = foundation::route(2);
    http2.destinations[0].protocol = Protocol::Http2;
    let routes = vec![foundation::route(0), choosing(1, hash()), http2];
    let (running, snapshot) = published(keeping(), routes).await;
    assert_eq!(differing(&snapshot), []);
    assert_eq!(running.encoded(), 7, "of one route a rule besides");
    let http2: ServiceEntry = body(both(&snapshot, ENTRIES).1, ENTRIES, 2).unwrap();
    assert_eq!(http2.ports[0].protocol, "http2");
}

#[tokio::test]
async fn a_choice_makes_one_destination_rule_differ_and_nothing_else() {
    let routes = vec![
        foundation::route(0),
        choosing(1, LoadBalancing::LeastConnection),
        choosing(2, hash()),
    ];
    let (mut running, snapshot) = published(required(), routes).await;
    assert_eq!(differing(&snapshot), [RULES]);
    assert_eq!(running.encoded(), 9, "eight, and one of them twice");
    let (classic, xds) = both(&snapshot, RULES);
    let diff = xds.diff(classic);
    let changed: Vec<_> = diff.changed.iter().map(|resource| resource.name).collect();
    assert_eq!(changed, [RULES.name(&foundation::route(1).host, false)]);
    assert!(diff.removed.is_empty());
    let of = |collection| {
        let mut rule = body::<DestinationRule>(collection, RULES, 1).unwrap();
        let policy = rule.traffic_policy.take();
        (rule, policy)
    };
    let ((classic, for_pilot), (xds, for_istiod)) = (of(classic), of(xds));
    assert_eq!(classic, xds, "but for the policy");
    assert_ne!(for_pilot, for_istiod);

    // Another owner's change leaves this one as it is, in both.
    let before = snapshot;
    let after = change(&mut running, vec![choosing(0, hash())]).await;
    for (before, after) in [
        (both(&before, RULES).0, both(&after, RULES).0),
        (both(&before, RULES).1, both(&after, RULES).1),
    ] {
        assert_eq!(after.diff(before).changed.len(), 1);
    }

    let same = change(&mut running, vec![foundation::route(1)]).await;
    assert_eq!(differing(&same), [], "one and the same again");
}

/// With a cookie for all routes whose owners choose nothing, retries have to know of each that has chosen, and of each that has
/// done so no more.
#[tokio::test]
async fn what_is_tried_again_follows_a_choice_that_comes_and_goes() {
    let cookie = Cookie {
        name: CookieName::parse("MESH_ROUTE").unwrap(),
        ttl: Duration::ZERO,
    };
    let defaults = Defaults {
        external: Requests {
            retries: Some(Retries::of_unsent(2)),
            ..Requests::default()
        },
        load_balancing: Some(LoadBalancing::Cookie(cookie)),
        ..Defaults::default()
    };
    let settings = Settings {
        defaults,
        ..keeping()
    };
    let (mut running, snapshot) = published(settings, vec![foundation::route(0)]).await;
    let elsewhere = |snapshot: &Snapshot| {
        let services = both(snapshot, Kind::VirtualService).1;
        let service: VirtualService = body(services, Kind::VirtualService, 0).unwrap();
        let retries = service.http[0].retries.as_ref().unwrap();
        retries.retry_ignore_previous_hosts
    };
    assert_eq!(elsewhere(&snapshot), Some(true));
    for choice in [LoadBalancing::RoundRobin, LoadBalancing::LeastConnection] {
        let chosen = change(&mut running, vec![choosing(0, choice)]).await;
        assert_eq!(elsewhere(&chosen), None);
        let no_more = change(&mut running, vec![foundation::route(0)]).await;
        assert_eq!(elsewhere(&no_more), Some(true));
    }
}

#[tokio::test]
async fn a_changed_instance_is_encoded_once_for_both_eras_where_they_differ_elsewhere() {
    let routes = (0..200).map(|n| choosing(n, LoadBalancing::RoundRobin));
    let (mut running, _) = published(keeping(), routes.collect()).await;
    let before = stop_instance(&mut running, 7).await;
    assert_eq!(differing(&before), [RULES, ENTRIES]);
    let encoded = running.encoded();
    let after = start_instance(&mut running, 100).await;
    assert_eq!(running.encoded(), encoded + 1);
    let ((old_classic, old_xds), (classic, xds)) = (both(&before, ENTRIES), both(&after, ENTRIES));
    let [classic, xds] = [classic.diff(old_classic), xds.diff(old_xds)].map(|diff| {
        let changed = diff.changed.iter();
        let changed = changed.map(|resource| (resource.name.to_owned(), resource.version));
        changed.collect::<Vec<_>>()
    });
    assert_eq!(classic, xds);
    assert_eq!(xds.len(), 1);
    // Of the collection that did not change, both have what they had.
    let ((old_classic, old_xds), (classic, xds)) = (both(&before, RULES), both(&after, RULES));
    assert!(Arc::ptr_eq(old_classic, classic) && Arc::ptr_eq(old_xds, xds));
}

#[tokio::test]
async fn an_entry_without_endpoints_stays_for_istiods_if_asked_for() {
    let routes = || vec![foundation::route(0), foundation::route(1)];
    let (mut running, _) = published(keeping(), routes()).await;
    let encoded = running.encoded();
    let stopped = stop_instance(&mut running, 1).await;
    assert_eq!(running.encoded(), encoded + 1);
    let (classic, xds) = both(&stopped, ENTRIES);
    assert_eq!((classic.len(), xds.len()), (1, 2));
    let kept: ServiceEntry = body(xds, ENTRIES, 1).unwrap();
    assert_eq!((kept.endpoints.len(), kept.ports.len()), (0, 1));

    let started = start_instance(&mut running, 1).await;
    assert_eq!(differing(&started), []);
    assert_eq!(both(&started, ENTRIES).0.len(), 2);

    let (mut running, _) = published(required(), routes()).await;
    let stopped = stop_instance(&mut running, 1).await;
    assert_eq!(differing(&stopped), []);
    assert_eq!(both(&stopped, ENTRIES).1.len(), 1);
}

#[tokio::test]
async fn what_only_istiods_see_is_published_and_withdrawn_too() {
    let (mut running, before) = published(keeping(), vec![foundation::route(0)]).await;
    let mut stopped = foundation::route(5);
    let added = change(&mut running, vec![stopped.clone()]).await;
    assert_eq!(both(&added, ENTRIES).1.len(), 2);
    assert!(Arc::ptr_eq(
        both(&before, ENTRIES).0,
        both(&added, ENTRIES).0
    ));

    stopped.destinations[0].protocol = Protocol::Http2;
    let http2 = change(&mut running, vec![stopped.clone()]).await;
    assert_eq!(changed_collections(&added, &http2), Vec::<&str>::new());
    let kept: ServiceEntry = body(both(&http2, ENTRIES).1, ENTRIES, 5).unwrap();
    assert_eq!(kept.ports[0].protocol, "http2");

    running
        .send(Update::Routes {
            current: vec![],
            gone: vec![stopped.guid],
        })
        .await;
    let gone = running.next().await;
    assert_eq!(differing(&gone), []);
    assert_eq!(both(&gone, ENTRIES).1.len(), 1);
}

#[tokio::test]
async fn a_choice_that_does_not_count_is_named() {
    let spelled = |path: &str, choice| Route {
        guid: path.into(),
        path: path.into(),
        ..choosing(0, choice)
    };
    let younger = Route {
        created_at: i64::MAX,
        ..spelled("/A", LoadBalancing::RoundRobin)
    };
    let (running, _) = published(required(), vec![spelled("/a", hash()), younger]).await;
    let rejected = running.outputs.rejected.borrow().clone();
    let url = format!("{}/a", foundation::route(0).host);
    assert_eq!(rejected[&(RULES.collection(), url)][0].rule, "options");
}

#[tokio::test]
async fn settings_that_do_not_count_are_named_until_their_owner_takes_them_back() {
    let spelled = |path: &str, created_at, timeout: &[(&str, &str)]| {
        let mut route = Route {
            guid: path.into(),
            path: path.into(),
            created_at,
            ..foundation::route(0)
        };
        route.ask(Asked::parse(timeout.iter().copied()));
        route
    };
    let older = spelled("/a", 1, &[("timeout", "1s")]);
    let host = older.host.to_string();
    let younger = |timeout: &[(&str, &str)]| spelled("/A", 2, timeout);
    let routes = vec![older, younger(&[])];
    let (mut running, _) = published(required(), routes).await;
    let key = (Kind::VirtualService.collection(), host);
    for (timeout, is_named) in [
        (&[("timeout", "2s")][..], true),
        (&[("timeout", "1s")], false),
        (&[("timeout", "3s")], true),
        (&[], false),
    ] {
        // What is served of another route tells when the change was made.
        let other = choosing(
            1,
            if is_named {
                hash()
            } else {
                LoadBalancing::RoundRobin
            },
        );
        change(&mut running, vec![younger(timeout), other]).await;
        let rejected = running.outputs.rejected.borrow().clone();
        let rules = rejected.get(&key).into_iter().flatten();
        let rules: Vec<_> = rules.map(|reason| reason.rule).collect();
        assert_eq!(rules.contains(&"settings"), is_named, "{rules:?}");
    }
}
