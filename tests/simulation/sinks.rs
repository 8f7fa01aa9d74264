//! Pilots and istiods within the process.

use std::{
    collections::BTreeSet,
    future::pending,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use copilot::{
    app::Entrances,
    grpc::Entrance,
    istio::Kind,
    proto::istio::mcp::v1alpha1::{RequestResources, Resources},
    sim::{
        istiod::{self, Delivered, DeltaStream, FullStream},
        sink::{self, Replica, State, Stream},
    },
    tls::{Connection, Peer},
};
use fastrand::Rng;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::{
    io::duplex,
    time::{Instant, sleep_until},
};
use tonic::{
    Status,
    transport::{Channel, Endpoint, Error, Uri},
};

use super::{clock, oracle::Oracle, trace::Trace};

/// The ways into the daemons that run.
pub(super) type AllEntrances = Arc<Mutex<Vec<Entrances>>>;

/// The version of the API that istiods ask for.
const NETWORKING: &str = "v1";

/// The collections that the daemon publishes.
fn collections() -> impl Iterator<Item = &'static str> {
    Kind::ALL.map(Kind::collection).into_iter()
}

/// What a sink speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Mcp,
    McpDeltas,
    Xds,
    XdsDeltas,
}

impl Protocol {
    pub(super) const ALL: [Self; 4] = [Self::Mcp, Self::McpDeltas, Self::Xds, Self::XdsDeltas];

    /// What may differ in content and versions.
    pub(super) fn is_xds(self) -> bool {
        matches!(self, Self::Xds | Self::XdsDeltas)
    }
}

/// One sink.
pub(super) struct Pilot {
    pub(super) number: usize,
    pub(super) entrances: AllEntrances,
    pub(super) oracle: Oracle,
    pub(super) trace: Trace,
    pub(super) rng: Rng,
    pub(super) protocol: Protocol,
    /// Which daemon it reads from, if it does not go from one to the other.
    pub(super) home: Option<usize>,
}

