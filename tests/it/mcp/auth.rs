//! Who may open a stream: M-37, M-39, and the kinds of TLS.

use std::{collections::BTreeSet, sync::Arc};

use copilot::{
    sim::{
        pki::Pki,
        sink::{self, Stream},
    },
    tls,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::Code;

use super::harness::{A, Harness, StreamExt as _, assert_code, names, soon, until};

async fn allowing(names: &[&str]) -> Harness {
    let names: BTreeSet<_> = names.iter().map(ToString::to_string).collect();
    let harness = Harness::start_with(|settings| settings.clients.names = Some(names)).await;
    harness.publish(&[(A, &[("a", 1)])]);
    harness
}

#[tokio::test]
async fn m39_a_name_that_is_listed_may_open_a_stream() {
    let harness = allowing(&["pilot.example.com", "10.0.0.1"]).await;
    for presented in [
        &["pilot.example.com"] as &[_],
        &["10.0.0.1"],
        &["other.example.com", "pilot.example.com"],
    ] {
        let config = harness.client_config(presented);
        let channel = sink::connect(harness.address, config).await.unwrap();
        let mut stream = Stream::open(&channel).await.unwrap();
        stream.subscribe(A).await;
        assert_eq!(names(&stream.response().await), ["a"]);
    }
}

#[tokio::test]
async fn m39_a_name_that_is_not_listed_fails_the_handshake_and_takes_nobodys_place() {
    let harness = Harness::start_with(|settings| {
        settings.clients.names = Some(["pilot.example.com".to_owned()].into());
        settings.limits.connections = 1;
    })
    .await;
    harness.publish(&[(A, &[("a", 1)])]);
    // They stay as long as they are let.
    let mut refused = Vec::new();
    for presented in [&["PILOT.example.org"] as &[_], &[]] {
        let mut config = harness.client_config(presented);
        config.alpn_protocols = vec![tls::HTTP_2.to_vec()];
        let mut stream = connect(&harness, config).await;
        stream.write_all(b"PRI * HTTP/2.0\r\n").await.ok();
        let told = soon(stream.read(&mut [0])).await.unwrap_err();
        let alert = tls::cause(&told);
        let is_refusal = |alert: &rustls::Error| match alert {
            rustls::Error::AlertReceived(alert) => tls::refuses_certificate(*alert),
            _ => false,
        };
        assert!(alert.is_some_and(is_refusal), "{told:?}");
        refused.push(stream);
    }
    until(|| harness.metric(&failures("name")) == Some(2.0)).await;
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    assert_eq!(names(&stream.response().await), ["a"]);
}

async fn connect(harness: &Harness, config: ClientConfig) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(harness.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    soon(connector.connect(name, stream)).await.unwrap()
}

#[tokio::test]
async fn streams_that_are_refused_are_one_line_however_many_there_are() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(Arc::new(log.reopen().unwrap()))
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let harness = Harness::start_with(|settings| settings.limits.streams_per_peer = 1).await;
    let connect = || {
        sink::connect(
            harness.address,
            harness.client_config(&["pilot.example.com"]),
        )
    };
    let _open = Stream::open(&connect().await.unwrap()).await.unwrap();
    let channel = connect().await.unwrap();
    for _ in 0..300 {
        assert_code(Stream::open(&channel).await, Code::ResourceExhausted);
    }
    let written = std::fs::read_to_string(log.path()).unwrap();
    assert_eq!(written.matches("stream refused").count(), 1, "{written}");
}

#[tokio::test]
async fn m39_a_certificate_of_another_ca_or_none_fails_the_handshake() {
    let harness = Harness::start().await;
    let other = Pki::new(harness.folder(), "other").unwrap();
    let identity = other.issue("impostor", &["pilot.example.com"]).unwrap();
    for identity in [Some(&identity), None] {
        let config = tls::client(harness.pki.ca(), identity).unwrap();
        // With TLS 1.3 a client learns of it only after the handshake, with its first read.
        let opened = match sink::connect(harness.address, config).await {
            Ok(channel) => soon(Stream::open(&channel)).await.map(|_| ()),
            Err(_) => continue,
        };
        assert!(opened.is_err());
    }
    until(|| harness.metric(&failures("certificate")) >= Some(2.0)).await;
    assert!(harness.sinks.list().is_empty());
}

