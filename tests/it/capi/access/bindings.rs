//! Routes that are bound to a route service.

use super::*;

/// A foundation with one route, and a poller that has read it and follows audit events.
async fn followed() -> (Foundation, RouteGuid, Polling) {
    let foundation = Foundation::new().await;
    let route = foundation.load(1).remove(0);
    let mut polling = Polling::start(tailing(&foundation));
    polling.holds(|held| held.is_open(&route)).await;
    (foundation, route, polling)
}

/// What an audit event says of a route.
fn about(route: &RouteGuid) -> serde_json::Value {
    json!({"request": {"route_guid": route.to_string()}})
}

/// Why the one route that was read again is refused, if it is.
async fn read_again(polling: &mut Polling) -> Option<Refusal> {
    let (current, _) = polling.changed().await;
    current.values().next().unwrap().refused
}

#[tokio::test]
async fn a2_a_route_that_is_bound_is_refused_from_the_first_answer_and_after_a_restart() {
    let foundation = Foundation::new().await;
    let [open, bound] = <[_; 2]>::try_from(foundation.load(2)).unwrap();
    foundation.capi.state().bind(&bound);
    for _ in 0..2 {
        let mut polling = foundation.poll();
        polling.holds(|held| !held.0.is_empty()).await;
        assert!(polling.held.is_open(&open));
        assert!(polling.held.is_refused(&bound, RouteService));
        is_well(&mut polling.access).await;
        assert_eq!(polling.access.borrow().counts["bound_routes"], 1);
        polling.stop().await;
    }
}

#[tokio::test]
async fn a2_a_route_that_is_bound_later_is_refused_and_served_again_when_it_is_unbound() {
    let foundation = Foundation::new().await;
    let route = foundation.load(2).remove(0);
    let mut polling = Polling::start(tailing(&foundation));
    polling.holds(|held| held.is_open(&route)).await;
    for _ in 0..2 {
        foundation.capi.state().bind(&route);
        polling
            .holds(|held| held.is_refused(&route, RouteService))
            .await;
        foundation.capi.state().advance(1);
        foundation.capi.state().unbind(&route);
        polling.holds(|held| held.is_open(&route)).await;
        foundation.capi.state().advance(1);
    }
    is_well(&mut polling.access).await;
}

#[tokio::test]
async fn a2_that_a_route_is_unbound_is_told_where_an_event_says_so() {
    let foundation = Foundation::new().await;
    let route = foundation.load(2).remove(0);
    foundation.capi.state().bind(&route);
    let mut polling = Polling::start(tailing(&foundation));
    polling
        .holds(|held| held.is_refused(&route, RouteService))
        .await;
    looks(&foundation, 2).await;
    polling.catch_up();
    foundation.capi.state().unbind(&route);
    let report = polling.report().await;
    assert!(matches!(report.update, Update::Routes { .. }));
    assert_eq!(report.basis, Basis::Told);
}

#[tokio::test]
async fn a2_a_route_that_is_created_and_bound_at_once_is_never_served() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let mut polling = Polling::start(tailing(&foundation));
    polling.holds(|held| held.0.len() == 1).await;
    let route = {
        let mut state = foundation.capi.state();
        let route = state.create_route(RouteSpec::new(&foundation.mesh, "new").to(web("a")));
        state.bind_silently(&route, Operation::BOUND);
        route
    };
    let (current, _) = polling.changed().await;
    assert_eq!(current["new.mesh.example.com"].guid, route);
    assert_eq!(current["new.mesh.example.com"].refused, Some(RouteService));
}

#[tokio::test]
async fn a2_diego_tells_of_a_binding_too() {
    let foundation = Foundation::new().await;
    let spec = RouteSpec::new(&foundation.mesh, "shop").to(web("a"));
    let route = foundation.capi.state().load([spec]).remove(0);
    // No audit event is looked at.
    let mut polling = foundation.poll();
    polling.holds(|held| held.is_open(&route)).await;
    foundation.capi.state().bind(&route);
    polling.touched.send(app("a")).await.unwrap();
    polling
        .holds(|held| held.is_refused(&route, RouteService))
        .await;
    foundation.capi.state().unbind(&route);
    polling.touched.send(app("a")).await.unwrap();
    // That one read lacks the binding is not enough where nothing else says that it is gone.
    polling.holds(|held| held.is_open(&route)).await;
}

