//! What the original did for apps, as both kinds of sink see it.

use copilot::{
    proto::api::GetVipByNameRequest,
    sim::{
        bbs::{CellPorts, InstanceSpec},
        istiod::{self, Istiod},
    },
};

use super::*;
use crate::mesh::LONG;

const HOST: &str = "api.apps.internal";

/// A Pilot and an istiod of a daemon to which Cloud Controller pushes.
struct Both {
    push: Push,
    istiod: Istiod,
}

impl Both {
    async fn start(foundation: CloudFoundry) -> Self {
        let mut config = config(&foundation);
        config["ListenAddressForXDS"] = json!("127.0.0.1:0");
        let push = Push::start_with(foundation, config).await;
        let channel = istiod::connect(push.daemon.xds.unwrap()).await.unwrap();
        let istiod = Istiod::open(&channel, &istiod::types("v1")).await.unwrap();
        Self { push, istiod }
    }

    /// A service with endpoints, as each of them holds it once its addresses are these.
    async fn reach(&self, name: &str, expected: &[Value]) -> [Value; 2] {
        let of_pilot = |state: &State| service_entry(state, name);
        let of_istiod = |state: &State| {
            let named = format!("cloudfoundry/{name}");
            let name = if name.contains('/') { name } else { &named };
            resource(state, "networking.istio.io/v1/ServiceEntry", name)
        };
        let reaches = |entry: &Value| {
            let mut held = entry["endpoints"].as_array().cloned().unwrap_or_default();
            for one in &mut held {
                one.as_object_mut().unwrap().remove("labels");
            }
            !held.is_empty() && held == expected
        };
        let ours = self.push.holds(|state| reaches(&of_pilot(state))).await;
        let mut theirs = self.istiod.state();
        let theirs = theirs.wait_for(|state| reaches(&of_istiod(state)));
        let theirs = tokio::time::timeout(LONG, theirs).await.unwrap().unwrap();
        [of_pilot(&ours), of_istiod(&theirs)]
    }

    async fn resolves(&self, name: &str) -> String {
        let request = GetVipByNameRequest {
            fqdn: name.to_owned(),
        };
        let mut resolver = resolver(self.push.daemon.vip_resolver.unwrap()).await;
        let answer = resolver.get_vip_by_name(request).await;
        answer.unwrap().into_inner().ip
    }
}

/// On a cell of its own, of the time of the push API.
fn instance(place: u8, ports: Vec<(u16, u16)>) -> InstanceSpec {
    let (cell, container) = ([10, 0, 16, place], [10, 255, 9, place]);
    InstanceSpec {
        cell_ports: CellPorts::Plain,
        ..InstanceSpec::new(cell.into(), container.into(), ports)
    }
}

fn one(host: &str, app: &App) -> BulkSyncRequest {
    BulkSyncRequest {
        routes: vec![
            route("r-shop", "shop.apps.example.com"),
            internal("r-api", host, "127.128.0.9"),
        ],
        route_mappings: vec![mapping("r-shop", app, 1), mapping("r-api", app, 1)],
        capi_diego_process_associations: vec![association(app)],
    }
}

#[tokio::test]
async fn an_instance_with_nothing_but_its_ssh_port_is_no_endpoint_and_is_named() {
    let (mut foundation, _) = foundation().await;
    let app = foundation.push(0);
    foundation.bbs.scale(&app.process, 2);
    let beside = instance(9, vec![(2222, 61_500), (7070, 61_501)]);
    foundation.bbs.start_instance(&app.process, 0, &beside);
    let alone = instance(8, vec![(2222, 61_500)]);
    foundation.bbs.start_instance(&app.process, 1, &alone);
    let both = Both::start(foundation).await;
    both.push.sync(one(HOST, &app)).await;
    let outside = json!({ "address": "10.0.16.9", "ports": { "http": 61_501 } });
    let service = "shop.apps.example.com.routes.cloudfoundry";
    both.reach(service, &[outside]).await;
    let inside = json!({ "address": "10.255.9.9", "ports": { "http": 7070 } });
    let service = format!("internal/copilot-service-entry-for-{HOST}");
    both.reach(&service, &[inside]).await;
    let are_named = |page: &Value| {
        let rejected = page["resources"].as_array().unwrap().iter();
        rejected.filter(|one| one["rule"] == "unreachable").count() == 2
    };
    both.push.daemon.shows("/debug/rejected", are_named).await;
    both.push.daemon.end().await;
}

#[tokio::test]
async fn an_internal_hostname_of_a_single_label_is_served_and_named_for_no_sidecar_has_it() {
    let (mut foundation, _) = foundation().await;
    let (app, source) = (foundation.push(1), foundation.push(1));
    let [from, to] = [&source, &app].map(capi_process);
    foundation.policies.allow(&from, &to, 8080);
    let both = Both::start(foundation).await;
    both.push.sync(one("single", &app)).await;
    let endpoint = json!({ "address": "10.255.0.4", "ports": { "http": 8080 } });
    let service = "internal/copilot-service-entry-for-single";
    for entry in both.reach(service, &[endpoint]).await {
        assert_eq!(entry["hosts"], json!(["single"]));
    }
    let is_named = |page: &Value| {
        let mut rejected = page["resources"].as_array().unwrap().iter();
        rejected.any(|one| {
            let detail = one["detail"].as_str().unwrap();
            one["host"] == "single" && one["rule"] == "host" && detail.contains("Sidecar")
        })
    };
    both.push.daemon.shows("/debug/rejected", is_named).await;
    let sidecars = both
        .push
        .holds(|state| !sidecar(state, "cloudfoundry-default-sidecar").is_null());
    assert!(sidecar(&sidecars.await, &from).is_null());
    both.push.daemon.end().await;
}

#[tokio::test]
async fn virtual_addresses_resolve_as_soon_as_routes_are_known_and_are_those_that_sinks_get() {
    let (mut foundation, _) = foundation().await;
    let app = foundation.push(1);
    foundation.bbs.hold_lists();
    let both = Both::start(foundation).await;
    both.push.sync(one(HOST, &app)).await;
    assert_eq!(both.resolves(HOST).await, "127.128.0.9");
    // Before any list of instances, and so before any snapshot.
    let later = internal("r-later", "later.apps.internal", "127.128.0.10");
    let cloud_controller = &both.push.cloud_controller;
    cloud_controller.upsert_route(later).await.unwrap();
    assert_eq!(both.resolves("later.apps.internal").await, "127.128.0.10");
    assert!(both.push.pilot.state().borrow().collections.is_empty());

    both.push.foundation.bbs.release_lists();
    let endpoint = json!({ "address": "10.255.0.4", "ports": { "http": 8080 } });
    let service = format!("internal/copilot-service-entry-for-{HOST}");
    for entry in both.reach(&service, &[endpoint]).await {
        assert_eq!(entry["addresses"], json!(["127.128.0.9"]));
    }
    both.push.daemon.end().await;
}
