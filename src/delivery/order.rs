//! Make before break: what names a resource is sent after it, and the resource goes after what names it.
//!
//! Of each published state a stream is told in a *round*: DestinationRules that are due first, since they have the names of
//! who may answer at the endpoints, then ServiceEntries, then the VirtualServices that name them. They have to be sent, not
//! acknowledged, since a stream keeps its order. What is gone from them stays in the round if the VirtualServices that were
//! sent last may still name it, and goes with the next one.
//!
//! What is gone because its route is refused does not stay, nor what led to instances that have ended: a request that a
//! sink's old routes still send there finds nothing.
//!
//! Nobody is waited for who refuses a response, leaves one unanswered for long, or never asked.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use super::{
    Found,
    role::{Role, Target},
    subscription::Subscription,
};
use crate::snapshot::{Collection, CollectionVersion, Snapshot};

/// Subscriptions by their collections' names.
pub(super) type Subscriptions = BTreeMap<Arc<str>, Subscription>;

/// How a stream's protocol finds a collection by its name.
type Find = for<'a> fn(&'a Snapshot, &str) -> Found<'a>;

/// Which collections may be sent, of those that come after others.
#[derive(Debug, Clone, Copy)]
pub(super) struct May {
    serve: bool,
    name: bool,
}

/// What a stream is told of next.
#[derive(Debug)]
pub(super) struct Order {
    find: Find,
    /// What is answered for collections that nobody publishes. A Pilot is ready only when all that it asked for were
    /// answered, and an error for one of them would end the stream for all.
    empty: Arc<Collection>,
    /// What was published last.
    newest: Option<Arc<Snapshot>>,
    /// What is sent: the same, or what was the newest when the last burst began.
    sending: Option<Arc<Snapshot>>,
    round: Option<Round>,
    /// By naming collection, the latest state that has it as it was sent last.
    sent: BTreeMap<Arc<str>, Arc<Snapshot>>,
}

/// The state that named and naming collections are brought to.
#[derive(Debug)]
struct Round {
    state: Arc<Snapshot>,
    /// Older states, of which stays what is gone since: what names it may not be replaced yet.
    older: Vec<Arc<Snapshot>>,
    /// What the named collections are with that, as far as it was made.
    named: BTreeMap<Arc<str>, Arc<Collection>>,
    /// Whether anything of it was sent.
    is_begun: bool,
}

impl Order {
    pub(super) fn new(find: Find) -> Self {
        Self {
            find,
            empty: Arc::default(),
            newest: None,
            sending: None,
            round: None,
            sent: BTreeMap::new(),
        }
    }

    /// Takes a newly published state.
    pub(super) fn publish(&mut self, newest: Arc<Snapshot>, subscriptions: &mut Subscriptions) {
        if let Some(before) = &self.newest {
            for (name, subscription) in subscriptions {
                let current = published(self.find, &newest, name);
                let is_same = version(self.find, before, name) == current.map(|it| it.version());
                if let Some(current) = current.filter(|_| !is_same) {
                    subscription.changes(current, newest.cause);
                }
            }
        }
        self.newest = Some(newest);
    }

    /// Whether something waits for the next burst.
    pub(super) fn is_behind(&self) -> bool {
        let is_newest = match (&self.newest, &self.sending) {
            (Some(newest), Some(sending)) => Arc::ptr_eq(newest, sending),
            (newest, _) => newest.is_none(),
        };
        let keeps = |round: &Round| !round.older.is_empty();
        !is_newest || self.round.as_ref().is_some_and(keeps)
    }

    /// Whether of what was published last nothing but ServiceEntries is new to the sink.
    pub(super) fn brings_services_alone(&self, subscriptions: &Subscriptions) -> bool {
        let Some(newest) = &self.newest else {
            return false;
        };
        with_role(subscriptions, |role| role != Role::Services).all(|(name, subscription)| {
            published(self.find, newest, name)
                .is_none_or(|collection| subscription.was_sent(collection))
        })
    }

    /// Moves on to what was published last, as far as it may be sent: a burst `may_begin`, and the next round only if
    /// that leaves nobody behind.
    pub(super) fn catch_up(
        &mut self,
        subscriptions: &Subscriptions,
        may_begin: bool,
        now: Instant,
    ) {
        if may_begin {
            self.sending.clone_from(&self.newest);
        }
        let Some(sending) = self.sending.clone() else {
            return;
        };
        self.note_sent(subscriptions, now);
        let older = self.still_named(&sending);
        if let Some(round) = &self.round {
            let is_same = Arc::ptr_eq(&round.state, &sending);
            if is_same && (!may_begin || round.older.len() == older.len()) {
                return;
            }
        }
        let mut next = Round {
            state: sending,
            older,
            named: BTreeMap::new(),
            is_begun: false,
        };
        if self.may_follow(&mut next, subscriptions, now) {
            self.round = Some(next);
        }
    }

    /// Notes which states have the VirtualServices that were sent last. Nobody is waited for who has not answered for
    /// long.
    fn note_sent(&mut self, subscriptions: &Subscriptions, now: Instant) {
        let round = self.round.as_ref().map(|round| &round.state);
        for (name, subscription) in with_role(subscriptions, |role| role == Role::Naming) {
            if subscription.is_late(now) {
                self.sent.remove(name);
                continue;
            }
            let mut states = self.newest.iter().chain(round);
            let has_it = |state: &&Arc<Snapshot>| {
                let collection = published(self.find, state, name);
                collection.is_some_and(|collection| subscription.was_sent(collection))
            };
            if let Some(latest) = states.find(has_it) {
                self.sent.insert(name.clone(), latest.clone());
            }
        }
    }

