//! Decides which losses are believed: sees what would stop being served, on what grounds, and when; no I/O, no clock.
//!
//! An answer can be well-formed and wrong: an empty database, a replica that lags, a bug. What a read takes away is
//! therefore held where it is implausibly much, and let go when later reads, each begun after the one before had ended,
//! have taken away the same for long enough. What is told item by item passes.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Display,
    ops::Add as _,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::model::{Basis, Confirmations, Reading, Served, Source};

/// The time in which small losses add up, and in which a source is asked for everything again at once one time.
const WINDOW: Duration = Duration::from_mins(1);
/// Reads that have to agree with the one whose loss was held.
const AGREEING: u32 = 2;
/// After so long the first of them is wanted: most of what a read lacks by mistake the next one has.
const AGAIN: Duration = Duration::from_secs(10);
/// For so long reads have to agree, however little is lost.
const AT_LEAST: Duration = Duration::from_secs(20);
/// For so long they have to where nothing is served yet.
const AT_A_START: Duration = Duration::from_mins(1);
/// So many TCP routes, and endpoints of them, are few.
const FEW: u64 = 10;
/// Names of what is held that are told.
const NAMES: usize = 5;

/// What is implausible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Reads may take this much of anything within a minute.
    pub free: u64,
    /// And this share of it, in percent. Only what is more than both is held.
    pub percent: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            free: 10,
            percent: 10,
        }
    }
}

/// Something whose loss is held.
#[derive(Debug, Clone, Copy)]
struct Held {
    amount: Served,
    /// When the read ended that took it away first.
    since: Instant,
    /// When the last one ended that did.
    last: Instant,
    /// How many have agreed.
    agreeing: u32,
    /// Nothing of the source was held before, nor asked for again within a minute, and no later read took away more.
    is_first: bool,
    /// An operator believes it.
    is_accepted: bool,
    /// It goes. What it was served by may still be put back for others, and it is lost with each read until that goes too:
    /// no loss that would be held anew.
    is_confirmed: bool,
}

/// An amount of subjects that something has become of, and some of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// How much.
    pub amount: Served,
    /// The first of them by name.
    pub names: Vec<String>,
}

/// What becomes of a loss.
#[derive(Debug)]
pub struct Verdict<S> {
    /// What stays as it was.
    pub hold: BTreeSet<S>,
    /// Of that, what was not held before.
    pub began: Part,
    /// What was held, and goes now.
    pub confirmed: Part,
    /// What was held, and is there after all, or has gone in the ordinary course.
    pub refuted: Part,
}

impl<S> Verdict<S> {
    /// Whether what is held is the same as before.
    pub fn is_no_news(&self) -> bool {
        let parts = [&self.began, &self.confirmed, &self.refuted];
        parts.into_iter().all(Part::is_empty)
    }
}

/// What is held of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Whose reads lack it.
    pub source: Source,
    /// How much, and some names.
    pub part: Part,
    /// Since when.
    pub since: Instant,
    /// When a read could let all of it go.
    pub due: Instant,
}

/// An operator's word on what is held of a source.
#[derive(Debug)]
pub struct Decision {
    /// Whose reads lack it.
    pub source: Source,
    /// Whether it goes with the next read that lacks it, or is held anew.
    pub is_believed: bool,
    /// Told whether anything was held.
    pub reply: oneshot::Sender<bool>,
}

/// Holds losses of subjects, each of them something that is served or not.
#[derive(Debug)]
pub struct Guard<S> {
    settings: Settings,
    held: BTreeMap<Source, BTreeMap<S, Held>>,
    /// What was let pass lately.
    passed: VecDeque<(Instant, Served)>,
    /// When a source was last asked for everything again at once.
    asked_again: BTreeMap<Source, Instant>,
    /// Whether nobody has asked yet what is held now.
    is_changed: bool,
}

// === impl Guard ===

