//! One collection on one stream: what its sink holds, what it was sent, and what it is due.
//!
//! Knows no message and no transport: only nonces, versions and the collections themselves.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use bytes::Bytes;

use crate::snapshot::{Collection, CollectionVersion};

/// A sink's interest in one collection.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) incremental: bool,
    /// The version that the sink answered last, by ACK or NACK: it is not sent again. `None` after a new request,
    /// which is answered whatever the version.
    seen: Option<CollectionVersion>,
    held: Held,
    pending: Option<Pending>,
    requested: Instant,
    pub(super) tally: Tally,
}

/// What a sink is known to hold: the base of a delta.
#[derive(Debug)]
pub(super) enum Held {
    /// Anything: only a full state is sure to replace it.
    Unknown,
    /// What it listed in its request, as name and version.
    Listed(BTreeMap<String, String>),
    /// The state that it acknowledged.
    State(Arc<Collection>),
}

/// A response that its sink has not answered yet.
#[derive(Debug)]
pub(super) struct Pending {
    /// Its nonce.
    pub(super) nonce: u64,
    /// The state that it brings the sink to.
    pub(super) collection: Arc<Collection>,
    /// When it was sent.
    pub(super) sent: Instant,
    /// When it could have been sent first: published, and asked for.
    pub(super) available: Instant,
}

/// What has happened to a subscription so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) acks: u64,
    pub(super) nacks: u64,
    pub(super) sent_version: Option<CollectionVersion>,
    pub(super) acked_version: Option<CollectionVersion>,
    /// Code and message of the last answer, if it was a NACK.
    pub(super) nack: Option<(i32, String)>,
}

/// What a response carries.
#[derive(Debug)]
pub(super) enum Content {
    /// Every resource.
    Full(Arc<Collection>),
    /// What changed.
    Delta {
        /// New or changed resources, each an entry of `resources`.
        changed: Vec<Bytes>,
        /// The names of those that are gone.
        removed: Vec<String>,
    },
}

impl Content {
    fn is_empty_delta(&self) -> bool {
        matches!(self, Self::Delta { changed, removed } if changed.is_empty() && removed.is_empty())
    }
}

/// A response, but for its collection's name.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) version: CollectionVersion,
    pub(super) incremental: bool,
    pub(super) content: Content,
}

impl Subscription {
    /// A subscription of a sink that holds what it lists.
    pub(super) fn new(incremental: bool, held: Held, now: Instant) -> Self {
        Self {
            incremental,
            seen: None,
            held,
            pending: None,
            requested: now,
            tally: Tally::default(),
        }
    }

    /// Starts again: the whole state is due, and a response on its way is forgotten.
    pub(super) fn renew(&mut self, incremental: bool, now: Instant) {
        self.incremental = incremental;
        self.seen = None;
        self.pending = None;
        self.held = Held::Unknown;
        self.requested = now;
    }

    /// The response that waits for the sink's answer.
    pub(super) fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    /// Bytes of the names and versions that are kept because the sink listed them.
    pub(super) fn listed_bytes(&self) -> usize {
        match &self.held {
            Held::Listed(listed) => listed_bytes(listed),
            Held::Unknown | Held::State(_) => 0,
        }
    }

    /// Takes the answer to the pending response: an ACK without `error`, a NACK with its code and message. `None`
    /// when the nonce is not that of the pending response; then nothing changes.
    pub(super) fn answer(&mut self, nonce: &str, error: Option<(i32, String)>) -> Option<Pending> {
        let pending = self
            .pending
            .take_if(|pending| pending.nonce.to_string() == nonce)?;
        // A rejected version counts as seen: sending it again would only be rejected again.
        self.seen = Some(pending.collection.version());
        if error.is_none() {
            self.tally.acks += 1;
            self.tally.acked_version = self.seen;
            self.held = Held::State(pending.collection.clone());
        } else {
            self.tally.nacks += 1;
        }
        self.tally.nack = error;
        Some(pending)
    }

    /// Whether `current` is to be sent: at most one response is outstanding, and none repeats what was answered.
    pub(super) fn is_due(&self, current: &Collection) -> bool {
        self.pending.is_none() && self.seen != Some(current.version())
    }

    /// The response that brings the sink to `current`, published at `published`; it is pending from now on, under
    /// the successor of `nonce`.
    pub(super) fn next(
        &mut self,
        current: &Arc<Collection>,
        published: Instant,
        nonce: &mut u64,
        now: Instant,
    ) -> Option<Update> {
        if !self.is_due(current) {
            return None;
        }
        let (incremental, content) = self.content(current);
        if self.seen.is_some() && content.is_empty_delta() {
            // The sink has that state already, from before what it rejected. A new request is answered all the
            // same: a sink is ready only after an answer for each of its collections.
            self.seen = Some(current.version());
            self.held = Held::State(current.clone());
            return None;
        }
        *nonce += 1;
        self.pending = Some(Pending {
            nonce: *nonce,
            collection: current.clone(),
            sent: now,
            available: published.max(self.requested),
        });
        self.tally.sent += 1;
        self.tally.sent_version = Some(current.version());
        Some(Update {
            version: current.version(),
            incremental,
            content,
        })
    }

    fn content(&self, current: &Arc<Collection>) -> (bool, Content) {
        let full = || Content::Full(current.clone());
        if !self.incremental {
            return (false, full());
        }
        match &self.held {
            Held::Unknown => (false, full()),
            Held::Listed(listed) if listed.is_empty() => (true, full()),
            Held::Listed(listed) => (true, since_listed(current, listed)),
            Held::State(old) => {
                let diff = current.diff(old);
                let changed = diff.changed.into_iter().map(|resource| resource.bytes);
                let content = Content::Delta {
                    changed: changed.collect(),
                    removed: diff.removed.into_iter().map(str::to_owned).collect(),
                };
                (true, content)
            }
        }
    }
}

/// What a sink needs that holds `listed`; names that are not ours any more are removed.
fn since_listed(current: &Collection, listed: &BTreeMap<String, String>) -> Content {
    let changed = current.iter().filter(|resource| {
        listed
            .get(resource.name)
            .is_none_or(|version| *version != resource.version.to_string())
    });
    let removed = listed.keys().filter(|name| current.get(name).is_none());
    Content::Delta {
        changed: changed.map(|resource| resource.bytes).collect(),
        removed: removed.cloned().collect(),
    }
}

/// Bytes of listed names and versions.
pub(super) fn listed_bytes(listed: &BTreeMap<String, String>) -> usize {
    listed
        .iter()
        .map(|(name, version)| name.len() + version.len())
        .sum()
}
