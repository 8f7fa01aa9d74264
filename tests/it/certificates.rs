//! The router's certificates, from the config to a client's handshake: what the gateway names, the librarian writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime},
};

use copilot::{
    config::{Keypair, Librarian},
    istio::{self, CertificateRoot, FrontendCertificate, GATEWAY, Kind},
    librarian::{self, Outcome},
    proto::istio::networking::v1alpha3::{Gateway, Server, ServerTlsSettings},
    sim::{cloud_foundry::CloudFoundry, pki::Pki},
    snapshot::Collection,
    tls::{self, Identity},
};
use proptest::prelude::*;
use prost::Message as _;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::mesh::{Daemon, collections, eager, foundation, holds, with};

/// The filter chains that every Istio makes of a gateway, and how Envoy chooses among them.
#[derive(Debug, Clone)]
struct Envoy(Vec<Server>);

impl Envoy {
    fn of(gateway: &Gateway) -> Self {
        let https = gateway.servers.iter().filter(|server| server.tls.is_some());
        Self(https.cloned().collect())
    }

    /// An exact name, else the longest suffix at any depth, else the chain without names; `*` is no name.
    fn chain(&self, asked: Option<&str>) -> Option<&Server> {
        let rank = |host: &str| match (host.strip_prefix('*'), asked) {
            (Some(""), _) => Some(0),
            (Some(suffix), Some(asked)) if asked.ends_with(suffix) => Some(suffix.len()),
            (None, Some(asked)) if asked == host => Some(usize::MAX),
            _ => None,
        };
        let best = |server: &&Server| server.hosts.iter().filter_map(|host| rank(host)).max();
        let chains = self.0.iter().filter(|server| best(server).is_some());
        chains.max_by_key(best)
    }

    fn tls(&self, asked: Option<&str>) -> Option<&ServerTlsSettings> {
        self.chain(asked)?.tls.as_ref()
    }
}

impl ResolvesServerCert for Envoy {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let tls = self.tls(hello.server_name())?;
        let chain = CertificateDer::pem_file_iter(&tls.server_certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&tls.private_key).unwrap();
        let key = ring::sign::any_supported_type(&key).unwrap();
        let chain = chain.map(Result::unwrap).collect();
        Some(Arc::new(CertifiedKey::new(chain, key)))
    }
}

/// A server with the gateway's certificates.
async fn serve(envoy: Envoy) -> SocketAddr {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(envoy));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not like the certificate says so itself.
            drop(acceptor.accept(stream).await);
        }
    });
    address
}

/// A handshake with a server that has to be of this name; whether it is asked for by it is another question.
async fn handshake(
    ca: &Path,
    address: SocketAddr,
    name: &str,
    with_sni: bool,
) -> Result<Vec<u8>, String> {
    let mut config = tls::client(ca, None).unwrap();
    config.enable_sni = with_sni;
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let presented = stream.get_ref().1.peer_certificates().unwrap();
    Ok(presented[0].to_vec())
}

