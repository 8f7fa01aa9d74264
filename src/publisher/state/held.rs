//! What is believed of an update: the guard in front of the table's changes.

use tokio::time::Instant;
use tracing::{info, warn};

use super::State;
use crate::{
    guard::{Part, Summary, Verdict},
    model::{Basis, Confirmations, Report, Served, Source},
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

impl State {
    /// Takes an update into the table, but for what the guard holds of it: that stays as it was. Whether it counts: a first
    /// list of instances that lacks much of what there was before the start does not yet, since there is nothing to stay.
    pub(super) fn believe(&mut self, report: Report, now: Instant) -> (Changes, bool) {
        let Report { update, basis, .. } = report;
        let source = update.source();
        let served = self.table.served(source);
        let is_first = self.expects(&update, basis);
        let mut changes = self.table.apply(update);
        let (mut losses, displaced) = changes.take_losses();
        if is_first {
            losses.extend(self.table.shortfall());
        }
        let is_unreached = source == Source::Routes && self.is_nothing_doubted();
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

    /// All is read that a start needs, and it would serve nobody. Where instances run it may be that Cloud Controller has
    /// lost its routes, and sinks hold those of an earlier process: later reads have to agree.
    pub(super) fn doubt_nothing(&mut self, now: Instant) {
        let instances = self.table.answering();
        if self.serves_nobody() && !self.guard.lets_pass(instances) {
            self.unreached = Some(instances);
            let served = self.table.served(Source::Routes);
            let losses = self.unreached().collect();
            let verdict = self
                .guard
                .judge(Source::Routes, Basis::Asked, &losses, served, now);
            self.tell(Source::Routes, &verdict);
        }
    }

    /// Whether the first snapshot waits for reads that agree that it is to serve nobody.
    pub(super) fn is_nothing_doubted(&self) -> bool {
        let is_held = || self.guard.holds(&Subject::Everything).is_some();
        self.unreached.is_some() && self.serves_nobody() && is_held()
    }

    fn serves_nobody(&self) -> bool {
        !self.has_published() && self.table.served(Source::Routes).endpoints == 0
    }

    /// What a start would lack that serves nobody: always as much, since instances come and go.
    fn unreached(&self) -> impl Iterator<Item = (Subject, Served)> + use<> {
        let lost = |endpoints| Served {
            endpoints,
            ..Served::default()
        };
        let unreached = self.unreached.map(lost).into_iter();
        unreached.map(|lost| (Subject::Everything, lost))
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
        self.guard.confirmations(|source| self.table.served(source))
    }

    /// What is held, by source.
    pub fn held(&self) -> Vec<Summary> {
        self.guard
            .held(|source| self.table.served(source))
            .collect()
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
