//! When a BulkSync counts, and what of it: by example and against a naive model.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use proptest::prelude::*;
use smallvec::smallvec;
use tokio::{sync::Semaphore, sync::watch, time::advance};

use super::*;
use crate::{
    cloud_controller::journal::READ,
    feed::{Feeds, Status},
    model::{Association, Confirmations, Route, Update, Workload},
    readiness::Readiness,
};

struct Rig {
    registrar: Registrar,
    feeds: Feeds,
    readiness: Readiness,
    confirmations: watch::Sender<Confirmations>,
}

impl Rig {
    fn new() -> Self {
        let mut feeds = Feeds::new(&mut Registry::default());
        let readiness = Readiness::default();
        let confirmations = watch::Sender::default();
        let io = Io {
            updates: mpsc::channel(1).0,
            confirmations: confirmations.subscribe(),
            feed: feeds.register("push", Duration::from_mins(1)),
            synced: Some(readiness.gate("routes")),
        };
        Self {
            registrar: Registrar::new(mpsc::channel(1).1, io),
            feeds,
            readiness,
            confirmations,
        }
    }

    /// A BulkSync of routes with these guids that nothing comes in between of.
    fn sync(&mut self, guids: &[usize]) -> bool {
        let ticket = self.registrar.journal.open();
        self.replace(ticket, guids).unwrap().is_some()
    }

    fn replace(&mut self, ticket: Ticket, guids: &[usize]) -> Result<Option<Report>, Refused> {
        self.replace_by(ticket, routes(guids))
    }

    fn replace_by(&mut self, ticket: Ticket, pushed: Pushed) -> Result<Option<Report>, Refused> {
        let places = Arc::new(Semaphore::new(1));
        self.registrar.replace(BulkSync {
            _place: places.try_acquire_owned().unwrap(),
            ticket,
            began: Instant::now(),
            pushed,
            unclear: Unclear::default(),
            dropped: Vec::new(),
        })
    }

    fn status(&self) -> Status {
        self.feeds.statuses().remove(0)
    }

    fn problem(&self) -> Option<&'static str> {
        self.status().problem.map(|problem| problem.kind)
    }

    fn known(&self) -> usize {
        self.registrar.pushed.sizes().routes
    }
}

fn upsert(guid: usize) -> Change {
    Change::UpsertRoute(Route::example(&guid.to_string(), "a.example.com"))
}

fn delete(guid: usize) -> Change {
    Change::DeleteRoute(guid.to_string().as_str().into())
}

fn routes(guids: &[usize]) -> Pushed {
    let mut pushed = Pushed::default();
    for guid in guids {
        pushed.take(upsert(*guid)).unwrap();
    }
    pushed
}

#[tokio::test]
async fn the_first_bulk_sync_that_counts_makes_ready() {
    let mut rig = Rig::new();
    rig.registrar.apply(&upsert(0)).unwrap();
    assert_eq!(rig.readiness.pending(), ["routes"]);
    assert!(rig.sync(&[1]));
    assert_eq!(rig.readiness.pending(), [""; 0]);
    assert!(rig.status().last_success.is_some());
}

#[tokio::test]
async fn an_unchanged_bulk_sync_is_no_news_but_a_success() {
    let mut rig = Rig::new();
    assert!(rig.sync(&[1, 2]));
    assert!(!rig.sync(&[2, 1]));
    assert_eq!(rig.problem(), None);
}

#[tokio::test]
async fn the_first_bulk_sync_has_to_be_confirmed_where_it_is_empty() {
    let mut rig = Rig::new();
    assert!(!rig.sync(&[]));
    assert_eq!(rig.problem(), Some("unconfirmed"));
    assert_eq!(rig.readiness.pending(), ["routes"]);
    assert!(rig.sync(&[]));
    assert_eq!(rig.problem(), None);
    assert_eq!(rig.readiness.pending(), [""; 0]);
    rig.confirmations
        .send_modify(|confirmations| confirmations.is_starting = true);
    rig.sync(&[]);
    assert_eq!(rig.problem(), None, "it is confirmed already");
}

#[tokio::test]
async fn a_later_one_is_told_as_it_is_whatever_it_lacks() {
    let mut rig = Rig::new();
    rig.sync(&[1, 2, 3]);
    assert!(rig.sync(&[]));
    assert_eq!((rig.known(), rig.problem()), (0, None));
}

