//! Rows and events that are dated in the future: the tail of today sees what happens today.

use serde_json::json;

use super::*;

/// How far ahead.
const YEAR: u64 = 365 * 86_400;

fn tailing(foundation: &Foundation) -> Settings {
    Settings {
        tail_audit_events: true,
        ..foundation.settings()
    }
}

fn tailing_rows(foundation: &Foundation) -> Settings {
    Settings {
        tail_updated_at: true,
        ..foundation.settings()
    }
}

fn emit_from_the_future(foundation: &Foundation) {
    let mut state = foundation.capi.state();
    let (time, route) = (state.now() + YEAR, state.new_guid());
    state.emit_at(time, "audit.route.create", &route, &json!({}));
}

/// A new route is seen by its event.
async fn follows_events(foundation: &Foundation, polling: &mut Polling, host: &str) {
    foundation.capi.state().advance(1);
    let spec = RouteSpec::new(&foundation.mesh, host);
    let route = foundation.capi.state().create_route(spec);
    polling.holds(|held| held.is_open(&route)).await;
}

/// A new route is seen by the time of its row.
async fn follows_rows(foundation: &Foundation, polling: &mut Polling, host: &str) {
    foundation.capi.state().advance(1);
    let spec = RouteSpec::new(&foundation.mesh, host);
    let route = foundation.capi.state().load([spec]).remove(0);
    polling.holds(|held| held.is_open(&route)).await;
}

#[tokio::test]
async fn an_event_from_the_future_does_not_blind_the_tail() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let mut polling = Polling::start(tailing(&foundation));
    polling.holds(|held| held.0.len() == 1).await;
    follows_events(&foundation, &mut polling, "before").await;
    emit_from_the_future(&foundation);
    let looks = foundation.capi.count(Endpoint::AuditEvents);
    soon(foundation.capi.requested(Endpoint::AuditEvents, looks + 2)).await;
    foundation.capi.state().advance(600);
    follows_events(&foundation, &mut polling, "after").await;
}

#[tokio::test]
async fn an_event_from_the_future_is_itself_acted_upon_once() {
    let foundation = Foundation::new().await;
    let route = foundation.load(1).remove(0);
    let mut polling = Polling::start(tailing(&foundation));
    polling.holds(|held| held.0.len() == 1).await;
    {
        let mut state = foundation.capi.state();
        state.change(&route, |spec| spec.destinations.push(web("a")));
        let time = state.now() + YEAR;
        let data = json!({"route_guid": route.to_string()});
        state.emit_at(time, "audit.app.map-route", "a", &data);
    }
    polling
        .holds(|held| held.0[&route].destinations.len() == 1)
        .await;
    let asked = foundation.capi.count(Endpoint::Routes);
    let looks = foundation.capi.count(Endpoint::AuditEvents);
    soon(foundation.capi.requested(Endpoint::AuditEvents, looks + 5)).await;
    assert_eq!(foundation.capi.count(Endpoint::Routes), asked);
}

#[tokio::test]
async fn a_tail_that_begins_with_an_event_from_the_future_is_not_blind() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    emit_from_the_future(&foundation);
    let mut polling = Polling::start(tailing(&foundation));
    polling.holds(|held| held.0.len() == 1).await;
    follows_events(&foundation, &mut polling, "after").await;
}

#[tokio::test]
async fn a_row_from_the_future_does_not_blind_the_tail() {
    let foundation = Foundation::new().await;
    let route = foundation.load(1).remove(0);
    let mut polling = Polling::start(tailing_rows(&foundation));
    polling.holds(|held| held.0.len() == 1).await;
    let date = foundation.capi.state().now() + YEAR;
    foundation.capi.state().date(&route, date);
    let looks = foundation.capi.count(Endpoint::Routes);
    soon(foundation.capi.requested(Endpoint::Routes, looks + 3)).await;
    foundation.capi.state().advance(600);
    follows_rows(&foundation, &mut polling, "after").await;
}

#[tokio::test]
async fn a_tail_that_begins_with_a_row_from_the_future_is_not_blind() {
    let foundation = Foundation::new().await;
    let route = foundation.load(1).remove(0);
    let date = foundation.capi.state().now() + YEAR;
    foundation.capi.state().date(&route, date);
    let mut polling = Polling::start(tailing_rows(&foundation));
    polling.holds(|held| held.0.len() == 1).await;
    follows_rows(&foundation, &mut polling, "after").await;
}

#[tokio::test]
async fn a_clock_that_was_wrong_itself_blinds_nobody_once_it_is_right() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    // The machine of the servers and of the database was a year ahead.
    foundation.capi.state().clock_ahead = YEAR;
    emit_from_the_future(&foundation);
    let mut polling = Polling::start(tailing(&foundation));
    polling.holds(|held| held.0.len() == 1).await;
    let looks = foundation.capi.count(Endpoint::AuditEvents);
    soon(foundation.capi.requested(Endpoint::AuditEvents, looks + 2)).await;
    foundation.capi.state().clock_ahead = 0;
    let looks = foundation.capi.count(Endpoint::AuditEvents);
    soon(foundation.capi.requested(Endpoint::AuditEvents, looks + 2)).await;
    follows_events(&foundation, &mut polling, "after").await;
}
