//! Faults of the Go Copilot that show at the daemon as a whole, under their numbers in docs/conformance.md.

mod addresses;
mod policies;

use copilot::{proto::api::HealthRequest, sim::policy};
use tonic::Code;

use super::*;
use crate::mesh::{content, with};

const SHOP: &str = "shop.apps.example.com.routes.cloudfoundry";

fn one_route(app: &App) -> BulkSyncRequest {
    BulkSyncRequest {
        routes: vec![route("r-shop", "shop.apps.example.com")],
        route_mappings: vec![mapping("r-shop", app, 1)],
        capi_diego_process_associations: vec![association(app)],
    }
}

fn endpoints(state: &State, entry: &str) -> usize {
    service_entry(state, entry)["endpoints"]
        .as_array()
        .map_or(0, Vec::len)
}

#[tokio::test]
async fn f02_one_of_three_instances_stops_and_the_others_keep_serving() {
    let (foundation, mut app) = foundation().await;
    let mut push = Push::start(foundation).await;
    push.sync(one_route(&app)).await;
    push.foundation.scale(&mut app, 3);
    let before = push.holds(|state| endpoints(state, SHOP) == 3).await;
    push.foundation.scale(&mut app, 2);
    let after = push.holds(|state| endpoints(state, SHOP) != 3).await;
    assert_eq!(endpoints(&after, SHOP), 2);
    let versions = |state: &State| {
        state.collections[Kind::VirtualService.collection()]
            .version
            .clone()
    };
    assert_eq!(versions(&before), versions(&after));
}

#[tokio::test]
async fn f10_after_a_restart_nothing_is_served_before_everything_is_known() {
    let (foundation, app) = foundation().await;
    foundation.bbs.hold_lists();
    let push = Push::start(foundation).await;
    // Cloud Controller is at once with the routes, and the BBS is slow.
    push.sync(one_route(&app)).await;
    let waiting = json!(["first snapshot", "instances from the BBS"]);
    push.daemon
        .shows("/readyz", |page| page["waiting_for"] == waiting)
        .await;
    assert!(push.pilot.state().borrow().collections.is_empty());
    push.foundation.bbs.release_lists();
    let state = push.holds(|state| endpoints(state, SHOP) == 2).await;
    assert!(
        state
            .collections
            .values()
            .all(|replica| replica.applied == 1)
    );
}

#[tokio::test]
async fn f10_routes_that_come_one_by_one_are_not_served_before_a_bulk_sync() {
    let (foundation, app) = foundation().await;
    let push = Push::start(foundation).await;
    push.cloud_controller
        .upsert_route(route("r-other", "other.apps.example.com"))
        .await
        .unwrap();
    push.daemon
        .shows("/readyz", |page| {
            page["waiting_for"] == json!(["first snapshot", "routes from Cloud Controller"])
        })
        .await;
    push.sync(one_route(&app)).await;
    let state = push.holds(|state| !state.collections.is_empty()).await;
    // What was called shortly before outlives it.
    let services = &state.collections[Kind::VirtualService.collection()];
    assert_eq!(services.resources.len(), 2);
}

