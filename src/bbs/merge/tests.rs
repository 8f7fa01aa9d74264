//! The rules of the merge one by one, and then all at once against simulated histories.

use std::{collections::HashMap, net::Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::{
    bbs::{
        DOMAIN,
        observation::{Endpoint, Tag},
    },
    model::{PortMapping, ProcessType, Workload},
};

fn workload() -> Workload {
    Workload {
        app: "app".into(),
        process_type: ProcessType::Web,
    }
}

fn endpoint(number: u8) -> Endpoint {
    Endpoint {
        host_address: Ipv4Addr::new(10, 0, 0, number).into(),
        container_address: None,
        prefers_container: false,
        zone: None,
        ports: SmallVec::new(),
    }
}

/// Running, in the first state of its row.
fn running(guid: &str) -> Observation {
    Observation {
        guid: guid.into(),
        process: "process".into(),
        index: 0,
        tag: Tag { epoch: 1, index: 5 },
        since: 100,
        workload: None,
        endpoint: Some(endpoint(1)),
        routable: true,
    }
}

fn at(epoch: u64, index: u32, since: i64) -> Observation {
    Observation {
        tag: Tag { epoch, index },
        since,
        ..running("a")
    }
}

fn withheld(observation: Observation) -> Observation {
    Observation {
        routable: false,
        ..observation
    }
}

fn stopped(observation: Observation) -> Observation {
    Observation {
        endpoint: None,
        ..withheld(observation)
    }
}

fn wanted(instances: u32, epoch: u64, index: u32) -> Desired {
    Desired {
        process: "process".into(),
        instances,
        tag: Tag { epoch, index },
        app: None,
        workload: None,
    }
}

/// A fresh list, by which as many as there may be are to run.
fn listed(instances: Vec<Observation>) -> List {
    List {
        instances,
        desired: vec![wanted(1_000, 9, 9)],
        fresh: true,
        ..List::default()
    }
}

struct Bench {
    merge: Merge,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self {
            merge: Merge::default(),
            now: Instant::now(),
        }
    }

    fn serving(observation: Observation) -> Self {
        let mut bench = Self::new();
        bench.observe(observation);
        assert_eq!(bench.merge.served(), 1);
        bench
    }

    fn event(&mut self, event: Event) -> InstanceChanges {
        self.merge.event(event, self.now)
    }

    fn observe(&mut self, observation: Observation) -> InstanceChanges {
        self.event(Event::Observed(observation))
    }

    fn list(&mut self, list: List) -> InstanceChanges {
        let mark = self.merge.mark();
        self.merge.list(list, mark, self.now)
    }

    fn is_served(&self) -> bool {
        self.merge.served() == 1
    }
}

#[test]
fn within_an_incarnation_the_index_decides() {
    let mut bench = Bench::serving(at(1, 5, 100));
    bench.observe(withheld(at(1, 4, 999)));
    assert!(bench.is_served(), "an older index is late");
    bench.observe(withheld(at(1, 5, 100)));
    assert!(!bench.is_served(), "presence changes keep the index");
    bench.observe(at(1, 6, 1));
    assert!(bench.is_served());
}

#[test]
fn after_a_doubt_whatever_a_list_says_counts_but_for_later_events() {
    let mut bench = Bench::new();
    bench.list(listed(vec![at(1, 5, 100)]));
    bench.list(listed(vec![stopped(at(1, 6, 100))]));
    assert!(!bench.is_served());
    bench.list(listed(vec![at(1, 5, 100)]));
    assert!(!bench.is_served(), "the one before was newer");
    let mark = bench.merge.mark();
    let truth = || listed(vec![at(1, 5, 100)]);
    bench.merge.list_after_doubt(truth(), mark, bench.now);
    assert!(bench.is_served());
    bench.observe(withheld(at(1, 6, 100)));
    bench.merge.list_after_doubt(truth(), mark, bench.now);
    assert!(!bench.is_served(), "an event said so since");
}

#[test]
fn after_a_doubt_what_is_to_run_counts_too() {
    let mut bench = Bench::new();
    bench.list(listed(vec![at(1, 5, 100)]));
    let desired = |instances, index| List {
        desired: vec![wanted(instances, 9, index)],
        ..listed(vec![at(1, 5, 100)])
    };
    bench.list(desired(0, 10));
    bench.list(desired(1, 9));
    assert!(!bench.is_served());
    let mark = bench.merge.mark();
    bench.merge.list_after_doubt(desired(1, 9), mark, bench.now);
    assert!(bench.is_served());
}

