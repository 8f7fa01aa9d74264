//! A server on loopback in the clear, beside one of MCP that serves the same, and clients for it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use copilot::{
    feed::Feeds,
    grpc::{self, Reports, Security},
    metrics,
    proto::envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    },
    sim::istiod::{self, Delivered as _, DeltaStream, FullStream},
    snapshot::{Collection, Snapshot},
    xds::{Server, Settings, Sinks},
};
use prometheus_client::registry::Registry;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

use crate::mcp::harness::replaced;
pub use crate::mcp::harness::{Contents, assert_code, kind, soon, until};

/// Types, and the collections of ours that they are.
pub const SERVICES: (&str, &str) = (
    "networking.istio.io/v1/VirtualService",
    "istio/networking/v1alpha3/virtualservices",
);
pub const GATEWAYS: (&str, &str) = (
    "networking.istio.io/v1/Gateway",
    "istio/networking/v1alpha3/gateways",
);
pub const SIDECARS: (&str, &str) = (
    "networking.istio.io/v1/Sidecar",
    "istio/networking/v1alpha3/sidecars",
);

/// What the server follows.
pub type Snapshots = watch::Sender<Option<Arc<Snapshot>>>;

/// A running server.
pub struct Harness {
    pub address: SocketAddr,
    pub sinks: Sinks,
    pub snapshots: Snapshots,
    shutdown: CancellationToken,
    registry: Registry,
    state: Mutex<BTreeMap<&'static str, Arc<Collection>>>,
    run: JoinHandle<()>,
}

impl Harness {
    /// A server with usual limits and nothing to serve yet.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(Security::Plaintext);
        change(&mut settings);
        Self::serve(settings, watch::Sender::new(None)).await
    }

    /// A server of what another one serves, too.
    pub async fn start_beside(snapshots: &Snapshots) -> Self {
        Self::serve(Settings::new(Security::Plaintext), snapshots.clone()).await
    }

    async fn serve(settings: Settings, snapshots: Snapshots) -> Self {
        let mut registry = Registry::default();
        let reports = Reports {
            listener: "xds",
            certificates: "xds_certificates",
            feeds: &mut Feeds::new(&mut registry),
            metrics: &grpc::Metrics::new(&mut registry),
        };
        let address = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(
            address,
            settings,
            snapshots.subscribe(),
            &mut registry,
            reports,
        )
        .await
        .unwrap();
        let shutdown = CancellationToken::new();
        Self {
            address: server.local_addr(),
            sinks: server.sinks(),
            snapshots,
            run: tokio::spawn(server.run(shutdown.clone())),
            shutdown,
            registry,
            state: Mutex::default(),
        }
    }

    /// Publishes a snapshot in which these collections have these resources and the others what they had.
    pub fn publish(&self, changes: &[((&str, &'static str), Contents)]) {
        let mut state = self.state.lock().unwrap();
        for ((_, name), resources) in changes {
            let before = state.entry(name).or_default();
            *before = Arc::new(replaced(before, resources));
        }
        let collections = state.iter().map(|(name, held)| (kind(name), held.clone()));
        self.publish_snapshot(Snapshot::new(collections.collect()));
    }

    pub fn publish_snapshot(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Some(Arc::new(snapshot)));
    }

    pub async fn channel(&self) -> Channel {
        istiod::connect(self.address).await.unwrap()
    }

    /// A stream of full states on a connection of its own.
    pub async fn stream(&self) -> FullStream {
        FullStream::open(&self.channel().await).await.unwrap()
    }

    /// A stream of deltas on a connection of its own.
    pub async fn delta(&self) -> DeltaStream {
        DeltaStream::open(&self.channel().await).await.unwrap()
    }

    /// The value of a metric, by its name with labels as on the page.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = metrics::page(&self.registry);
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok())
    }

    /// Ends the server and waits for it.
    pub async fn stop(self) {
        self.shutdown.cancel();
        soon(self.run).await.unwrap();
    }
}

pub trait StreamExt {
    type Response;
    /// The next response.
    async fn response(&mut self) -> Self::Response;
    /// How the stream ends, whatever comes before.
    async fn status(&mut self) -> Status;
    /// That nothing is on its way: types that nobody publishes are asked for, and their answers come next.
    async fn expect_silence(&mut self);
}

/// In this order: types take turns by name, so what was due with the first comes before the second.
const PROBES: [&str; 2] = ["probe/v1/Second", "probe/v1/First"];

impl StreamExt for FullStream {
    type Response = DiscoveryResponse;

    async fn response(&mut self) -> DiscoveryResponse {
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
        for probe in PROBES {
            // Without a nonce, so that the same type may be asked for again.
            self.send(DiscoveryRequest {
                type_url: probe.to_owned(),
                ..DiscoveryRequest::default()
            })
            .await;
            let response = self.response().await;
            assert_eq!(response.type_url, probe);
            self.ack(&response).await;
        }
    }
}

impl StreamExt for DeltaStream {
    type Response = DeltaDiscoveryResponse;

    async fn response(&mut self) -> DeltaDiscoveryResponse {
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
        for probe in PROBES {
            self.send(DeltaDiscoveryRequest {
                resource_names_subscribe: vec!["*".to_owned()],
                ..istiod::delta_request(probe)
            })
            .await;
            let response = self.response().await;
            assert_eq!(response.type_url, probe);
            self.ack(&response).await;
        }
    }
}

/// The names in a response, as its client takes them.
pub fn names(response: &DiscoveryResponse) -> Vec<String> {
    let unpacked = response.clone().unpack();
    assert_eq!(
        unpacked.resources.len(),
        response.resources.len(),
        "skipped"
    );
    let metadata = unpacked
        .resources
        .into_iter()
        .filter_map(|one| one.metadata);
    metadata.map(|metadata| metadata.name).collect()
}