#[tokio::test]
async fn a2_a_binding_of_the_v2_api_is_followed() {
    let (foundation, route, mut polling) = followed().await;
    let data = about(&route);
    {
        let mut state = foundation.capi.state();
        state.bind_silently(&route, Operation::BOUND);
        state.emit("audit.service_instance.bind_route", "s", &data);
    }
    polling
        .holds(|held| held.is_refused(&route, RouteService))
        .await;
    {
        let mut state = foundation.capi.state();
        state.advance(1);
        state.unbind_silently(&route);
        state.emit("audit.service_instance.unbind_route", "s", &data);
    }
    polling.holds(|held| held.is_open(&route)).await;
}

#[tokio::test]
async fn a2_a_binding_counts_from_its_beginning_to_its_end_and_not_when_it_fails() {
    let foundation = Foundation::new().await;
    let route = foundation.load(1).remove(0);
    let mut polling = Polling::start(eager(&foundation));
    polling.holds(|held| held.is_open(&route)).await;
    let stages = [
        (Operation("create", "initial"), true),
        (Operation("create", "failed"), false),
        (Operation("create", "in progress"), true),
        (Operation::BOUND, true),
        (Operation("delete", "in progress"), true),
        (Operation("delete", "failed"), true),
    ];
    for (stage, is_bound) in stages {
        foundation.capi.state().bind_silently(&route, stage);
        let reads = foundation.capi.count(Endpoint::Bindings);
        soon(foundation.capi.requested(Endpoint::Bindings, reads + 3)).await;
        let expected = |held: &Held| held.is_refused(&route, RouteService) == is_bound;
        polling.holds(expected).await;
        assert!(expected(polling.catch_up()), "{stage:?}");
    }
}

#[tokio::test]
async fn a2_an_event_that_comes_before_its_commit_is_followed_by_other_looks() {
    let foundation = Foundation::new().await;
    let route = foundation.load(1).remove(0);
    foundation.capi.state().bind(&route);
    let settings = Settings {
        recheck_after: vec![Duration::from_millis(50), Duration::from_secs(1)],
        ..tailing(&foundation)
    };
    let mut polling = Polling::start(settings);
    polling
        .holds(|held| held.is_refused(&route, RouteService))
        .await;
    let data = about(&route);
    {
        let mut state = foundation.capi.state();
        state.advance(1);
        state.emit("audit.service_route_binding.delete", "b", &data);
    }
    assert_eq!(read_again(&mut polling).await, Some(RouteService));
    foundation.capi.state().unbind_silently(&route);
    polling.holds(|held| held.is_open(&route)).await;
}

#[tokio::test]
async fn a_route_that_is_bound_and_unbound_in_one_second_stays_open_in_whatever_order_that_is_listed()
 {
    let (foundation, route, mut polling) = followed().await;
    let data = about(&route);
    {
        let mut state = foundation.capi.state();
        state.advance(1);
        state.emit("audit.service_route_binding.delete", "b", &data);
        state.emit("audit.service_route_binding.create", "b", &data);
    }
    assert_eq!(read_again(&mut polling).await, None);
}

#[tokio::test]
async fn a_binding_from_before_the_first_read_that_failed_withholds_nothing() {
    let foundation = Foundation::new().await;
    let route = foundation.load(1).remove(0);
    {
        let mut state = foundation.capi.state();
        state.bind_silently(&route, Operation("create", "failed"));
        let data = about(&route);
        state.emit("audit.service_route_binding.start_create", "b", &data);
        state.advance(10);
    }
    let mut polling = Polling::start(tailing(&foundation));
    polling.holds(|held| held.is_open(&route)).await;
    // The event is looked at, and what it is about is read.
    assert_eq!(read_again(&mut polling).await, None);
}

