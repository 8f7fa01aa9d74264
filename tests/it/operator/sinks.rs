//! What an operator is told of sinks: of every sort that there is, and of some of them by name.

use copilot::{
    proto::istio::mcp::v1alpha1::Resources,
    sim::istiod::{self, Istiod},
};

use super::*;

/// A Pilot that answers as it is told.
async fn pilot(mesh: &Mesh, node: &str, answer: fn(&Resources) -> Answer) -> Sink {
    let pilot = tls::Identity {
        cert: mesh.foundation.folder().join("pilot.crt"),
        key: mesh.foundation.folder().join("pilot.key"),
    };
    let config = tls::client(mesh.foundation.pki.ca(), Some(&pilot)).unwrap();
    let channel = sink::connect(mesh.daemon.mcp, config).await.unwrap();
    let options = Options {
        node: node.to_owned(),
        collections: collections(),
        ..Options::default()
    };
    Sink::open(&channel, options, answer).await.unwrap()
}

/// It asks for the mesh config too, which nobody answers.
#[tokio::test]
async fn an_istiod_that_has_acknowledged_all_that_it_is_sent_is_synced() {
    let (foundation, _) = foundation_of(CellPorts::default()).await;
    let config = with(
        eager(foundation.config()),
        &[("/ListenAddressForXDS", json!("127.0.0.1:0"))],
    );
    let daemon = Daemon::start(config).await;
    let channel = istiod::connect(daemon.xds.unwrap()).await.unwrap();
    let _istiod = Istiod::open(&channel, &istiod::types("v1")).await.unwrap();
    let said = says(&daemon, &["sinks"], &["SYNCED"]).await;
    assert!(!said.contains("BEHIND"), "{said}");
    let good = ["GOOD: it is served with 2 endpoints, and every sink has it"];
    says(&daemon, &["explain", &host("shop")], &good).await;
    says(&daemon, &["status"], &["SYNCED", "nothing is wrong"]).await;
}

#[tokio::test]
async fn what_is_on_its_way_to_a_sink_is_not_wrong_yet() {
    let mesh = Mesh::start().await;
    let _slow = pilot(&mesh, "slow", |_| Answer::Silence).await;
    says(&mesh.daemon, &["sinks"], &["BEHIND"]).await;
    let (said, code) = run(&mesh.daemon, &["explain", &host("shop")]).await;
    let expected = "GOOD: it is served with 2 endpoints, and on its way to 1 of 2 sinks";
    assert!(said.contains(expected), "{said}");
    assert_eq!(code, Some(0));
    says(&mesh.daemon, &["status"], &["nothing is wrong"]).await;
}

#[tokio::test]
async fn of_sinks_that_are_asked_for_it_is_told_that_others_are_there() {
    let mesh = Mesh::start().await;
    let other = pilot(&mesh, "Other", |_| Answer::Ack).await;
    says(&mesh.daemon, &["sinks", "--peer", "OTHER"], &["SYNCED"]).await;
    let none = ["none of 2 sinks has nobody in its address or name"];
    let said = says(&mesh.daemon, &["sinks", "--peer", "nobody"], &none).await;
    assert!(!said.contains("no sink is connected"), "{said}");
    drop(other);
    let Mesh {
        foundation: _foundation,
        daemon,
        pilot,
        ..
    } = mesh;
    drop(pilot);
    let said = says(&daemon, &["sinks", "--peer", "PILOT"], &["GONE"]).await;
    assert!(!said.contains("none of"), "{said}");
}