/// A way into a daemon.
pub(super) async fn connect(entrance: Entrance) -> Result<Channel, Error> {
    let connector = tower::service_fn(move |_: Uri| {
        let entrance = entrance.clone();
        async move {
            let (ours, stream) = duplex(64 << 10);
            let peer = Peer {
                address: ([192, 0, 2, 9], 9).into(),
                names: Arc::default(),
            };
            let connection = Connection {
                stream,
                peer,
                place: None,
            };
            let entered = entrance.send(Ok(connection)).await;
            entered.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    });
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
}

/// A stream of either protocol, in the words of MCP.
enum Wire {
    Mcp(Stream, bool),
    Xds(FullStream),
    XdsDeltas(DeltaStream),
}

impl Wire {
    async fn open(protocol: Protocol, channel: &Channel) -> Result<Self, Status> {
        Ok(match protocol {
            Protocol::Mcp | Protocol::McpDeltas => Self::Mcp(
                Stream::open(channel).await?,
                protocol == Protocol::McpDeltas,
            ),
            Protocol::Xds => Self::Xds(FullStream::open(channel).await?),
            Protocol::XdsDeltas => Self::XdsDeltas(DeltaStream::open(channel).await?),
        })
    }

    /// Asks for everything; Pilots say what they hold, where they take deltas.
    async fn subscribe(&self, state: &State) {
        match self {
            Self::Mcp(stream, is_incremental) => {
                for collection in collections() {
                    let held = state.collections.get(collection);
                    let held = held.filter(|_| *is_incremental);
                    let request = RequestResources {
                        initial_resource_versions: held.map(Replica::versions).unwrap_or_default(),
                        incremental: *is_incremental,
                        ..sink::request(collection)
                    };
                    stream.send(request).await;
                }
            }
            Self::Xds(stream) => {
                for type_url in istiod::types(NETWORKING) {
                    stream.subscribe(&type_url).await;
                }
            }
            Self::XdsDeltas(stream) => {
                for type_url in istiod::types(NETWORKING) {
                    stream.send(istiod::delta_request(&type_url)).await;
                }
            }
        }
    }

    async fn next(&mut self) -> Option<Resources> {
        match self {
            Self::Mcp(stream, _) => stream.next().await.ok()?,
            Self::Xds(stream) => stream.next().await.ok()?.map(Delivered::unpack),
            Self::XdsDeltas(stream) => stream.next().await.ok()?.map(Delivered::unpack),
        }
    }

    async fn ack(&self, response: &Resources) {
        match self {
            Self::Mcp(stream, is_incremental) => {
                let ack = RequestResources {
                    incremental: *is_incremental,
                    ..sink::ack(response)
                };
                stream.send(ack).await;
            }
            Self::Xds(stream) => {
                let mut ack = istiod::request(&response.collection);
                ack.node = Some(istiod::node());
                ack.version_info.clone_from(&response.system_version_info);
                ack.response_nonce.clone_from(&response.nonce);
                stream.send(ack).await;
            }
            Self::XdsDeltas(stream) => {
                let mut ack = istiod::delta_request(&response.collection);
                ack.response_nonce.clone_from(&response.nonce);
                stream.send(ack).await;
            }
        }
    }
}

/// The collection that a type of istiod's is.
fn collection_of(type_url: &str) -> &str {
    let kind = type_url.rsplit('/').next().unwrap_or_default();
    let named = |collection: &&str| {
        let plural = collection.rsplit('/').next().unwrap_or_default();
        type_url.starts_with("networking.istio.io/")
            && plural.starts_with(&kind.to_lowercase()[..kind.len() - 1])
    };
    collections().find(named).unwrap_or(type_url)
}

impl Pilot {
    /// Reads from one daemon after the other, for ever.
    pub(super) async fn run(mut self) {
        let mut state = State::default();
        let mut last = None;
        loop {
            sleep_until(self.after(Duration::from_secs(1))).await;
            let any = self.rng.usize(..self.entrances.lock().unwrap().len());
            let daemon = self.home.unwrap_or(any);
            if last.replace(daemon) != Some(daemon) {
                self.oracle.moves(self.number, daemon);
            }
            let entrances = self.entrances.lock().unwrap()[daemon].clone();
            let entrance = if self.protocol.is_xds() {
                entrances.xds.expect("it listens for istiods")
            } else {
                entrances.mcp
            };
            if let Ok(channel) = connect(entrance).await
                && let Ok(stream) = Wire::open(self.protocol, &channel).await
            {
                self.follow(stream, &mut state).await;
            }
        }
    }

    /// At so long after this it is this sink's turn.
    fn after(&self, time: Duration) -> Instant {
        clock::after(time, 2 + 2 * self.number as u64)
    }

    /// Until the stream ends, or the sink has had enough of it.
    async fn follow(&mut self, mut stream: Wire, state: &mut State) {
        stream.subscribe(state).await;
        let enough = Duration::from_secs(self.rng.u64(60..600));
        let enough = self.after(enough);
        let mut answered = BTreeSet::new();
        let mut unanswered: Vec<(Instant, Resources)> = Vec::new();
        loop {
            let next = unanswered.iter().map(|(at, _)| *at).min();
            tokio::select! {
                biased;
                () = sleep_until(enough) => return,
                () = sleep_until(next.unwrap_or(enough)) => {
                    for (_, response) in unanswered.extract_if(.., |(at, _)| *at <= Instant::now()) {
                        stream.ack(&response).await;
                    }
                }
                response = stream.next() => {
                    let Some(response) = response else { return };
                    self.take(&response, &mut answered, state, &unanswered);
                    if self.oracle.has_failed() {
                        // The run is over, and a daemon that sends on and on would let no time pass.
                        pending::<()>().await;
                    }
                    let at = Duration::from_millis(self.rng.u64(0..500));
                    let at = self.after(at);
                    unanswered.push((at, response));
                }
            }
        }
    }

    fn take(
        &self,
        response: &Resources,
        answered: &mut BTreeSet<String>,
        state: &mut State,
        unanswered: &[(Instant, Resources)],
    ) {
        let mut hasher = DefaultHasher::new();
        response.encode_to_vec().hash(&mut hasher);
        self.trace.note(format!(
            "sink {}: {} {} {:x}",
            self.number,
            response.collection,
            response.system_version_info,
            hasher.finish()
        ));
        let asked = &response.collection;
        if unanswered
            .iter()
            .any(|(_, other)| other.collection == *asked)
        {
            let number = self.number;
            self.oracle.fails(&format!(
                "sink {number}: two responses of {asked} at a time"
            ));
        }
        let collection = collection_of(asked).to_owned();
        // What an istiod held of an earlier stream goes with the first response of the next.
        let is_first = answered.insert(collection.clone());
        let replaces = is_first && self.protocol == Protocol::XdsDeltas;
        state.apply(Resources {
            collection,
            incremental: response.incremental && !replaces,
            ..response.clone()
        });
        let is_whole = collections().all(|collection| answered.contains(collection));
        self.oracle
            .look((self.number, self.protocol), state, is_whole);
    }
}
