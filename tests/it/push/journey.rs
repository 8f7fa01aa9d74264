//! From what Cloud Controller pushes, Diego runs and the policy server allows to what a Pilot holds, over mutual TLS.

use copilot::sim::cloud_foundry::App;
use serde_json::{Value, json};

use super::*;

/// The service of an external route without a path.
fn service(host: &str) -> String {
    format!("{host}.routes.cloudfoundry")
}

/// The only destination of a route.
fn to(service: &str) -> Value {
    json!([{ "destination": { "host": service, "port": { "number": 80 } }, "weight": 100 }])
}

fn endpoint(address: &str, port: u16) -> Value {
    json!({ "address": address, "ports": { "http": port } })
}

fn entry(service: &str, endpoints: &[Value]) -> Value {
    let entry = json!({
        "hosts": [service],
        "ports": [{ "number": 80, "protocol": "http", "name": "http" }],
        "resolution": "STATIC",
        "endpoints": endpoints,
    });
    sorted(entry, "endpoints")
}

/// Neither instances nor processes have an order that a test could know.
fn sorted(mut resource: Value, list: &str) -> Value {
    let items = resource[list].as_array_mut().unwrap();
    items.sort_by_key(ToString::to_string);
    resource
}

/// A foundation of three apps: of two instances, of one, and of one.
struct Apps {
    shop: App,
    admin: App,
    api: App,
}

async fn pushed() -> (Push, Apps) {
    let (mut foundation, shop) = foundation().await;
    let apps = Apps {
        shop,
        admin: foundation.push(1),
        api: foundation.push(1),
    };
    foundation
        .policies
        .allow(&capi_process(&apps.shop), &capi_process(&apps.api), 8080);
    (Push::start(foundation).await, apps)
}

fn everything(apps: &Apps) -> BulkSyncRequest {
    let Apps { shop, admin, api } = apps;
    let path = Route {
        path: "/admin".to_owned(),
        ..route("r-admin", "shop.apps.example.com")
    };
    BulkSyncRequest {
        routes: vec![
            route("r-shop", "Shop.Apps.Example.com"),
            path,
            route("r-mix", "mix.apps.example.com"),
            internal("r-api", "api.apps.internal", "127.128.0.7"),
        ],
        route_mappings: vec![
            mapping("r-shop", shop, 1),
            mapping("r-admin", admin, 1),
            mapping("r-mix", shop, 1),
            mapping("r-mix", admin, 3),
            mapping("r-api", api, 0),
        ],
        capi_diego_process_associations: [shop, admin, api].map(association).into(),
    }
}

#[tokio::test]
async fn a_bulk_sync_reaches_the_pilot_as_it_should() {
    let (push, apps) = pushed().await;
    push.sync(everything(&apps)).await;
    let Apps { shop, api, .. } = &apps;
    let (source, name) = (capi_process(shop), "shop.apps.example.com");
    let state = push
        .holds(|state| {
            state.collections.len() == 5
                && !service_entry(
                    state,
                    "internal/copilot-service-entry-for-api.apps.internal",
                )
                .is_null()
                && !sidecar(state, &source).is_null()
        })
        .await;

    let retries = json!({ "attempts": 2, "retryOn": "connect-failure,refused-stream" });
    let service_of_path = "admin.cf--path.shop.apps.example.com.routes.cloudfoundry";
    assert_eq!(
        virtual_service(&state, "copilot-service-for-shop.apps.example.com"),
        json!({
            "hosts": [name],
            "gateways": ["cloudfoundry-ingress"],
            "http": [
                {
                    "match": [{ "uri": { "regex": "/[aA][dD][mM][iI][nN](/.*)?" } }],
                    "route": to(service_of_path),
                    "retries": retries,
                },
                { "route": to(&service(name)), "retries": retries },
            ],
        })
    );
    let of_shop = [endpoint("10.0.16.1", 61_002), endpoint("10.0.16.1", 61_004)];
    let of_admin = endpoint("10.0.16.1", 61_006);
    assert_eq!(
        sorted(service_entry(&state, &service(name)), "endpoints"),
        entry(&service(name), &of_shop)
    );
    assert_eq!(
        service_entry(&state, service_of_path),
        entry(service_of_path, std::slice::from_ref(&of_admin))
    );
    assert_eq!(split(&state, "mix.apps.example.com"), [(1, 75), (2, 25)]);

    let name = "api.apps.internal";
    for (kind, name) in [
        (
            Kind::VirtualService,
            "internal/copilot-service-for-api.apps.internal",
        ),
        (
            Kind::DestinationRule,
            "internal/copilot-rule-for-api.apps.internal",
        ),
    ] {
        assert!(
            resource(&state, kind.collection(), name).is_null(),
            "nothing is told apart"
        );
    }
    assert_eq!(
        service_entry(
            &state,
            "internal/copilot-service-entry-for-api.apps.internal"
        ),
        json!({
            "hosts": [name],
            "addresses": ["127.128.0.7"],
            "ports": [{ "number": 8080, "protocol": "http", "name": "http" }],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "endpoints": [{
                "address": "10.255.0.5",
                "ports": { "http": 8080 },
                "labels": { "cfapp": capi_process(api) },
            }],
        })
    );
    let folder = "/etc/istio/*.apps.example.com";
    let https = json!({
        "port": { "number": 443, "protocol": "https", "name": "https-0" },
        "hosts": ["*"],
        "tls": {
            "mode": "SIMPLE",
            "serverCertificate": format!("{folder}/tls.crt"),
            "privateKey": format!("{folder}/tls.key"),
        },
    });
    let http = json!({
        "port": { "number": 80, "protocol": "http", "name": "http" },
        "hosts": ["*"],
    });
    assert_eq!(
        gateway(&state, "cloudfoundry-ingress"),
        json!({ "servers": [http, https] })
    );
    assert_eq!(
        sidecar(&state, "cloudfoundry-default-sidecar"),
        json!({ "egress": [{ "hosts": ["~/*"] }] })
    );
    assert_eq!(
        sidecar(&state, &source),
        json!({
            "workloadSelector": { "labels": { "cfapp": source } },
            "egress": [{ "hosts": ["internal/api.apps.internal"] }],
        })
    );
    push.daemon.end().await;
}

