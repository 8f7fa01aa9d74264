//! Answers that are wrong about restrictions: none of them opens anything.

use super::*;

/// So many bound routes, and one that is open.
async fn foundation(bound: usize) -> (Foundation, Vec<RouteGuid>) {
    let foundation = Foundation::new().await;
    let mut routes = foundation.load(bound + 1);
    routes.pop();
    for route in &routes {
        foundation.capi.state().bind(route);
    }
    (foundation, routes)
}

fn all_refused(held: &Held, routes: &[RouteGuid]) -> bool {
    routes
        .iter()
        .all(|route| held.is_refused(route, RouteService))
}

/// The same, read again and again, once it is known that they are bound.
async fn refused(bound: usize) -> (Foundation, Vec<RouteGuid>, Polling) {
    let (foundation, routes) = foundation(bound).await;
    let mut polling = Polling::start(eager(&foundation));
    polling.holds(|held| all_refused(held, &routes)).await;
    (foundation, routes, polling)
}

/// A route of a domain that enforces route policies.
fn enforced(foundation: &Foundation) -> (DomainGuid, RouteGuid) {
    let mut state = foundation.capi.state();
    let domain = state.add_enforced_domain("secure.example.com");
    let route = state.load([RouteSpec::new(&domain, "shop")]).remove(0);
    (domain, route)
}

#[tokio::test]
async fn p2_an_empty_list_of_bindings_once_releases_none() {
    for bound in [1, 40] {
        let (foundation, routes, mut polling) = refused(bound).await;
        foundation
            .capi
            .inject(Endpoint::Bindings, 0, 1, Fault::Empty);
        let reads = foundation.capi.count(Endpoint::Bindings);
        soon(foundation.capi.requested(Endpoint::Bindings, reads + 3)).await;
        assert!(all_refused(polling.catch_up(), &routes));
    }
}

#[tokio::test]
async fn p2_an_empty_list_is_believed_when_a_later_one_is_empty_too() {
    let (foundation, routes, mut polling) = refused(40).await;
    for route in &routes {
        foundation.capi.state().unbind_silently(route);
    }
    polling
        .holds(|held| routes.iter().all(|route| held.is_open(route)))
        .await;
}

#[tokio::test]
async fn p2_a_read_of_routes_says_nothing_of_restrictions_while_bindings_cannot_be_read() {
    let (foundation, routes) = foundation(1).await;
    let mut polling = Polling::start(Settings {
        page_retries: 0,
        ..foundation.settings()
    });
    polling.holds(|held| all_refused(held, &routes)).await;
    foundation
        .capi
        .inject(Endpoint::Bindings, 0, usize::MAX, Fault::UnknownError);
    polling.ask_for_routes();
    let says = |report: Report| {
        assert!(matches!(report.update, Update::AllRoutes(_)));
        match report.basis {
            Basis::Read(reading) => reading.restrictions,
            Basis::Asked | Basis::Told => panic!("{:?}", report.basis),
        }
    };
    // The rest of what is held waits for the next ones.
    for _ in 0..3 {
        assert!(!says(polling.report().await));
    }
    foundation.capi.clear();
    while !says(polling.report().await) {}
}

#[tokio::test]
async fn p2_routes_are_not_read_again_at_once_while_bindings_cannot_be_read() {
    let (foundation, routes) = foundation(1).await;
    let mut polling = Polling::start(Settings {
        confirm_after: NEVER,
        page_retries: 0,
        tail_audit_events: true,
        ..foundation.settings()
    });
    polling.holds(|held| all_refused(held, &routes)).await;
    // What was created and bound is read again once.
    looks(&foundation, 3).await;
    foundation
        .capi
        .inject(Endpoint::Bindings, 0, usize::MAX, Fault::UnknownError);
    let reads = foundation.capi.count(Endpoint::Routes);
    polling.ask_for_routes();
    soon(foundation.capi.requested(Endpoint::Routes, reads + 1)).await;
    looks(&foundation, 20).await;
    assert_eq!(foundation.capi.count(Endpoint::Routes), reads + 1);
}

#[tokio::test]
async fn p2_an_empty_answer_about_a_route_by_name_releases_nothing() {
    let foundation = Foundation::new().await;
    let spec = RouteSpec::new(&foundation.mesh, "shop").to(web("a"));
    let route = foundation.capi.state().load([spec]).remove(0);
    foundation.capi.state().bind(&route);
    let mut polling = foundation.poll();
    polling
        .holds(|held| held.is_refused(&route, RouteService))
        .await;
    foundation
        .capi
        .inject(Endpoint::Bindings, 0, 1, Fault::Empty);
    let asked = foundation.capi.count(Endpoint::Bindings);
    polling.touched.send(app("a")).await.unwrap();
    // The answer, the one that refutes it, and one that comes after what was made of both.
    soon(foundation.capi.requested(Endpoint::Bindings, asked + 2)).await;
    polling.touched.send(app("a")).await.unwrap();
    soon(foundation.capi.requested(Endpoint::Bindings, asked + 3)).await;
    assert!(polling.catch_up().is_refused(&route, RouteService));
}

