//! One collection on one stream: what its sink holds, what it was sent, and what it is due.
//!
//! Knows no message and no transport: only nonces, versions and the collections themselves.

mod interest;

use std::{
    collections::BTreeMap,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

pub(crate) use self::interest::Interest;
use super::role::{Role, Target};
use crate::snapshot::{Collection, CollectionVersion, Form, Resource, Sent};

/// How long a response may be unanswered until other collections go on without it. Pilots answer as soon as they have
/// stored what they got, however long their push takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A sink's interest in one collection.
#[derive(Debug)]
pub(crate) struct Subscription {
    form: Form,
    pub(super) role: Role,
    pub(super) incremental: bool,
    interest: Interest,
    /// The version that the sink answered last, by ACK or NACK: it is not sent again. `None` after a new request,
    /// which is answered whatever the version.
    seen: Option<CollectionVersion>,
    held: Held,
    /// Bytes of what it listed.
    listed: usize,
    /// What it asked for and has not been told of, be it only that there is no such resource.
    owed: Interest,
    pending: Option<Pending>,
    requested: Instant,
    /// When a source said first what has changed and has not been sent.
    cause: Option<Instant>,
    pub(super) tally: Tally,
}

/// What a sink is known to hold: the base of a delta.
#[derive(Debug)]
pub(crate) enum Held {
    /// Anything: only a full state is sure to replace it.
    Unknown,
    /// What it listed in its request, as name and version.
    Listed(BTreeMap<String, String>),
    /// The state that it acknowledged.
    State(Arc<Collection>),
}

/// A response that its sink has not answered yet.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Its nonce.
    pub(super) nonce: u64,
    /// The state that it brings the sink to.
    pub(super) collection: Arc<Collection>,
    /// What it tells of because that was asked for.
    owed: Interest,
    /// When it was sent.
    pub(super) sent: Instant,
    /// When it could have been sent first: published, and asked for.
    pub(super) available: Instant,
    /// When a source said first what is new in it, if that is why it was sent.
    pub(super) cause: Option<Instant>,
}

/// What has happened to a subscription so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) acks: u64,
    pub(super) nacks: u64,
    pub(super) sent_version: Option<CollectionVersion>,
    pub(super) acked_version: Option<CollectionVersion>,
    /// The last answer, if it was a NACK.
    pub(super) nack: Option<Nack>,
}

/// A response that was rejected.
#[derive(Debug)]
pub(super) struct Nack {
    pub(super) code: i32,
    pub(super) message: String,
    pub(super) at: Instant,
}

/// What a response carries.
#[derive(Debug)]
pub(crate) enum Content {
    /// Every resource.
    Full(Sent),
    /// What changed.
    Delta {
        /// New or changed resources, each an entry of `resources`.
        changed: Vec<Bytes>,
        /// The names of those that are gone.
        removed: Vec<String>,
    },
}

impl Content {
    /// The names of those that are gone, which are not left in it.
    pub(super) fn take_removed(&mut self) -> Vec<String> {
        match self {
            Self::Full(_) => Vec::new(),
            Self::Delta { removed, .. } => mem::take(removed),
        }
    }

    fn is_empty_delta(&self) -> bool {
        matches!(self, Self::Delta { changed, removed } if changed.is_empty() && removed.is_empty())
    }
}

/// One response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) collection: Arc<str>,
    pub(crate) version: CollectionVersion,
    pub(crate) nonce: u64,
    pub(crate) incremental: bool,
    pub(crate) content: Content,
    /// Nobody publishes its collection, and the sink has not been told so before.
    pub(crate) unknown: bool,
}

