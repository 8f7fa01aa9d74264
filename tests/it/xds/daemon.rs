//! The whole daemon, with a Pilot and an istiod.

use copilot::{
    istio::Kind,
    sim::{
        istiod::{self, Istiod},
        sink::{self, State},
    },
    tls,
};
use serde_json::json;

use super::harness::soon;
use crate::mesh::{Daemon, foundation, with};

const ENTRIES: &str = "networking.istio.io/v1/ServiceEntry";

#[tokio::test]
async fn an_istiod_holds_what_a_pilot_of_the_same_daemon_does() {
    let (foundation, _) = foundation().await;
    let config = with(
        foundation.config(),
        &[("/ListenAddressForXDS", json!("127.0.0.1:0"))],
    );
    let daemon = Daemon::start(config).await;
    let collection = Kind::ServiceEntry.collection();
    let pilot = foundation.connect_pilot(daemon.mcp, vec![collection.to_owned()]);
    let pilot = pilot.await.unwrap();
    let channel = istiod::connect(daemon.xds.unwrap()).await.unwrap();
    let istiod = Istiod::open(&channel, &istiod::types("v1")).await.unwrap();
    let holds_one = |name: &'static str| {
        move |state: &State| state.names(name).is_some_and(|names| names.len() == 1)
    };
    let (mut ours, mut theirs) = (pilot.state(), istiod.state());
    let ours = soon(ours.wait_for(holds_one(collection))).await.unwrap();
    let theirs = soon(theirs.wait_for(holds_one(ENTRIES))).await.unwrap();
    assert_eq!(
        ours.collections[collection].version,
        theirs.collections[ENTRIES].version
    );
}

#[tokio::test]
async fn an_istiod_of_today_verifies_the_server_and_shows_no_certificate() {
    let (foundation, _) = foundation().await;
    let file = |name: &str| json!(foundation.folder().join(name));
    let config = with(
        foundation.config(),
        &[
            ("/ListenAddressForXDS", json!("127.0.0.1:0")),
            ("/XDSServerCertPath", file("copilot.crt")),
            ("/XDSServerKeyPath", file("copilot.key")),
        ],
    );
    let daemon = Daemon::start(config).await;
    let address = daemon.xds.unwrap();
    let tls = tls::client(foundation.pki.ca(), None).unwrap();
    let channel = sink::connect(address, tls).await.unwrap();
    let istiod = Istiod::open(&channel, &istiod::types("v1")).await.unwrap();
    let holds_one = |state: &State| state.names(ENTRIES).is_some_and(|names| names.len() == 1);
    soon(istiod.state().wait_for(holds_one)).await.unwrap();

    let in_the_clear = async {
        let channel = istiod::connect(address).await.ok()?;
        Istiod::open(&channel, &istiod::types("v1")).await.ok()
    };
    assert!(soon(in_the_clear).await.is_none());
}
