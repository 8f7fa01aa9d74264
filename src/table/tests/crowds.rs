//! What the limits of a crowd count.

use super::*;
use crate::table::crowds::{Crowds, Limit};

/// Routes of one hostname, with a limit of bytes that some hundred destinations reach.
fn crowds(routes: &[Route]) -> Crowds<&'static str> {
    let mut crowds = Crowds::new(Limit {
        routes: 1000,
        bytes: 40_000,
    });
    let mut others: Vec<Arc<Route>> = Vec::new();
    for route in routes {
        crowds.join(&"h.example.com", route, others.iter());
        others.push(Arc::new(route.clone()));
    }
    crowds
}

/// How many of them are kept.
fn kept(routes: &[Route]) -> usize {
    let crowds = crowds(routes);
    let kept = routes.iter();
    kept.filter(|route| crowds.keeps(&"h.example.com", route))
        .count()
}

/// How many of the first of them have what their owners ask for, and no other.
fn heard(routes: &[Route]) -> usize {
    let crowds = crowds(routes);
    let heard = |route: &&Route| crowds.keeps_settings(&"h.example.com", route);
    let first = routes.iter().take_while(heard).count();
    assert_eq!(routes.iter().filter(heard).count(), first);
    first
}

fn refused(n: usize, apps: usize) -> Route {
    Route {
        refused: Some(Refusal::RouteService),
        ..open(n, apps)
    }
}

fn open(n: usize, apps: usize) -> Route {
    let apps: Vec<_> = (0..apps).map(|app| format!("app-{app}")).collect();
    let apps: Vec<_> = apps.iter().map(String::as_str).collect();
    let (guid, path) = (format!("r{n:03}"), format!("/{n:03}"));
    route(&guid, "h.example.com", &path, &apps)
}

#[test]
fn a_refused_route_takes_no_bytes_for_where_it_would_lead() {
    let few: Vec<_> = (0..50).map(|n| refused(n, 20)).collect();
    assert_eq!(kept(&few), 50);
    let as_many: Vec<_> = (0..50).map(|n| open(n, 20)).collect();
    assert!(kept(&as_many) < 50);
}

#[test]
fn refused_routes_take_half_of_the_bytes_at_most_and_the_others_the_rest() {
    let refused: Vec<_> = (0..300).map(|n| refused(n, 1)).collect();
    let open: Vec<_> = (300..600).map(|n| open(n, 1)).collect();
    let crowds = crowds(&[refused.clone(), open.clone()].concat());
    let kept_of = |routes: &[Route]| {
        let is_kept = |route: &&Route| crowds.keeps(&"h.example.com", route);
        routes.iter().filter(is_kept).count()
    };
    // Alone, refused ones have half of the bytes and the others all.
    assert_eq!(kept_of(&refused), kept(&refused));
    assert!(kept_of(&open).abs_diff(kept(&open) / 2) <= 1);
}

/// The same routes, with headers of some two thousand bytes, and another path in the place of their own.
fn asking(routes: &[Route], texts: &[(&str, &str)]) -> Vec<Route> {
    let lines = (0..7).map(|n| format!("x-{n}: {}\n", "v".repeat(250)));
    let lines: String = lines.collect();
    let texts = [("request-headers-set", &*lines)]
        .into_iter()
        .chain(texts.iter().copied());
    let asked = Asked::parse(texts);
    assert_eq!(asked.wrong, []);
    let mut routes = routes.to_vec();
    for route in &mut routes {
        route.ask(asked.clone());
    }
    routes
}

#[test]
fn what_owners_ask_for_has_the_room_that_routes_leave_and_takes_none_of_theirs() {
    let plain: Vec<_> = (0..90).map(|n| open(n, 1)).collect();
    assert_eq!((kept(&plain), heard(&plain)), (90, 90));
    let with_headers = asking(&plain, &[]);
    let first = heard(&with_headers);
    assert_eq!(kept(&with_headers), 90);
    assert!((5..15).contains(&first), "{first}");
    let rewritten = asking(&plain, &[("path-rewrite", "/other")]);
    assert_eq!(kept(&rewritten), 90);
    assert!(heard(&rewritten).abs_diff(first / 2) <= 1);
    // Of those that have no room themselves, nothing counts.
    let newest: Vec<_> = (0..300).map(|n| open(n, 1)).collect();
    let all = kept(&newest);
    let asked: Vec<_> = newest[..all].to_vec();
    let asked: Vec<_> = asked
        .into_iter()
        .chain(asking(&newest[all..], &[]))
        .collect();
    assert_eq!(kept(&asked), all);
    let refused: Vec<_> = (0..50).map(|n| refused(n, 1)).collect();
    let nowhere: Vec<_> = (0..50).map(|n| open(n, 0)).collect();
    for unserved in [refused, nowhere] {
        assert_eq!(heard(&asking(&unserved, &[])), 50);
    }
}

