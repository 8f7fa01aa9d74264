//! What is believed of an update: the guard in front of the table's changes.

use std::mem;

use tokio::time::Instant;
use tracing::{info, warn};

use super::State;
use crate::{
    guard::{Part, Summary, Verdict},
    model::{Basis, Confirmations, Report, Served, Source, Update},
    table::{Changes, Subject},
};

/// A place belongs to who has it last, also where that is held which had it: else requests for one app would be answered
/// by another one's instance.
fn warn_of_others(source: Source, lost: Served) {
    if !lost.is_nothing() {
        warn!(
            feed = source.as_str(),
            lost.routes,
            lost.endpoints,
            lost.sidecar_hosts,
            "a read has others at the places of what it lacks: so much of what is held is not served"
        );
    }
}

/// Whether a start may have lost its routes, before anything is published.
#[derive(Debug)]
pub(super) struct Start {
    doubt: StartDoubt,
    /// How many routes led to an app when all were told last: none if none did of the message itself.
    mapped: u64,
}

/// Whether it is doubted that a start is to serve nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StartDoubt {
    /// Not yet.
    Possible,
    /// By what runs, and what of it has no route.
    Open {
        /// How many instances run.
        running: u64,
        /// How many of them have no route of TCP, nor any other.
        unreached: u64,
    },
    /// No longer. Nor is it where a state file says more, or nobody says what runs.
    Over,
}

impl Start {
    /// One that may be doubted, if anybody says what runs.
    pub(super) fn new(is_told_what_runs: bool) -> Self {
        Self {
            doubt: if is_told_what_runs {
                StartDoubt::Possible
            } else {
                StartDoubt::Over
            },
            mapped: 0,
        }
    }

    /// A state file has routes to compare with.
    pub(super) fn trust(&mut self) {
        self.doubt = StartDoubt::Over;
    }
}

impl State {
    /// Takes an update into the table, but for what the guard holds of it: that stays as it was. Whether it counts: a first
    /// list of instances that lacks much of what there was before the start does not yet, since there is nothing to stay.
    pub(super) fn believe(&mut self, report: Report, now: Instant) -> (Changes, bool) {
        let Report { update, basis, .. } = report;
        let source = update.source();
        let served = self.served(source);
        let is_first = self.expects(&update, basis);
        let are_all_routes = matches!(update, Update::AllRoutes(_) | Update::AllPushed { .. });
        let leads_nowhere = matches!(update, Update::AllPushed { leads: false, .. });
        let mut changes = self.table.apply(update);
        let (mut losses, mut displaced) = changes.take_losses();
        if basis == Basis::Asked && source == Source::Routes && !self.has_published() {
            // Nothing is served yet that could be lost: no route goes, or leads nowhere, because some were asked for by name.
            let mut restored = self.table.restore_emptied(mem::take(&mut displaced));
            restored.take_losses();
            changes.merge(restored);
            losses.clear();
        }
        if is_first {
            losses.extend(self.table.shortfall());
        }
        if are_all_routes && !self.has_published() {
            self.start.mapped = if leads_nowhere {
                0
            } else {
                self.table.leading()
            };
        }
        self.end_start_doubt(basis);
        let is_unreached = source == Source::Routes && self.is_start_doubted();
        if is_unreached {
            losses.extend(self.unreached());
        }
        let verdict = self.guard.judge(source, basis, &losses, served, now);
        let is_held = !verdict.hold.is_empty();
        if is_held {
            let before = self.table.served_of(&verdict.hold);
            let mut restored = self.table.restore(displaced, &verdict.hold);
            restored.take_losses();
            changes.merge(restored);
            let kept = self.table.served_of(&verdict.hold).beyond(before);
            // What others had the places of before this is none of its losses.
            let lost = losses
                .iter()
                .filter(|(lost, _)| verdict.hold.contains(lost));
            let lost = lost.fold(Served::default(), |sum, (_, lost)| sum + *lost);
            if !is_first && !is_unreached {
                warn_of_others(source, lost.beyond(kept));
            }
        }
        if is_first {
            // What is let go is expected no more, or the next list would lack it anew.
            self.is_expecting = is_held;
            self.table.expect_only(&verdict.hold);
        }
        if matches!(basis, Basis::Read(_)) || !verdict.is_no_news() {
            self.tell(source, &verdict);
        }
        (changes, !(is_first && is_held))
    }

