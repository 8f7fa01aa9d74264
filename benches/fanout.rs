//! From a published snapshot to every sink holding it: 100 real streams over mutual TLS on loopback.
//!
//! Server and sinks share the machine, and a sink that decodes a full response costs more than the server that sends
//! it. `cargo bench --bench fanout`

use std::sync::Arc;

use copilot::{
    feed::Feeds,
    grpc,
    istio::Kind,
    mcp,
    model::Update,
    publisher::{Metrics, Settings, State},
    sim::{
        foundation,
        pki::Pki,
        sink::{self, Answer, Options, Sink},
    },
    snapshot::Snapshot,
    tls,
};
use divan::Bencher;
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::watch};
use tokio_util::sync::CancellationToken;

const STREAMS: usize = 100;

fn main() {
    divan::main();
}

/// A publisher's state, a server and its sinks.
struct Mesh {
    runtime: Runtime,
    state: State,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    sinks: Vec<Sink>,
    port: u16,
    _folder: TempDir,
}

impl Mesh {
    fn new(routes: usize, incremental: bool) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let folder = TempDir::new().expect("a folder");
        let settings = Settings::default();
        let state =
            State::new(&settings, Metrics::new(&mut Registry::default())).expect("a valid gateway");
        let (snapshots, receiver) = watch::channel(None);
        let sinks = runtime
            .block_on(connect(&folder, receiver, incremental))
            .expect("sinks");
        let mut mesh = Self {
            runtime,
            state,
            snapshots,
            sinks,
            port: 0,
            _folder: folder,
        };
        mesh.state.apply(Update::AllRoutes(
            (0..routes).map(foundation::route).collect(),
        ));
        let instances = (0..routes).map(|n| foundation::instance(n, 0, 61_000));
        mesh.state.apply(Update::AllInstances(instances.collect()));
        mesh.publish();
        mesh
    }

    /// One instance moves to another port.
    fn change(&mut self) {
        self.port = self.port % 60_000 + 1;
        let current = vec![foundation::instance(0, 0, self.port)];
        self.state.apply(Update::Instances {
            current,
            gone: vec![],
        });
        self.publish();
    }

    fn publish(&mut self) {
        let snapshot = self.state.publish().expect("a change");
        let collection = Kind::ServiceEntry.collection();
        let version = snapshot
            .get(Kind::ServiceEntry)
            .expect("it is never withheld")
            .version()
            .to_string();
        self.snapshots.send_replace(Some(Arc::new(snapshot)));
        for sink in &self.sinks {
            let mut state = sink.state();
            let arrived = state.wait_for(|state| {
                state
                    .collections
                    .get(collection)
                    .is_some_and(|replica| replica.version == version)
            });
            self.runtime.block_on(arrived).expect("the stream goes on");
        }
    }
}

async fn connect(
    folder: &TempDir,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    incremental: bool,
) -> anyhow::Result<Vec<Sink>> {
    let pki = Pki::new(folder.path(), "bench")?;
    let settings = mcp::Settings {
        identity: pki.issue("server", &["localhost"])?,
        clients: tls::Clients {
            ca: pki.ca().to_owned(),
            names: None,
        },
        certificates_every: grpc::CERTIFICATES_EVERY,
        limits: mcp::Limits {
            streams_per_peer: STREAMS,
            ..mcp::Limits::default()
        },
    };
    let address = "127.0.0.1:0".parse()?;
    let mut registry = Registry::default();
    let reports = grpc::Reports {
        listener: "mcp",
        certificates: "mcp_certificates",
        feeds: &mut Feeds::new(&mut registry),
        metrics: &grpc::Metrics::new(&mut registry),
    };
    let server = mcp::Server::bind(address, settings, snapshots, &mut registry, reports).await?;
    let address = server.local_addr();
    tokio::spawn(server.run(CancellationToken::new()));

    let client = pki.issue("sink", &["sink"])?;
    let mut sinks = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        let channel = sink::connect(address, tls::client(pki.ca(), Some(&client))?).await?;
        let options = Options {
            collections: vec![Kind::ServiceEntry.collection().to_owned()],
            incremental,
            ..Options::default()
        };
        sinks.push(Sink::open(&channel, options, |_| Answer::Ack).await?);
    }
    Ok(sinks)
}

/// Every sink gets the whole collection.
#[divan::bench(args = [100, 1_000], sample_count = 10)]
fn full_state(bencher: Bencher, routes: usize) {
    let mut mesh = Mesh::new(routes, false);
    bencher.bench_local(|| mesh.change());
}

/// Every sink gets the one resource that changed.
#[divan::bench(args = [1_000, 20_000], sample_count = 20)]
fn delta(bencher: Bencher, routes: usize) {
    let mut mesh = Mesh::new(routes, true);
    bencher.bench_local(|| mesh.change());
}