#[tokio::test]
async fn an_unchanged_bulk_sync_is_told_while_it_could_confirm_something() {
    let mut rig = Rig::new();
    rig.sync(&[1]);
    assert!(!rig.sync(&[1]));
    rig.confirmations
        .send_modify(|confirmations| confirmations.routes = Some(Instant::now()));
    let began = Instant::now();
    let ticket = rig.registrar.journal.open();
    let report = rig.replace(ticket, &[1]).unwrap().unwrap();
    assert!(matches!(report.basis, Basis::Read(reading) if reading.began >= began));
}

#[tokio::test]
async fn an_invalid_item_keeps_what_was_known_of_it() {
    let mut rig = Rig::new();
    rig.sync(&[1, 2, 3]);
    let ticket = rig.registrar.journal.open();
    let places = Arc::new(Semaphore::new(1));
    let unclear = Unclear {
        routes: ["2".into(), "4".into()].into(),
        ..Unclear::default()
    };
    let sync = BulkSync {
        _place: places.try_acquire_owned().unwrap(),
        ticket,
        began: Instant::now(),
        pushed: routes(&[1]),
        unclear,
        dropped: Vec::new(),
    };
    rig.registrar.replace(sync).unwrap();
    assert_eq!(rig.registrar.pushed, routes(&[1, 2]));
    assert_eq!(rig.status().counts["kept_items"], 1);
}

/// Fault 43 of the Go Copilot: a BulkSync undid what was pushed after Cloud Controller had read its database.
#[tokio::test]
async fn what_changes_while_a_bulk_sync_is_under_way_outlives_it() {
    let mut rig = Rig::new();
    rig.sync(&[1, 2]);
    let ticket = rig.registrar.journal.open();
    rig.registrar.apply(&upsert(3)).unwrap();
    rig.registrar.apply(&delete(1)).unwrap();
    rig.replace(ticket, &[1, 2]).unwrap();
    assert_eq!(rig.registrar.pushed, routes(&[2, 3]));
}

#[tokio::test]
async fn whether_a_bulk_sync_leads_anywhere_is_said_without_what_changed_shortly_before_it() {
    let leading = [
        upsert(1),
        Change::Map(("1".into(), "p".into()), 1),
        Change::Associate(Association {
            process: "p".into(),
            diego_processes: smallvec!["d".into()],
        }),
    ];
    let mut rig = Rig::new();
    for change in &leading {
        rig.registrar.apply(change).unwrap();
    }
    for (own, expected) in [(0, false), (leading.len(), true)] {
        let mut pushed = routes(&[1]);
        for change in &leading[..own] {
            pushed.take(change.clone()).unwrap();
        }
        let ticket = rig.registrar.journal.open();
        let report = rig.replace_by(ticket, pushed).unwrap().unwrap();
        let Update::AllPushed { routes, leads, .. } = report.update else {
            panic!("all at once");
        };
        assert_eq!((routes[0].destinations.len(), leads), (1, expected));
    }
}

/// Fault 43 too: Cloud Controller reads its database before it opens the stream.
#[tokio::test(start_paused = true)]
async fn what_changed_shortly_before_a_bulk_sync_outlives_it_once() {
    let mut rig = Rig::new();
    rig.sync(&[1, 2]);
    rig.registrar.apply(&upsert(3)).unwrap();
    rig.registrar.apply(&delete(1)).unwrap();
    advance(READ).await;
    rig.sync(&[1, 2]);
    assert_eq!(rig.registrar.pushed, routes(&[2, 3]));
    advance(Duration::from_millis(1)).await;
    rig.sync(&[1, 2]);
    assert_eq!(rig.registrar.pushed, routes(&[1, 2]));
}

#[tokio::test]
async fn one_that_was_under_way_when_the_doubt_arose_confirms_nothing() {
    let mut rig = Rig::new();
    let first = rig.registrar.journal.open();
    let second = rig.registrar.journal.open();
    assert!(rig.replace(first, &[]).unwrap().is_none());
    assert!(rig.replace(second, &[]).unwrap().is_none());
    assert_eq!(rig.problem(), Some("unconfirmed"));
    assert!(rig.sync(&[]));
}