/// The services of a hostname's last HTTP route: how many endpoints each has, and its share.
fn split(state: &State, host: &str) -> Vec<(usize, u64)> {
    let service = virtual_service(state, &format!("copilot-service-for-{host}"));
    let routes = service["http"].as_array().and_then(|routes| routes.last());
    let destinations = routes.and_then(|route| route["route"].as_array());
    let mut split: Vec<_> = destinations
        .into_iter()
        .flatten()
        .map(|to| {
            let service = to["destination"]["host"].as_str().unwrap();
            let entry = service_entry(state, service);
            let endpoints = entry["endpoints"].as_array().map_or(0, Vec::len);
            (endpoints, to["weight"].as_u64().unwrap())
        })
        .collect();
    split.sort_unstable();
    split
}

#[tokio::test]
async fn single_calls_change_what_they_name_and_no_more() {
    let (push, apps) = pushed().await;
    push.sync(everything(&apps)).await;
    let Apps { shop, .. } = &apps;
    let (mix, cloud_controller) = ("mix.apps.example.com", &push.cloud_controller);
    push.holds(|state| split(state, mix) == [(1, 75), (2, 25)])
        .await;

    // The same pair again changes the weight, and does not add to it.
    cloud_controller
        .map_route(mapping("r-mix", shop, 3))
        .await
        .unwrap();
    push.holds(|state| split(state, mix) == [(1, 50), (2, 50)])
        .await;
    cloud_controller
        .unmap_route(mapping("r-mix", shop, 3))
        .await
        .unwrap();
    push.holds(|state| split(state, mix) == [(1, 100)]).await;

    // A route with an app, under one name and then under another.
    let new = |host: &str| cloud_controller.upsert_route(route("r-new", host));
    new("new.apps.example.com").await.unwrap();
    cloud_controller
        .map_route(mapping("r-new", shop, 1))
        .await
        .unwrap();
    push.holds(|state| split(state, "new.apps.example.com") == [(2, 100)])
        .await;
    new("newer.apps.example.com").await.unwrap();
    push.holds(|state| {
        split(state, "newer.apps.example.com") == [(2, 100)]
            && split(state, "new.apps.example.com").is_empty()
    })
    .await;
    cloud_controller.delete_route("r-new").await.unwrap();
    push.holds(|state| {
        let host = "newer.apps.example.com";
        let names = [format!("copilot-service-for-{host}"), service(host)];
        names.iter().all(|name| {
            let kinds = Kind::ALL.map(Kind::collection);
            kinds
                .iter()
                .all(|collection| resource(state, collection, name).is_null())
        })
    })
    .await;

    // What the next BulkSync does not name is gone.
    let mut rest = everything(&apps);
    rest.routes.retain(|route| route.guid != "r-mix");
    push.sync(rest).await;
    push.holds(|state| split(state, mix).is_empty()).await;
    push.daemon.end().await;
}

