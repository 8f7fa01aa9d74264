//! What the limits of a crowd count.

use super::*;
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