/// As after a database was restored from an earlier day.
#[test]
fn an_older_state_is_believed_when_two_lists_in_a_row_have_it() {
    let older = || List {
        desired: vec![wanted(1, 9, 9)],
        ..listed(vec![at(1, 4, 100)])
    };
    let newer = || List {
        desired: vec![wanted(0, 9, 10)],
        ..listed(vec![stopped(at(1, 5, 100))])
    };
    let mut bench = Bench::new();
    bench.list(newer());
    bench.list(older());
    assert!(!bench.is_served(), "it may have been late");
    bench.list(newer());
    bench.list(older());
    assert!(!bench.is_served(), "not in a row");
    bench.list(older());
    assert!(bench.is_served());
    bench.list(older());
    assert!(bench.is_served(), "it is what is known now");

    let mut bench = Bench::new();
    bench.list(older());
    let mark = bench.merge.mark();
    bench.observe(stopped(at(1, 5, 100)));
    for _ in 0..3 {
        bench.merge.list(older(), mark, bench.now);
        assert!(!bench.is_served(), "requested before the event");
    }
    bench.list(older());
    bench.observe(stopped(at(1, 5, 100)));
    bench.list(older());
    assert!(!bench.is_served(), "an event has said so again in between");
}

#[test]
fn what_an_event_ends_is_said_again_for_who_holds_it() {
    let mut bench = Bench::new();
    bench.list(listed(vec![at(1, 5, 100)]));
    bench.list(List {
        desired: vec![wanted(0, 9, 10)],
        ..listed(vec![at(1, 5, 100)])
    });
    let mut changes = InstanceChanges::default();
    for instances in [1, 5] {
        let scale = Event::Desired(wanted(instances, 9, 9));
        bench.merge.repeat_end(&scale, &mut changes);
        assert!(changes.is_empty(), "it is to run");
    }
    let stop = Event::DesiredRemoved(wanted(0, 9, 11));
    let mut changes = bench.event(stop.clone());
    assert!(changes.is_empty());
    bench.merge.repeat_end(&stop, &mut changes);
    assert_eq!(changes.current.len(), 1);
    assert!(!changes.current[0].routable);
}

#[test]
fn between_incarnations_the_clock_decides() {
    let mut bench = Bench::serving(at(1, 5, 100));
    bench.observe(withheld(at(2, 9, 99)));
    assert!(bench.is_served());
    bench.observe(withheld(at(2, 0, 101)));
    assert!(!bench.is_served());
}

#[test]
fn a_removal_that_is_older_than_what_is_known_removes_nothing() {
    let mut bench = Bench::serving(at(1, 5, 100));
    bench.event(Event::Removed(at(1, 4, 90)));
    bench.event(Event::Removed(at(2, 0, 99)));
    assert!(bench.is_served());
    let changes = bench.event(Event::Removed(at(1, 5, 100)));
    assert_eq!(changes.gone, ["a".into()]);
}

#[test]
fn what_was_removed_stays_so_under_its_incarnation_for_five_minutes() {
    let mut bench = Bench::serving(at(1, 5, 100));
    bench.event(Event::Removed(at(1, 5, 100)));
    bench.list(listed(vec![at(1, 5, 100)]));
    bench.observe(at(1, 4, 90));
    assert!(!bench.is_served());
    bench.now += tombstones::KEPT;
    bench.list(listed(vec![at(1, 5, 100)]));
    assert!(bench.is_served(), "it did not stop");
}

#[test]
fn what_was_removed_comes_back_under_another_incarnation() {
    let mut bench = Bench::serving(at(1, 5, 100));
    bench.event(Event::Removed(at(1, 5, 100)));
    bench.observe(at(2, 0, 101));
    assert!(bench.is_served());
}

#[test]
fn what_an_instance_was_before_its_evacuation_does_not_come_back_after_its_end() {
    let mut bench = Bench::serving(at(2, 0, 299));
    bench.event(Event::Removed(at(2, 0, 299)));
    // It ran under the incarnation before, and that is heard of late.
    bench.observe(at(1, 2, 287));
    assert!(!bench.is_served());
    bench.list(listed(vec![at(1, 2, 287)]));
    assert!(!bench.is_served());
}