#[tokio::test]
async fn what_the_publisher_need_not_know_is_counted_too() {
    let mut rig = Rig::new();
    let early = Change::Map(("unknown".into(), "p".into()), 1);
    let outcome = rig.registrar.apply(&early);
    assert!(matches!(outcome, Ok(None)));
    let (reply, _) = oneshot::channel();
    assert!(rig.registrar.conclude(outcome, reply).await.is_continue());
    assert_eq!(rig.status().counts["mappings"], 1);
}

#[tokio::test]
async fn while_something_is_held_what_is_upserted_takes_nothing_away_and_what_is_deleted_is_told() {
    let mut rig = Rig::new();
    rig.sync(&[1, 2, 3]);
    rig.sync(&[]);
    let basis = |rig: &mut Rig, change: &Change| {
        let report = rig.registrar.apply(change).unwrap();
        report.map(|report| report.basis)
    };
    assert_eq!(basis(&mut rig, &delete(1)), None, "nobody knows it");
    rig.confirmations.send_modify(|confirmations| {
        confirmations.routes = Some(Instant::now());
    });
    assert_eq!(basis(&mut rig, &delete(1)), Some(Basis::Told));
    assert_eq!(basis(&mut rig, &upsert(2)), Some(Basis::Asked));
}

#[tokio::test(start_paused = true)]
async fn what_is_unmapped_while_something_is_held_is_told_of_that_alone_however_many_reads_lacked_it()
 {
    let mut rig = Rig::new();
    let map = |process: &str| Change::Map(("1".into(), process.into()), 1);
    let unmap = |process: &str| Change::Unmap(("1".into(), process.into()));
    rig.sync(&[1]);
    for process in ["p", "q", "r"] {
        rig.registrar.apply(&map(process)).unwrap();
    }
    advance(2 * READ).await;
    rig.sync(&[1]);
    rig.confirmations.send_modify(|confirmations| {
        confirmations.routes = Some(Instant::now());
    });
    for process in ["p", "q"] {
        let report = rig.registrar.apply(&unmap(process)).unwrap().unwrap();
        assert_eq!(report.basis, Basis::Told);
        let Update::Unmapped(route, workload) = report.update else {
            panic!("{report:?}");
        };
        assert_eq!(
            (route, workload),
            ("1".into(), Workload::pushed(&process.into()))
        );
        rig.sync(&[]);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Apply(Change),
    /// Until what was changed is older than any read.
    Wait,
    Open,
    /// The one that was opened last, or first.
    Close(bool, Vec<usize>),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_usize).prop_map(|guid| Step::Apply(upsert(guid))),
        (0..6_usize).prop_map(|guid| Step::Apply(delete(guid))),
        Just(Step::Wait),
        Just(Step::Open),
        (any::<bool>(), prop::collection::vec(0..6_usize, 1..4))
            .prop_map(|(last, routes)| Step::Close(last, routes)),
    ]
}

proptest! {
    /// The model keeps every change since the start, and the number that were old when each BulkSync began.
    #[test]
    fn what_is_known_is_the_newest_bulk_sync_and_what_came_after_its_beginning(
        steps in prop::collection::vec(any_step(), 0..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let _time = runtime.enter();
        let mut rig = Rig::new();
        let (mut changes, mut open) = (Vec::new(), Vec::new());
        let (mut base, mut since, mut old) = (Vec::new(), 0, 0);
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Apply(change) => {
                    rig.registrar.apply(&change).unwrap();
                    changes.push(change);
                }
                Step::Wait => {
                    runtime.block_on(advance(2 * READ));
                    old = changes.len();
                }
                Step::Open => open.push((at, old, rig.registrar.journal.open())),
                Step::Close(_, _) if open.is_empty() => {}
                Step::Close(last, guids) => {
                    let (began, seen, ticket) = open.remove(if last { open.len() - 1 } else { 0 });
                    let outcome = rig.replace(ticket, &guids);
                    prop_assert_eq!(outcome.is_err(), began < since);
                    if outcome.is_ok() {
                        changes.drain(..seen);
                        old = old.saturating_sub(seen);
                        for (_, open, _) in &mut open {
                            *open = open.saturating_sub(seen);
                        }
                        (base, since) = (guids, began);
                    }
                }
            }
            let mut expected = routes(&base);
            for change in &changes {
                expected.take(change.clone()).unwrap();
            }
            prop_assert_eq!(&rig.registrar.pushed, &expected);
        }
    }
}