impl Subscription {
    /// A subscription of a sink that holds what it lists.
    pub(super) fn new(
        form: Form,
        role: Role,
        incremental: bool,
        interest: Interest,
        held: Held,
        now: Instant,
    ) -> Self {
        let owed = match &held {
            Held::Listed(listed) if listed.is_empty() => interest.clone(),
            Held::Listed(listed) => interest.names_without(|name| listed.contains_key(name)),
            Held::Unknown | Held::State(_) => Interest::default(),
        };
        let listed = match &held {
            Held::Listed(listed) => listed_bytes(listed),
            Held::Unknown | Held::State(_) => 0,
        };
        Self {
            form,
            role,
            incremental,
            seen: None,
            owed,
            interest,
            held,
            listed,
            pending: None,
            requested: now,
            cause: None,
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

    /// Changes what the sink wants. What it asks for is due, even if it was sent before; and so is a name that it gives
    /// up while it wants everything, for it may have forgotten that resource.
    pub(super) fn change(&mut self, wanted: Vec<String>, given_up: Vec<String>, now: Instant) {
        for name in given_up {
            self.interest.remove(&name);
            self.owed.remove(&name);
            if self.interest.is_everything() {
                self.owe(name, now);
            }
        }
        for name in wanted {
            self.interest.add(name.clone());
            self.owe(name, now);
        }
    }

    fn owe(&mut self, name: String, now: Instant) {
        self.owed.add(name);
        self.seen = None;
        self.requested = now;
    }

    /// The response that waits for the sink's answer.
    pub(super) fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    /// Bytes of the names and versions that are kept because the sink listed them.
    pub(super) fn listed_bytes(&self) -> usize {
        match &self.held {
            Held::Listed(_) => self.listed,
            Held::Unknown | Held::State(_) => 0,
        }
    }

    /// Bytes of the names that are kept because the sink gave them.
    pub(super) fn named_bytes(&self) -> usize {
        let pending = self.pending.as_ref();
        let pending = pending.map_or(0, |pending| pending.owed.bytes());
        self.interest.bytes() + self.owed.bytes() + pending
    }

    /// Takes the answer to the pending response: an ACK without `error`, a NACK with its code and message. `None`
    /// when the nonce is not that of the pending response; then nothing changes.
    pub(super) fn answer(
        &mut self,
        nonce: &str,
        error: Option<(i32, String)>,
        now: Instant,
    ) -> Option<Pending> {
        let mut pending = self
            .pending
            .take_if(|pending| pending.nonce.to_string() == nonce)?;
        let version = pending.collection.version();
        // A rejected version counts as seen: sending it again would only be rejected again. What was asked for since
        // the response was sent is due all the same.
        self.seen = self.owed.is_nothing().then_some(version);
        if error.is_none() {
            self.tally.acks += 1;
            self.tally.acked_version = Some(version);
            self.held = Held::State(pending.collection.clone());
        } else {
            self.tally.nacks += 1;
            let owed = mem::take(&mut pending.owed);
            self.owed.extend(owed, &self.interest);
        }
        self.tally.nack = error.map(|(code, message)| Nack {
            code,
            message,
            at: now,
        });
        Some(pending)
    }

    /// Whether `current` is to be sent: at most one response is outstanding, and none repeats what was answered.
    pub(super) fn is_due(&self, current: &Collection) -> bool {
        self.pending.is_none() && self.seen != Some(current.version())
    }

    /// Whether the sink was sent `current` last: it may have rejected it, but will not be sent it again.
    pub(super) fn was_sent(&self, current: &Collection) -> bool {
        match &self.pending {
            Some(pending) => pending.collection.version() == current.version(),
            None => !self.is_due(current),
        }
    }

    /// The collection has become `current`, because of what a source said at `cause`. What comes before the first answer
    /// is no change to the sink.
    pub(super) fn changes(&mut self, current: &Collection, cause: Option<Instant>) {
        let is_answered = self.seen.is_some() || self.pending.is_some();
        if self.was_sent(current) {
            self.cause = None;
        } else if is_answered {
            self.cause = self.cause.into_iter().chain(cause).min();
        }
    }

    /// Whether `current` is there, or on its way, or could be sent at once.
    pub(super) fn is_free_for(&self, current: &Collection) -> bool {
        self.pending.is_none() || self.was_sent(current)
    }

    /// Until when others wait for the answer to the pending response.
    pub(super) fn late_at(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| pending.sent + PATIENCE)
    }

    /// Whether that has lasted too long.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.late_at().is_some_and(|at| at <= now)
    }