#[test]
fn each_incarnation_that_was_removed_stays_so() {
    let mut bench = Bench::serving(at(1, 0, 287));
    bench.event(Event::Removed(at(1, 0, 287)));
    bench.event(Event::Removed(at(2, 0, 299)));
    bench.observe(at(1, 3, 305));
    assert!(!bench.is_served());
}

#[test]
fn of_two_rows_for_one_instance_the_later_one_is_true() {
    for rows in [
        vec![withheld(at(1, 5, 100)), at(2, 0, 101)],
        vec![at(2, 0, 101), withheld(at(1, 5, 100))],
    ] {
        let mut bench = Bench::new();
        bench.list(listed(rows));
        assert!(bench.is_served());
    }
}

#[test]
fn what_a_list_lacks_goes_unless_it_was_heard_of_since_the_request() {
    let mut bench = Bench::serving(at(1, 5, 100));
    let mark = bench.merge.mark();
    bench.observe(at(1, 6, 110));
    bench.merge.list(listed(Vec::new()), mark, bench.now);
    assert!(bench.is_served());
    bench.list(listed(Vec::new()));
    assert!(!bench.is_served());
}

#[test]
fn changes_that_do_not_show_are_not_reported() {
    let mut bench = Bench::serving(at(1, 5, 100));
    assert!(bench.observe(at(1, 6, 100)).is_empty());
    assert!(bench.list(listed(vec![at(1, 6, 100)])).is_empty());
    assert!(bench.event(Event::Desired(wanted(1, 1, 0))).is_empty());
}

#[test]
fn what_runs_has_its_place_until_it_has_stopped() {
    let mut bench = Bench::serving(at(1, 5, 100));
    let places = |merge: &Merge| -> Vec<_> {
        let all = merge.all();
        all.iter().map(|one| (one.routable, one.since)).collect()
    };
    bench.event(Event::Desired(wanted(0, 1, 2)));
    assert_eq!(places(&bench.merge), [(false, 100)], "it is to stop");
    bench.event(Event::Desired(wanted(1, 1, 3)));
    let changes = bench.observe(withheld(at(1, 6, 110)));
    assert_eq!(changes.gone, []);
    assert_eq!(places(&bench.merge), [(false, 110)]);
    let changes = bench.observe(stopped(at(1, 7, 120)));
    assert_eq!(changes.gone, ["a".into()]);
    assert_eq!(places(&bench.merge), []);
}

#[test]
fn a_description_that_comes_later_is_reported_and_stays() {
    let mut bench = Bench::serving(at(1, 5, 100));
    let mut desired = wanted(1, 1, 0);
    desired.workload = Some(workload());
    let changes = bench.event(Event::Desired(desired));
    assert_eq!(changes.current[0].workload, Some(workload()));
    let undescribed = wanted(2, 1, 1);
    assert!(bench.event(Event::Desired(undescribed)).is_empty());

    let mut bench = Bench::new();
    let mut described = at(1, 5, 100);
    described.workload = Some(workload());
    bench.list(listed(vec![described]));
    assert!(bench.observe(at(1, 6, 100)).is_empty());
}

#[test]
fn instances_beyond_the_desired_number_are_not_served() {
    let mut bench = Bench::serving(at(1, 5, 100));
    bench.event(Event::Desired(wanted(0, 1, 2)));
    assert!(!bench.is_served());
    bench.event(Event::Desired(wanted(1, 1, 1)));
    assert!(!bench.is_served(), "the larger number is the older one");
    bench.event(Event::Desired(wanted(1, 1, 3)));
    assert!(bench.is_served());
}

#[test]
fn nothing_runs_of_a_process_that_is_not_to_run_if_the_bbs_vouches_for_that() {
    let unlisted = |fresh| List {
        instances: vec![at(1, 5, 100)],
        fresh,
        ..List::default()
    };
    let mut bench = Bench::new();
    bench.list(unlisted(false));
    assert!(bench.is_served(), "nobody vouches for it");
    bench.list(unlisted(true));
    assert!(!bench.is_served());
    bench.list(unlisted(false));
    assert!(!bench.is_served(), "it has vouched for it");
    bench.list(listed(vec![at(1, 5, 100)]));
    assert!(bench.is_served());
    let mark = bench.merge.mark();
    bench.event(Event::Desired(wanted(1, 2, 0)));
    bench.merge.list(unlisted(true), mark, bench.now);
    assert!(bench.is_served(), "it was heard of since");
    let mut unreadable = unlisted(true);
    unreadable.unclear.note_process("process", DOMAIN, false);
    bench.list(unreadable);
    let mut nameless = unlisted(true);
    nameless.unclear.note_process("", DOMAIN, false);
    bench.list(nameless);
    assert!(bench.is_served(), "there is a row, whatever it says");
}

