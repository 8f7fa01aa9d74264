//! The state of one stream, without transport or clock: requests and snapshots in, responses out.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
    time::{Duration, Instant},
};

use tonic::Status;

use super::{
    Protocol,
    order::{Order, Subscriptions},
    pace::{Burst, Pace},
    role::Role,
    subscription::{Content, Held, Interest, Pending, Response, Subscription, listed_bytes},
};
use crate::snapshot::{Form, Kind, Snapshot};

/// Most collections of a stream; no Pilot asks for more than 20.
pub(crate) const MAX_COLLECTIONS: usize = 64;
/// Longest name of a collection.
const MAX_NAME: usize = 256;
/// Longest of a sink's own texts that is kept to be shown: its id, the message of a NACK.
const MAX_TEXT: usize = 1024;
/// Bytes of names and versions that sinks list as held, kept for a stream: some 400,000 resources.
pub(crate) const MAX_LISTED: usize = 64 << 20;
/// Bytes of the names that a stream subscribes to one by one, some 30,000, since each counts twice until it was
/// answered: who wants more wants everything.
const MAX_NAMED: usize = 8 << 20;

/// One stream.
#[derive(Debug)]
pub(crate) struct StreamState {
    form: Form,
    kind: fn(&str) -> Option<Kind>,
    node: String,
    /// Shared by all collections of the stream; the first response has 1.
    nonce: u64,
    order: Order,
    pace: Pace,
    subscriptions: Subscriptions,
    /// The collection that was sent last: its successors have their turn before it.
    last_sent: Arc<str>,
}

/// What a request was.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A subscription to a collection, new to this stream or to other resources than before.
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
pub(crate) enum Refusal {
    /// It asks for too many collections.
    #[error("a stream may ask for at most {MAX_COLLECTIONS} collections")]
    Collections,
    /// It asks for a collection with too long a name.
    #[error("a collection's name may have at most {MAX_NAME} bytes")]
    Name,
    /// It names too many resources.
    #[error("a stream names too many resources: it may subscribe to all of them by \"*\"")]
    Resources,
    /// It asks for what no peer of ours would.
    #[error("{0:?} is no type of a configuration source: group/version/Kind is expected")]
    Type(String),
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Collections | Refusal::Name | Refusal::Resources => {
                Self::resource_exhausted(message)
            }
            Refusal::Type(_) => Self::invalid_argument(message),
        }
    }
}

impl StreamState {
    /// A stream of that protocol that asks for nothing yet. Bursts of full states are at least `distance` from each
    /// other.
    pub(crate) fn new<P: Protocol>(distance: Duration) -> Self {
        Self {
            form: P::FORM,
            kind: P::kind,
            node: String::new(),
            nonce: 0,
            order: Order::new(P::find),
            pace: Pace::new(distance),
            subscriptions: Subscriptions::new(),
            last_sent: Arc::default(),
        }
    }

    /// Takes the name that the sink gives itself.
    pub(crate) fn introduce(&mut self, node: String) {
        self.node = shortened(node);
    }

    /// Whether the stream asks for that collection.
    pub(crate) fn is_subscribed(&self, name: &str) -> bool {
        self.subscriptions.contains_key(name)
    }

    /// Whether what a sink says that it holds can be kept.
    pub(crate) fn has_room_for(&self, listed: &BTreeMap<String, String>) -> bool {
        let subscriptions = self.subscriptions.values();
        let kept: usize = subscriptions.map(Subscription::listed_bytes).sum();
        kept + listed_bytes(listed) <= MAX_LISTED
    }

    /// Subscribes to a collection, for the first time on this stream.
    pub(crate) fn subscribe(
        &mut self,
        name: &str,
        incremental: bool,
        interest: Interest,
        held: Held,
        now: Instant,
    ) -> Result<(), Refusal> {
        if name.len() > MAX_NAME {
            return Err(Refusal::Name);
        }
        let full = self.subscriptions.len() >= MAX_COLLECTIONS;
        match self.subscriptions.entry(name.into()) {
            Entry::Vacant(_) if full => return Err(Refusal::Collections),
            Entry::Vacant(entry) => {
                entry.insert(Subscription::new(
                    self.form,
                    Role::of((self.kind)(name)),
                    incremental,
                    interest,
                    held,
                    now,
                ));
                self.pace.waive();
            }
            Entry::Occupied(_) => {}
        }
        self.check_names()
    }

    /// Subscribes again: responses may be on their way, so nobody knows what this sink will hold when it reads the
    /// next. False if the stream does not ask for that collection yet.
    pub(crate) fn renew(&mut self, name: &str, incremental: bool, now: Instant) -> bool {
        let subscription = self.subscriptions.get_mut(name);
        if let Some(subscription) = subscription {
            subscription.renew(incremental, now);
            self.pace.waive();
            return true;
        }
        false
    }

