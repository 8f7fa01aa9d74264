//! Which path of a hostname leads where, in the gorouter's order: itself, then what it goes on to.

use super::*;

/// A route to an app of the same name as the route, which runs.
fn running<const N: usize>(urls: [&str; N]) -> ([Route; N], Vec<Instance>) {
    let instances = (1..)
        .zip(urls)
        .map(|(n, url)| instance(n, url, &[(8080, 61_000)]));
    (
        urls.map(|url| route(url, [to(url, 8080)])),
        instances.collect(),
    )
}

/// The services that requests for the first route's hostname go to, in order.
fn order<const N: usize>(urls: [&str; N], stopped: &[&str]) -> Vec<String> {
    let (routes, mut instances) = running(urls);
    instances.retain(|instance| {
        let app = instance.workload.as_ref().unwrap().app.to_string();
        !stopped.contains(&app.as_str())
    });
    let mut table = table(routes.clone(), []);
    let instances = instances.into_iter().map(Into::into).collect();
    table.apply(Update::AllInstances(instances));
    let made = make_of(&routes, &table);
    made.order().into_iter().map(str::to_owned).collect()
}

#[test]
fn the_longest_path_comes_first_and_a_hostname_with_all_paths_goes_on_to_nothing() {
    let urls = [
        "shop.x.com",
        "shop.x.com/cart",
        "shop.x.com/cart/items",
        "*.x.com",
    ];
    let expected = [
        "cart.items.cf--path.shop.x.com",
        "cart.cf--path.shop.x.com",
        "shop.x.com",
    ];
    assert_eq!(order(urls, &[]), expected);
}

#[test]
fn a_hostname_with_paths_alone_goes_on_to_wider_wildcards() {
    let urls = ["a.deep.x.com/p", "*.x.com", "*.deep.x.com/q"];
    let expected = [
        "p.cf--path.a.deep.x.com",
        "q.cf--path.cf--any.deep.x.com",
        "cf--any.x.com",
    ];
    assert_eq!(order(urls, &[]), expected);
    let nearer = ["a.deep.x.com/p", "*.x.com", "*.deep.x.com"];
    assert_eq!(
        order(nearer, &[]),
        ["p.cf--path.a.deep.x.com", "cf--any.deep.x.com"]
    );
}

#[test]
fn a_wildcard_goes_on_to_a_wider_one() {
    let urls = ["*.deep.x.com/p", "*.x.com", "deep.x.com"];
    assert_eq!(
        order(urls, &[]),
        ["p.cf--path.cf--any.deep.x.com", "cf--any.x.com"]
    );
}

#[test]
fn a_route_that_is_stopped_leaves_its_requests_to_a_shorter_path_or_a_wildcard() {
    let paths = ["shop.x.com/reports", "shop.x.com"];
    assert_eq!(order(paths, &["shop.x.com/reports"]), ["shop.x.com"]);
    let wildcard = ["shop.x.com", "*.x.com"];
    assert_eq!(order(wildcard, &["shop.x.com"]), ["cf--any.x.com"]);
    assert_eq!(
        order(wildcard, &["shop.x.com", "*.x.com"]),
        ["cf--any.x.com"]
    );
}

#[test]
fn a_route_that_is_stopped_keeps_what_nobody_else_takes() {
    let alone = ["alone.x.com"];
    assert_eq!(order(alone, &alone), ["alone.x.com"]);
    // The wildcard has a path of it.
    let in_part = ["shop.x.com", "*.x.com/p"];
    let expected = ["p.cf--path.cf--any.x.com", "shop.x.com"];
    assert_eq!(order(in_part, &["shop.x.com"]), expected);
}

#[test]
fn a_refused_route_takes_its_requests_also_as_one_that_others_go_on_to() {
    let (mut routes, _) = running(["shop.x.com/p", "*.x.com", "*.com"]);
    routes[1].refused = Some(crate::model::Refusal::RoutePolicies);
    let made = make_of(&routes.clone(), &table(routes, []));
    let statuses: Vec<_> = made
        .http()
        .iter()
        .map(|http| http.fault.is_some())
        .collect();
    // The path is stopped, and comes after what it would go on to, where nothing gets there.
    assert_eq!(statuses, [true], "and not on to the wider one");
    assert!(!made.entries[1].contains_key("cf--any.x.com"));
}

#[test]
fn an_internal_hostname_is_no_wildcards_and_no_wildcard_is_its() {
    let (routes, _) = running(["shop.x.internal/p", "*.x.internal", "shop.y.com"]);
    let made = make_of(&routes.clone(), &table(routes, []));
    assert_eq!(made.http().len(), 1);
}