#[tokio::test]
async fn instances_are_joined_by_association_and_else_by_what_their_guid_begins_with() {
    let (push, Apps { shop, .. }) = pushed().await;
    // A process under whose guid nothing runs in Diego, but for its association.
    let process = "11111111-2222-4333-8444-555555555555";
    let other = CapiDiegoProcessAssociation {
        capi_process_guid: process.to_owned(),
        diego_process_guids: vec![shop.process.clone()],
    };
    let to = |process: &str| RouteMapping {
        capi_process_guid: process.to_owned(),
        ..mapping("r-shop", &shop, 1)
    };
    let cloud_controller = &push.cloud_controller;
    push.sync(BulkSyncRequest {
        routes: vec![route("r-shop", "shop.apps.example.com")],
        route_mappings: vec![to(process)],
        capi_diego_process_associations: vec![other.clone()],
    })
    .await;
    let count = |state: &State| {
        let entry = service_entry(state, &service("shop.apps.example.com"));
        entry["endpoints"].as_array().map_or(0, Vec::len)
    };
    push.holds(|state| count(state) == 2).await;
    cloud_controller.dissociate(process).await.unwrap();
    push.holds(|state| count(state) == 0).await;
    cloud_controller.associate(other).await.unwrap();
    push.holds(|state| count(state) == 2).await;

    // Restarting, Cloud Controller deletes the association before it makes it anew.
    cloud_controller.dissociate(process).await.unwrap();
    push.holds(|state| count(state) == 0).await;
    let own = capi_process(&shop);
    cloud_controller.unmap_route(to(process)).await.unwrap();
    cloud_controller.map_route(to(&own)).await.unwrap();
    push.holds(|state| count(state) == 2).await;
    push.daemon.end().await;
}

#[tokio::test]
async fn an_instance_that_starts_or_stops_changes_endpoints_and_nothing_else() {
    let (mut push, mut apps) = pushed().await;
    push.sync(everything(&apps)).await;
    let shop = service("shop.apps.example.com");
    let count = |state: &State| {
        service_entry(state, &shop)["endpoints"]
            .as_array()
            .map_or(0, Vec::len)
    };
    let before = push.holds(|state| count(state) == 2).await;
    push.foundation.scale(&mut apps.shop, 4);
    push.holds(|state| count(state) == 4).await;
    // One of four goes, three stay.
    push.foundation.scale(&mut apps.shop, 3);
    let after = push.holds(|state| count(state) == 3).await;
    push.foundation.stop(&mut apps.shop);
    push.holds(|state| count(state) == 0).await;
    for kind in [Kind::DestinationRule, Kind::VirtualService] {
        let held = |state: &State| state.collections[kind.collection()].version.clone();
        assert_eq!(held(&before), held(&after), "{kind:?}");
    }
    push.daemon.end().await;
}

#[tokio::test]
async fn a_policy_that_comes_or_goes_changes_its_sources_sidecar() {
    let (push, apps) = pushed().await;
    push.sync(everything(&apps)).await;
    let [shop, admin, api] = [&apps.shop, &apps.admin, &apps.api].map(capi_process);
    push.holds(|state| !sidecar(state, &shop).is_null()).await;
    push.foundation.policies.allow(&admin, &api, 8080);
    let state = push.holds(|state| !sidecar(state, &admin).is_null()).await;
    assert_eq!(
        sidecar(&state, &admin)["egress"],
        json!([{ "hosts": ["internal/api.apps.internal"] }])
    );
    push.foundation.policies.forbid(&shop, &api);
    let state = push.holds(|state| sidecar(state, &shop).is_null()).await;
    assert!(!sidecar(&state, &admin).is_null());

    // A second internal hostname of the destination is in reach too.
    let second = internal("r-second", "a.apps.internal", "127.128.0.8");
    push.cloud_controller.upsert_route(second).await.unwrap();
    push.cloud_controller
        .map_route(mapping("r-second", &apps.api, 1))
        .await
        .unwrap();
    push.holds(|state| {
        sidecar(state, &admin)["egress"]
            == json!([{ "hosts": ["internal/a.apps.internal", "internal/api.apps.internal"] }])
    })
    .await;
    push.daemon.end().await;
}
