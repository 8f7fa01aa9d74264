//! TLS to instances, from what cells report to what Pilots and istiods hold.

mod places;

use std::collections::BTreeMap;

use copilot::{
    istio::{Kind, OF_HOSTS, undivided},
    model::{Hostname, RouteGuid},
    proto::any_to_json,
    sim::{
        bbs::CellPorts,
        cloud_foundry::{App, CloudFoundry, DOMAIN, INTERNAL_DOMAIN},
        istiod::{self, Istiod},
        sink::{Sink, State},
    },
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::mesh::{Daemon, LONG, collections, eager, endpoints, holds, with};

/// A foundation, a daemon, a Pilot and an istiod.
struct Mesh {
    foundation: CloudFoundry,
    daemon: Daemon,
    pilot: Sink,
    istiod: Istiod,
}

impl Mesh {
    async fn start(foundation: CloudFoundry, changes: &[(&str, Value)]) -> Self {
        let config = with(
            eager(foundation.config()),
            &[("/ListenAddressForXDS", json!("127.0.0.1:0"))],
        );
        let daemon = Daemon::start(with(config, changes)).await;
        let pilot = foundation.connect_pilot(daemon.mcp, collections());
        let pilot = pilot.await.unwrap();
        let channel = istiod::connect(daemon.xds.unwrap()).await.unwrap();
        let istiod = Istiod::open(&channel, &istiod::types("v1")).await.unwrap();
        Self {
            foundation,
            daemon,
            pilot,
            istiod,
        }
    }

    async fn holds(&self, expected: impl Fn(&State) -> bool) -> State {
        holds(&self.pilot, expected).await
    }

    /// What the istiod holds, once it has this many of each kind.
    async fn istiod_holds(&self, count: usize) -> State {
        let mut state = self.istiod.state();
        let complete = |state: &State| {
            OF_HOSTS.iter().all(|kind| {
                let names = state.names(&type_url(*kind));
                names.is_some_and(|names| names.len() >= count)
            })
        };
        let held = timeout(LONG, state.wait_for(complete)).await;
        held.expect("what istiod is to hold").unwrap().clone()
    }
}

fn type_url(kind: Kind) -> String {
    format!("networking.istio.io/v1/{kind:?}")
}

/// Every resource of the kinds that are made of routes.
fn readable(state: &State, collection: impl Fn(Kind) -> String) -> BTreeMap<String, Value> {
    let kinds = OF_HOSTS.into_iter().flat_map(|kind| {
        let held = state.collections.get(&collection(kind));
        let resources = held.into_iter().flat_map(|held| &held.resources);
        resources.map(move |(name, resource)| {
            // Without the namespace that istiods need.
            let name = name.strip_prefix("cloudfoundry/").unwrap_or(name);
            let body = any_to_json(resource.body.as_ref().unwrap()).unwrap();
            (format!("{kind:?} {name}"), body)
        })
    });
    kinds.collect()
}

fn map(foundation: &CloudFoundry, name: &str, app: &App) -> RouteGuid {
    let route = foundation.create_route(name, "");
    foundation.map(&route, app, None);
    route
}

/// The services of a route, in plaintext and over TLS.
fn services(name: &str) -> [String; 2] {
    undivided(&Hostname::parse(&format!("{name}.{DOMAIN}")).unwrap(), "")
}

/// One app of every sort of cell.
async fn cells_of_every_sort() -> CloudFoundry {
    let mut foundation = CloudFoundry::start().await.unwrap();
    let f = &mut foundation;
    let today = f.push(2);
    map(f, "today", &today);
    f.cell_ports = CellPorts::Plain;
    let plain = f.push(1);
    map(f, "plain", &plain);
    let mut mixed = f.push(1);
    f.cell_ports = CellPorts::Tls;
    f.scale(&mut mixed, 3);
    map(f, "mixed", &mixed);
    f.prefers_container = true;
    let preferred = f.push(1);
    map(f, "preferred", &preferred);
    f.prefers_container = false;
    let inside = f.push(1);
    f.map(&f.create_internal_route("inside"), &inside, None);
    foundation
}

#[tokio::test]
async fn each_sort_of_cell_is_served_to_each_era_as_reviewed() {
    let inside = json!({ "CACertPath": "/etc/apps/instances.crt" });
    let tls = json!({
        "Mode": "mutual",
        "ClientCertPath": "/etc/istio/backend_tls/client.crt",
        "ClientKeyPath": "/etc/istio/backend_tls/client.key",
        "CACertPath": "/etc/istio/backend_tls/ca.crt",
    });
    let changes = [("/InternalTLS", inside), ("/BackendTLS", tls)];
    let mesh = Mesh::start(cells_of_every_sort().await, &changes).await;
    let pilot = mesh
        .holds(|state| {
            let reached = ["today", "mixed"].map(|name| endpoints(state, name).len());
            reached == [2, 3] && endpoints(state, "preferred").len() == 1
        })
        .await;
    let pilot = readable(&pilot, |kind| kind.collection().to_owned());
    insta::assert_json_snapshot!(pilot);

    let istiod = readable(&mesh.istiod_holds(4).await, type_url);
    let differing: Vec<_> = istiod
        .iter()
        .filter(|(name, body)| pilot.get(*name) != Some(*body))
        .collect();
    assert!(
        differing.is_empty(),
        "no era has words of its own for it: {differing:#?}"
    );
    assert_eq!(istiod.len(), pilot.len());
}

#[tokio::test]
async fn an_app_moves_from_cell_to_cell_without_a_moment_of_fewer_instances() {
    let mut foundation = CloudFoundry::start().await.unwrap();
    foundation.cell_ports = CellPorts::Plain;
    let mut app = foundation.push(3);
    map(&foundation, "moving", &app);
    let mut mesh = Mesh::start(foundation, &[("/MCPLingerInterval", json!("3s"))]).await;
    mesh.holds(|state| endpoints(state, "moving").len() == 3)
        .await;
    let fewest = watch_fewest(&mesh.pilot, "moving");
    for (cell_ports, over_tls) in [(CellPorts::Tls, [1, 2, 3]), (CellPorts::Plain, [2, 1, 0])] {
        mesh.foundation.cell_ports = cell_ports;
        for expected in over_tls {
            mesh.foundation.move_first(&mut app);
            // A service that is new is not sent to yet, and one that is left keeps its last instance for a moment.
            let share = move |state: &State| {
                let shares = shares(state, "moving");
                let [plain, tls] =
                    services("moving").map(|service| shares.get(&service).copied().unwrap_or(0));
                let [_, over_tls] = services("moving").map(|service| count(state, &service));
                plain + tls == 100
                    && (tls * 3 + 50) / 100 == expected as u64
                    && over_tls == expected
                    && endpoints(state, "moving").len() == 3
            };
            mesh.holds(share).await;
        }
    }
    assert_eq!(fewest.await_end(mesh.pilot).await, 3);
}

/// How many endpoints a service has.
fn count(state: &State, service: &str) -> usize {
    let entry = resource(state, Kind::ServiceEntry, service);
    entry["endpoints"].as_array().map_or(0, Vec::len)
}

fn resource(state: &State, kind: Kind, name: &str) -> Value {
    let held = state.collections.get(kind.collection());
    let resource = held.and_then(|held| held.resources.get(name));
    resource.map_or(Value::Null, |resource| {
        any_to_json(resource.body.as_ref().unwrap()).unwrap()
    })
}

/// The shares of a hostname's services.
fn shares(state: &State, name: &str) -> BTreeMap<String, u64> {
    let name = format!("copilot-service-for-{name}.{DOMAIN}");
    let service = resource(state, Kind::VirtualService, &name);
    let route = service["http"][0]["route"].as_array();
    let destinations = route.into_iter().flatten();
    let shares = destinations.map(|to| {
        let host = to["destination"]["host"].as_str().unwrap().to_owned();
        (host, to["weight"].as_u64().unwrap())
    });
    shares.collect()
}

/// Looks at every state that a Pilot tells of.
struct Fewest(tokio::task::JoinHandle<usize>);

fn watch_fewest(pilot: &Sink, name: &'static str) -> Fewest {
    let mut state = pilot.state();
    Fewest(tokio::spawn(async move {
        let mut fewest = usize::MAX;
        loop {
            let held = endpoints(&state.borrow_and_update(), name).len();
            fewest = fewest.min(held);
            if state.changed().await.is_err() {
                return fewest;
            }
        }
    }))
}

impl Fewest {
    /// Ends the Pilot first.
    async fn await_end(self, pilot: Sink) -> usize {
        drop(pilot);
        timeout(LONG, self.0).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn without_backend_tls_cells_of_today_are_named_with_the_key_to_set() {
    let mut foundation = CloudFoundry::start().await.unwrap();
    let app = foundation.push(2);
    map(&foundation, "today", &app);
    let mesh = Mesh::start(foundation, &[("/BackendTLS", Value::Null)]).await;
    let named = |page: &Value| {
        let resources = page["resources"].as_array().unwrap();
        resources.iter().any(|resource| resource["rule"] == "tls")
    };
    let page = mesh.daemon.shows("/debug/rejected", named).await;
    let resource = &page["resources"][0];
    assert_eq!(resource["host"], format!("today.{DOMAIN}"));
    let detail = resource["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("2 instances") && detail.contains("BackendTLS"),
        "{detail}"
    );
}

#[tokio::test]
async fn internal_hostnames_lead_to_the_tls_port_of_containers_where_proxies_know_the_ca() {
    let name = format!("internal/copilot-service-entry-for-inside.{INTERNAL_DOMAIN}");
    for (internal_tls, port) in [
        (Value::Null, 8080),
        (json!({ "CACertPath": "/etc/apps/instances.crt" }), 61_443),
    ] {
        let changes = [("/InternalTLS", internal_tls)];
        let mesh = Mesh::start(cells_of_every_sort().await, &changes).await;
        let state = mesh.holds(|state| count(state, &name) == 1).await;
        let entry = resource(&state, Kind::ServiceEntry, &name);
        assert_eq!(entry["endpoints"][0]["ports"], json!({ "http": port }));
    }
}
