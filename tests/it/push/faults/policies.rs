//! Faults around the policy server: routes never wait for it.

use super::*;

#[tokio::test]
async fn f30_a_policy_server_that_is_down_from_the_start_holds_up_no_route() {
    let (foundation, app) = foundation().await;
    foundation.policies.stop().await;
    let config = with(config(&foundation), &[("/PolicyServerGrace", json!("1h"))]);
    let push = Push::start_with(foundation, config).await;
    push.sync(one_route(&app)).await;
    let state = push.holds(|state| endpoints(state, SHOP) == 2).await;
    assert!(
        !state.collections.contains_key(Kind::Sidecar.collection()),
        "sinks keep what they have"
    );
    push.daemon.reports("policies", "connect").await;
    push.daemon.ready().await;

    push.foundation.policies.resume().await.unwrap();
    push.holds(|state| !sidecar(state, "cloudfoundry-default-sidecar").is_null())
        .await;
    push.daemon.recovers("policies").await;
}

#[tokio::test]
async fn f30_a_pilot_that_is_new_gets_the_default_sidecar_in_the_end() {
    let (foundation, app) = foundation().await;
    foundation.policies.stop().await;
    let config = with(
        config(&foundation),
        &[("/PolicyServerGrace", json!("10ms"))],
    );
    let push = Push::start_with(foundation, config).await;
    push.sync(one_route(&app)).await;
    push.holds(|state| !sidecar(state, "cloudfoundry-default-sidecar").is_null())
        .await;
}

#[tokio::test]
async fn f30_a_policy_server_that_fails_later_takes_no_sidecar_along() {
    let (mut foundation, app) = foundation().await;
    let other = foundation.push(1);
    let (source, destination) = (capi_process(&app), capi_process(&other));
    foundation.policies.allow(&source, &destination, 8080);
    let push = Push::start(foundation).await;
    let mut request = one_route(&app);
    request
        .routes
        .push(internal("r-other", "other.apps.internal", "127.128.0.1"));
    request.route_mappings.push(mapping("r-other", &other, 1));
    request
        .capi_diego_process_associations
        .push(association(&other));
    push.sync(request).await;
    push.holds(|state| !sidecar(state, &source).is_null()).await;
    push.foundation
        .policies
        .fail(Some(policy::Fault::Status(503)));
    push.daemon.reports("policies", "server_error").await;
    push.cloud_controller
        .upsert_route(route("r-new", "new.apps.example.com"))
        .await
        .unwrap();
    push.cloud_controller
        .map_route(mapping("r-new", &app, 1))
        .await
        .unwrap();
    let entry = "new.apps.example.com.routes.cloudfoundry";
    let state = push.holds(|state| endpoints(state, entry) == 2).await;
    assert!(!sidecar(&state, &source).is_null());
}

#[tokio::test]
async fn f31_a_policy_server_that_does_not_answer_delays_no_change() {
    let (foundation, app) = foundation().await;
    let push = Push::start(foundation).await;
    push.sync(one_route(&app)).await;
    push.holds(|state| state.collections.len() == 5).await;
    push.foundation.policies.hold();
    push.foundation.policies.holds_one().await;
    let mut push = push;
    let mut app = app;
    push.foundation.scale(&mut app, 5);
    push.holds(|state| endpoints(state, SHOP) == 5).await;
    push.foundation.policies.release();
}

#[tokio::test]
async fn f32_changes_of_routes_read_no_policies() {
    let (foundation, mut app) = foundation().await;
    let rarely = [("/PolicyServerPollInterval", json!("1h"))];
    let config = with(config(&foundation), &rarely);
    foundation.policies.allow("source", "destination", 8080);
    let mut push = Push::start_with(foundation, config).await;
    push.sync(one_route(&app)).await;
    push.holds(|state| state.collections.len() == 5).await;
    for count in 3..6 {
        push.foundation.scale(&mut app, count);
        push.holds(|state| endpoints(state, SHOP) == count as usize)
            .await;
    }
    assert_eq!(push.foundation.policies.requests(), 1);
}

#[tokio::test]
async fn f33_without_a_policy_server_every_sidecar_is_the_default() {
    let (foundation, app) = foundation().await;
    let config = with(
        config(&foundation),
        &[("/PolicyServerDisabled", json!(true))],
    );
    let push = Push::start_with(foundation, config).await;
    push.sync(one_route(&app)).await;
    let state = push.holds(|state| state.collections.len() == 5).await;
    assert_eq!(
        state.collections[Kind::Sidecar.collection()]
            .resources
            .len(),
        1
    );
    assert!(!sidecar(&state, "cloudfoundry-default-sidecar").is_null());
    assert_eq!(push.foundation.policies.requests(), 0);
}