    /// All is read that a start needs, and it would serve nobody: it may be that Cloud Controller has lost its routes, and
    /// sinks hold those of an earlier process. Later reads have to agree. Beside a state file there is more to compare with.
    pub(super) fn doubt_start(&mut self, now: Instant) {
        let of_tcp = self.table.served(Source::TcpRoutes).endpoints;
        let running = self.table.answering();
        let unreached = running.saturating_sub(of_tcp);
        let is_new = self.start.doubt == StartDoubt::Possible && !self.guard.lets_pass(unreached);
        if is_new && self.reaches_nobody() {
            self.start.doubt = StartDoubt::Open { running, unreached };
            let losses = self.unreached().collect();
            let nothing = Served::default();
            let verdict = self
                .guard
                .judge(Source::Routes, Basis::Asked, &losses, nothing, now);
            self.tell(Source::Routes, &verdict);
        }
    }

    /// Whether the first snapshot waits for reads that agree that it is to serve nobody.
    pub(super) fn is_start_doubted(&self) -> bool {
        let is_held = || self.guard.holds(&Subject::EveryInstance).is_some();
        let is_open = matches!(self.start.doubt, StartDoubt::Open { .. });
        is_open && !self.has_published() && is_held()
    }

    /// A complete read ends the doubt where it has more, also of TCP routes. What was asked for by name does not.
    fn end_start_doubt(&mut self, basis: Basis) {
        let StartDoubt::Open { running, .. } = self.start.doubt else {
            return;
        };
        if !matches!(basis, Basis::Read(_)) || !self.is_start_doubted() {
            return;
        }
        let of_tcp = self.table.served(Source::TcpRoutes).endpoints;
        let is_reached = self.guard.lets_pass(running.saturating_sub(of_tcp));
        if is_reached || !self.reaches_nobody() {
            self.start.doubt = StartDoubt::Over;
        }
    }

    /// Whether a start would serve nobody, or the last complete read had no route that leads anywhere.
    fn reaches_nobody(&self) -> bool {
        self.start.mapped == 0 || self.table.served(Source::Routes).endpoints == 0
    }

    /// What is served of what a source tells: nothing that counts while a start is doubted.
    fn served(&self, source: Source) -> Served {
        if source == Source::Routes && self.is_start_doubted() {
            return Served::default();
        }
        self.table.served(source)
    }

    /// What a start would lack that serves nobody: always as much, since instances come and go.
    fn unreached(&self) -> impl Iterator<Item = (Subject, Served)> + use<> {
        let lost = |endpoints| Served {
            endpoints,
            ..Served::default()
        };
        let unreached = match self.start.doubt {
            StartDoubt::Open { unreached, .. } => Some((Subject::EveryInstance, lost(unreached))),
            StartDoubt::Possible | StartDoubt::Over => None,
        };
        unreached.into_iter()
    }

    fn tell(&self, source: Source, verdict: &Verdict<Subject>) {
        let Verdict {
            began,
            confirmed,
            refuted,
            ..
        } = verdict;
        let feed = source.as_str();
        if !began.is_empty() {
            let Part { amount, names } = began;
            warn!(
                feed,
                amount.routes,
                amount.endpoints,
                amount.restrictions,
                amount.sidecar_hosts,
                names = names.join(", "),
                "a read lacks much of what is served: it is held until later reads agree"
            );
        }
        for (part, what) in [
            (confirmed, "what was held has gone: later reads lack it too"),
            (refuted, "what was held is there, or has ended by itself"),
        ] {
            if !part.is_empty() {
                let Part { amount, names } = part;
                info!(
                    feed,
                    amount.routes,
                    amount.endpoints,
                    amount.restrictions,
                    amount.sidecar_hosts,
                    names = names.join(", "),
                    "{what}"
                );
            }
        }
        self.metrics.held(source, verdict);
        for source in Source::ALL {
            let held = self.guard.held_of(source).amount;
            self.metrics.holds(source, held);
        }
    }

    /// Whether what is held may be other than when this was asked last.
    pub fn take_held_otherwise(&mut self) -> bool {
        self.guard.take_changed()
    }

    /// When complete reads could confirm what is held.
    pub fn confirmations(&self) -> Confirmations {
        self.guard.confirmations(|source| self.served(source))
    }

    /// What is held, by source.
    pub fn held(&self) -> Vec<Summary> {
        self.guard.held(|source| self.served(source)).collect()
    }

    /// An operator's word on what is held of a source. Whether anything is.
    pub fn decide(&mut self, source: Source, is_believed: bool, now: Instant) -> bool {
        let is_held = if is_believed {
            self.guard.accept(source)
        } else {
            self.guard.reject(source, now)
        };
        if is_held {
            info!(
                feed = source.as_str(),
                is_believed, "an operator decided on what is held"
            );
        }
        is_held
    }
}