#[test]
fn what_starts_after_a_list_that_does_not_want_it_is_served_until_the_next_one() {
    let unlisted = || List {
        instances: vec![at(1, 5, 100)],
        fresh: true,
        ..List::default()
    };
    let mut bench = Bench::new();
    bench.list(unlisted());
    assert!(!bench.is_served());
    let started = Observation {
        index: 1,
        ..running("started")
    };
    bench.observe(started.clone());
    assert!(bench.is_served(), "what nobody wants is not started");
    let mut both = unlisted();
    both.instances.push(started);
    bench.list(both);
    assert_eq!(bench.merge.served(), 0);
}

#[test]
fn a_stopped_process_stays_stopped_while_its_instances_are_still_listed() {
    let mut bench = Bench::serving(at(1, 5, 100));
    bench.event(Event::DesiredRemoved(wanted(1, 1, 2)));
    bench.list(List {
        desired: Vec::new(),
        ..listed(vec![at(1, 5, 100)])
    });
    bench.event(Event::Desired(wanted(1, 1, 2)));
    assert!(!bench.is_served());
    bench.event(Event::Desired(wanted(1, 2, 0)));
    assert!(bench.is_served(), "it is desired anew");
}

#[test]
fn a_list_does_not_undo_what_was_desired_after_its_request() {
    let mut bench = Bench::serving(at(1, 5, 100));
    let mark = bench.merge.mark();
    bench.event(Event::DesiredRemoved(wanted(1, 1, 2)));
    bench.event(Event::Desired(wanted(0, 2, 0)));
    let mut list = listed(vec![at(1, 5, 100)]);
    list.desired = vec![wanted(1, 1, 2)];
    bench.merge.list(list, mark, bench.now);
    assert!(!bench.is_served());
}

fn many(count: u8) -> Vec<Observation> {
    (0..count).map(|n| running(&format!("i{n}"))).collect()
}

#[test]
fn what_has_a_row_that_cannot_be_read_is_not_gone() {
    let mut bench = Bench::new();
    bench.list(listed(many(3)));
    let mut list = listed(many(1));
    list.unclear.instances.insert("i1".into(), None);
    bench.list(list);
    assert_eq!(bench.merge.served(), 2);
    let mut list = listed(Vec::new());
    list.unclear.nameless_instances = 2;
    bench.list(list);
    assert_eq!(bench.merge.served(), 2, "any of them may be one of ours");
    bench.list(listed(Vec::new()));
    assert_eq!(bench.merge.served(), 0);
}

#[test]
fn a_row_that_lacks_ports_of_its_container_keeps_them() {
    let with = |ports: &[PortMapping]| {
        let mut row = at(1, 5, 100);
        row.endpoint.as_mut().unwrap().ports = ports.into();
        row
    };
    let (both, one) = (
        [
            PortMapping::plain(8080, 61_000),
            PortMapping::plain(9090, 61_001),
        ],
        [PortMapping::plain(9090, 61_001)],
    );
    let mut bench = Bench::serving(with(&both));
    let closed = [PortMapping::plain(8080, 0), both[1]];
    for row in [with(&one), with(&[]), with(&closed)] {
        let changes = bench.list(listed(vec![row]));
        assert!(changes.is_empty());
        assert_eq!(bench.merge.take_kept(), ["a".into()]);
    }
    let moved = [PortMapping::plain(8080, 61_002), both[1]];
    assert_eq!(bench.observe(with(&moved)).current[0].ports[0].host, 61_002);
    assert_eq!(bench.merge.take_kept(), []);
}

#[test]
fn a_removal_of_an_older_state_is_a_reason_to_read_its_process() {
    let mut bench = Bench::serving(at(1, 8, 100));
    let removed = bench.event(Event::Removed(at(1, 7, 90)));
    assert!(removed.is_empty());
    bench.event(Event::Removed(at(1, 6, 80)));
    assert_eq!(bench.merge.doubtful(), 1);
    assert_eq!(bench.merge.next_doubtful(), Some("process".into()));
    let mark = bench.merge.mark();
    let there = listed(vec![at(1, 8, 100)]);
    bench.merge.list_process(&"process".into(), there, mark);
    assert!(bench.is_served());
    let changes = bench
        .merge
        .list_process(&"process".into(), listed(Vec::new()), mark);
    assert_eq!(changes.gone, ["a".into()]);
}