impl<S: Ord + Clone + Display> Guard<S> {
    /// Holds nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            held: BTreeMap::new(),
            passed: VecDeque::new(),
            asked_again: BTreeMap::new(),
            is_changed: false,
        }
    }

    /// Judges what an update would take away of what was `served` before it.
    pub fn judge(
        &mut self,
        source: Source,
        basis: Basis,
        losses: &BTreeMap<S, Served>,
        served: Served,
        now: Instant,
    ) -> Verdict<S> {
        let mut verdict = Verdict {
            hold: BTreeSet::new(),
            began: Part::default(),
            confirmed: Part::default(),
            refuted: Part::default(),
        };
        // Only a complete read that takes nothing away has something to say of what is held.
        if basis == Basis::Told || basis == Basis::Asked && losses.is_empty() {
            return verdict;
        }
        let mut held = self.held.remove(&source).unwrap_or_default();
        if let Basis::Read(reading) = basis {
            settle(&mut held, losses, &mut verdict);
            agree(&mut held, losses, reading);
            self.hold(
                source,
                &mut held,
                losses,
                (reading.ended, served),
                &mut verdict,
            );
            release(source, &mut held, served, reading, &mut verdict);
        } else {
            self.hold(source, &mut held, losses, (now, served), &mut verdict);
            for subject in losses.keys() {
                if let Some(held) = held.get_mut(subject).filter(|held| held.is_accepted)
                    && !std::mem::replace(&mut held.is_confirmed, true)
                {
                    verdict.confirmed.add(subject, held.amount);
                }
            }
        }
        let is_open = |subject: &&S| held.get(subject).is_some_and(|held| !held.is_confirmed);
        verdict.hold = losses.keys().filter(is_open).cloned().collect();
        if open(&held).next().is_some() {
            self.held.insert(source, held);
        }
        self.is_changed |= matches!(basis, Basis::Read(_)) || !verdict.is_no_news();
        verdict
    }

    /// Whether what is held, or when it could be confirmed, may be other than when this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Holds what is lost now and was not held, if it is implausibly much together with what went lately.
    fn hold(
        &mut self,
        source: Source,
        held: &mut BTreeMap<S, Held>,
        losses: &BTreeMap<S, Served>,
        (now, served): (Instant, Served),
        verdict: &mut Verdict<S>,
    ) {
        let new = losses
            .iter()
            .filter(|(subject, _)| !held.contains_key(subject));
        let new: Vec<_> = new.collect();
        let amount = total(new.iter().map(|(_, amount)| **amount));
        if amount.is_nothing() {
            return;
        }
        while self
            .passed
            .front()
            .is_some_and(|(at, _)| *at + WINDOW < now)
        {
            self.passed.pop_front();
        }
        let recent = total(self.passed.iter().map(|(_, amount)| *amount));
        // What a read lacks beside what was held a moment ago is of one loss with it.
        let lately = open(held).filter(|(_, held)| held.since + WINDOW >= now);
        let beside = total(lately.map(|(_, held)| held.amount));
        // With what is held already it may be everything, though it is little by itself.
        let is_everything = is_everything(total(losses.values().copied()), served);
        if !is_everything && !self.is_implausible(amount + beside + recent, served + recent) {
            self.passed.push_back((now, amount));
            return;
        }
        // Reads that lack now this and now that are each the first of another loss.
        let was_asked = self.asked_again.get(&source);
        let is_first = held.is_empty() && was_asked.is_none_or(|at| *at + WINDOW <= now);
        if is_first {
            self.asked_again.insert(source, now);
        }
        for (subject, amount) in new {
            verdict.began.add(subject, *amount);
            let held_now = Held {
                amount: *amount,
                since: now,
                last: now,
                agreeing: 0,
                is_first,
                is_accepted: false,
                is_confirmed: false,
            };
            held.insert(subject.clone(), held_now);
        }
    }

    fn is_implausible(&self, lost: Served, served: Served) -> bool {
        let Settings { free, percent } = self.settings;
        lost.beside(served)
            .into_iter()
            .any(|(lost, served)| lost > free && lost * 100 > served * percent)
    }

    /// Whether a start may serve nobody although so many instances run: a small foundation looks like that.
    pub fn lets_pass(&self, unreached: u64) -> bool {
        unreached <= self.settings.free
    }

    /// When complete reads could confirm what is held.
    pub fn confirmations(&self, served: impl Fn(Source) -> Served) -> Confirmations {
        let next = |source| {
            let held = self.held.get(&source)?;
            Some(next_read(source, held, served(source)))
        };
        Confirmations {
            is_starting: false,
            routes: next(Source::Routes),
            instances: next(Source::Instances),
            policies: next(Source::Policies),
            tcp_routes: next(Source::TcpRoutes),
        }
    }

    /// What is held of a source.
    pub fn held_of(&self, source: Source) -> Part {
        let mut part = Part::default();
        for (subject, held) in self.held.get(&source).into_iter().flat_map(open) {
            part.add(subject, held.amount);
        }
        part
    }

    /// What is held, by source.
    pub fn held(&self, served: impl Fn(Source) -> Served) -> impl Iterator<Item = Summary> {
        self.held.iter().map(move |(source, held)| {
            let part = self.held_of(*source);
            let since = open(held).map(|(_, held)| held.since).min();
            let since = since.expect("what is held of a source is not empty");
            let latest = open(held)
                .map(|(_, held)| held.since)
                .max()
                .unwrap_or(since);
            Summary {
                source: *source,
                part,
                since,
                due: latest + required(*source, amount_of(held), served(*source)),
            }
        })
    }

    /// Whose reads lack a subject that is held, and since when.
    pub fn holds(&self, subject: &S) -> Option<(Source, Instant)> {
        let mut sources = self.held.iter();
        sources.find_map(|(source, held)| {
            let held = held.get(subject).filter(|held| !held.is_confirmed)?;
            Some((*source, held.since))
        })
    }

    /// An operator believes what is held of a source: the next complete read that lacks it lets it go.
    pub fn accept(&mut self, source: Source) -> bool {
        let held = self.held.get_mut(&source);
        let held = held.into_iter().flat_map(BTreeMap::values_mut);
        held.map(|held| held.is_accepted = true).count() > 0
    }

    /// An operator does not believe what is held of a source: reads that lack it begin anew.
    pub fn reject(&mut self, source: Source, now: Instant) -> bool {
        let held = self.held.get_mut(&source);
        let held = held.into_iter().flat_map(BTreeMap::values_mut);
        let anew = held.map(|held| {
            *held = Held {
                since: now,
                last: now,
                agreeing: 0,
                is_first: false,
                is_accepted: false,
                is_confirmed: false,
                ..*held
            };
        });
        anew.count() > 0
    }
}

