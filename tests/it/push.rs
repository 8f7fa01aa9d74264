//! The daemon in the place of the Go Copilot: its config, its peers, and what they get.

mod both;
mod faults;
mod journey;
mod migrate;
mod python;
mod start;

use std::net::SocketAddr;

use copilot::{
    istio::Kind,
    proto::{
        self,
        api::{
            BulkSyncRequest, CapiDiegoProcessAssociation, Route, RouteMapping,
            vip_resolver_copilot_client::VipResolverCopilotClient,
        },
    },
    sim::{
        bbs::CellPorts,
        cloud_controller::CloudController,
        cloud_foundry::{App, CloudFoundry},
        sink::{self, Sink, State},
    },
    tls,
};
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};

use crate::mesh::{Daemon, collections, foundation_of, holds};

/// A config in the original's form, every key of it, on free ports.
pub fn original_config(foundation: &CloudFoundry) -> Value {
    let file = |name: &str| foundation.folder().join(name);
    json!({
        "ListenAddressForCloudController": "127.0.0.1:0",
        "ListenAddressForVIPResolver": "127.0.0.1:0",
        "ListenAddressForMCP": "127.0.0.1:0",
        "PilotClientCAPath": foundation.pki.ca(),
        "CloudControllerClientCAPath": foundation.pki.ca(),
        "ServerCertPath": file("copilot.crt"),
        "ServerKeyPath": file("copilot.key"),
        "VIPCIDR": "127.128.0.0/9",
        "MCPConvergeInterval": "1s",
        "LogLevel": "info",
        "PolicyServerDisabled": false,
        "PolicyServerAddress": foundation.policies.url().as_str(),
        "PolicyServerClientCertPath": file("copilot.crt"),
        "PolicyServerClientKeyPath": file("copilot.key"),
        "PolicyServerCAPath": foundation.pki.ca(),
        "BBS": {
            "ServerCACertPath": foundation.pki.ca(),
            "ClientCertPath": file("copilot.crt"),
            "ClientKeyPath": file("copilot.key"),
            "Address": foundation.bbs.address().as_str(),
            "ClientSessionCacheSize": 0,
            "MaxIdleConnsPerHost": 0,
            "Disable": false,
            "SyncInterval": "30s",
        },
        "TLSPems": [pair(foundation, "frontend", &["*.apps.example.com"])],
    })
}

/// A certificate of the router, as texts.
fn pair(foundation: &CloudFoundry, name: &str, names: &[&str]) -> Value {
    let identity = foundation.pki.issue(name, names).unwrap();
    let [chain, key] =
        [identity.cert, identity.key].map(|path| std::fs::read_to_string(path).unwrap());
    json!({ "CertChain": chain, "PrivateKey": key })
}

/// That config, with an admin surface on a free port and policies read all the time.
pub fn config(foundation: &CloudFoundry) -> Value {
    let mut config = original_config(foundation);
    config["AdminListenAddress"] = json!("127.0.0.1:0");
    config["PolicyServerPollInterval"] = json!("50ms");
    config
}

/// A foundation of its time, with one app of two instances behind one route: its cells have plain ports.
async fn foundation() -> (CloudFoundry, App) {
    foundation_of(CellPorts::Plain).await
}

/// A foundation whose Cloud Controller pushes, the daemon, and a Pilot.
struct Push {
    foundation: CloudFoundry,
    daemon: Daemon,
    cloud_controller: CloudController,
    pilot: Sink,
}

impl Push {
    /// Everything is connected, and nothing was pushed yet.
    async fn start(foundation: CloudFoundry) -> Self {
        let config = config(&foundation);
        Self::start_with(foundation, config).await
    }

    async fn start_with(foundation: CloudFoundry, config: Value) -> Self {
        let daemon = Daemon::start(config).await;
        let asked = collections()
            .into_iter()
            .chain([Kind::Sidecar.collection().to_owned()]);
        let pilot = foundation.connect_pilot(daemon.mcp, asked.collect()).await;
        Self {
            cloud_controller: connect(&foundation, &daemon).await,
            pilot: pilot.unwrap(),
            foundation,
            daemon,
        }
    }

    /// Sends everything.
    async fn sync(&self, request: BulkSyncRequest) {
        let sent = prost::Message::encoded_len(&request);
        let received = self.cloud_controller.bulk_sync(&request).await.unwrap();
        assert_eq!(received, i32::try_from(sent).unwrap());
    }

    async fn holds(&self, expected: impl Fn(&State) -> bool) -> State {
        holds(&self.pilot, expected).await
    }
}

/// Connects a Cloud Controller to a daemon.
async fn connect(foundation: &CloudFoundry, daemon: &Daemon) -> CloudController {
    connect_to(foundation, daemon.cloud_controller.unwrap()).await
}

pub async fn connect_to(foundation: &CloudFoundry, address: SocketAddr) -> CloudController {
    let identity = tls::Identity {
        cert: foundation.folder().join("pilot.crt"),
        key: foundation.folder().join("pilot.key"),
    };
    let tls = tls::client(foundation.pki.ca(), Some(&identity)).unwrap();
    CloudController::new(sink::connect(address, tls).await.unwrap())
}

/// Connects a resolver of virtual addresses, in plaintext.
async fn resolver(address: SocketAddr) -> VipResolverCopilotClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    VipResolverCopilotClient::new(endpoint.connect().await.unwrap())
}

pub fn route(guid: &str, host: &str) -> Route {
    Route {
        guid: guid.to_owned(),
        host: host.to_owned(),
        ..Route::default()
    }
}

pub fn internal(guid: &str, host: &str, vip: &str) -> Route {
    Route {
        internal: true,
        vip: vip.to_owned(),
        ..route(guid, host)
    }
}

/// The guid by which Cloud Controller knows an app's process.
pub fn capi_process(app: &App) -> String {
    app.process[..36].to_owned()
}

pub fn mapping(route: &str, app: &App, weight: u32) -> RouteMapping {
    RouteMapping {
        capi_process_guid: capi_process(app),
        route_guid: route.to_owned(),
        route_weight: weight,
    }
}

pub fn association(app: &App) -> CapiDiegoProcessAssociation {
    CapiDiegoProcessAssociation {
        capi_process_guid: capi_process(app),
        diego_process_guids: vec![app.process.clone()],
    }
}

/// A resource as the Pilot holds it, as JSON; null if it does not.
fn resource(state: &State, collection: &str, name: &str) -> Value {
    let held = state.collections.get(collection);
    let resource = held.and_then(|held| held.resources.get(name));
    resource.map_or(Value::Null, |resource| {
        proto::any_to_json(resource.body.as_ref().unwrap()).unwrap()
    })
}

fn virtual_service(state: &State, name: &str) -> Value {
    resource(state, Kind::VirtualService.collection(), name)
}

fn service_entry(state: &State, name: &str) -> Value {
    resource(state, Kind::ServiceEntry.collection(), name)
}

pub fn sidecar(state: &State, name: &str) -> Value {
    resource(state, Kind::Sidecar.collection(), name)
}

fn gateway(state: &State, name: &str) -> Value {
    resource(state, Kind::Gateway.collection(), name)
}