/// Issues a certificate of the router: its entry in the config, and the leaf.
fn pair(foundation: &CloudFoundry, names: &[&str]) -> (Value, Vec<u8>) {
    let identity = foundation.pki.issue("frontend", names).unwrap();
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    let leaf = CertificateDer::from_pem_file(&identity.cert).unwrap();
    let entry = json!({ "CertChain": text(&identity.cert), "PrivateKey": text(&identity.key) });
    (entry, leaf.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_no_name_is_shown_the_first_certificate_and_others_theirs() {
    let (foundation, _) = foundation().await;
    let (first, first_leaf) = pair(&foundation, &["*.apps.example.com", "example.org"]);
    let (second, second_leaf) = pair(&foundation, &["*.example.com", "EXAMPLE.org", "b.org"]);
    let root = foundation.folder().join("istio");
    let config = with(
        eager(foundation.config()),
        &[
            ("/TLSPems", json!([first, second])),
            ("/IstioCertRootPath", json!(root)),
        ],
    );
    let file = foundation.folder().join("librarian.json");
    fs::write(&file, config.to_string()).unwrap();
    let mut librarian = Command::new(env!("CARGO_BIN_EXE_copilot"));
    let written = librarian.args(["librarian", "--config"]).arg(file).output();
    assert!(written.as_ref().unwrap().status.success(), "{written:?}");

    let daemon = Daemon::start(config).await;
    let pilot = foundation
        .connect_pilot(daemon.mcp, collections())
        .await
        .unwrap();
    let state = holds(&pilot, |state| {
        state.collections.contains_key(Kind::Gateway.collection())
    })
    .await;
    let body = state.collections[Kind::Gateway.collection()].resources[GATEWAY]
        .body
        .clone()
        .unwrap();
    let gateway = Gateway::decode(body.value.as_slice()).unwrap();
    let address = serve(Envoy::of(&gateway)).await;

    let shown =
        async |name: &str, with_sni| handshake(foundation.pki.ca(), address, name, with_sni).await;
    for (name, with_sni, leaf) in [
        ("shop.apps.example.com", false, &first_leaf),
        ("example.org", false, &first_leaf),
        ("shop.apps.example.com", true, &first_leaf),
        // Of a name in both, only the name is the first's.
        ("example.org", true, &first_leaf),
        ("shop.example.com", true, &second_leaf),
        ("b.org", true, &second_leaf),
    ] {
        let presented = shown(name, with_sni).await;
        assert_eq!(presented.as_ref(), Ok(leaf), "{name}, {with_sni}");
    }
    // The first one again, as with the gorouter; this client does not take it for such a name.
    let refused = shown("c.org", true).await.unwrap_err();
    assert!(
        refused.contains("DnsName(\"*.apps.example.com\")"),
        "{refused}"
    );
    daemon.end().await;
}

/// Names of all sorts, few enough to meet.
fn names() -> impl Strategy<Value = Vec<FrontendCertificate>> {
    let name = prop::sample::select(vec![
        "a.example.com",
        "A.example.com",
        "b.example.com",
        "x.b.example.com",
        "*.example.com",
        "*.b.example.com",
        "*.B.Example.com",
        "example.org",
        "localhost",
        "under_score.example.com",
        "*",
        "../up",
        ".hidden",
    ]);
    let certificate = prop::collection::vec(name, 1..5).prop_map(|names| FrontendCertificate {
        names: names.into_iter().map(str::to_owned).collect(),
    });
    prop::collection::vec(certificate, 0..5)
}

/// The gateway of these certificates, and the names that it leaves out.
fn gateway(
    root: &CertificateRoot,
    certificates: &[FrontendCertificate],
) -> (Envoy, BTreeSet<String>) {
    let served = istio::gateway(root, certificates, None, &BTreeSet::new()).unwrap();
    let gateways = served.gateways.into_iter();
    let edits = gateways.map(|(name, gateway)| (name.into(), Some(gateway)));
    let edits = edits.collect();
    let collection = Collection::default().edited(edits);
    let message = collection.iter().next().unwrap().decode();
    let gateway = Gateway::decode(message.body.unwrap().value.as_slice()).unwrap();
    let left_out = served.left_out.into_iter().map(|(name, _)| name);
    (Envoy::of(&gateway), left_out.collect())
}

/// Each certificate's chain says its number.
fn keypairs(certificates: &[FrontendCertificate]) -> Vec<Keypair> {
    let keypair = |(number, certificate): (usize, &FrontendCertificate)| Keypair {
        certificate: certificate.clone(),
        chain: number.to_string(),
        key: format!("key of {number}").into(),
    };
    certificates.iter().enumerate().map(keypair).collect()
}

/// The chains and keys below a folder, by the folders they are in.
fn written(root: &Path) -> BTreeMap<String, (String, String)> {
    let folders = fs::read_dir(root).unwrap().map(Result::unwrap);
    let read = |folder: fs::DirEntry| {
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let name = folder.file_name().into_string().unwrap();
        (name, (text("tls.crt"), text("tls.key")))
    };
    folders.map(read).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_the_gateway_names_the_librarian_writes_and_no_more(certificates in names()) {
        let folder = TempDir::new().unwrap();
        let root: CertificateRoot = folder.path().to_str().unwrap().parse().unwrap();
        let (envoy, left_out) = gateway(&root, &certificates);
        let settings = Librarian {
            root,
            group: None,
            backend: None,
            keypairs: keypairs(&certificates),
            certificates: Vec::new(),
            problems: Vec::new(),
        };
        let report = librarian::run(&settings).unwrap();
        let written = written(folder.path());

        // The certificates that the gateway names, by their folders.
        let mut named = BTreeMap::new();
        for server in &envoy.0 {
            let tls = server.tls.as_ref().unwrap();
            let below = Path::new(&tls.server_certificate).strip_prefix(folder.path()).unwrap();
            let name = below.parent().unwrap().to_str().unwrap();
            let chain = fs::read_to_string(&tls.server_certificate).unwrap();
            prop_assert_eq!(fs::read_to_string(&tls.private_key).unwrap(), format!("key of {chain}"));
            named.insert(name.to_owned(), chain);
        }
        let on_disk = written.iter().map(|(name, (chain, _))| (name.clone(), chain.clone()));
        prop_assert_eq!(&on_disk.collect::<BTreeMap<_, _>>(), &named);
        prop_assert_eq!(report.pairs.len(), certificates.len());
        for (number, (name, outcome)) in report.pairs.iter().enumerate() {
            let is_named = named.values().any(|chain| *chain == number.to_string());
            prop_assert_eq!(matches!(outcome, Outcome::Written), is_named, "{}", name);
        }

        let presented = |asked: Option<&str>| {
            let tls = envoy.tls(asked)?;
            fs::read_to_string(&tls.server_certificate).ok()
        };
        let first = certificates.iter().position(|certificate| {
            certificate.names.iter().any(|name| !name.contains('/') && !name.starts_with('.'))
        });
        let default = first.map(|number| number.to_string());
        prop_assert_eq!(presented(None), default.clone());
        prop_assert_eq!(presented(Some("elsewhere.test")), default);
        // A name is the first certificate's that has it, unless it is left out; and the others' is.
        for (number, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                let name = name.to_lowercase();
                let has = |other: &FrontendCertificate| {
                    other.names.iter().any(|other| other.to_lowercase() == name)
                };
                let holder = certificates.iter().position(has).unwrap();
                let asked = name.replace('*', "some");
                if holder != number || !name.contains("example.") {
                    prop_assert!(left_out.contains(&name), "{} of {}", name, number);
                } else if !left_out.contains(&name) {
                    prop_assert_eq!(presented(Some(&asked)), Some(number.to_string()), "{}", name);
                }
            }
        }
    }
}

fn bundle(texts: &[&str], are_authorities: bool) -> Vec<tls::Certificates> {
    vec![tls::Certificates {
        key: "Key".to_owned(),
        are_authorities,
        place: tls::Place::Config(texts.concat()),
    }]
}

#[test]
fn an_authority_that_has_ended_is_no_matter_beside_the_one_that_takes_its_place() {
    let folder = TempDir::new().unwrap();
    let pki = Pki::new(folder.path(), "a").unwrap();
    // One after the other in the same file.
    let text = |issued: Identity| fs::read_to_string(issued.cert).unwrap();
    let ended = text(pki.issue_ended("mesh", &["mesh"]).unwrap());
    let good = text(pki.issue("mesh", &["mesh"]).unwrap());
    let other = text(pki.issue("other", &["other"]).unwrap());
    let told = |texts: &[&str], are_authorities| {
        let bundle = bundle(texts, are_authorities);
        let told = tls::expiries(&bundle).map(|one| one.to_string());
        told.collect::<Vec<_>>()
    };
    let said = ["Key: certificate CN=mesh ended 2021-01-01T00:00:00Z"];
    assert!(told(&[&ended, &good], true).is_empty());
    assert_eq!(told(&[&ended, &good], false), said);
    // Of another mesh.
    assert_eq!(told(&[&ended, &other], true), said);
}

#[test]
fn what_ends_within_a_month_is_told_and_what_ends_later_is_not() {
    let folder = TempDir::new().unwrap();
    let pki = Pki::new(folder.path(), "a").unwrap();
    let standings = [29, 31].map(|days| {
        let cert = pki.issue_until(
            "it",
            &["it"],
            SystemTime::now() + days * Duration::from_hours(24),
        );
        let text = fs::read_to_string(cert.unwrap().cert).unwrap();
        let read = bundle(&[&text], false)[0].read();
        read.unwrap()[0].standing
    });
    assert_eq!(standings, [tls::Standing::EndsSoon, tls::Standing::Good]);
}