/// What was held and is not taken away by a complete read is there, or gone already.
fn settle<S: Ord + Display>(
    held: &mut BTreeMap<S, Held>,
    losses: &BTreeMap<S, Served>,
    verdict: &mut Verdict<S>,
) {
    held.retain(|subject, held| {
        let stays = losses.contains_key(subject);
        if !stays && !held.is_confirmed {
            verdict.refuted.add(subject, held.amount);
        }
        stays
    });
}

/// A later read that takes away no more than the one before agrees. One that takes more is the first to say so.
fn agree<S: Ord>(held: &mut BTreeMap<S, Held>, losses: &BTreeMap<S, Served>, reading: Reading) {
    for (subject, held) in held {
        if !says(reading, held) {
            continue;
        }
        let amount = losses[subject];
        let mut more = amount.beyond(held.amount);
        if held.amount.routes > 0 {
            // Of a route that is lost as a whole, one that is scaled up meanwhile is not lost any more.
            more.endpoints = 0;
        }
        held.amount = amount;
        if !more.is_nothing() {
            (held.since, held.agreeing) = (reading.ended, 0);
            (held.is_accepted, held.is_confirmed) = (false, false);
            held.is_first = false;
        } else if reading.began >= held.last {
            // One that was under way with the one before may have had the same answer.
            held.agreeing += 1;
        } else {
            continue;
        }
        held.last = reading.ended;
    }
}

