//! Sinks for load: they read what a response names, look closely at what they were told to expect, and keep nothing.

mod raw;
mod wire;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, client::Grpc, transport::Channel};

use self::{raw::Raw, wire::Item};

/// Requests that wait to be sent: one for each collection, and an ACK for each response.
const REQUESTS: usize = 64;
/// No foundation has larger states.
const MAX_MESSAGE: usize = i32::MAX as usize;

/// How a sink is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Full states over MCP, as every Pilot by default.
    Full,
    /// Deltas over MCP.
    Delta,
    /// Full states over xDS, as every istiod.
    Xds,
    /// Deltas over xDS.
    XdsDelta,
}

/// What is to be seen of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// That it is there.
    Present,
    /// That a ServiceEntry has this endpoint.
    Endpoint(IpAddr, u16),
}

/// Names of resources, what is expected of each, and since when.
type Expected = HashMap<String, (Sight, Instant)>;

/// One sink, which runs by itself until it is dropped.
#[derive(Debug)]
pub struct LoadSink {
    expected: Arc<Mutex<Expected>>,
    totals: watch::Receiver<Totals>,
    task: JoinHandle<()>,
}

/// What a sink has been sent.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// The resources that it holds, by collection.
    pub resources: HashMap<String, usize>,
    /// How its stream ended.
    pub ended: Option<Status>,
}

/// What all sinks of a run have been sent.
#[derive(Debug, Default)]
pub struct Counters {
    bytes: AtomicU64,
    responses: AtomicUsize,
}

impl Counters {
    /// Bytes of responses, before TLS.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Responses.
    pub fn responses(&self) -> usize {
        self.responses.load(Relaxed)
    }
}

/// That something expected was seen.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// How long after it was first expected.
    pub after: Duration,
}

impl LoadSink {
    /// Opens a stream for `collections` (their names in MCP) and accepts everything.
    ///
    /// # Errors
    /// The server refuses the stream.
    pub async fn open(
        channel: &Channel,
        mode: Mode,
        collections: &[&str],
        counters: Arc<Counters>,
        seen: mpsc::UnboundedSender<Seen>,
    ) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel(REQUESTS);
        let mut client = Grpc::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let ready = client.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))?;
        let outgoing = Request::new(ReceiverStream::new(outgoing));
        let path = wire::path(mode);
        let mut responses = client.streaming(outgoing, path, Raw).await?.into_inner();
        let first: Vec<Bytes> = wire::subscriptions(mode, collections);
        let expected = Arc::<Mutex<Expected>>::default();
        let (sender, totals) = watch::channel(Totals::default());
        let mut watcher = Watcher {
            mode,
            expected: expected.clone(),
            counters,
            seen,
            totals: sender,
        };
        let task = tokio::spawn(async move {
            for request in first {
                if requests.send(request).await.is_err() {
                    return;
                }
            }
            let ended = loop {
                match responses.message().await {
                    Ok(Some(response)) => {
                        let Ok(answer) = watcher.take_in(response) else {
                            break Status::internal("a response that is no protobuf message");
                        };
                        if requests.send(answer).await.is_err() {
                            break Status::unavailable("the stream takes no more requests");
                        }
                    }
                    Ok(None) => break Status::ok(""),
                    Err(status) => break status,
                }
            };
            let ended = Some(ended);
            watcher.totals.send_modify(|totals| totals.ended = ended);
        });
        Ok(Self {
            expected,
            totals,
            task,
        })
    }

    /// Looks out for a resource, from the next response on. What was expected of it before and has not come is replaced,
    /// and has been waited for since then.
    pub fn expect(&self, name: &str, sight: Sight, since: Instant) {
        let mut expected = locked(&self.expected);
        let replaced = expected.get(name).map(|(_, since)| *since);
        expected.insert(name.to_owned(), (sight, replaced.unwrap_or(since)));
    }

    /// What is expected and was not seen.
    pub fn unseen(&self) -> usize {
        locked(&self.expected).len()
    }

    /// What it holds, to be read now or waited for.
    pub fn totals(&self) -> watch::Receiver<Totals> {
        self.totals.clone()
    }
}

impl Drop for LoadSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The part of a sink that looks at responses.
struct Watcher {
    mode: Mode,
    expected: Arc<Mutex<Expected>>,
    counters: Arc<Counters>,
    seen: mpsc::UnboundedSender<Seen>,
    totals: watch::Sender<Totals>,
}

impl Watcher {
    /// The ACK of a response.
    fn take_in(&mut self, response: Bytes) -> Result<Bytes, prost::DecodeError> {
        self.counters
            .bytes
            .fetch_add(response.len() as u64, Relaxed);
        self.counters.responses.fetch_add(1, Relaxed);
        let delivery = wire::read(self.mode, response)?;
        self.look_at(&delivery.items);
        self.totals.send_modify(|totals| {
            let held = totals.resources.entry(delivery.collection.clone());
            let held = held.or_default();
            let come = delivery.items.len();
            // Of a delta, what is replaced counts twice: only the first one is a count of what is there.
            *held = if delivery.is_delta && *held > 0 {
                *held
            } else {
                come
            };
        });
        Ok(wire::ack(self.mode, &delivery))
    }

    fn look_at(&self, items: &[Item]) {
        let mut expected = locked(&self.expected);
        if expected.is_empty() {
            return;
        }
        for item in items {
            let name = item.name();
            let Some((sight, since)) = expected.get(name) else {
                continue;
            };
            if item.shows(*sight) {
                let seen = Seen {
                    after: since.elapsed(),
                };
                expected.remove(name);
                if self.seen.send(seen).is_err() {
                    tracing::debug!("seen after the end of the run");
                }
            }
        }
    }
}

/// A panic elsewhere leaves the map as good as it was.
fn locked(expected: &Mutex<Expected>) -> MutexGuard<'_, Expected> {
    expected.lock().unwrap_or_else(PoisonError::into_inner)
}