#[tokio::test]
async fn an_event_that_does_not_say_which_route_was_bound_has_all_bindings_read() {
    let (foundation, route, mut polling) = followed().await;
    {
        let mut state = foundation.capi.state();
        state.bind_silently(&route, Operation::BOUND);
        state.emit("audit.service_route_binding.create", "b", &json!({}));
    }
    polling
        .holds(|held| held.is_refused(&route, RouteService))
        .await;
}

#[tokio::test]
async fn what_is_bound_and_unbound_while_cloud_controller_is_down_is_seen_afterwards() {
    let foundation = Foundation::new().await;
    let [gains, loses, keeps] = <[_; 3]>::try_from(foundation.load(3)).unwrap();
    for route in [&loses, &keeps] {
        foundation.capi.state().bind(route);
    }
    let mut polling = Polling::start(tailing(&foundation));
    polling.holds(|held| held.is_open(&gains)).await;
    foundation.capi.stop().await;
    problem(&mut polling.tail, "connect").await;
    {
        let mut state = foundation.capi.state();
        state.advance(30);
        state.bind(&gains);
        state.unbind(&loses);
    }
    assert!(polling.catch_up().is_refused(&keeps, RouteService));
    foundation.capi.resume().await.unwrap();
    let expected = |held: &Held| {
        held.is_refused(&gains, RouteService)
            && held.is_open(&loses)
            && held.is_refused(&keeps, RouteService)
    };
    polling.holds(expected).await;
}

#[tokio::test]
async fn nothing_is_answered_before_the_bindings_were_read() {
    for (fault, kind) in [
        (Fault::UnknownError, "server_error"),
        (Fault::Forbidden, "forbidden"),
        (Fault::NoList, "malformed"),
        (Fault::UnknownRoute, "not_found"),
        (Fault::ResourceNotFound, "not_found"),
        // The API says that it has the path.
        (Fault::UnknownPath, "not_found"),
    ] {
        let foundation = Foundation::new().await;
        let route = foundation.load(1).remove(0);
        foundation.capi.state().bind(&route);
        foundation
            .capi
            .inject(Endpoint::Bindings, 0, usize::MAX, fault);
        let mut polling = Polling::start(eager(&foundation));
        let message = problem(&mut polling.access, kind).await;
        assert!(message.contains("/v3/service_route_bindings"), "{message}");
        soon(foundation.capi.requested(Endpoint::Bindings, 3)).await;
        assert!(polling.has_sent_nothing(), "{fault:?}");
        assert_eq!(polling.readiness.pending(), ["routes"]);
        foundation.capi.clear();
        polling.holds(|held| !held.0.is_empty()).await;
        assert!(polling.held.is_refused(&route, RouteService));
        polling.stop().await;
    }
}

#[tokio::test]
async fn a3_while_bindings_cannot_be_read_what_is_known_stays_and_only_new_routes_wait() {
    let foundation = Foundation::new().await;
    let [open, bound] = <[_; 2]>::try_from(foundation.load(2)).unwrap();
    foundation.capi.state().bind(&bound);
    let settings = Settings {
        full_read_interval: Duration::from_millis(100),
        ..tailing(&foundation)
    };
    let mut polling = Polling::start(settings);
    polling.holds(|held| held.is_open(&open)).await;
    foundation
        .capi
        .inject(Endpoint::Bindings, 0, usize::MAX, Fault::BadGateway);
    problem(&mut polling.access, "server_error").await;
    let new = {
        let mut state = foundation.capi.state();
        state.map(&open, web("a"));
        state.map(&bound, web("a"));
        state.create_route(RouteSpec::new(&foundation.mesh, "new"))
    };
    let mapped = |held: &Held, route| held.0[route].destinations.len() == 1;
    polling
        .holds(|held| mapped(held, &open) && mapped(held, &bound))
        .await;
    let reads = foundation.capi.count(Endpoint::Domains);
    soon(foundation.capi.requested(Endpoint::Domains, reads + 3)).await;
    let held = polling.catch_up();
    assert!(held.is_open(&open) && held.is_refused(&bound, RouteService));
    assert!(!held.0.contains_key(&new), "it may be bound");
    assert!(polling.routes.borrow().problem.is_none());

    foundation.capi.clear();
    polling.holds(|held| held.is_open(&new)).await;
    is_well(&mut polling.access).await;
}

