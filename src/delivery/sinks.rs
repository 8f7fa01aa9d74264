//! The open streams: who may have one, and what operators see of them.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Display,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use serde::{Serialize, Serializer};
use tonic::Status;

use super::{
    Limits, Protocol,
    state::StreamState,
    subscription::{Subscription, Tally},
};
use crate::{telemetry::of_epoch, tls::Peer};

/// What those call themselves that look at what is served and leave: nobody misses them.
pub const VISITOR: &str = "copilot-diff";
/// Sinks that have left and are remembered.
const GONE: usize = 64;

/// A stream as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct SinkStatus {
    /// Counts the streams of this process.
    pub id: u64,
    /// Where it comes from.
    pub peer: String,
    /// The subject alternative names of its own certificate.
    pub names: Vec<String>,
    /// What the sink calls itself; nobody checks it.
    pub node: String,
    /// Its gRPC library.
    pub user_agent: String,
    /// When the stream was opened.
    #[serde(serialize_with = "timestamp")]
    pub connected: SystemTime,
    /// What it asked for, by collection.
    pub collections: BTreeMap<String, CollectionStatus>,
}

/// A collection on one stream.
#[derive(Debug, Clone, Serialize)]
pub struct CollectionStatus {
    /// Whether its sink takes deltas.
    pub incremental: bool,
    /// The version sent last.
    pub sent_version: Option<String>,
    /// The version acknowledged last.
    pub acked_version: Option<String>,
    /// The response that waits for its answer.
    pub pending: Option<PendingStatus>,
    /// The last answer, if that was a rejection.
    pub nack: Option<NackStatus>,
    /// How many responses were sent.
    pub sent: u64,
    /// How many of them were acknowledged.
    pub acks: u64,
    /// How many of them were rejected.
    pub nacks: u64,
}

/// A response without an answer.
#[derive(Debug, Clone, Serialize)]
pub struct PendingStatus {
    /// Its nonce.
    pub nonce: String,
    /// When it was sent.
    #[serde(serialize_with = "timestamp")]
    pub since: SystemTime,
}

/// Why a sink rejected a response, in its own words.
#[derive(Debug, Clone, Serialize)]
pub struct NackStatus {
    /// The gRPC code.
    pub code: i32,
    /// The message.
    pub message: String,
    /// When it came.
    #[serde(serialize_with = "timestamp")]
    pub since: SystemTime,
}

/// A stream that has ended, and whose sink has not come back.
#[derive(Debug, Clone, Serialize)]
pub struct GoneSink {
    /// Where it came from.
    pub peer: String,
    /// The subject alternative names of its certificate.
    pub names: Vec<String>,
    /// What it called itself.
    pub node: String,
    /// When the stream ended.
    #[serde(serialize_with = "timestamp")]
    pub left: SystemTime,
}

fn timestamp<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(of_epoch(*time)))
}

fn system_time(instant: Instant) -> SystemTime {
    SystemTime::now() - instant.elapsed()
}

impl CollectionStatus {
    fn new(subscription: &Subscription) -> Self {
        let tally = &subscription.tally;
        Self {
            incremental: subscription.incremental,
            sent_version: tally.sent_version.as_ref().map(ToString::to_string),
            acked_version: tally.acked_version.as_ref().map(ToString::to_string),
            pending: subscription.pending().map(|pending| PendingStatus {
                nonce: pending.nonce.to_string(),
                since: system_time(pending.sent),
            }),
            nack: tally.nack.as_ref().map(|nack| NackStatus {
                code: nack.code,
                message: nack.message.clone(),
                since: system_time(nack.at),
            }),
            sent: tally.sent,
            acks: tally.acks,
            nacks: tally.nacks,
        }
    }
}

/// A stream in numbers, over all of its collections.
#[derive(Debug)]
pub(super) struct StreamTotals {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) sent: u64,
    pub(super) acks: u64,
    pub(super) nacks: u64,
    /// When the oldest response was sent that waits for its answer.
    pub(super) oldest_pending: Option<Instant>,
}

/// Every open stream. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Sinks(Arc<Streams>);

/// The number of the next stream, of whichever server.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Default)]
struct Streams {
    open: Mutex<BTreeMap<u64, Arc<Entry>>>,
    /// The latest at the end.
    gone: Mutex<VecDeque<GoneSink>>,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    user_agent: String,
    connected: Instant,
    state: Mutex<StreamState>,
}

