//! A server on loopback with certificates of its own, and sinks for it.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use copilot::{
    feed::Feeds,
    grpc::{self, Reports},
    mcp::{Limits, Server, Settings, Sinks},
    metrics,
    proto::istio::{
        mcp::v1alpha1::{RequestResources, Resources},
        networking::v1alpha3::VirtualService,
    },
    sim::{
        pki::Pki,
        sink::{self, Stream},
    },
    snapshot::{Collection, Encoded, Kind, Snapshot},
    tls,
};
use prometheus_client::registry::Registry;
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};

/// The kind of a collection that is one of ours.
pub fn kind(collection: &str) -> Kind {
    Kind::from_collection(collection).unwrap()
}

pub const A: &str = "istio/networking/v1alpha3/virtualservices";
pub const B: &str = "istio/networking/v1alpha3/gateways";
pub const C: &str = "istio/networking/v1alpha3/serviceentries";

/// Nothing that is waited for takes as long as this in health.
pub const SOON: Duration = Duration::from_secs(20);

/// How often the server looks at its certificates.
const LOOK: Duration = Duration::from_millis(20);

/// What a collection holds: names, and numbers that stand for the rest.
pub type Contents<'a> = &'a [(&'a str, u32)];

/// The outcome of `future`, which is due soon.
#[track_caller]
pub fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        tokio::time::timeout(SOON, future)
            .await
            .unwrap_or_else(|_| panic!("nothing has happened that {caller} waits for"))
    }
}