    /// The response that brings the sink to the target; it is pending from now on, under the successor of `nonce`.
    pub(super) fn next(
        &mut self,
        name: &Arc<str>,
        target: &Target,
        nonce: &mut u64,
        now: Instant,
    ) -> Option<Response> {
        let current = &target.collection;
        if !self.is_due(current) {
            return None;
        }
        let (incremental, content) = self.content(current);
        if self.seen.is_some() && content.is_empty_delta() {
            // The sink has that state already, from before what it rejected. A new request is answered all the
            // same: a sink is ready only after an answer for each of its collections.
            self.seen = Some(current.version());
            self.held = Held::State(current.clone());
            // What it rejected is not what is published any more.
            self.tally.nack = None;
            self.tally.acked_version = Some(current.version());
            return None;
        }
        *nonce += 1;
        self.pending = Some(Pending {
            nonce: *nonce,
            collection: current.clone(),
            owed: mem::take(&mut self.owed),
            sent: now,
            available: target.published.max(self.requested),
            cause: self.cause.take(),
        });
        self.tally.sent += 1;
        self.tally.sent_version = Some(current.version());
        Some(Response {
            collection: name.clone(),
            version: current.version(),
            nonce: *nonce,
            incremental,
            content,
            unknown: target.is_unknown && self.tally.sent == 1,
        })
    }

    fn content(&self, current: &Arc<Collection>) -> (bool, Content) {
        let (mut changed, mut removed) = match &self.held {
            _ if !self.incremental => return (false, self.full(current)),
            Held::Unknown => return (false, self.full(current)),
            // Whoever holds nothing is owed all that it wants.
            Held::Listed(listed) if listed.is_empty() => (Vec::new(), Vec::new()),
            Held::Listed(listed) => self.since_listed(current, listed),
            Held::State(old) => self.since(current, old),
        };
        let names = self.owed.names();
        if self.owed.is_everything() {
            if names.is_empty() && removed.is_empty() {
                return (true, self.full(current));
            }
            changed = current.iter().collect();
        }
        if !self.interest.is_everything() || !names.is_empty() {
            let is_wanted = |name: &str| self.interest.covers(name) && !names.contains(name);
            changed.retain(|resource| is_wanted(&self.form.name(resource.name)));
            removed.retain(|name| is_wanted(name));
        }
        for name in names {
            match self.find(current, name) {
                Some(resource) => changed.push(resource),
                None => removed.push(name.clone()),
            }
        }
        let changed = changed.into_iter();
        let changed = changed.map(|resource| resource.frame(self.form)).collect();
        (true, Content::Delta { changed, removed })
    }

    /// Everything. istiod looks at one resource after the other and pushes a moment after the last change that it finds: what
    /// is new in what it is told of first is told last, and in what comes after that first, so that no push falls in
    /// between.
    fn full(&self, current: &Collection) -> Content {
        let before = match &self.held {
            Held::State(before) => Some(&**before),
            Held::Unknown | Held::Listed(_) => None,
        };
        Content::Full(current.sent_after(before, self.role.changed()))
    }

    /// What a sink needs that holds `listed`; names that are not ours any more are removed.
    fn since_listed<'a>(
        &self,
        current: &'a Collection,
        listed: &BTreeMap<String, String>,
    ) -> (Vec<Resource<'a>>, Vec<String>) {
        let changed = current.iter().filter(|resource| {
            listed
                .get(&*self.form.name(resource.name))
                .is_none_or(|version| *version != resource.version.to_string())
        });
        let gone = |name: &&String| self.find(current, name).is_none();
        let removed = listed.keys().filter(gone).cloned();
        (changed.collect(), removed.collect())
    }

    /// What a sink needs that holds `old`.
    fn since<'a>(
        &self,
        current: &'a Collection,
        old: &'a Collection,
    ) -> (Vec<Resource<'a>>, Vec<String>) {
        let diff = current.diff(old);
        let removed = diff.removed.into_iter();
        let removed = removed.map(|name| self.form.name(name).into_owned());
        (diff.changed, removed.collect())
    }

    /// The resource that the sink knows by a name.
    fn find<'a>(&self, current: &'a Collection, name: &str) -> Option<Resource<'a>> {
        current.get(self.form.own(name)?)
    }
}

/// What an entry of a list costs beside its name and version: its place in a map, and two allocations.
const OVERHEAD: usize = 64;

/// What it costs to keep listed names and versions.
pub(super) fn listed_bytes(listed: &BTreeMap<String, String>) -> usize {
    listed
        .iter()
        .map(|(name, version)| name.len() + version.len() + OVERHEAD)
        .sum()
}