impl Sinks {
    /// Every open stream, the oldest first.
    pub fn list(&self) -> Vec<SinkStatus> {
        // Cloned, so that a stream is never locked under the lock of all.
        let open = self.open().clone();
        open.iter().map(|(id, stream)| stream.status(*id)).collect()
    }

    /// The sinks that have left of late and have not come back, the latest at the end.
    pub fn gone(&self) -> Vec<GoneSink> {
        self.gone_ones().iter().cloned().collect()
    }

    fn gone_ones(&self) -> MutexGuard<'_, VecDeque<GoneSink>> {
        self.0.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was sent and answered on every open stream.
    pub(super) fn totals(&self) -> Vec<StreamTotals> {
        let open = self.open().clone();
        open.iter().map(|(id, stream)| stream.totals(*id)).collect()
    }

    /// Takes in a stream, if the limits allow another one.
    pub(super) fn admit<P: Protocol>(
        &self,
        peer: Peer,
        user_agent: String,
        limits: &Limits,
    ) -> Result<OpenStream, Status> {
        let mut open = self.open();
        exhausted(open.len() >= limits.streams_total, "streams are open")?;
        let same = open
            .values()
            .filter(|stream| stream.peer.address.ip() == peer.address.ip())
            .count();
        exhausted(
            same >= limits.streams_per_peer,
            format_args!("streams of {} are open", peer.address.ip()),
        )?;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let stream = Arc::new(Entry {
            peer,
            user_agent,
            connected: Instant::now(),
            state: Mutex::new(StreamState::new::<P>(limits.burst_distance)),
        });
        open.insert(id, stream.clone());
        drop(open);
        let is_back = |gone: &GoneSink| is_same(gone, &stream.peer);
        self.gone_ones().retain(|gone| !is_back(gone));
        Ok(OpenStream {
            id,
            stream,
            sinks: self.clone(),
        })
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Entry>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a sink that has left is at this peer: a new connection has another port.
fn is_same(gone: &GoneSink, peer: &Peer) -> bool {
    let address = gone.peer.parse::<SocketAddr>();
    let is_there = address.is_ok_and(|address| address.ip() == peer.address.ip());
    is_there && *gone.names == *peer.names
}

fn exhausted(is: bool, what: impl Display) -> Result<(), Status> {
    if is {
        return Err(Status::resource_exhausted(format!("too many {what}")));
    }
    Ok(())
}

impl Entry {
    fn state(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn totals(&self, id: u64) -> StreamTotals {
        let state = self.state();
        let sum = |count: fn(&Tally) -> u64| {
            let subscriptions = state.subscriptions();
            subscriptions.map(|(_, one)| count(&one.tally)).sum()
        };
        StreamTotals {
            id,
            peer: self.peer.address,
            sent: sum(|tally| tally.sent),
            acks: sum(|tally| tally.acks),
            nacks: sum(|tally| tally.nacks),
            oldest_pending: state.oldest_pending(),
        }
    }

    fn status(&self, id: u64) -> SinkStatus {
        let state = self.state();
        SinkStatus {
            id,
            peer: self.peer.address.to_string(),
            names: self.peer.names.to_vec(),
            node: state.node().to_owned(),
            user_agent: self.user_agent.clone(),
            connected: system_time(self.connected),
            collections: state
                .subscriptions()
                .map(|(name, subscription)| (name.to_owned(), CollectionStatus::new(subscription)))
                .collect(),
        }
    }
}

/// A place among the open streams; given up when dropped.
#[derive(Debug)]
pub(super) struct OpenStream {
    id: u64,
    stream: Arc<Entry>,
    sinks: Sinks,
}

impl OpenStream {
    /// The stream's state. Only its own task changes it; others read it now and then, for a moment.
    pub(super) fn state(&self) -> MutexGuard<'_, StreamState> {
        self.stream.state()
    }

    /// The stream's number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = self.sinks.open();
        open.remove(&self.id);
        let peer = &self.stream.peer;
        let same = open.values().any(|stream| {
            stream.peer.address.ip() == peer.address.ip() && stream.peer.names == peer.names
        });
        drop(open);
        let gone = GoneSink {
            peer: peer.address.to_string(),
            names: peer.names.to_vec(),
            node: self.state().node().to_owned(),
            left: SystemTime::now(),
        };
        let mut others = self.sinks.gone_ones();
        others.retain(|other| !is_same(other, peer));
        if same || gone.node == VISITOR {
            return;
        }
        if others.len() == GONE {
            others.pop_front();
        }
        others.push_back(gone);
    }
}