    /// Changes which resources of a collection the sink wants.
    pub(crate) fn change(
        &mut self,
        name: &str,
        wanted: Vec<String>,
        given_up: Vec<String>,
        now: Instant,
    ) -> Result<(), Refusal> {
        if let Some(subscription) = self.subscriptions.get_mut(name) {
            subscription.change(wanted, given_up, now);
            self.pace.waive();
        }
        self.check_names()
    }

    /// Bytes of all names and versions that are kept because the sink has said them.
    pub(super) fn kept_bytes(&self) -> usize {
        let subscriptions = self.subscriptions.values();
        let listed: usize = subscriptions.map(Subscription::listed_bytes).sum();
        listed + self.named_bytes()
    }

    fn named_bytes(&self) -> usize {
        let subscriptions = self.subscriptions.values();
        subscriptions.map(Subscription::named_bytes).sum()
    }

    fn check_names(&self) -> Result<(), Refusal> {
        if self.named_bytes() > MAX_NAMED {
            return Err(Refusal::Resources);
        }
        Ok(())
    }

    /// Takes the answer to a response: an ACK without `error`, a NACK with its code and message.
    pub(crate) fn answer(
        &mut self,
        name: &str,
        nonce: &str,
        error: Option<(i32, String)>,
        incremental: bool,
        now: Instant,
    ) -> Heard {
        let Some(subscription) = self.subscriptions.get_mut(name) else {
            return Heard::Stale;
        };
        let Some(pending) = subscription.answer(nonce, error.clone(), now) else {
            return Heard::Stale;
        };
        subscription.incremental = incremental;
        self.pace.answer(pending.sent, now);
        match error {
            None => Heard::Acked(pending),
            Some((code, message)) => Heard::Nacked {
                pending,
                code,
                message,
            },
        }
    }

    /// Takes a newly published state.
    pub(crate) fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.order.publish(snapshot, &mut self.subscriptions);
    }

    /// Moves on to what was published last, if another burst may begin. Deltas do not wait: whoever takes them pays for
    /// what has changed and nothing else.
    fn catch_up(&mut self, now: Instant) {
        let is_paced = self.subscriptions.values().any(|one| !one.incremental);
        let may_begin = !is_paced || self.pace.is_ready(self.next_burst(), now);
        if may_begin && self.order.is_behind() {
            self.pace.begin(now);
        }
        self.order.catch_up(&self.subscriptions, may_begin, now);
    }

    fn next_burst(&self) -> Burst {
        if self.order.brings_services_alone(&self.subscriptions) {
            Burst::Services
        } else {
            Burst::Any
        }
    }

    /// When something may be due that is not yet, if nothing happens until then.
    pub(crate) fn due_at(&self, now: Instant) -> Option<Instant> {
        let is_behind = self.order.is_behind();
        let next_burst = is_behind.then(|| self.pace.ready_at(self.next_burst()));
        let next_burst = next_burst.flatten();
        let others = self.subscriptions.values();
        let others = others.filter(|subscription| subscription.role != Role::Apart);
        let others = others.filter_map(Subscription::late_at);
        next_burst
            .into_iter()
            .chain(others)
            .filter(|at| *at > now)
            .min()
    }

    /// Whether a response may be due.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        self.catch_up(now);
        self.order.is_due(&self.subscriptions, now)
    }

    /// The next response, always of the newest state that may be sent. Collections take turns, so that one that changes
    /// all the time keeps none of the others waiting.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Response> {
        while self.is_due(now) {
            if let Some(response) = self.next_in_turn(now) {
                return Some(response);
            }
            // What looked due has turned out to be held already, and something else may be due now.
        }
        None
    }

    fn next_in_turn(&mut self, now: Instant) -> Option<Response> {
        let may = self.order.may(&self.subscriptions, now);
        let last = self.last_sent.clone();
        let (before, after) = ((Unbounded, Included(&*last)), (Excluded(&*last), Unbounded));
        for range in [after, before] {
            for (name, subscription) in self.subscriptions.range_mut::<str, _>(range) {
                let role = subscription.role;
                let Some(target) = self.order.target(name, role, may) else {
                    continue;
                };
                let next = subscription.next(name, &target, &mut self.nonce, now);
                if let Some(response) = next {
                    self.last_sent = name.clone();
                    self.order.on_sent(role);
                    let bytes = match &response.content {
                        Content::Full(_) => target.collection.encoded_len(),
                        Content::Delta { .. } => 0,
                    };
                    self.pace.send(bytes, now);
                    self.pace.push(self.form, role, bytes, now);
                    return Some(response);
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

/// A sink's own text, at a length that can be shown.
pub(crate) fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}
