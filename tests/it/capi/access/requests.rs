//! What it costs Cloud Controller to say who may reach the routes.

use super::*;

const ROUTES: usize = 20_000;
const LOOKS: usize = 50;

/// How many requests the first full read takes, and then so many changed routes, each seen by itself.
async fn requests(foundation: &Foundation, settings: Settings) -> [usize; 2] {
    let capi = &foundation.capi;
    let count = || {
        let endpoints = [
            Endpoint::Api,
            Endpoint::Domains,
            Endpoint::Routes,
            Endpoint::Bindings,
        ];
        endpoints
            .map(|endpoint| capi.count(endpoint))
            .iter()
            .sum::<usize>()
    };
    let before = count();
    let mut polling = Polling::start(settings);
    polling.holds(|held| held.0.len() >= ROUTES).await;
    let full = count() - before;
    let routes: Vec<_> = polling.held.0.keys().take(LOOKS).cloned().collect();
    for route in routes {
        capi.state().advance(1);
        capi.state().map(&route, web("a"));
        let mapped = |held: &Held| !held.0[&route].destinations.is_empty();
        polling.holds(mapped).await;
        capi.state().unmap(&route, &app("a"));
        polling.holds(|held| !mapped(held)).await;
    }
    let changes = count() - before - full;
    polling.stop().await;
    [full, changes]
}

/// The figures of docs/scaling.md.
#[tokio::test]
async fn at_20_000_routes_bindings_cost_one_request_a_full_read_and_one_a_look() {
    let foundation = Foundation::new().await;
    let routes = foundation.load(ROUTES);
    for route in routes.iter().step_by(100) {
        foundation
            .capi
            .state()
            .bind_silently(route, Operation::BOUND);
    }
    let settings = tailing(&foundation);
    let without = Settings {
        serve_bound_routes: true,
        ..settings.clone()
    };
    let [full_without, changes_without] = requests(&foundation, without).await;
    let [full, changes] = requests(&foundation, settings).await;
    assert_eq!(
        [full_without, full],
        [6, 7],
        "a page of domains, and of routes"
    );
    assert_eq!([changes_without, changes], [2 * LOOKS, 4 * LOOKS]);
}