#[tokio::test]
async fn a3_an_event_that_a_route_is_bound_counts_while_nothing_can_be_read() {
    let (foundation, route, mut polling) = followed().await;
    for endpoint in [Endpoint::Bindings, Endpoint::Routes] {
        foundation
            .capi
            .inject(endpoint, 0, usize::MAX, Fault::Maintenance);
    }
    foundation.capi.state().bind(&route);
    polling
        .holds(|held| held.is_refused(&route, RouteService))
        .await;
}

#[tokio::test]
async fn a_cloud_controller_that_is_too_old_for_bindings_is_known_by_what_it_links_to_and_said() {
    let foundation = Foundation::new().await;
    let route = foundation.load(1).remove(0);
    foundation.capi.state().has_bindings = false;
    let settings = Settings {
        tail_audit_events: true,
        ..eager(&foundation)
    };
    let mut polling = Polling::start(settings);
    polling.holds(|held| held.is_open(&route)).await;
    let reads = foundation.capi.count(Endpoint::Bindings);
    soon(foundation.capi.requested(Endpoint::Bindings, reads + 3)).await;
    assert_eq!(foundation.capi.count(Endpoint::Api), 1, "once");
    let dropped = polling.access.borrow().dropped.named().clone();
    assert_eq!(dropped["/v3/service_route_bindings"].reason, "too_old");
    is_well(&mut polling.access).await;

    // It is upgraded.
    {
        let mut state = foundation.capi.state();
        state.has_bindings = true;
        state.bind(&route);
    }
    polling
        .holds(|held| held.is_refused(&route, RouteService))
        .await;
    let is_over = |status: &Status| status.dropped.is_empty();
    soon(polling.access.wait_for(is_over)).await.unwrap();
    // From now on it is not too old, whatever it says.
    foundation.capi.state().has_bindings = false;
    problem(&mut polling.access, "not_found").await;
    assert!(polling.catch_up().is_refused(&route, RouteService));
}

#[tokio::test]
async fn whoever_serves_bound_routes_asks_for_no_bindings() {
    let foundation = Foundation::new().await;
    let route = foundation.load(1).remove(0);
    foundation.capi.state().bind(&route);
    let settings = Settings {
        serve_bound_routes: true,
        ..tailing(&foundation)
    };
    let mut polling = Polling::start(settings);
    polling.holds(|held| held.is_open(&route)).await;
    looks(&foundation, 2).await;
    assert_eq!(foundation.capi.count(Endpoint::Bindings), 0);
    let events = foundation.capi.requests(Endpoint::AuditEvents);
    let types = events
        .iter()
        .filter_map(|request| request.parameter("types"));
    assert!(types.clone().count() > 0);
    assert!(types.clone().all(|types| !types.contains("service")));
    is_well(&mut polling.access).await;
}

#[tokio::test]
async fn bindings_are_read_page_by_page() {
    let foundation = Foundation::new().await;
    let routes = foundation.load(45);
    for route in &routes {
        foundation.capi.state().bind(route);
    }
    let settings = Settings {
        page_size: 10,
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    polling.holds(|held| held.0.len() == 45).await;
    assert!(
        routes
            .iter()
            .all(|route| polling.held.is_refused(route, RouteService))
    );
}

#[tokio::test]
async fn the_routes_of_many_apps_have_their_bindings_read_in_one_request() {
    let foundation = Foundation::new().await;
    let specs =
        (0..400).map(|n| RouteSpec::new(&foundation.mesh, &format!("host-{n}")).to(web("a")));
    let routes = foundation.capi.state().load(specs);
    let mut polling = foundation.poll();
    polling.holds(|held| held.0.len() == 400).await;
    let asked = foundation.capi.count(Endpoint::Bindings);
    foundation
        .capi
        .state()
        .bind_silently(&routes[7], Operation::BOUND);
    polling.touched.send(app("a")).await.unwrap();
    polling
        .holds(|held| held.is_refused(&routes[7], RouteService))
        .await;
    // One with every batch: the app's routes by its guid, and then again by theirs.
    let batches = foundation.capi.count(Endpoint::Bindings) - asked;
    assert!(batches <= 4, "{batches}");
}
