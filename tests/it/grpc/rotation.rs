//! Certificates that change while streams are open: M-40.

use std::{fs, io, net::SocketAddr, path::Path, sync::Arc};

use copilot::{
    feed::{Feeds, Problem},
    sim::{pki::Pki, sink::Stream},
    tls,
};
use rustls::{ClientConfig, HandshakeKind, pki_types::ServerName};
use serde_json::Value;
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tokio_rustls::TlsConnector;

use crate::{
    mcp::harness::{A, Harness, StreamExt as _, names, soon, until},
    mesh::Mesh,
};

/// A stream that has got its first response.
async fn open_stream(harness: &Harness) -> Stream {
    harness.publish(&[(A, &[("a", 1)])]);
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    let response = stream.response().await;
    stream.ack(&response).await;
    stream
}

async fn assert_goes_on(harness: &Harness, stream: &mut Stream) {
    harness.publish(&[(A, &[("b", 1)])]);
    assert_eq!(names(&stream.response().await), ["b"]);
}

/// Shakes hands and waits for the server's first bytes: with TLS 1.3, only they say that it accepts the client.
async fn greet(address: SocketAddr, config: &ClientConfig) -> io::Result<HandshakeKind> {
    let mut config = config.clone();
    config.alpn_protocols = vec![tls::HTTP_2.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await?;
    if stream.read(&mut [0; 64]).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(stream.get_ref().1.handshake_kind().unwrap())
}

/// Connects again and again until the server greets this client, or does so no longer.
#[track_caller]
fn greets(address: SocketAddr, config: &ClientConfig, expected: bool) -> impl Future<Output = ()> {
    soon(async move { while greet(address, config).await.is_ok() != expected {} })
}

fn problem(feeds: &Feeds) -> Option<Problem> {
    feeds.statuses()[0].problem.clone()
}

async fn reports(harness: &Harness, kind: &str) -> Problem {
    until(|| problem(&harness.feeds).is_some_and(|problem| problem.kind == kind)).await;
    problem(&harness.feeds).unwrap()
}

async fn recovers(harness: &Harness) {
    until(|| problem(&harness.feeds).is_none()).await;
}

/// What a client says that trusts the servers of `authority` and has a certificate of the harness's.
fn trusting(harness: &Harness, authority: &Pki) -> ClientConfig {
    let identity = harness.pki.issue("sink", &["pilot.example.com"]).unwrap();
    tls::client(authority.ca(), Some(&identity)).unwrap()
}

#[tokio::test]
async fn m40_a_new_server_certificate_is_presented_and_open_streams_live_on() {
    let harness = Harness::start().await;
    let mut stream = open_stream(&harness).await;
    let next = Pki::new(harness.folder(), "next").unwrap();
    let (old, new) = (trusting(&harness, &harness.pki), trusting(&harness, &next));
    assert!(greet(harness.address, &new).await.is_err());
    // Over the files of the first certificate.
    next.issue("copilot", &["localhost"]).unwrap();
    greets(harness.address, &new, true).await;
    assert!(greet(harness.address, &old).await.is_err());
    assert_goes_on(&harness, &mut stream).await;
    recovers(&harness).await;
}

#[tokio::test]
async fn m40_client_cas_change_by_way_of_a_bundle_and_open_streams_live_on() {
    let harness = Harness::start().await;
    let mut stream = open_stream(&harness).await;
    let next = Pki::new(harness.folder(), "next").unwrap();
    let pilot = next.issue("pilot", &["pilot.example.com"]).unwrap();
    let old = harness.client_config(&["pilot.example.com"]);
    let new = tls::client(harness.pki.ca(), Some(&pilot)).unwrap();
    assert!(greet(harness.address, &new).await.is_err());

    let next_ca = fs::read(next.ca()).unwrap();
    let bundle = [fs::read(harness.pki.ca()).unwrap(), next_ca.clone()].concat();
    fs::write(harness.pki.ca(), bundle).unwrap();
    greets(harness.address, &new, true).await;
    greets(harness.address, &old, true).await;
    let resumed = greet(harness.address, &old).await.unwrap();
    assert_eq!(
        resumed,
        HandshakeKind::Resumed,
        "the client holds a session"
    );

    fs::write(harness.pki.ca(), next_ca).unwrap();
    greets(harness.address, &old, false).await;
    greets(harness.address, &new, true).await;
    assert_goes_on(&harness, &mut stream).await;
    recovers(&harness).await;
}

#[tokio::test]
async fn m40_a_certificate_without_its_key_changes_nothing_until_the_key_is_there() {
    let harness = Harness::start().await;
    let next = Pki::new(harness.folder(), "next").unwrap();
    let (old, new) = (trusting(&harness, &harness.pki), trusting(&harness, &next));
    let aside = next.issue("aside", &["localhost"]).unwrap();
    let (cert, key) = ["copilot.crt", "copilot.key"]
        .map(|name| harness.folder().join(name))
        .into();
    fs::rename(&aside.cert, &cert).unwrap();
    let problem = reports(&harness, "pair").await;
    assert!(problem.message.contains("copilot.key"), "{problem:?}");
    assert!(greet(harness.address, &old).await.is_ok());

    fs::rename(&aside.key, &key).unwrap();
    recovers(&harness).await;
    assert!(greet(harness.address, &new).await.is_ok());
}

#[tokio::test]
async fn m40_broken_files_keep_the_old_certificates_and_are_reported() {
    let harness = Harness::start().await;
    let client = harness.client_config(&["pilot.example.com"]);
    let good = fs::read(harness.pki.ca()).unwrap();
    for (bad, kind) in [
        (&b"hello"[..], "empty"),
        (b"-----BEGIN CERTIFICATE-----\n!", "read"),
        (
            b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
            "ca",
        ),
        (&vec![b' '; 5 << 20], "read"),
        (one_line(&good, " ").as_bytes(), "read"),
        (one_line(&good, "\\n").as_bytes(), "read"),
    ] {
        fs::write(harness.pki.ca(), bad).unwrap();
        let problem = reports(&harness, kind).await;
        assert!(problem.message.contains("mcp-ca.crt"), "{problem:?}");
        let repeats = ["MII", "77, 73, 73"].map(|content| problem.message.contains(content));
        assert_eq!(repeats, [false; 2], "{problem:?}");
        assert!(greet(harness.address, &client).await.is_ok());
        fs::write(harness.pki.ca(), &good).unwrap();
        recovers(&harness).await;
    }
    fs::remove_file(harness.pki.ca()).unwrap();
    reports(&harness, "read").await;
    assert!(greet(harness.address, &client).await.is_ok());
    let failing = "copilot_feed_failing{feed=\"mcp_certificates\"}";
    assert_eq!(harness.metric(failing), Some(1.0));
}

#[tokio::test]
async fn m40_a_folder_that_is_swapped_by_its_symbolic_link_is_noticed() {
    let folder = tempfile::TempDir::new().unwrap();
    let link = folder.path().join("current");
    let issue = |name: &str| {
        let version = folder.path().join(name);
        fs::create_dir(&version).unwrap();
        let pki = Pki::new(&version, name).unwrap();
        pki.issue("copilot", &["localhost"]).unwrap();
        pki
    };
    let (first, second) = (issue("first"), issue("second"));
    std::os::unix::fs::symlink("first", &link).unwrap();
    let harness = Harness::start_with(|settings| {
        settings.identity = tls::Identity {
            cert: link.join("copilot.crt"),
            key: link.join("copilot.key"),
        };
    })
    .await;
    let (old, new) = (trusting(&harness, &first), trusting(&harness, &second));
    assert!(greet(harness.address, &old).await.is_ok());
    swap(&link, Path::new("second"));
    greets(harness.address, &new, true).await;
    assert!(greet(harness.address, &old).await.is_err());
}

#[tokio::test]
async fn the_daemon_shows_how_its_certificates_fare() {
    let mesh = Mesh::start().await;
    let fares_well = |page: &Value| {
        let mut feeds = page["feeds"].as_array().unwrap().iter();
        feeds.any(|feed| feed["feed"] == "mcp_certificates" && feed["last_success"].is_string())
    };
    mesh.daemon.shows("/readyz", fares_well).await;
}

/// A PEM text whose line breaks have become something else.
fn one_line(pem: &[u8], joint: &str) -> String {
    String::from_utf8_lossy(pem).replace('\n', joint)
}

/// Turns a symbolic link to another target at once.
fn swap(link: &Path, target: &Path) {
    let next = link.with_extension("next");
    std::os::unix::fs::symlink(target, &next).unwrap();
    fs::rename(next, link).unwrap();
}