/// Lets everything else go on until `condition` holds.
#[track_caller]
pub fn until(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    soon(async move {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
}

/// A running server.
pub struct Harness {
    pub pki: Pki,
    pub address: std::net::SocketAddr,
    pub sinks: Sinks,
    pub shutdown: CancellationToken,
    pub feeds: Feeds,
    registry: Registry,
    state: Mutex<BTreeMap<&'static str, Arc<Collection>>>,
    pub snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    run: JoinHandle<()>,
    folder: TempDir,
}

impl Harness {
    /// A server with usual limits and nothing to serve yet.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = TempDir::new().unwrap();
        let pki = Pki::new(folder.path(), "mcp").unwrap();
        let mut settings = Settings {
            identity: pki.issue("copilot", &["localhost"]).unwrap(),
            clients: tls::Clients {
                ca: pki.ca().to_owned(),
                names: None,
            },
            certificates_every: LOOK,
            limits: Limits::default(),
        };
        change(&mut settings);
        let (snapshots, receiver) = watch::channel(None);
        let mut registry = Registry::default();
        let address = "127.0.0.1:0".parse().unwrap();
        let mut feeds = Feeds::new(&mut registry);
        let reports = Reports {
            listener: "mcp",
            certificates: "mcp_certificates",
            feeds: &mut feeds,
            metrics: &grpc::Metrics::new(&mut registry),
        };
        let server = Server::bind(address, settings, receiver, &mut registry, reports)
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        Self {
            pki,
            address: server.local_addr(),
            sinks: server.sinks(),
            run: tokio::spawn(server.run(shutdown.clone())),
            shutdown,
            feeds,
            registry,
            state: Mutex::default(),
            snapshots,
            folder,
        }
    }

    /// Publishes a snapshot in which these collections have these resources and the others what they had.
    pub fn publish(&self, changes: &[(&'static str, Contents)]) {
        let mut state = self.state.lock().unwrap();
        for (name, resources) in changes {
            let before = state.entry(name).or_default();
            *before = Arc::new(replaced(before, resources));
        }
        let collections = state.iter().map(|(name, held)| (kind(name), held.clone()));
        let snapshot = Snapshot::new(collections.collect());
        self.snapshots.send_replace(Some(Arc::new(snapshot)));
    }

    /// Publishes a collection as it is.
    pub fn publish_collection(&self, name: &'static str, collection: Collection) {
        self.publish_collections(&BTreeMap::from([(name, collection)]));
    }

    /// Publishes these collections and nothing else. None names what is gone from another, so nothing has to stay.
    pub fn publish_collections(&self, collections: &BTreeMap<&'static str, Collection>) {
        let collections = collections
            .iter()
            .map(|(name, collection)| (kind(name), Arc::new(collection.clone())))
            .collect();
        let snapshot = Snapshot::new(collections).numbered(0, 0);
        self.snapshots.send_replace(Some(Arc::new(snapshot)));
    }

    /// The client side of a certificate of the server's CA for these names.
    pub fn client_config(&self, names: &[&str]) -> ClientConfig {
        let identity = self.pki.issue("sink", names).unwrap();
        tls::client(self.pki.ca(), Some(&identity)).unwrap()
    }

    pub async fn channel(&self) -> Channel {
        let config = self.client_config(&["pilot.example.com"]);
        sink::connect(self.address, config).await.unwrap()
    }

    /// A stream on a connection of its own.
    pub async fn stream(&self) -> Stream {
        Stream::open(&self.channel().await).await.unwrap()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The page of metrics.
    pub fn page(&self) -> String {
        metrics::page(&self.registry)
    }

    /// The value of a metric, by its name with labels as on the page.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = self.page();
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok())
    }

    /// Ends the server and waits for it.
    pub async fn stop(self) {
        self.shutdown.cancel();
        soon(self.run).await.unwrap();
    }

    /// Waits for the server alone, which was told to end.
    pub async fn stopped(self) {
        soon(self.run).await.unwrap();
    }
}

pub fn replaced(before: &Collection, resources: Contents) -> Collection {
    let mut edits: BTreeMap<Arc<str>, _> =
        before.iter().map(|old| (old.name.into(), None)).collect();
    edits.extend(resources.iter().map(|(name, content)| {
        let encoded = resource(name, *content);
        ((*name).into(), Some(encoded))
    }));
    before.edited(edits)
}

pub fn resource(name: &str, content: u32) -> Encoded {
    let body = VirtualService {
        hosts: vec![format!("{name}.example.com")],
        gateways: vec![content.to_string()],
        ..VirtualService::default()
    };
    Encoded::new(name, 1_500_000_000, &body)
}

/// A collection whose full state is about 300 bytes a resource.
pub fn large(resources: u32) -> Collection {
    let padding = "x".repeat(180);
    let edits = (0..resources).map(|n| {
        let name = format!("name-{n:06}");
        let body = VirtualService {
            hosts: vec![padding.clone()],
            ..VirtualService::default()
        };
        let encoded = Encoded::new(&name, 0, &body);
        (name.into(), Some(encoded))
    });
    Collection::default().edited(edits.collect())
}

pub trait StreamExt {
    /// The next response.
    async fn response(&mut self) -> Resources;
    /// How the stream ends, whatever comes before.
    async fn status(&mut self) -> Status;
    /// That nothing is on its way: collections that nobody publishes are asked for, and their answers come next.
    async fn expect_silence(&mut self);
    async fn subscribe_incrementally(&mut self, collection: &str);
    async fn ack_incrementally(&mut self, response: &Resources);
}

impl StreamExt for Stream {
    async fn response(&mut self) -> Resources {
        soon(self.next()).await.unwrap().expect("a response")
    }

    async fn status(&mut self) -> Status {
        loop {
            match soon(self.next()).await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }

    async fn expect_silence(&mut self) {
        // Two, in this order: collections take turns by name, so what was due with the first comes before the second.
        for probe in ["probe/2", "probe/1"] {
            self.subscribe(probe).await;
            let response = self.response().await;
            assert_eq!(response.collection, probe);
            self.ack(&response).await;
        }
    }

    async fn subscribe_incrementally(&mut self, collection: &str) {
        self.send(RequestResources {
            incremental: true,
            ..sink::request(collection)
        })
        .await;
    }

    async fn ack_incrementally(&mut self, response: &Resources) {
        self.send(RequestResources {
            incremental: true,
            ..sink::ack(response)
        })
        .await;
    }
}

/// The names in a response.
pub fn names(response: &Resources) -> Vec<&str> {
    let metadata = response
        .resources
        .iter()
        .filter_map(|resource| resource.metadata.as_ref());
    metadata.map(|metadata| &*metadata.name).collect()
}

#[track_caller]
pub fn assert_code<T: Debug>(result: Result<T, Status>, code: Code) -> Status {
    let status = result.map_or_else(|status| status, |_| Status::ok(""));
    assert_eq!(status.code(), code, "{status}");
    status
}