#[test]
fn a_retired_instance_does_not_come_back_by_what_is_said_of_it_later() {
    let mut bench = Bench::serving(at(1, 5, 100));
    bench.event(Event::Removed(at(1, 5, 100)));
    bench.observe(at(1, 6, 110));
    bench.list(listed(vec![at(1, 7, 120)]));
    assert!(!bench.is_served());
}

#[test]
fn what_a_list_says_first_is_news_until_an_event_says_it() {
    let mut bench = Bench::new();
    bench.list(listed(vec![at(1, 5, 100), running("b")]));
    bench.merge.take_news();
    bench.list(listed(vec![at(1, 5, 100), running("b")]));
    assert!(bench.merge.take_news().is_none());
    bench.list(listed(vec![at(1, 6, 110)]));
    let news = bench.merge.take_news().unwrap();
    assert!(!bench.merge.is_announced(&news));
    bench.observe(at(1, 6, 110));
    assert!(!bench.merge.is_announced(&news), "b went without a word");
    bench.event(Event::Removed(running("b")));
    assert!(bench.merge.is_announced(&news));
}

#[test]
fn what_lists_lacked_ends_with_its_process_or_by_its_own_event() {
    let mut bench = Bench::new();
    bench.list(listed(many(3)));
    bench.list(listed(Vec::new()));
    let removed = Event::Removed(running("i1"));
    assert_eq!(bench.merge.ended(&removed), ["i1".into()]);
    assert!(bench.merge.ended(&removed).is_empty(), "once");
    assert!(
        bench
            .merge
            .ended(&Event::Desired(wanted(1, 1, 2)))
            .is_empty()
    );
    bench.observe(running("i2"));
    let stopped = Event::Desired(wanted(0, 1, 3));
    assert_eq!(
        bench.merge.ended(&stopped),
        ["i0".into()],
        "the other is back"
    );

    bench.list(listed(many(3)));
    bench.list(listed(Vec::new()));
    bench.merge.forget_lost();
    let removed = Event::DesiredRemoved(wanted(1, 1, 4));
    assert!(bench.merge.ended(&removed).is_empty());
}

// === Histories ===

/// What happens to one of a few instances, or to their process.
#[derive(Debug, Clone)]
enum Act {
    Start(u8),
    Routable(u8, bool),
    Suspect(u8),
    Evacuate(u8),
    Stop(u8),
    Scale(u32),
    Stopped,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0_u8..4).prop_map(Act::Start),
        2 => (0_u8..4, any::<bool>()).prop_map(|(at, routable)| Act::Routable(at, routable)),
        1 => (0_u8..4).prop_map(Act::Suspect),
        2 => (0_u8..4).prop_map(Act::Evacuate),
        2 => (0_u8..4).prop_map(Act::Stop),
        1 => (0_u32..5).prop_map(Act::Scale),
        1 => Just(Act::Stopped),
    ]
}

/// A BBS's database, which writes each change down as an event.
#[derive(Default)]
struct Database {
    rows: HashMap<u8, Observation>,
    desired: Option<Desired>,
    clock: i64,
    epochs: u64,
}

impl Database {
    fn act(&mut self, act: &Act) -> Vec<Event> {
        self.clock += 1;
        match act {
            Act::Start(index) => self.start(*index),
            Act::Routable(index, routable) => self.change(*index, |row, clock| {
                row.routable = *routable;
                row.tag.index += 1;
                row.since = clock;
            }),
            // The event repeats the row: the presence is not in the tag, and makes no difference here.
            Act::Suspect(index) => self.change(*index, |_, _| {}),
            Act::Evacuate(index) => {
                self.epochs += 1;
                let epoch = self.epochs;
                self.change(*index, |row, clock| {
                    row.tag = Tag { epoch, index: 0 };
                    row.since = clock;
                })
            }
            Act::Stop(index) => {
                let row = self.rows.remove(index);
                row.into_iter().map(Event::Removed).collect()
            }
            Act::Scale(instances) => self.scale(*instances),
            Act::Stopped => {
                let desired = self.desired.take();
                desired.into_iter().map(Event::DesiredRemoved).collect()
            }
        }
    }