#[tokio::test]
async fn f17_an_app_that_is_stopped_takes_no_share_of_the_requests() {
    let (mut foundation, app) = foundation().await;
    let mut others = [foundation.push(1), foundation.push(1)];
    let push = Push::start(foundation).await;
    let mut request = one_route(&app);
    request.route_mappings = vec![mapping("r-shop", &app, 2)];
    for other in &others {
        request.route_mappings.push(mapping("r-shop", other, 2));
        request
            .capi_diego_process_associations
            .push(association(other));
    }
    push.sync(request).await;
    let weights = |state: &State| {
        let service = virtual_service(state, "copilot-service-for-shop.apps.example.com");
        let route = service["http"][0]["route"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut weights: Vec<_> = route
            .iter()
            .filter_map(|to| to["weight"].as_u64())
            .collect();
        weights.sort_unstable();
        weights
    };
    push.holds(|state| weights(state) == [33, 33, 34]).await;
    let mut push = push;
    push.foundation.stop(&mut others[0]);
    push.holds(|state| weights(state) == [50, 50]).await;
}

#[tokio::test]
async fn f19_a_bulk_sync_may_say_anything_of_weights() {
    let (mut foundation, app) = foundation().await;
    let other = foundation.push(1);
    let push = Push::start(foundation).await;
    let mut request = one_route(&app);
    request.route_mappings = vec![mapping("r-shop", &app, 0), mapping("r-shop", &other, 0)];
    request
        .capi_diego_process_associations
        .push(association(&other));
    push.sync(request).await;
    let state = push.holds(|state| endpoints(state, SHOP) == 3).await;
    let service = virtual_service(&state, "copilot-service-for-shop.apps.example.com");
    let route = &service["http"][0]["route"];
    assert_eq!(
        route[0]["weight"], 100,
        "as if nobody had asked: {service:#}"
    );
}

#[tokio::test]
async fn f39_a_certificate_that_is_not_listed_pushes_nothing() {
    let (foundation, _) = foundation().await;
    let config = with(
        config(&foundation),
        &[("/AllowedCloudControllerNames", json!(["cloud-controller"]))],
    );
    let push = Push::start_with(foundation, config).await;
    let refused = push
        .cloud_controller
        .upsert_route(route("r", "a.apps.example.com"))
        .await;
    // Its connection ends before anything is asked.
    assert_eq!(refused.unwrap_err().code(), Code::Unknown);
}

#[tokio::test]
async fn f39_virtual_addresses_can_be_told_over_tls() {
    let (foundation, _) = foundation().await;
    let config = with(config(&foundation), &[("/VIPResolverTLS", json!(true))]);
    let push = Push::start_with(foundation, config).await;
    let tls = tls::client(push.foundation.pki.ca(), None).unwrap();
    let address = push.daemon.vip_resolver.unwrap();
    let channel = sink::connect(address, tls).await.unwrap();
    let answered = VipResolverCopilotClient::new(channel)
        .health(HealthRequest {})
        .await;
    assert!(answered.is_ok());
    push.daemon
        .shows("/readyz", |page| {
            page.to_string().contains("vip_resolver_certificates")
        })
        .await;
}

#[tokio::test]
async fn f41_a_certificate_without_a_name_does_not_hide_the_others() {
    let (foundation, app) = foundation().await;
    let pems = json!([
        pair(&foundation, "nameless", &[]),
        pair(&foundation, "named", &["*.apps.example.com"]),
    ]);
    let config = with(config(&foundation), &[("/TLSPems", pems)]);
    let push = Push::start_with(foundation, config).await;
    push.sync(one_route(&app)).await;
    let state = push
        .holds(|state| !gateway(state, "cloudfoundry-ingress").is_null())
        .await;
    let servers = gateway(&state, "cloudfoundry-ingress")["servers"].clone();
    assert_eq!(servers.as_array().unwrap().len(), 2, "{servers:#}");
    let file = &servers[1]["tls"]["serverCertificate"];
    assert_eq!(*file, json!("/etc/istio/*.apps.example.com/tls.crt"));
    let named = |page: &Value| page.to_string().contains("TLSPems[0].CertChain");
    push.daemon.shows("/debug/rejected", named).await;
}

#[tokio::test]
async fn f42_an_empty_bulk_sync_wipes_nothing_at_once() {
    let (foundation, app) = foundation().await;
    let push = Push::start(foundation).await;
    push.sync(one_route(&app)).await;
    let before = push
        .holds(|state| endpoints(state, SHOP) == 2 && state.collections.len() == 5)
        .await;
    // A stream that ends without a chunk, as one whose sender has died.
    let ended = push
        .cloud_controller
        .client()
        .bulk_sync(tokio_stream::empty())
        .await;
    assert_eq!(ended.unwrap().into_inner().total_bytes_received, 0);
    let is_held = |page: &Value| page["held"][0]["feed"] == "routes";
    push.daemon.shows("/readyz", is_held).await;
    assert_eq!(content(&push.pilot.state().borrow()), content(&before));
    push.sync(one_route(&app)).await;
    push.daemon
        .shows("/readyz", |page| page["held"].is_null())
        .await;
    assert_eq!(content(&push.pilot.state().borrow()), content(&before));
}

#[tokio::test]
async fn what_is_held_goes_at_an_operators_word() {
    let (foundation, app) = foundation().await;
    let push = Push::start(foundation).await;
    push.sync(one_route(&app)).await;
    push.holds(|state| endpoints(state, SHOP) == 2).await;
    push.sync(BulkSyncRequest::default()).await;
    let is_held = |page: &Value| page[0]["endpoints"] == 2;
    push.daemon.shows("/debug/held", is_held).await;
    let words = ["accept policies", "accept", "believe routes"];
    for (word, status) in words.into_iter().zip([404, 400, 400]) {
        let answer = push.daemon.operator.put("/debug/held", word).await;
        assert_eq!(answer.unwrap().0.as_u16(), status, "{word}");
    }
    push.daemon.accept("routes").await;
    push.sync(BulkSyncRequest::default()).await;
    push.holds(|state| endpoints(state, SHOP) == 0).await;
    push.daemon
        .shows("/debug/held", |page| page == &json!([]))
        .await;
}

#[tokio::test]
async fn f49_health_is_true_of_the_process_and_its_admin_surface_is_where_it_is_wanted() {
    let (foundation, _) = foundation().await;
    let push = Push::start(foundation).await;
    let healthy = push
        .cloud_controller
        .client()
        .health(HealthRequest {})
        .await
        .unwrap();
    assert!(healthy.into_inner().healthy);
    let (status, _) = push.daemon.operator.get("/healthz").await.unwrap();
    assert!(status.is_success());
    let (status, _) = push.daemon.operator.get("/readyz").await.unwrap();
    assert_eq!(
        status.as_u16(),
        503,
        "healthy, and not ready before the first BulkSync"
    );
}
