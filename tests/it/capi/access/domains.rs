//! Domains that enforce route policies, and domains that are made anew under their name.

use super::*;

fn new_route(foundation: &Foundation, domain: &DomainGuid, host: &str) -> RouteGuid {
    let spec = RouteSpec::new(domain, host).to(web("a"));
    foundation.capi.state().create_route(spec)
}

#[tokio::test]
async fn a1_the_routes_of_an_enforced_domain_are_refused_from_the_first_answer() {
    for pattern in ["secure.example.com", "*.example.com"] {
        let foundation = Foundation::new().await;
        let open = foundation.load(1).remove(0);
        let route = {
            let mut state = foundation.capi.state();
            let domain = state.add_enforced_domain("secure.example.com");
            state.load([RouteSpec::new(&domain, "shop")]).remove(0)
        };
        let mut settings = foundation.settings();
        settings.domains.push(pattern.parse().unwrap());
        for _ in 0..2 {
            let mut polling = Polling::start(settings.clone());
            polling.holds(|held| !held.0.is_empty()).await;
            assert!(polling.held.is_open(&open));
            assert!(polling.held.is_refused(&route, RoutePolicies), "{pattern}");
            polling.stop().await;
        }
    }
}

#[tokio::test]
async fn a1_a_binding_does_not_matter_where_the_domain_is_enforced() {
    let foundation = Foundation::new().await;
    let route = {
        let mut state = foundation.capi.state();
        let domain = state.add_enforced_domain("secure.example.com");
        let route = state.load([RouteSpec::new(&domain, "shop")]).remove(0);
        state.bind(&route);
        route
    };
    let settings = Settings {
        domains: vec!["*.example.com".parse().unwrap()],
        ..tailing(&foundation)
    };
    let mut polling = Polling::start(settings);
    polling
        .holds(|held| held.is_refused(&route, RoutePolicies))
        .await;
    foundation.capi.state().advance(1);
    foundation.capi.state().unbind(&route);
    looks(&foundation, 3).await;
    assert!(polling.catch_up().is_refused(&route, RoutePolicies));
}

/// By exact names and by patterns, without a full read; `before` and `after` say whether the domain enforces policies.
async fn is_made_anew(pattern: &str, before: bool, after: bool) {
    let foundation = Foundation::new().await;
    foundation.load(30);
    let add = |enforced| {
        let mut state = foundation.capi.state();
        if enforced {
            state.add_enforced_domain("again.example.com")
        } else {
            state.add_domain("again.example.com", DomainKind::Http)
        }
    };
    let expected = |enforced: bool| enforced.then_some(RoutePolicies);
    let first = add(before);
    let old = new_route(&foundation, &first, "shop");
    let mut settings = tailing(&foundation);
    settings.domains.push(pattern.parse().unwrap());
    let mut polling = Polling::start(settings);
    polling.holds(|held| held.0.contains_key(&old)).await;
    assert_eq!(polling.held.0[&old].refused, expected(before));

    foundation.capi.state().advance(1);
    foundation.capi.state().delete_domain(&first);
    let second = add(after);
    let new = new_route(&foundation, &second, "shop");
    let seen = |held: &Held| held.0.contains_key(&new) && !held.0.contains_key(&old);
    while !seen(&polling.held) {
        let update = polling.update().await;
        polling.held.apply(update);
        // Whatever comes first: nothing that is known of the name is open once it is known to be enforced.
        if after && polling.held.0.contains_key(&new) {
            let old = polling.held.0.get(&old);
            assert!(old.is_none_or(|old| old.refused.is_some()));
        }
    }
    assert_eq!(polling.held.0[&new].refused, expected(after));
    assert_eq!(
        foundation
            .capi
            .requests(Endpoint::Routes)
            .iter()
            .filter(|request| {
                request.parameter("guids").is_none() && request.parameter("app_guids").is_none()
            })
            .count(),
        1,
        "no full read"
    );
    polling.stop().await;
}

