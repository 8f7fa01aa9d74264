//! From what Cloud Controller pushes, Diego runs and the policy server allows to what a Pilot holds, over mutual TLS.

use copilot::sim::cloud_foundry::App;
use serde_json::{Value, json};

use super::*;
use crate::mesh::foundation;

/// An HTTP route of a VirtualService to one destination.
fn to(host: &str, app: &App, weight: u32) -> Value {
    json!({
        "destination": { "host": host, "subset": capi_process(app), "port": { "number": 8080 } },
        "weight": weight,
    })
}

/// The subset of an app.
fn subset(app: &App) -> Value {
    let process = capi_process(app);
    json!({ "name": process, "labels": { "cfapp": process } })
}

fn endpoint(address: &str, port: u16, app: &App) -> Value {
    json!({ "address": address, "ports": { "http": port }, "labels": { "cfapp": capi_process(app) } })
}

fn entry(host: &str, vip: Option<&str>, endpoints: &[Value]) -> Value {
    let mut entry = json!({
        "hosts": [host],
        "ports": [{ "number": 8080, "protocol": "http", "name": "http" }],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "endpoints": endpoints,
    });
    if let Some(vip) = vip {
        entry["addresses"] = json!([vip]);
    }
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
    let Apps { shop, admin, api } = &apps;
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

    let below = |path: &str| json!([{ "uri": { "exact": path } }, { "uri": { "prefix": format!("{path}/") } }]);
    assert_eq!(
        virtual_service(&state, "copilot-service-for-shop.apps.example.com"),
        json!({
            "hosts": [name],
            "gateways": ["cloudfoundry-ingress"],
            "http": [
                { "match": below("/admin"), "route": [to(name, admin, 100)] },
                { "route": [to(name, shop, 100)] },
            ],
        })
    );
    assert_eq!(
        sorted(
            destination_rule(&state, "copilot-rule-for-shop.apps.example.com"),
            "subsets"
        ),
        sorted(
            json!({ "host": name, "subsets": [subset(shop), subset(admin)] }),
            "subsets"
        )
    );
    let endpoints = [
        endpoint("10.0.16.1", 61_002, shop),
        endpoint("10.0.16.1", 61_004, shop),
        endpoint("10.0.16.1", 61_006, admin),
    ];
    assert_eq!(
        sorted(
            service_entry(&state, "copilot-service-entry-for-shop.apps.example.com"),
            "endpoints"
        ),
        entry(name, None, &endpoints)
    );

    let mixed = virtual_service(&state, "copilot-service-for-mix.apps.example.com");
    let mix = "mix.apps.example.com";
    assert_eq!(
        sorted(mixed["http"][0].clone(), "route"),
        sorted(
            json!({ "route": [to(mix, shop, 25), to(mix, admin, 75)] }),
            "route"
        )
    );

    let name = "api.apps.internal";
    assert_eq!(
        virtual_service(&state, "internal/copilot-service-for-api.apps.internal"),
        json!({ "hosts": [name], "http": [{ "route": [to(name, api, 100)] }] })
    );
    assert_eq!(
        destination_rule(&state, "internal/copilot-rule-for-api.apps.internal"),
        json!({ "host": name, "subsets": [subset(api)] })
    );
    assert_eq!(
        service_entry(
            &state,
            "internal/copilot-service-entry-for-api.apps.internal"
        ),
        entry(
            name,
            Some("127.128.0.7"),
            &[endpoint("10.255.0.5", 8080, api)]
        )
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

/// The destinations of a hostname's last HTTP route, by their subsets.
fn split(state: &State, host: &str) -> Vec<(String, u64)> {
    let service = virtual_service(state, &format!("copilot-service-for-{host}"));
    let routes = service["http"].as_array().and_then(|routes| routes.last());
    let destinations = routes.and_then(|route| route["route"].as_array());
    let mut split: Vec<_> = destinations
        .into_iter()
        .flatten()
        .map(|to| {
            let subset = to["destination"]["subset"].as_str().unwrap();
            (subset.to_owned(), to["weight"].as_u64().unwrap())
        })
        .collect();
    split.sort();
    split
}

fn shares<const N: usize>(shares: [(&App, u64); N]) -> Vec<(String, u64)> {
    let mut shares: Vec<_> = shares.map(|(app, share)| (capi_process(app), share)).into();
    shares.sort();
    shares
}

#[tokio::test]
async fn single_calls_change_what_they_name_and_no_more() {
    let (push, apps) = pushed().await;
    push.sync(everything(&apps)).await;
    let Apps { shop, admin, .. } = &apps;
    let (mix, cloud_controller) = ("mix.apps.example.com", &push.cloud_controller);
    push.holds(|state| split(state, mix) == shares([(shop, 25), (admin, 75)]))
        .await;

    // The same pair again changes the weight, and does not add to it.
    cloud_controller
        .map_route(mapping("r-mix", shop, 3))
        .await
        .unwrap();
    push.holds(|state| split(state, mix) == shares([(shop, 50), (admin, 50)]))
        .await;
    cloud_controller
        .unmap_route(mapping("r-mix", shop, 3))
        .await
        .unwrap();
    push.holds(|state| split(state, mix) == shares([(admin, 100)]))
        .await;

    // A route with an app, under one name and then under another.
    let new = |host: &str| cloud_controller.upsert_route(route("r-new", host));
    new("new.apps.example.com").await.unwrap();
    cloud_controller
        .map_route(mapping("r-new", shop, 1))
        .await
        .unwrap();
    push.holds(|state| split(state, "new.apps.example.com") == shares([(shop, 100)]))
        .await;
    new("newer.apps.example.com").await.unwrap();
    push.holds(|state| {
        split(state, "newer.apps.example.com") == shares([(shop, 100)])
            && split(state, "new.apps.example.com").is_empty()
    })
    .await;
    cloud_controller.delete_route("r-new").await.unwrap();
    push.holds(|state| {
        ["service", "rule", "service-entry"].iter().all(|kind| {
            let name = format!("copilot-{kind}-for-newer.apps.example.com");
            let kinds = Kind::ALL.map(Kind::collection);
            kinds
                .iter()
                .all(|collection| resource(state, collection, &name).is_null())
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
    let labels = |state: &State| {
        let entry = service_entry(state, "copilot-service-entry-for-shop.apps.example.com");
        let endpoints = entry["endpoints"].as_array().cloned().unwrap_or_default();
        let labels = endpoints.iter().map(|to| to["labels"]["cfapp"].clone());
        labels.collect::<Vec<_>>()
    };
    push.holds(|state| labels(state) == [process, process])
        .await;
    cloud_controller.dissociate(process).await.unwrap();
    push.holds(|state| labels(state).is_empty()).await;
    cloud_controller.associate(other).await.unwrap();
    push.holds(|state| labels(state) == [process, process])
        .await;

    // Restarting, Cloud Controller deletes the association before it makes it anew.
    cloud_controller.dissociate(process).await.unwrap();
    let own = capi_process(&shop);
    cloud_controller.unmap_route(to(process)).await.unwrap();
    cloud_controller.map_route(to(&own)).await.unwrap();
    push.holds(|state| labels(state) == [own.as_str(), own.as_str()])
        .await;
    push.daemon.end().await;
}

#[tokio::test]
async fn an_instance_that_starts_or_stops_changes_endpoints_and_nothing_else() {
    let (mut push, mut apps) = pushed().await;
    push.sync(everything(&apps)).await;
    let entry = "copilot-service-entry-for-shop.apps.example.com";
    let count = |state: &State| {
        service_entry(state, entry)["endpoints"]
            .as_array()
            .map_or(0, Vec::len)
    };
    let before = push.holds(|state| count(state) == 3).await;
    push.foundation.scale(&mut apps.shop, 4);
    push.holds(|state| count(state) == 5).await;
    // One of four goes, three stay.
    push.foundation.scale(&mut apps.shop, 3);
    let after = push.holds(|state| count(state) == 4).await;
    push.foundation.stop(&mut apps.shop);
    push.holds(|state| count(state) == 1).await;
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
