//! One changed instance of a large foundation over both protocols, each with full states and with deltas: what is sent,
//! and what is encoded for it. `cargo bench --bench protocols`

use std::{collections::HashSet, sync::Arc, time::Instant};

use copilot::{
    feed::Feeds,
    grpc::{self, Security},
    istio::Kind,
    mcp, metrics,
    model::Update,
    publisher::{Metrics, Settings, State},
    sim::{
        foundation,
        istiod::{self, Istiod},
        pki::Pki,
        sink::{self, Answer, Options, Sink},
    },
    snapshot::{Collection, Form, Snapshot},
    tls, xds,
};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

const ROUTES: usize = 100_000;
const STREAMS: usize = 2;
const TYPE: &str = "networking.istio.io/v1/ServiceEntry";

/// A protocol, and how its client asks.
#[derive(Debug, Clone, Copy)]
enum Way {
    McpFull,
    McpIncremental,
    Ads,
    DeltaAds,
}

impl Way {
    const ALL: [Self; 4] = [
        Self::McpFull,
        Self::McpIncremental,
        Self::Ads,
        Self::DeltaAds,
    ];

    fn form(self) -> Form {
        match self {
            Self::McpFull | Self::McpIncremental => Form::Mcp,
            Self::Ads => Form::Ads,
            Self::DeltaAds => Form::DeltaAds,
        }
    }

    fn metrics(self) -> &'static str {
        match self {
            Self::McpFull | Self::McpIncremental => "copilot_mcp",
            Self::Ads | Self::DeltaAds => "copilot_xds",
        }
    }
}

/// A client; its stream ends with it.
enum Client {
    Pilot(Sink),
    Istiod(Istiod),
}

impl Client {
    async fn open(way: Way, (mcp, xds): (&Channel, &Channel)) -> anyhow::Result<Self> {
        let options = Options {
            collections: vec![Kind::ServiceEntry.collection().to_owned()],
            incremental: matches!(way, Way::McpIncremental),
            ..Options::default()
        };
        let types = [TYPE.to_owned()];
        Ok(match way {
            Way::McpFull | Way::McpIncremental => {
                Self::Pilot(Sink::open(mcp, options, |_| Answer::Ack).await?)
            }
            Way::Ads => Self::Istiod(Istiod::open(xds, &types).await?),
            Way::DeltaAds => {
                Self::Istiod(Istiod::open_delta(xds, &types, sink::State::default()).await?)
            }
        })
    }

    /// Waits until it holds a version.
    async fn holds(&self, version: &str) -> anyhow::Result<()> {
        let (mut state, name) = match self {
            Self::Pilot(sink) => (sink.state(), Kind::ServiceEntry.collection()),
            Self::Istiod(istiod) => (istiod.state(), TYPE),
        };
        let arrived = |state: &sink::State| {
            let held = state.collections.get(name);
            held.is_some_and(|held| held.version == version)
        };
        state.wait_for(arrived).await?;
        Ok(())
    }
}

/// A publisher's state, and a server of each protocol that follows it.
struct Bed {
    state: State,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    registry: Registry,
    mcp: Channel,
    xds: Channel,
    port: u16,
    _folder: TempDir,
}

impl Bed {
    async fn new() -> anyhow::Result<Self> {
        let settings = Settings::default();
        let mut registry = Registry::default();
        let mut state = State::new(&settings, Metrics::new(&mut registry))?;
        let routes = (0..ROUTES).map(foundation::route);
        state.apply(Update::AllRoutes(routes.collect()));
        let instances = (0..ROUTES).map(|n| foundation::instance(n, 0, 61_000));
        state.apply(Update::AllInstances(instances.collect()));
        let (folder, snapshots) = (TempDir::new()?, watch::Sender::new(None));
        let (mcp, xds) = serve(&folder, &snapshots, &mut registry).await?;
        Ok(Self {
            state,
            snapshots,
            registry,
            mcp,
            xds,
            port: 0,
            _folder: folder,
        })
    }

    /// One instance moves to another port.
    fn change(&mut self) -> Arc<Snapshot> {
        self.port += 1;
        let current = vec![foundation::instance(0, 0, self.port)];
        self.state.apply(Update::Instances {
            current,
            gone: vec![],
        });
        Arc::new(self.state.publish().expect("a change"))
    }

    fn counter(&self, name: &str) -> u64 {
        let page = metrics::page(&self.registry);
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_default()
    }