#[tokio::test]
async fn r2_a_domain_that_is_made_anew_is_seen_as_fast_as_any_change() {
    is_made_anew("again.example.com", false, false).await;
    is_made_anew("*.example.com", false, false).await;
}

#[tokio::test]
async fn a1_a_domain_that_is_made_anew_with_enforcement_is_refused() {
    is_made_anew("again.example.com", false, true).await;
    is_made_anew("*.example.com", false, true).await;
}

#[tokio::test]
async fn a1_a_domain_that_is_made_anew_without_enforcement_is_served() {
    is_made_anew("again.example.com", true, false).await;
    is_made_anew("*.example.com", true, false).await;
}

#[tokio::test]
async fn a1_a_domain_that_is_made_anew_with_enforcement_again_stays_refused() {
    is_made_anew("again.example.com", true, true).await;
}

#[tokio::test]
async fn a1_enforcement_counts_before_any_route_can_be_read_again() {
    let foundation = Foundation::new().await;
    let domain = foundation
        .capi
        .state()
        .add_domain("again.example.com", DomainKind::Http);
    let route = new_route(&foundation, &domain, "shop");
    let mut settings = eager(&foundation);
    settings.domains = vec!["again.example.com".parse().unwrap()];
    let mut polling = Polling::start(settings);
    polling.holds(|held| held.is_open(&route)).await;
    foundation
        .capi
        .inject(Endpoint::Routes, 0, usize::MAX, Fault::BadGateway);
    {
        let mut state = foundation.capi.state();
        state.delete_domain(&domain);
        state.add_enforced_domain("again.example.com");
    }
    polling
        .holds(|held| held.is_refused(&route, RoutePolicies))
        .await;
}

#[tokio::test]
async fn what_was_enforced_while_cloud_controller_was_down_is_seen_afterwards() {
    let foundation = Foundation::new().await;
    let first = foundation
        .capi
        .state()
        .add_domain("again.example.com", DomainKind::Http);
    let old = new_route(&foundation, &first, "shop");
    let mut settings = tailing(&foundation);
    settings.domains.push("again.example.com".parse().unwrap());
    let mut polling = Polling::start(settings);
    polling.holds(|held| held.is_open(&old)).await;
    foundation.capi.stop().await;
    problem(&mut polling.tail, "connect").await;
    let second = {
        let mut state = foundation.capi.state();
        state.advance(30);
        state.delete_domain(&first);
        state.add_enforced_domain("again.example.com")
    };
    let new = new_route(&foundation, &second, "shop");
    foundation.capi.resume().await.unwrap();
    polling
        .holds(|held| held.is_refused(&new, RoutePolicies) && !held.is_open(&old))
        .await;
}

#[tokio::test]
async fn routes_of_other_domains_have_the_domains_read_at_a_bounded_rate_and_each_once() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let settings = Settings {
        domains_interval: NEVER,
        ..tailing(&foundation)
    };
    let mut polling = Polling::start(settings);
    polling.holds(|held| held.0.len() == 1).await;
    let reads = foundation.capi.count(Endpoint::Domains);
    for host in 0..20 {
        foundation.capi.state().advance(1);
        new_route(&foundation, &foundation.other, &format!("elsewhere-{host}"));
        looks(&foundation, 2).await;
    }
    assert_eq!(foundation.capi.count(Endpoint::Domains), reads + 1);
    polling.stop().await;

    let mut polling = Polling::start(tailing(&foundation));
    polling.holds(|held| held.0.len() == 1).await;
    foundation.capi.state().advance(60);
    let route = new_route(&foundation, &foundation.other, "again");
    looks(&foundation, 5).await;
    let reads = foundation.capi.count(Endpoint::Domains);
    for _ in 0..10 {
        foundation.capi.state().advance(1);
        foundation.capi.state().map(&route, web("b"));
        looks(&foundation, 2).await;
    }
    assert_eq!(
        foundation.capi.count(Endpoint::Domains),
        reads,
        "known to be elsewhere"
    );
}
