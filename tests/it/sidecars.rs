//! Who may connect where: from the policy server's protocols and ports to the Sidecars that a Pilot holds.

use copilot::{
    istio::{DEFAULT_SIDECAR, Kind},
    proto::api::BulkSyncRequest,
    sim::{
        bbs::InstanceSpec,
        cloud_foundry::{App, CloudFoundry, INTERNAL_DOMAIN},
        sink::{Sink, State},
    },
};
use serde_json::{Value, json};

use crate::{
    mesh::{Daemon, eager, foundation, holds},
    push::{self, association, capi_process, connect_to, internal, mapping, sidecar},
};

/// The names of the Sidecars that the Pilot holds; none before the policies are known.
fn sidecars(state: &State) -> Vec<&str> {
    let held = state.collections.get(Kind::Sidecar.collection());
    let names = held.into_iter().flat_map(|held| held.resources.keys());
    names.map(String::as_str).collect()
}

fn opens(state: &State, source: &str, host: &str) -> bool {
    let host = format!("internal/{host}.{INTERNAL_DOMAIN}");
    sidecar(state, source)["egress"] == json!([{ "hosts": [host] }])
}

async fn start(foundation: &CloudFoundry, config: Value) -> (Daemon, Sink) {
    let daemon = Daemon::start(config).await;
    let pilot = foundation.connect_pilot(daemon.mcp, vec![Kind::Sidecar.collection().to_owned()]);
    (daemon, pilot.await.unwrap())
}

#[tokio::test]
async fn a_policy_for_udp_or_for_other_ports_opens_nothing_and_a_range_with_the_port_does() {
    let (mut foundation, shop) = foundation().await;
    let api = foundation.push(1);
    let route = foundation.create_internal_route("api");
    foundation.map(&route, &api, None);
    let (source, destination) = (shop.guid.to_string(), api.guid.to_string());
    let policies = foundation.policies.clone();
    policies.allow_ports(&source, &destination, "udp", (1, 65_535));
    policies.allow(&source, &destination, 9090);
    policies.allow_ports(&source, &destination, "tcp", (8081, 8999));
    let (daemon, pilot) = start(&foundation, eager(foundation.config())).await;
    let state = holds(&pilot, |state| !sidecars(state).is_empty()).await;
    assert_eq!(sidecars(&state), [DEFAULT_SIDECAR]);

    policies.allow_ports(&source, &destination, "tcp", (8000, 8999));
    holds(&pilot, |state| opens(state, &source, "api")).await;
    policies.forbid(&source, &destination);
    policies.allow(&source, &destination, 8079);
    // All that any Sidecar had.
    let is_held = |page: &serde_json::Value| page[0]["feed"] == "policies";
    daemon.shows("/debug/held", is_held).await;
    daemon.accept("policies").await;
    holds(&pilot, |state| sidecars(state) == [DEFAULT_SIDECAR]).await;
    daemon.end().await;
}

/// Starts an instance of the app that listens at one port, and has Diego's SSH daemon beside it.
fn start_instance(foundation: &CloudFoundry, app: &App, index: u8, port: u16) {
    let ssh = 61_500 + 2 * u16::from(index);
    let ports = vec![(2222, ssh), (port, ssh + 1)];
    let spec = InstanceSpec::new([10, 0, 16, 9].into(), [10, 255, 9, index].into(), ports);
    let index = u32::from(index);
    foundation.bbs.start_instance(&app.process, index, &spec);
}

#[tokio::test]
async fn a_pushed_hostname_opens_to_policies_for_the_port_that_its_instances_report() {
    let (mut foundation, shop) = foundation().await;
    let (admin, api) = (foundation.push(1), foundation.push(0));
    foundation.bbs.scale(&api.process, 2);
    start_instance(&foundation, &api, 0, 9090);
    let [shop, admin, to] = [&shop, &admin, &api].map(capi_process);
    foundation.policies.allow(&shop, &to, 8080);
    foundation.policies.allow(&admin, &to, 9090);
    let (daemon, pilot) = start(&foundation, push::config(&foundation)).await;
    let host = format!("api.{INTERNAL_DOMAIN}");
    let everything = BulkSyncRequest {
        routes: vec![internal("r-api", &host, "127.128.0.9")],
        route_mappings: vec![mapping("r-api", &api, 1)],
        capi_diego_process_associations: vec![association(&api)],
    };
    let pusher = connect_to(&foundation, daemon.cloud_controller.unwrap()).await;
    pusher.bulk_sync(&everything).await.unwrap();
    let before = holds(&pilot, |state| opens(state, &admin, "api")).await;
    let mut expected = [admin.as_str(), DEFAULT_SIDECAR];
    expected.sort_unstable();
    assert_eq!(sidecars(&before), expected);

    start_instance(&foundation, &api, 1, 8080);
    let after = holds(&pilot, |state| opens(state, &shop, "api")).await;
    let held =
        |state: &State| state.collections[Kind::Sidecar.collection()].resources[&admin].clone();
    assert_eq!(held(&before), held(&after));
    daemon.end().await;
}