#[test]
fn a_route_has_what_its_owner_asks_for_when_there_is_room_again() {
    let limits = Limits {
        host_bytes: 12_000,
        ..Limits::default()
    };
    let mut table = RouteTable::default().with_limits(limits);
    let routes: Vec<_> = (0..10).map(|n| open(n, 1)).collect();
    let asking = asking(&routes, &[]);
    table.apply(Update::AllRoutes(asking.clone()));
    let host = &asking[0].host;
    let asked = |table: &RouteTable| {
        let pools: Vec<_> = table.host(host).unwrap().pools().collect();
        let asked = pools.iter().filter(|pool| pool.settings().is_some());
        (
            pools.len(),
            asked.count(),
            table.without_settings(host).len(),
        )
    };
    let (all, before, without) = asked(&table);
    assert_eq!((all, without), (10, 10 - before));
    assert!((1..9).contains(&before), "{before}");
    let gone = Update::Routes {
        current: vec![],
        gone: vec![asking[0].guid.clone()],
    };
    let changes = table.apply(gone);
    let (all, after, without) = asked(&table);
    assert!(
        after >= before && (all, without) == (9, 9 - after),
        "{after}"
    );
    let (_, touched) = changes.hosts().next().unwrap();
    assert!(touched.lookup() && touched.services().any(|key| **key == *asking[before].path));
}

/// A hundred paths of a wildcard, each of so many apps.
fn wide(apps: usize, weight: Weight) -> Vec<Route> {
    let apps: Vec<_> = (0..apps).map(|app| format!("app-{app}")).collect();
    let apps: Vec<_> = apps.iter().map(String::as_str).collect();
    let paths = (100..200).map(|n| format!("/{n}{}", "7".repeat(200)));
    let routes = paths.map(|path| {
        let mut route = route(&path, "*.x.com", &path, &apps);
        for to in &mut route.destinations {
            to.weight = weight;
        }
        route
    });
    routes.collect()
}

/// What is told of them below the wildcard, and how many are not.
fn told(table: &RouteTable) -> (Vec<String>, usize) {
    let view = |name| table.host(&Hostname::parse(name).unwrap()).unwrap();
    let lookup = view("shop.x.com").lookup();
    let keys = lookup.iter().map(|pool| pool.key().into_owned());
    (keys.collect(), view("*.x.com").kept_from_others())
}

fn read(table: &mut RouteTable, wide: &[Route]) -> Changes {
    let own = route("own", "shop.x.com", "/own", &["app-0"]);
    let withheld = Route {
        refused: Some(Refusal::RouteService),
        ..route(
            "withheld",
            "*.x.com",
            &format!("/{}", "9".repeat(230)),
            &["app-0"],
        )
    };
    let all = wide.iter().cloned().chain([own, withheld]);
    table.apply(Update::AllRoutes(all.collect()))
}

#[test]
fn of_what_is_asked_for_on_a_wildcard_so_many_bytes_are_for_those_who_go_on_to_it() {
    let mut table = RouteTable::default();
    // However large they are, paths of which nothing is asked are all told of.
    let plain = wide(20, Weight::Fixed(5));
    read(&mut table, &plain);
    let (keys, kept) = told(&table);
    assert_eq!((keys.len(), kept), (102, 1));
    let changes = read(&mut table, &asking(&plain, &[("path-rewrite", "/other")]));
    let shop = Hostname::parse("shop.x.com").unwrap();
    let mut hosts = changes.hosts();
    assert!(hosts.any(|(host, touched)| *host == shop && touched.lookup()));
    let (keys, kept) = told(&table);
    assert!((30..60).contains(&keys.len()), "{}", keys.len());
    assert_eq!(kept, 101 - (keys.len() - 2));
    assert!(keys.iter().any(|key| key.starts_with("/99")), "withheld");
}

#[test]
fn who_goes_on_to_a_wildcard_is_touched_where_other_paths_of_it_have_room() {
    for apps in [1, 3, 6] {
        let weighed = |weight| asking(&wide(apps, weight), &[("path-rewrite", "/other")]);
        let mut table = RouteTable::default();
        read(&mut table, &weighed(Weight::Instances));
        for weight in [Weight::Fixed(100), Weight::Instances, Weight::Fixed(7)] {
            for route in weighed(weight) {
                let before = told(&table);
                let current = Update::Routes {
                    current: vec![route],
                    gone: vec![],
                };
                let changes = table.apply(current);
                let mut hosts = changes.hosts();
                let is_touched =
                    hosts.any(|(host, touched)| host.as_str() == "shop.x.com" && touched.lookup());
                assert!(is_touched || told(&table) == before);
            }
            let mut afresh = RouteTable::default();
            read(&mut afresh, &weighed(weight));
            assert_eq!(told(&table), told(&afresh));
        }
    }
}