    fn sent(&self, way: Way) -> u64 {
        let collection = Kind::ServiceEntry.collection();
        let metrics = way.metrics();
        self.counter(&format!(
            "{metrics}_response_bytes_total{{collection=\"{collection}\"}}"
        ))
    }

    /// A row of the table.
    async fn measure(&mut self, way: Way) -> anyhow::Result<()> {
        let before = self.change();
        self.snapshots.send_replace(Some(before.clone()));
        let old = entries(&before);
        let mut clients = Vec::new();
        for _ in 0..STREAMS {
            let client = Client::open(way, (&self.mcp, &self.xds)).await?;
            client.holds(&old.version().to_string()).await?;
            clients.push(client);
        }
        let encoded = self.counter("copilot_resources_encoded_total");
        let sent = self.sent(way);

        let begun = Instant::now();
        let after = self.change();
        self.snapshots.send_replace(Some(after.clone()));
        let new = entries(&after);
        for client in &clients {
            client.holds(&new.version().to_string()).await?;
        }
        let elapsed = begun.elapsed();

        let sent = (self.sent(way) - sent) / STREAMS as u64;
        let encoded = self.counter("copilot_resources_encoded_total") - encoded;
        let written = written(new, old, way.form());
        println!("{way:?} | {sent} | {encoded} | {written} | {elapsed:?}");
        Ok(())
    }
}

fn entries(snapshot: &Snapshot) -> &Collection {
    let entries = snapshot.xds(Kind::ServiceEntry);
    entries.expect("it is never withheld")
}

/// How many resources of a collection are not in memory that an older one has, too.
fn written(new: &Collection, old: &Collection, form: Form) -> usize {
    let places = |collection: &Collection| -> HashSet<_> {
        let frames = collection.iter().map(|resource| resource.frame(form));
        frames.map(|frame| frame.as_ptr()).collect()
    };
    places(new).difference(&places(old)).count()
}

fn reports<'a>(
    listener: &'static str,
    feeds: &'a mut Feeds,
    metrics: &'a grpc::Metrics,
) -> grpc::Reports<'a> {
    grpc::Reports {
        listener,
        certificates: listener,
        feeds,
        metrics,
    }
}

/// Starts both servers; returns a connection to each.
async fn serve(
    folder: &TempDir,
    snapshots: &watch::Sender<Option<Arc<Snapshot>>>,
    registry: &mut Registry,
) -> anyhow::Result<(Channel, Channel)> {
    let pki = Pki::new(folder.path(), "bench")?;
    let settings = mcp::Settings {
        identity: pki.issue("server", &["localhost"])?,
        clients: tls::Clients {
            ca: pki.ca().to_owned(),
            names: None,
        },
        certificates_every: grpc::CERTIFICATES_EVERY,
        limits: mcp::Limits::default(),
    };
    let address = "127.0.0.1:0".parse()?;
    let (mut feeds, listeners) = (Feeds::new(registry), grpc::Metrics::new(registry));
    let states = snapshots.subscribe();
    let mcp = mcp::Server::bind(
        address,
        settings,
        states,
        registry,
        reports("mcp", &mut feeds, &listeners),
    )
    .await?;
    let settings = xds::Settings::new(Security::Plaintext);
    let states = snapshots.subscribe();
    let xds = xds::Server::bind(
        address,
        settings,
        states,
        registry,
        reports("xds", &mut feeds, &listeners),
    )
    .await?;
    let client = pki.issue("sink", &["sink"])?;
    let config = tls::client(pki.ca(), Some(&client))?;
    let addresses = (mcp.local_addr(), xds.local_addr());
    tokio::spawn(mcp.run(CancellationToken::new()));
    tokio::spawn(xds.run(CancellationToken::new()));
    Ok((
        sink::connect(addresses.0, config).await?,
        istiod::connect(addresses.1).await?,
    ))
}

/// How long it takes to write a whole collection in a form, once for all streams.
fn print_first_writing(collection: &Collection) {
    for form in [Form::Ads, Form::DeltaAds] {
        let begun = Instant::now();
        let bytes: usize = collection.chunks(form).map(bytes::Bytes::len).sum();
        println!(
            "{form:?} of {ROUTES} resources: {bytes} bytes written in {:?}",
            begun.elapsed()
        );
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut bed = Bed::new().await?;
    let snapshot = Arc::new(bed.state.publish().expect("a first state"));
    print_first_writing(entries(&snapshot));
    println!("way | bytes for each stream | resources encoded | written into shared chunks | time");
    for way in Way::ALL {
        bed.measure(way).await?;
    }
    Ok(())
}
