//! The protocol's state of one stream, without transport or clock: requests and snapshots in, responses out.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
    time::Instant,
};

use super::subscription::{Content, Held, Pending, Subscription, listed_bytes};
use crate::{
    proto::istio::mcp::v1alpha1::RequestResources,
    snapshot::{Collection, CollectionVersion, Snapshot},
};

/// Most collections of a stream; no Pilot asks for more than 20.
pub(super) const MAX_COLLECTIONS: usize = 64;
/// Longest name of a collection.
const MAX_NAME: usize = 256;
/// Longest of a sink's own texts that is kept to be shown: its id, the message of a NACK.
const MAX_TEXT: usize = 1024;
/// Bytes of `initial_resource_versions` kept for a stream, some 400,000 resources. A list beyond is not kept, and
/// its sink gets the full state.
const MAX_LISTED: usize = 64 << 20;

/// A pseudo collection by which some sinks probe the server; their answer to it is meant for nobody.
const TRIGGER: &str = "$triggerCollection";
/// gRPC's code of that answer.
const UNIMPLEMENTED: i32 = 12;

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Connection {
    node: String,
    /// Shared by all collections of the stream; the first response has 1.
    nonce: u64,
    snapshot: Option<Arc<Snapshot>>,
    subscriptions: BTreeMap<Arc<str>, Subscription>,
    /// The collection that was sent last: its successors have their turn before it.
    last_sent: Arc<str>,
    /// What is answered for collections that nobody publishes. A Pilot is ready only when all that it asked for were
    /// answered, and an error for one of them would end the stream for all.
    empty: Arc<Collection>,
}

/// What a request was.
#[derive(Debug)]
pub(super) enum Event {
    /// A subscription to a collection, new to this stream.
    Subscribed,
    /// Another full state, asked for by a sink that had one.
    Renewed,
    /// The sink applied a response.
    Acked(Pending),
    /// The sink rejected a response.
    Nacked {
        /// The response.
        pending: Pending,
        /// The gRPC code of the reason.
        code: i32,
        /// The reason, cut to a length that can be shown.
        message: String,
    },
    /// An answer to a response that is not pending; it changes nothing.
    Stale,
    /// Nothing to heed.
    Ignored,
}

/// Why a stream is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It asks for too many collections.
    #[error("a stream may ask for at most {MAX_COLLECTIONS} collections")]
    Collections,
    /// It asks for a collection with too long a name.
    #[error("a collection's name may have at most {MAX_NAME} bytes")]
    Name,
}

/// One response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) collection: Arc<str>,
    pub(super) version: CollectionVersion,
    pub(super) nonce: u64,
    pub(super) incremental: bool,
    pub(super) content: Content,
    /// Nobody publishes its collection, and the sink has not been told so before.
    pub(super) unknown: bool,
}

impl Connection {
    /// Takes a request; what it makes due is fetched with [`next`](Self::next).
    pub(super) fn on_request(
        &mut self,
        mut request: RequestResources,
        now: Instant,
    ) -> Result<Event, Refusal> {
        if request.collection.len() > MAX_NAME {
            return Err(Refusal::Name);
        }
        if let Some(node) = request.sink_node.take() {
            self.node = shortened(node.id);
        }
        let error = request
            .error_detail
            .take()
            .map(|status| (status.code, shortened(status.message)));
        if request.collection == TRIGGER && matches!(error, Some((UNIMPLEMENTED, _))) {
            return Ok(Event::Ignored);
        }
        // "New" by the protocol: no nonce; an error in such a request means nothing.
        if request.response_nonce.is_empty() {
            return self.subscribe(request, now);
        }
        let Some(subscription) = self.subscriptions.get_mut(&*request.collection) else {
            return Ok(Event::Stale);
        };
        let Some(pending) = subscription.answer(&request.response_nonce, error.clone()) else {
            return Ok(Event::Stale);
        };
        subscription.incremental = request.incremental;
        Ok(match error {
            None => Event::Acked(pending),
            Some((code, message)) => Event::Nacked {
                pending,
                code,
                message,
            },
        })
    }

    fn subscribe(&mut self, request: RequestResources, now: Instant) -> Result<Event, Refusal> {
        let full = self.subscriptions.len() >= MAX_COLLECTIONS;
        let kept: usize = self
            .subscriptions
            .values()
            .map(Subscription::listed_bytes)
            .sum();
        match self.subscriptions.entry(request.collection.into()) {
            Entry::Vacant(_) if full => Err(Refusal::Collections),
            Entry::Vacant(entry) => {
                // Only the first request of a stream lists what its sink holds; an empty list says that it is nothing.
                let listed = request.initial_resource_versions;
                let held = if kept + listed_bytes(&listed) <= MAX_LISTED {
                    Held::Listed(listed)
                } else {
                    Held::Unknown
                };
                entry.insert(Subscription::new(request.incremental, held, now));
                Ok(Event::Subscribed)
            }
            Entry::Occupied(mut entry) => {
                // Responses may be on their way, so nobody knows what this sink will hold when it reads the next.
                entry.get_mut().renew(request.incremental, now);
                Ok(Event::Renewed)
            }
        }
    }

    /// Takes a newly published state.
    pub(super) fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot = Some(snapshot);
    }

    /// Whether a response may be due.
    pub(super) fn is_due(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| {
            self.subscriptions.iter().any(|(name, subscription)| {
                current(snapshot, name, &self.empty)
                    .is_some_and(|current| subscription.is_due(current))
            })
        })
    }

    /// The next response, always of the newest state. Collections take turns, so that one that changes all the time
    /// keeps none of the others waiting.
    pub(super) fn next(&mut self, now: Instant) -> Option<Response> {
        let snapshot = self.snapshot.as_ref()?;
        let last = self.last_sent.clone();
        let (before, after) = ((Unbounded, Included(&*last)), (Excluded(&*last), Unbounded));
        for range in [after, before] {
            for (name, subscription) in self.subscriptions.range_mut::<str, _>(range) {
                let Some(current) = current(snapshot, name, &self.empty) else {
                    continue;
                };
                let next = subscription.next(current, snapshot.published, &mut self.nonce, now);
                if let Some(update) = next {
                    self.last_sent = name.clone();
                    return Some(Response {
                        collection: name.clone(),
                        version: update.version,
                        nonce: self.nonce,
                        incremental: update.incremental,
                        content: update.content,
                        unknown: snapshot.get(name).is_none() && subscription.tally.sent == 1,
                    });
                }
            }
        }
        None
    }

    /// When the oldest response was sent that waits for an answer.
    pub(super) fn oldest_pending(&self) -> Option<Instant> {
        self.subscriptions
            .values()
            .filter_map(|subscription| Some(subscription.pending()?.sent))
            .min()
    }

    /// What the sink calls itself.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Every subscription by its collection.
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = (&str, &Subscription)> {
        self.subscriptions
            .iter()
            .map(|(name, subscription)| (&**name, subscription))
    }
}

/// The state that a collection's sink is to hold; `None` where that is not known yet.
fn current<'a>(
    snapshot: &'a Snapshot,
    name: &str,
    empty: &'a Arc<Collection>,
) -> Option<&'a Arc<Collection>> {
    (!snapshot.withholds(name)).then(|| snapshot.get(name).unwrap_or(empty))
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

#[cfg(test)]
mod tests;
