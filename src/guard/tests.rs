//! What is held and for how long: by example, and by properties of any sequence of reads.

use std::{cell::Cell, cmp::Ordering, fmt};

use proptest::prelude::*;

use super::*;

/// A foundation of routes that are numbers, each with an endpoint, and its guard.
struct World {
    guard: Guard<u32>,
    served: BTreeSet<u32>,
    now: Instant,
}

const ONE: Served = Served {
    routes: 1,
    endpoints: 1,
    restrictions: 0,
    sidecar_hosts: 0,
};

fn amount(count: usize) -> Served {
    total(std::iter::repeat_n(ONE, count))
}

impl World {
    fn of(routes: u32) -> Self {
        Self {
            guard: Guard::new(Settings::default()),
            served: (0..routes).collect(),
            now: Instant::now(),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn lose(&mut self, basis: Basis, lacks: impl Fn(u32) -> bool) -> Verdict<u32> {
        let lost = self.served.iter().filter(|route| lacks(**route));
        let losses = lost.map(|route| (*route, ONE)).collect();
        let served = amount(self.served.len());
        let verdict = self
            .guard
            .judge(Source::Routes, basis, &losses, served, self.now);
        self.served
            .retain(|route| !losses.contains_key(route) || verdict.hold.contains(route));
        verdict
    }

    /// A complete read that takes no time.
    fn read(&mut self, lacks: impl Fn(u32) -> bool) -> Verdict<u32> {
        let basis = Basis::Read(Reading {
            restrictions: true,
            began: self.now,
            ended: self.now,
        });
        self.lose(basis, lacks)
    }

    fn next(&self) -> Option<u64> {
        let served = amount(self.served.len());
        let next = self.guard.confirmations(|_| served).routes?;
        Some(next.saturating_duration_since(self.now).as_secs())
    }
}

thread_local! {
    static COMPARED: Cell<u32> = const { Cell::new(0) };
}

/// A route that counts how often one is compared with another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted(u32);

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> Ordering {
        COMPARED.set(COMPARED.get() + 1);
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[test]
fn what_is_asked_for_while_much_is_held_costs_what_it_takes_away() {
    let (mut guard, now) = (Guard::new(Settings::default()), Instant::now());
    let lost = |routes: u32| (0..routes).map(|route| (Counted(route), ONE)).collect();
    let read = Basis::read_since(now);
    let verdict = guard.judge(Source::Routes, read, &lost(10_000), amount(10_000), now);
    assert_eq!(verdict.hold.len(), 10_000);
    for (routes, most) in [(0, 0), (1, 100)] {
        let losses = lost(routes);
        COMPARED.set(0);
        let verdict = guard.judge(Source::Routes, Basis::Asked, &losses, amount(10_000), now);
        assert_eq!(verdict.hold.len(), routes as usize);
        assert!(COMPARED.get() <= most, "{} at {routes}", COMPARED.get());
    }
}

#[test]
fn a_few_go_at_once_and_add_up_for_a_minute() {
    let mut world = World::of(100);
    assert!(world.read(|route| route < 6).hold.is_empty());
    world.pass(30);
    assert_eq!(world.read(|route| route < 11).hold.len(), 5);
    world.pass(61);
    assert_eq!(world.served.len(), 94);
    let verdict = world.read(|route| (20..24).contains(&route));
    assert_eq!((verdict.hold.len(), verdict.refuted.amount), (0, amount(5)));
    assert_eq!(world.served.len(), 90);
}

#[test]
fn a_tenth_of_many_goes_at_once() {
    let mut world = World::of(1000);
    assert!(world.read(|route| route < 100).hold.is_empty());
    let mut world = World::of(1000);
    assert_eq!(world.read(|route| route < 101).hold.len(), 101);
}

#[test]
fn up_to_a_third_goes_when_two_later_reads_over_twenty_seconds_agree() {
    let mut world = World::of(99);
    let lacks = |route| route < 33;
    assert_eq!(world.read(lacks).began.amount, amount(33));
    assert_eq!(world.next(), Some(10));
    world.pass(10);
    assert_eq!(world.read(lacks).hold.len(), 33);
    assert_eq!(world.next(), Some(10));
    world.pass(9);
    assert_eq!(world.read(lacks).hold.len(), 33);
    assert_eq!(world.next(), Some(1));
    world.pass(1);
    assert_eq!(world.read(lacks).confirmed.amount, amount(33));
    assert_eq!((world.served.len(), world.next()), (66, None));
}

#[test]
fn more_takes_longer_and_nearly_everything_ten_minutes() {
    for (lost, seconds) in [(34, 60), (90, 60), (91, 600), (100, 600)] {
        let mut world = World::of(100);
        let lacks = |route| route < lost;
        world.read(lacks);
        assert_eq!(world.next(), Some(10), "{lost}");
        world.pass(10);
        world.read(lacks);
        assert_eq!(world.next(), Some(seconds - 10), "{lost}");
        world.pass(seconds - 11);
        assert!(world.read(lacks).confirmed.is_empty(), "{lost}");
        world.pass(1);
        assert!(world.read(lacks).hold.is_empty(), "{lost}");
    }
}

#[test]
fn a_loss_that_grows_is_not_asked_for_all_the_time() {
    let mut world = World::of(100);
    world.read(|route| route < 40);
    assert_eq!(world.next(), Some(10));
    world.pass(10);
    world.read(|route| route < 80);
    assert_eq!(world.next(), Some(30));
}

#[test]
fn the_only_one_is_everything() {
    let mut world = World::of(1);
    assert_eq!(world.read(|_| true).hold.len(), 1);
    world.pass(10);
    world.read(|_| true);
    assert_eq!(world.next(), Some(590));
}

#[test]
fn a_few_that_would_be_the_last_ones_beside_what_is_held_are_held_too() {
    let mut world = World::of(16);
    world.read(|route| route < 13);
    world.pass(40);
    world.read(|route| route < 13);
    world.pass(40);
    assert_eq!(world.read(|_| true).hold.len(), 16);
}

#[test]
fn what_a_read_lacks_beside_what_was_just_held_is_held_too() {
    let mut world = World::of(100);
    world.read(|route| route < 17);
    world.pass(10);
    let verdict = world.read(|route| route < 23);
    assert_eq!((verdict.began.amount, verdict.hold.len()), (amount(6), 23));
    world.pass(61);
    world.read(|route| route < 23);
    assert!(
        world
            .read(|route| (50..56).contains(&route))
            .hold
            .is_empty(),
        "another loss"
    );
}

#[test]
fn a_read_that_was_under_way_with_the_first_confirms_nothing() {
    let mut world = World::of(100);
    let began = world.now;
    world.read(|route| route < 30);
    for _ in 0..4 {
        world.pass(20);
        let ended = world.now;
        let under_way = Basis::Read(Reading {
            began,
            ended,
            restrictions: true,
        });
        assert_eq!(world.lose(under_way, |route| route < 30).hold.len(), 30);
    }
}

#[test]
fn restrictions_wait_for_reads_that_say_something_of_them_but_not_an_operator() {
    let restricted = Served {
        restrictions: 1,
        ..ONE
    };
    let losses = (0..30).map(|route| (route, restricted)).collect();
    let served = Served {
        restrictions: 100,
        ..amount(100)
    };
    let mut world = World::of(100);
    let mut read = |guard: &mut Guard<u32>, restrictions| {
        world.pass(20);
        let basis = Basis::Read(Reading {
            restrictions,
            began: world.now,
            ended: world.now,
        });
        let verdict = guard.judge(Source::Routes, basis, &losses, served, world.now);
        verdict.hold.len()
    };
    let mut guard = Guard::new(Settings::default());
    for says in [true, false, false, false] {
        assert_eq!(read(&mut guard, says), 30);
    }
    assert!(guard.accept(Source::Routes));
    assert_eq!(read(&mut guard, false), 0);
}

#[test]
fn what_was_asked_for_by_name_begins_and_confirms_nothing() {
    let mut world = World::of(100);
    let lacks = |route| route < 30;
    assert_eq!(world.lose(Basis::Asked, lacks).hold.len(), 30);
    for _ in 0..4 {
        world.pass(20);
        assert_eq!(world.lose(Basis::Asked, lacks).hold.len(), 30);
    }
    world.read(lacks);
    world.pass(20);
    assert!(world.read(lacks).hold.is_empty());
}

#[test]
fn what_is_told_item_by_item_goes_also_while_it_is_held() {
    let mut world = World::of(100);
    assert!(world.lose(Basis::Told, |route| route < 50).hold.is_empty());
    world.read(|route| route < 80);
    assert!(world.lose(Basis::Told, |route| route < 80).hold.is_empty());
    let verdict = world.read(|route| route < 80);
    assert_eq!((verdict.refuted.amount, world.next()), (amount(30), None));
}

#[test]
fn a_read_that_finds_it_again_ends_the_hold_and_one_that_lacks_more_begins_anew() {
    let mut world = World::of(100);
    world.read(|route| route < 30);
    world.pass(10);
    assert_eq!(world.read(|_| false).refuted.amount, amount(30));
    world.read(|route| route < 30);
    world.pass(10);
    let verdict = world.read(|route| route < 60);
    assert_eq!((verdict.hold.len(), verdict.began.amount), (60, amount(30)));
    world.pass(10);
    assert_eq!(world.read(|route| route < 60).hold.len(), 60, "two thirds");
}

#[test]
fn a_route_that_is_scaled_up_while_its_loss_is_held_goes_in_its_time() {
    let mut world = World::of(100);
    let mut endpoints = 0;
    let mut lose = |world: &mut World| {
        endpoints += 1;
        let lost = Served { endpoints, ..ONE };
        let losses = (0..30).map(|route| (route, lost)).collect();
        let served = Served {
            endpoints: 1000,
            ..amount(100)
        };
        let now = world.now;
        let basis = Basis::Read(Reading {
            restrictions: true,
            began: now,
            ended: now,
        });
        let verdict = world
            .guard
            .judge(Source::Routes, basis, &losses, served, now);
        world.pass(10);
        verdict.hold.len()
    };
    assert_eq!(lose(&mut world), 30);
    assert_eq!(lose(&mut world), 30);
    assert_eq!(lose(&mut world), 0);
}

#[test]
fn who_lacks_now_this_and_now_that_is_not_asked_for_everything_all_the_time() {
    let mut world = World::of(100);
    let mut waits = Vec::new();
    for n in 0..4 {
        let from = if n % 2 == 0 { 0 } else { 50 };
        world.read(|route| (from..from + 45).contains(&route));
        waits.push(world.next().unwrap());
        world.pass(10);
    }
    assert_eq!(waits, [10, 30, 30, 30]);
}

/// Two hostnames of one app: what serves one is put back as long as the other is held.
#[test]
fn what_goes_is_not_held_anew_because_another_keeps_what_served_both() {
    let mut world = World::of(99);
    world.read(|route| route < 15);
    world.pass(10);
    let lacks = |route| route < 15 || (30..45).contains(&route);
    world.read(lacks);
    let served = world.served.clone();
    let mut held = Vec::new();
    for _ in 0..4 {
        world.pass(10);
        held.push(world.read(lacks).hold.len());
        // All that went is back while anything is held.
        if held.last() != Some(&0) {
            world.served.clone_from(&served);
        }
    }
    assert_eq!(held, [15, 0, 0, 0]);
}

#[test]
fn an_operator_lets_it_go_or_begins_it_anew() {
    let mut world = World::of(100);
    assert!(!world.guard.accept(Source::Routes));
    world.read(|_| true);
    assert!(world.guard.accept(Source::Routes));
    assert_eq!(world.next(), Some(0));
    assert_eq!(world.read(|_| true).confirmed.amount, amount(100));
    let mut world = World::of(100);
    world.lose(Basis::Asked, |_| true);
    world.guard.accept(Source::Routes);
    assert!(world.lose(Basis::Asked, |_| true).hold.is_empty());
    let mut world = World::of(100);
    world.read(|_| true);
    world.pass(300);
    world.read(|_| true);
    let now = world.now;
    assert!(world.guard.reject(Source::Routes, now));
    world.pass(599);
    assert_eq!(world.read(|_| true).hold.len(), 100, "it is held on");
    world.read(|_| true);
    world.pass(1);
    assert_eq!(world.read(|_| true).confirmed.amount, amount(100));
}

proptest! {
    /// Of any reads, some under way for long, nothing goes that not at least three complete ones lacked, each begun after
    /// the one before had ended, over twenty seconds; but for a tenth or ten within a minute.
    #[test]
    fn nothing_goes_unconfirmed(
        routes in 1u32..60,
        reads in prop::collection::vec((0u64..40, 0u64..40, 0u32..60, 0u32..60), 1..30),
    ) {
        let mut world = World::of(routes);
        // Of each route: the reads in a row that lacked it, by their times.
        let mut lacking: BTreeMap<u32, Vec<(Instant, Instant)>> = BTreeMap::new();
        let mut gone: Vec<(Instant, usize, usize)> = Vec::new();
        for (pause, takes, from, count) in reads {
            world.pass(pause);
            let began = world.now;
            world.pass(takes);
            let (lacks, before) = (|route| (from..from + count).contains(&route), world.served.clone());
            let basis = Basis::Read(Reading { began, ended: world.now, restrictions: true });
            world.lose(basis, lacks);
            let mut unconfirmed = 0;
            for route in &before {
                let reads = lacking.entry(*route).or_default();
                if !lacks(*route) {
                    reads.clear();
                    continue;
                }
                if reads.last().is_none_or(|(_, ended)| began >= *ended) {
                    reads.push((began, world.now));
                }
                let first = reads[0].1;
                let is_confirmed = reads.len() >= 3 && world.now - first >= Duration::from_secs(20);
                unconfirmed += usize::from(!world.served.contains(route) && !is_confirmed);
            }
            gone.push((world.now, unconfirmed, before.len()));
            gone.retain(|(at, _, _)| *at + WINDOW >= world.now);
            let lost: usize = gone.iter().map(|(_, lost, _)| lost).sum();
            let known = before.len() + lost;
            prop_assert!(lost <= 10 || lost * 10 <= known, "{lost} of {known}");
            prop_assert!(unconfirmed == 0 || !world.served.is_empty(), "everything went");
        }
    }
}
