//! What the limits of a crowd count.

use super::*;
use crate::model::Asked;
use crate::table::crowds::{Crowds, Limit};

/// Takes in routes of one hostname, with a limit of bytes that some hundred destinations reach; how many of them are kept.
fn kept(routes: &[Route]) -> usize {
    let mut crowds = Crowds::new(Limit {
        routes: 1000,
        bytes: 40_000,
    });
    let mut others: Vec<Arc<Route>> = Vec::new();
    for route in routes {
        crowds.join(&"h.example.com", route, others.iter());
        others.push(Arc::new(route.clone()));
    }
    let kept = routes.iter();
    kept.filter(|route| crowds.keeps(&"h.example.com", route))
        .count()
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
    let one_sort: Vec<_> = (0..300).map(|n| open(n, 1)).collect();
    let all = kept(&one_sort);
    let both: Vec<_> = (0..300)
        .map(|n| refused(n, 1))
        .chain((300..600).map(|n| open(n, 1)))
        .collect();
    assert_eq!(kept(&both), all);
    let refused = kept(&both[..300]);
    assert_eq!((refused, kept(&both[300..])), (all / 2, all));
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
fn what_owners_ask_for_counts_and_twice_where_a_path_is_replaced_but_not_of_refused_routes() {
    let plain: Vec<_> = (0..90).map(|n| open(n, 1)).collect();
    assert_eq!(kept(&plain), 90);
    let with_headers = kept(&asking(&plain, &[]));
    assert!((15..20).contains(&with_headers), "{with_headers}");
    let rewritten = kept(&asking(&plain, &[("path-rewrite", "/other")]));
    assert!(rewritten.abs_diff(with_headers / 2) <= 1, "{rewritten}");
    let refused: Vec<_> = (0..50).map(|n| refused(n, 1)).collect();
    assert_eq!(kept(&asking(&refused, &[("path-rewrite", "/other")])), 50);
}

#[test]
fn of_paths_of_a_wildcard_with_settings_so_many_bytes_are_for_those_who_go_on_to_it() {
    let wide = |settings: bool| {
        let paths = (100..200).map(|n| format!("/{n}"));
        let wide: Vec<_> = paths
            .map(|path| route(&path, "*.x.com", &path, &["a"]))
            .collect();
        if settings {
            asking(&wide, &[("path-rewrite", "/other")])
        } else {
            wide
        }
    };
    let mut table = RouteTable::default();
    let own = route("own", "shop.x.com", "/own", &["a"]);
    let withheld = Route {
        refused: Some(Refusal::RouteService),
        ..route("withheld", "*.x.com", "/much/longer", &["a"])
    };
    let all = |settings| {
        wide(settings)
            .into_iter()
            .chain([own.clone(), withheld.clone()])
    };
    let seen = |table: &RouteTable| {
        let view = |name| table.host(&Hostname::parse(name).unwrap()).unwrap();
        let lookup = view("shop.x.com").lookup();
        let bytes: usize = lookup.iter().map(Pool::bytes).sum();
        let has_withheld = lookup.iter().any(|pool| pool.refused().is_some());
        (
            lookup.len(),
            bytes,
            has_withheld,
            view("*.x.com").kept_from_others(),
        )
    };
    table.apply(Update::AllRoutes(all(false).collect()));
    let (count, _, has_withheld, kept) = seen(&table);
    assert_eq!((count, has_withheld, kept), (102, true, 1));
    let changes = table.apply(Update::AllRoutes(all(true).collect()));
    let shop = Hostname::parse("shop.x.com").unwrap();
    let mut hosts = changes.hosts();
    assert!(hosts.any(|(host, touched)| *host == shop && touched.lookup()));
    let (count, bytes, has_withheld, kept) = seen(&table);
    assert!(has_withheld && bytes < 520 << 10, "{bytes}");
    assert!(
        (80..102).contains(&count) && kept == 101 - (count - 2),
        "{count} {kept}"
    );
}
