//! What audit events name is told item by item.

use serde_json::json;

use super::*;

/// Three routes to an app, and its guid, in a foundation whose audit events are followed.
async fn followed() -> (Foundation, Vec<RouteGuid>, Polling) {
    let foundation = Foundation::new().await;
    let specs = ["x", "y", "z"].map(|host| RouteSpec::new(&foundation.mesh, host).to(web("a")));
    let routes = foundation.capi.state().load(specs);
    let settings = Settings {
        tail_audit_events: true,
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    polling.all_routes().await;
    (foundation, routes, polling)
}

/// The next change: of what, and on which grounds.
async fn change(polling: &mut Polling) -> (Vec<Route>, Vec<RouteGuid>, Basis) {
    let report = polling.report().await;
    match report.update {
        Update::Routes { current, gone } => (current, gone, report.basis),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_route_whose_deletion_an_event_names_is_gone() {
    let (foundation, routes, mut polling) = followed().await;
    foundation.capi.state().delete_route(&routes[0]);
    let (_, gone, basis) = change(&mut polling).await;
    assert_eq!((gone, basis), (vec![routes[0].clone()], Basis::Told));
}

#[tokio::test]
async fn a_route_that_an_event_says_is_unmapped_is_as_it_is_and_another_is_not() {
    let (foundation, routes, mut polling) = followed().await;
    {
        let mut state = foundation.capi.state();
        state.unmap_silently(&routes[1], &app("a"));
        state.unmap(&routes[0], &app("a"));
        let data = json!({"route_guid": routes[1].to_string()});
        state.emit("audit.app.map-route", "a", &data);
    }
    for (route, basis) in [(&routes[0], Basis::Told), (&routes[1], Basis::Asked)] {
        let (current, gone, given) = change(&mut polling).await;
        assert_eq!((current.len(), gone.len(), given), (1, 0, basis));
        assert_eq!(current[0].guid, *route);
        assert!(current[0].destinations.is_empty());
    }
}

#[tokio::test]
async fn what_was_asked_for_first_is_told_when_its_event_comes() {
    let (foundation, routes, mut polling) = followed().await;
    let data = foundation
        .capi
        .state()
        .unmap_silently(&routes[0], &app("a"));
    polling.touched.send(app("a")).await.unwrap();
    let (_, _, basis) = change(&mut polling).await;
    assert_eq!(basis, Basis::Asked);
    let event = "audit.app.unmap-route";
    foundation.capi.state().emit(event, "a", &data);
    let (current, _, basis) = change(&mut polling).await;
    assert_eq!((&current[0].guid, basis), (&routes[0], Basis::Told));
}

#[tokio::test]
async fn the_routes_of_a_deleted_app_are_told_with_it() {
    let (foundation, routes, mut polling) = followed().await;
    {
        let mut state = foundation.capi.state();
        state.unmap_silently(&routes[0], &app("a"));
        // As with a space, whose routes go without an event of their own.
        state.delete_route_silently(&routes[1]);
        state.delete_route_silently(&routes[2]);
        state.emit("audit.app.delete-request", "a", &json!({}));
    }
    let (current, mut gone, basis) = change(&mut polling).await;
    assert_eq!((&current[0].guid, basis), (&routes[0], Basis::Told));
    gone.sort();
    let mut expected = routes[1..].to_vec();
    expected.sort();
    assert_eq!(gone, expected);
}

#[tokio::test]
async fn what_was_asked_for_confirms_nothing_by_the_read_that_was_under_way() {
    let foundation = Foundation::new().await;
    let first = foundation.load(25).remove(0);
    // It is gone for whoever asks by its name, when its page of the second read has come.
    let lost = first.clone();
    foundation.capi.before(Endpoint::Routes, 4, move |state| {
        state.delete_route_silently(&lost);
        let data = json!({"route_guid": lost.to_string()});
        state.emit("audit.app.map-route", "a", &data);
    });
    let settings = Settings {
        page_size: 10,
        full_read_interval: Duration::ZERO,
        tail_interval: Duration::ZERO,
        gather: Duration::ZERO,
        tail_audit_events: true,
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    polling.ask_for_routes();
    assert_eq!(polling.all_routes().await.len(), 25);
    let (_, gone, basis) = change(&mut polling).await;
    assert_eq!((gone, basis), (vec![first.clone()], Basis::Asked));
    let has_it = |routes: BTreeMap<String, Route>| guids(&routes).contains(&first);
    assert!(has_it(polling.all_routes().await));
    assert!(!has_it(polling.all_routes().await));
}