#[tokio::test]
async fn m39_the_names_of_certificates_that_a_client_only_quotes_do_not_count() {
    let harness = allowing(&["pilot.example.com"]).await;
    let pilot = harness.pki.issue("pilot", &["pilot.example.com"]).unwrap();
    let mallory = harness
        .pki
        .issue("mallory", &["mallory.example.com"])
        .unwrap();
    let chain = [&mallory, &pilot].map(|one| std::fs::read(&one.cert).unwrap());
    std::fs::write(&mallory.cert, chain.concat()).unwrap();
    let config = tls::client(harness.pki.ca(), Some(&mallory)).unwrap();
    let mut stream = connect(&harness, config).await;
    soon(stream.read(&mut [0])).await.unwrap_err();
    until(|| harness.metric(&failures("name")) == Some(1.0)).await;
}

fn failures(reason: &str) -> String {
    format!("copilot_grpc_handshake_failures_total{{listener=\"mcp\",reason=\"{reason}\"}}")
}

/// A client of TLS 1.2 only, or of one key exchange only.
fn special(harness: &Harness, tls12: bool) -> ClientConfig {
    let identity = harness
        .pki
        .issue("special", &["pilot.example.com"])
        .unwrap();
    let mut provider = ring::default_provider();
    if !tls12 {
        provider.kx_groups = vec![ring::kx_group::SECP256R1];
    }
    let versions: &[_] = if tls12 {
        &[&rustls::version::TLS12]
    } else {
        rustls::ALL_VERSIONS
    };
    let mut roots = RootCertStore::empty();
    let ca = rustls::pki_types::CertificateDer::from_pem_file(harness.pki.ca()).unwrap();
    roots.add(ca).unwrap();
    let chain = rustls::pki_types::CertificateDer::from_pem_file(&identity.cert).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(&identity.key).unwrap();
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![chain], key)
        .unwrap()
}

#[tokio::test]
async fn clients_of_tls_1_2_and_of_p_256_alone_are_served() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    for tls12 in [true, false] {
        let config = special(&harness, tls12);
        let channel = sink::connect(harness.address, config).await.unwrap();
        let mut stream = Stream::open(&channel).await.unwrap();
        stream.subscribe(A).await;
        assert_eq!(names(&stream.response().await), ["a"]);
    }
}

#[tokio::test]
async fn garbage_on_the_port_leaves_others_served() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    let mut garbage = tokio::net::TcpStream::connect(harness.address)
        .await
        .unwrap();
    let _silent = tokio::net::TcpStream::connect(harness.address)
        .await
        .unwrap();
    garbage
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // Refused by an alert, or cut: either way it is over.
    soon(garbage.read_to_end(&mut answer)).await.ok();
    until(|| harness.metric(&failures("protocol")) == Some(1.0)).await;
    let mut stream = harness.stream().await;
    stream.subscribe(A).await;
    assert_eq!(names(&stream.response().await), ["a"]);
}

#[tokio::test]
async fn m37_streams_beyond_the_limits_are_refused_until_one_ends() {
    let harness = Harness::start_with(|settings| {
        settings.limits.streams_per_peer = 2;
        settings.limits.streams_total = 5;
    })
    .await;
    harness.publish(&[(A, &[("a", 1)])]);
    let (one, two) = (harness.stream().await, harness.stream().await);
    let third = Stream::open(&harness.channel().await).await;
    let status = assert_code(third, Code::ResourceExhausted);
    assert!(status.message().contains("127.0.0.1"), "{status}");
    assert_eq!(harness.metric("istio_mcp_clients_total"), Some(2.0));
    soon(one.half_close()).await.unwrap();
    harness.stream().await;
    drop(two);
}