#[tokio::test]
async fn p2_bindings_that_turn_unreadable_release_nothing_and_the_others_bind() {
    let (foundation, routes, mut polling) = refused(40).await;
    for route in &routes[..20] {
        foundation.capi.state().spoil_binding(route);
    }
    let message = problem(&mut polling.access, "unreadable").await;
    assert!(message.contains("20 bindings"), "{message}");
    assert_eq!(polling.access.borrow().dropped.len(), 20, "named");
    let late = foundation.load(1).remove(0);
    foundation.capi.state().bind(&late);
    polling
        .holds(|held| held.is_refused(&late, RouteService))
        .await;
    let reads = foundation.capi.count(Endpoint::Bindings);
    soon(foundation.capi.requested(Endpoint::Bindings, reads + 5)).await;
    assert!(all_refused(polling.catch_up(), &routes));
}

#[tokio::test]
async fn p2_nothing_is_answered_while_nobody_knows_whose_a_binding_is() {
    let (foundation, routes) = foundation(3).await;
    foundation.capi.state().spoil_binding(&routes[1]);
    let mut polling = Polling::start(eager(&foundation));
    problem(&mut polling.access, "unreadable").await;
    soon(foundation.capi.requested(Endpoint::Bindings, 3)).await;
    assert!(polling.has_sent_nothing());
}

#[tokio::test]
async fn a_new_route_whose_binding_cannot_be_read_is_bound_and_spoils_no_other() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let mut polling = foundation.poll();
    polling.holds(|held| held.0.len() == 1).await;
    let specs = (0..9).map(|n| RouteSpec::new(&foundation.mesh, &format!("new-{n}")).to(web("a")));
    let routes = foundation.capi.state().load(specs);
    {
        let mut state = foundation.capi.state();
        state.bind_silently(&routes[4], Operation::BOUND);
        state.spoil_binding(&routes[4]);
    }
    polling.touched.send(app("a")).await.unwrap();
    polling.holds(|held| held.0.len() == 10).await;
    for (n, route) in routes.iter().enumerate() {
        assert_eq!(polling.held.is_open(route), n != 4);
    }
}

#[tokio::test]
async fn p2_a_domain_without_its_enforcement_once_opens_nothing() {
    let foundation = Foundation::new().await;
    let (domain, route) = enforced(&foundation);
    let settings = Settings {
        domains: vec!["secure.example.com".parse().unwrap()],
        confirm_after: Duration::from_millis(200),
        ..eager(&foundation)
    };
    let mut polling = Polling::start(settings);
    polling
        .holds(|held| held.is_refused(&route, RoutePolicies))
        .await;
    let guid = domain.clone();
    foundation.capi.before(Endpoint::Domains, 0, move |state| {
        state.change_domain(&guid, |spec| spec.route_policies = None);
    });
    let guid = domain.clone();
    foundation.capi.before(Endpoint::Domains, 1, move |state| {
        state.change_domain(&guid, |spec| spec.route_policies = Some("org"));
    });
    let message = problem(&mut polling.access, "unconfirmed").await;
    assert!(message.contains("secure.example.com"), "{message}");
    is_well(&mut polling.access).await;
    assert!(polling.catch_up().is_refused(&route, RoutePolicies));

    // What stays so is believed in the end.
    foundation
        .capi
        .state()
        .change_domain(&domain, |spec| spec.route_policies = None);
    problem(&mut polling.access, "unconfirmed").await;
    polling.holds(|held| held.is_open(&route)).await;
    is_well(&mut polling.access).await;
}

#[tokio::test]
async fn p2_a_list_without_the_domain_opens_nothing() {
    let foundation = Foundation::new().await;
    foundation.load(30);
    let (_, route) = enforced(&foundation);
    let mut settings = eager(&foundation);
    settings.domains.push("secure.example.com".parse().unwrap());
    let mut polling = Polling::start(settings);
    polling
        .holds(|held| held.is_refused(&route, RoutePolicies))
        .await;
    foundation
        .capi
        .inject(Endpoint::Domains, 0, 5, Fault::Empty);
    let reads = foundation.capi.count(Endpoint::Domains);
    soon(foundation.capi.requested(Endpoint::Domains, reads + 8)).await;
    while let Ok(Report { update, .. }) = polling.updates.try_recv() {
        polling.held.apply(update);
        assert!(!polling.held.is_open(&route));
    }
    polling
        .holds(|held| held.is_refused(&route, RoutePolicies))
        .await;
}