    /// The states whose VirtualServices a sink may have when it is told of `next`, and that may name what is not in it.
    fn still_named(&self, next: &Snapshot) -> Vec<Arc<Snapshot>> {
        let mut states: Vec<Arc<Snapshot>> = Vec::new();
        for (name, sent) in &self.sent {
            let needs_nothing = next.is_complete_for(sent)
                || version(self.find, sent, name) == version(self.find, next, name);
            if !needs_nothing && !states.iter().any(|state| Arc::ptr_eq(state, sent)) {
                states.push(sent.clone());
            }
        }
        states
    }

    /// Whether a response may be due.
    pub(super) fn is_due(&mut self, subscriptions: &Subscriptions, now: Instant) -> bool {
        let may = self.may(subscriptions, now);
        self.is_any_due(subscriptions, may, |_| true)
    }

    fn is_any_due(
        &mut self,
        subscriptions: &Subscriptions,
        may: May,
        of: impl Fn(Role) -> bool,
    ) -> bool {
        subscriptions.iter().any(|(name, subscription)| {
            let role = subscription.role;
            let target = of(role).then(|| self.target(name, role, may));
            let target = target.flatten();
            target.is_some_and(|target| subscription.is_due(&target.collection))
        })
    }

    /// Whether this round may be followed by `next`. Named collections change together and each waits for its sink's
    /// answer: if one of them had to wait, what names them would, too, and might for ever if changes never end.
    fn may_follow(
        &mut self,
        next: &mut Round,
        subscriptions: &Subscriptions,
        now: Instant,
    ) -> bool {
        let (mut are_free, mut are_sent) = (true, true);
        for (name, subscription) in with_role(subscriptions, Role::is_named) {
            if let Some(target) = next.named(self.find, name) {
                are_free &= subscription.is_free_for(&target) || subscription.is_late(now);
                are_sent &= subscription.was_sent(&target);
            }
        }
        are_free && (are_sent || !self.is_under_way(subscriptions, now))
    }

    /// Whether something of the round was sent and more of it can be.
    fn is_under_way(&mut self, subscriptions: &Subscriptions, now: Instant) -> bool {
        if !self.round.as_ref().is_some_and(|round| round.is_begun) {
            return false;
        }
        let may = self.may(subscriptions, now);
        self.is_any_due(subscriptions, may, |role| role != Role::Apart)
    }

    /// What may be sent of the round: ServiceEntries after the DestinationRules, VirtualServices after both.
    pub(super) fn may(&mut self, subscriptions: &Subscriptions, now: Instant) -> May {
        May {
            serve: self.were_sent(subscriptions, now, |role| role == Role::Rules),
            name: self.were_sent(subscriptions, now, Role::is_named),
        }
    }

    fn were_sent(
        &mut self,
        subscriptions: &Subscriptions,
        now: Instant,
        of: impl Fn(Role) -> bool,
    ) -> bool {
        let find = self.find;
        let Some(round) = &mut self.round else {
            return false;
        };
        with_role(subscriptions, of).all(|(name, subscription)| {
            subscription.is_late(now)
                || round
                    .named(find, name)
                    .is_none_or(|target| subscription.was_sent(&target))
        })
    }

    /// What a sink is to hold of a collection now; `None` where there is nothing to be sent yet.
    pub(super) fn target(&mut self, name: &Arc<str>, role: Role, may: May) -> Option<Target> {
        let find = self.find;
        let round = match role {
            Role::Apart => None,
            Role::Naming if !may.name => return None,
            Role::Services if !may.serve => return None,
            Role::Rules | Role::Services | Role::Naming => self.round.as_mut(),
        };
        let state = match &round {
            Some(round) => &round.state,
            None => self.sending.as_ref()?,
        };
        let published = state.published;
        let (collection, is_unknown) = match find(state, name) {
            Found::Published(collection) => (collection.clone(), false),
            Found::Nothing => (self.empty.clone(), true),
            Found::Silence => return None,
        };
        let kept = round.filter(|_| role.is_named());
        let kept = kept.and_then(|round| round.named(find, name));
        Some(Target {
            collection: kept.unwrap_or(collection),
            published,
            is_unknown,
        })
    }

    /// Notes that a collection was sent.
    pub(super) fn on_sent(&mut self, role: Role) {
        if let Some(round) = &mut self.round {
            round.is_begun |= role != Role::Apart;
        }
    }
}

impl Round {
    /// A named collection with what has to stay; `None` where nobody publishes it.
    fn named(&mut self, find: Find, name: &Arc<str>) -> Option<Arc<Collection>> {
        if let Some(made) = self.named.get(name) {
            return Some(made.clone());
        }
        let mut made = published(find, &self.state, name)?.clone();
        for older in &self.older {
            if let Some(older) = published(find, older, name) {
                made = made.keeping(older, |name| !self.state.withdraws(name));
            }
        }
        self.named.insert(name.clone(), made.clone());
        Some(made)
    }
}

fn with_role(
    subscriptions: &Subscriptions,
    of: impl Fn(Role) -> bool,
) -> impl Iterator<Item = (&Arc<str>, &Subscription)> {
    subscriptions
        .iter()
        .filter(move |(_, subscription)| of(subscription.role))
}

fn published<'a>(find: Find, state: &'a Snapshot, name: &str) -> Option<&'a Arc<Collection>> {
    match find(state, name) {
        Found::Published(collection) => Some(collection),
        Found::Nothing | Found::Silence => None,
    }
}

fn version(find: Find, state: &Snapshot, name: &str) -> Option<CollectionVersion> {
    published(find, state, name).map(|collection| collection.version())
}