    fn start(&mut self, index: u8) -> Vec<Event> {
        if self.rows.contains_key(&index) {
            return Vec::new();
        }
        self.epochs += 1;
        let row = Observation {
            guid: format!("{index}-{}", self.clock).as_str().into(),
            index: index.into(),
            tag: Tag {
                epoch: self.epochs,
                index: 1,
            },
            since: self.clock,
            ..running("")
        };
        self.rows.insert(index, row.clone());
        vec![Event::Observed(stopped(row.clone())), Event::Observed(row)]
    }

    fn change(&mut self, index: u8, change: impl FnOnce(&mut Observation, i64)) -> Vec<Event> {
        let clock = self.clock;
        let Some(row) = self.rows.get_mut(&index) else {
            return Vec::new();
        };
        change(row, clock);
        vec![Event::Observed(row.clone())]
    }

    fn scale(&mut self, instances: u32) -> Vec<Event> {
        self.epochs += 1;
        let desired = match self.desired.take() {
            Some(known) => Desired {
                instances,
                tag: Tag {
                    index: known.tag.index + 1,
                    ..known.tag
                },
                ..known
            },
            None => wanted(instances, self.epochs, 0),
        };
        self.desired = Some(desired.clone());
        vec![Event::Desired(desired)]
    }

    fn list(&self) -> List {
        List {
            instances: self.rows.values().cloned().collect(),
            desired: self.desired.clone().into_iter().collect(),
            unplaced: Vec::new(),
            fresh: true,
            unclear: Unclear::default(),
        }
    }
}

fn served(merge: &Merge) -> Vec<InstanceGuid> {
    let mut served = merge.all();
    served.retain(|one| one.routable);
    let mut guids: Vec<_> = served.iter().map(|one| one.guid.clone()).collect();
    guids.sort();
    guids
}

/// What those who follow the changes hold.
type Followed = HashMap<InstanceGuid, Arc<Instance>>;

fn apply(followed: &mut Followed, changes: InstanceChanges) {
    for guid in changes.gone {
        assert!(followed.remove(&guid).is_some());
    }
    let current = changes.current.into_iter();
    followed.extend(current.map(|one| (one.guid.clone(), one)));
}

proptest! {
    /// Events come late and in another order, lists are read at any time and arrive later still. A last list that was
    /// requested after all of it settles the matter, but for the processes and instances that events removed: those
    /// are gone for good in a true history.
    #[test]
    fn any_interleaving_ends_where_one_last_list_ends(
        history in prop::collection::vec((act(), 0_usize..4, 0_u8..3), 0..60),
    ) {
        let now = Instant::now();
        let mut database = Database::default();
        let mut merge = Merge::default();
        let mut followed = Followed::new();
        let mut late: Vec<(usize, Event)> = Vec::new();
        let mut reading: Option<(List, Mark)> = None;
        for (act, delay, list) in history {
            match list {
                1 => reading = reading.or_else(|| Some((database.list(), merge.mark()))),
                2 => if let Some((list, mark)) = reading.take() {
                    apply(&mut followed, merge.list(list, mark, now));
                },
                _ => {}
            }
            // Desired events keep their order among themselves; those of instances need not.
            let ordered = matches!(act, Act::Scale(_) | Act::Stopped);
            let events = database.act(&act).into_iter();
            late.extend(events.map(|event| (if ordered { 0 } else { delay }, event)));
            let due: Vec<_> = late.extract_if(.., |(delay, _)| *delay == 0).collect();
            for (delay, _) in &mut late {
                *delay -= 1;
            }
            for (_, event) in due {
                apply(&mut followed, merge.event(event, now));
            }
        }
        for (_, event) in late {
            apply(&mut followed, merge.event(event, now));
        }
        let mark = merge.mark();
        apply(&mut followed, merge.list(database.list(), mark, now));

        let mut once = Merge::default();
        once.list(database.list(), Mark(0), now);
        // A process that is desired no more limits what is still listed of it, until that has stopped.
        let expected = if database.desired.is_some() || merge.processes.values().all(|process| process.desired.is_none()) {
            served(&once)
        } else {
            Vec::new()
        };
        prop_assert_eq!(served(&merge), expected);
        let all = merge.all().into_iter();
        prop_assert_eq!(followed, all.map(|one| (one.guid.clone(), one)).collect());
        prop_assert_eq!(merge.served(), served(&merge).len());
    }
}