/// Whether a read says something of what is held.
fn says(reading: Reading, held: &Held) -> bool {
    reading.restrictions || held.amount.restrictions == 0
}

fn release<S: Ord + Display>(
    source: Source,
    held: &mut BTreeMap<S, Held>,
    served: Served,
    reading: Reading,
    verdict: &mut Verdict<S>,
) {
    let required = required(source, amount_of(held), served);
    // An operator may know what no read says.
    let unconfirmed = held
        .iter_mut()
        .filter(|(_, held)| !held.is_confirmed && (held.is_accepted || says(reading, held)));
    for (subject, held) in unconfirmed {
        let has_lasted = reading.ended.duration_since(held.since) >= required;
        held.is_confirmed = held.is_accepted || held.agreeing >= AGREEING && has_lasted;
        if held.is_confirmed {
            verdict.confirmed.add(subject, held.amount);
        }
    }
}

/// How long reads have to agree, by how much of anything is lost. TCP routes are known by reads alone, also that one was
/// deleted, and of a few one may well be all. Where nobody is served anything yet, a start waits, and nobody loses what there
/// was.
fn required(source: Source, lost: Served, served: Served) -> Duration {
    if served.endpoints == 0 && lost.endpoints > 0 {
        return AT_A_START;
    }
    let amounts = lost.beside(served).into_iter();
    let most = amounts.map(|(lost, _)| lost).max();
    if source == Source::TcpRoutes && most <= Some(FEW) {
        return AT_LEAST;
    }
    let loses = |percent| {
        let mut amounts = lost.beside(served).into_iter();
        amounts.any(|(lost, served)| lost > 0 && lost * 100 > served * percent)
    };
    let is_over_a_third = |(lost, served)| lost * 3 > served;
    if is_everything(lost, served) || loses(90) {
        Duration::from_mins(10)
    } else if lost.beside(served).into_iter().any(is_over_a_third) {
        Duration::from_mins(1)
    } else {
        AT_LEAST
    }
}

/// Soon first, for it may have been a slip, then when it could be enough. What grows is none, and a source in trouble is
/// not asked for everything all the time.
fn next_read<S>(source: Source, held: &BTreeMap<S, Held>, served: Served) -> Instant {
    let required = required(source, amount_of(held), served);
    let next = |held: &Held| {
        if held.is_accepted {
            held.last
        } else if held.agreeing + 1 < AGREEING {
            let again = if held.is_first { AGAIN } else { required / 2 };
            (held.since + again).max(held.last)
        } else {
            (held.since + required).max(held.last)
        }
    };
    let next = open(held).map(|(_, held)| next(held)).min();
    next.expect("what is held of a source is not empty")
}

/// Whether it is all that there is of anything.
fn is_everything(lost: Served, served: Served) -> bool {
    let mut amounts = lost.beside(served).into_iter();
    amounts.any(|(lost, served)| lost > 0 && lost >= served)
}

/// What is not confirmed.
fn open<S>(held: &BTreeMap<S, Held>) -> impl Iterator<Item = (&S, &Held)> {
    held.iter().filter(|(_, held)| !held.is_confirmed)
}

fn amount_of<S>(held: &BTreeMap<S, Held>) -> Served {
    total(open(held).map(|(_, held)| held.amount))
}

fn total(amounts: impl Iterator<Item = Served>) -> Served {
    amounts.fold(Served::default(), Served::add)
}

impl Part {
    /// Whether it is of nothing.
    pub fn is_empty(&self) -> bool {
        self.amount.is_nothing()
    }

    fn add(&mut self, subject: &impl Display, amount: Served) {
        self.amount += amount;
        if self.names.len() < NAMES {
            self.names.push(subject.to_string());
        }
    }
}
