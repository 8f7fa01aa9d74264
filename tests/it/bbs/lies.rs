//! A BBS that answers, but not with what is: nothing goes that it did not say is gone.

use copilot::{
    model::Basis,
    proto::bbs::{ActualLrp, ActualLrpNetInfo, DesiredLrp},
    sim::bbs::Bbs,
};
use prost::Message as _;
use tokio::time::Instant;

use super::rig::{LONG, OFTEN, Peers, Rig, place, process, running};

const ALL: usize = 40;

/// What becomes of a row, given its place in the list.
type Lie = fn(usize, &mut ActualLrp);

/// Rows that say nothing we understand, and what they are called.
const LIES: [(&str, Lie); 8] = [
    ("state", |_, row| row.state.clear()),
    ("state", |_, row| "ASLEEP".clone_into(&mut row.state)),
    ("presence", |_, row| row.presence = 7),
    ("port", |_, row| {
        for mapping in &mut net(row).ports {
            mapping.host_port = 70_000;
        }
    }),
    ("address", |_, row| net(row).address.clear()),
    ("address", |_, row| "cell".clone_into(&mut net(row).address)),
    ("domain", |_, row| {
        "tasks".clone_into(&mut row.actual_lrp_key.get_or_insert_default().domain);
    }),
    ("ports", |_, row| net(row).ports.clear()),
];

/// Only who knows a container can miss the ways into it.
const NO_WAYS: Lie = |_, row| {
    for mapping in &mut net(row).ports {
        mapping.host_tls_proxy_port = 0;
    }
};

fn net(row: &mut ActualLrp) -> &mut ActualLrpNetInfo {
    row.actual_lrp_net_info.get_or_insert_default()
}

/// All rows are lies, and newer than what is known.
fn lie(bbs: &Bbs, lie: Lie) {
    bbs.lie(move |at, mut row| {
        row.modification_tag.get_or_insert_default().index += 1;
        lie(at, &mut row);
        row.encode_to_vec()
    });
}

/// The first rows cannot be decoded.
fn garble(bbs: &Bbs, rows: usize) {
    bbs.lie(move |at, row| {
        if at < rows {
            vec![0xff]
        } else {
            row.encode_to_vec()
        }
    });
}

fn lie_of_desired(bbs: &Bbs, lie: fn(&mut DesiredLrp)) {
    bbs.lie_of_desired(move |_, mut row| {
        row.modification_tag.get_or_insert_default().index += 1;
        lie(&mut row);
        row.encode_to_vec()
    });
}

impl Rig {
    /// Takes in a read that is asked for from now on.
    async fn read_now(&mut self) {
        let now = Instant::now();
        self.hold(now);
        while self.next_read().await.began < now {}
    }
}

#[tokio::test]
async fn rows_that_say_nothing_we_understand_keep_what_was_known_and_are_named() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 40)).await;
    let known = rig.instances.clone();
    for (reason, is_said) in LIES.into_iter().chain([("ports", NO_WAYS)]) {
        lie(&rig.bbs, is_said);
        rig.read_now().await;
        assert_eq!(rig.instances, known, "{reason}");
        let dropped = rig.lists.borrow().dropped.named().clone();
        let stays = "; what was known of it stays";
        let named = dropped.values().filter(|item| item.detail.ends_with(stays));
        let reasons: Vec<_> = named.map(|item| item.reason).collect();
        assert_eq!(reasons, [reason; ALL]);
    }
}

#[tokio::test]
async fn a_fresh_daemon_does_not_believe_rows_that_say_nothing_we_understand() {
    for (reason, is_said) in LIES {
        let peers = Peers::start().await;
        running(&peers.bbs, "p", 40);
        lie(&peers.bbs, is_said);
        let mut rig = peers.follow();
        let kind = if reason == "ports" {
            "unconfirmed"
        } else {
            "unreadable"
        };
        let problem = rig.list_problem().await;
        assert_eq!(problem.kind, kind, "{reason}: {}", problem.message);
        assert_eq!(rig.readiness.pending(), ["instances"]);
    }
}

#[tokio::test]
async fn nothing_is_gone_by_a_list_whose_rows_cannot_be_decoded() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 40)).await;
    let lost = rig.instances.keys().next().unwrap().clone();
    garble(&rig.bbs, usize::MAX);
    for _ in 0..2 {
        rig.read_now().await;
        assert_eq!(rig.instances.len(), ALL, "any row may be anybody's");
    }
    rig.bbs.forget(std::slice::from_ref(&lost));
    garble(&rig.bbs, 1);
    rig.read_now().await;
    assert_eq!(rig.instances.len(), ALL - 2, "one row is not of two");
    rig.bbs.lie_no_more();
    rig.read_now().await;
    assert_eq!(rig.instances.len(), ALL - 1);
}

#[tokio::test]
async fn a_first_list_half_of_which_cannot_be_decoded_is_not_believed() {
    let peers = Peers::start().await;
    running(&peers.bbs, "p", 40);
    garble(&peers.bbs, 19);
    let mut rig = peers.follow();
    assert_eq!(rig.list_problem().await.kind, "unreadable");
    assert_eq!(rig.readiness.pending(), ["instances"]);
    rig.bbs.lie_no_more();
    rig.synced().await;
    assert_eq!(rig.instances.len(), ALL);
}

#[tokio::test]
async fn what_is_to_run_of_another_domain_says_nothing_of_ours() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 40)).await;
    lie_of_desired(&rig.bbs, |row| "tasks".clone_into(&mut row.domain));
    rig.read_now().await;
    assert_eq!(rig.instances.len(), ALL);
}

#[tokio::test]
async fn that_nothing_is_to_run_is_reported_as_what_a_read_says() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 40)).await;
    lie_of_desired(&rig.bbs, |row| row.instances = 0);
    rig.read_now().await;
    assert_eq!(rig.instances.len(), 0, "it can be confirmed or not");
    rig.bbs.lie_no_more();
    lie_of_desired(&rig.bbs, |row| {
        row.modification_tag.get_or_insert_default().index += 1;
    });
    rig.read_now().await;
    assert_eq!(rig.instances.len(), ALL);
}

#[tokio::test]
async fn while_something_is_held_events_take_away_what_they_end_and_nothing_else() {
    let mut rig = Rig::with(LONG, |bbs| running(bbs, "p", 40)).await;
    lie_of_desired(&rig.bbs, |row| row.instances = 0);
    rig.read_now().await;
    let one = rig.withheld.keys().next().unwrap().clone();
    rig.bbs.evacuate(&one);
    let (basis, current) = rig.next_event().await;
    assert_eq!((basis, &current[0].guid), (Basis::Asked, &one), "it runs");
    // The list has said that already.
    rig.bbs.remove_process("p");
    let (basis, current) = rig.next_event().await;
    assert_eq!((basis, current.len()), (Basis::Told, ALL));
}

#[tokio::test]
async fn while_something_is_held_a_process_that_is_scaled_down_loses_what_ends_alone() {
    let mut rig = Rig::with(LONG, |bbs| running(bbs, "p", 40)).await;
    lie_of_desired(&rig.bbs, |row| row.instances = 0);
    rig.read_now().await;
    rig.bbs.scale("p", 39);
    let (basis, current) = rig.next_event().await;
    assert_eq!((basis, current.len()), (Basis::Asked, 39));
    assert!(current.iter().all(|instance| instance.routable));
    let (basis, current) = rig.next_event().await;
    assert_eq!((basis, current.len()), (Basis::Told, 1));
    assert!(!current[0].routable);
}

#[tokio::test]
async fn a_later_list_before_anything_is_served_is_judged_like_the_first() {
    let mut peers = Peers::start().await;
    peers.settings.sync_interval = LONG;
    running(&peers.bbs, "p", 40);
    let mut rig = peers.follow();
    rig.hold_at_a_start(Instant::now() + LONG);
    rig.synced().await;
    let lost: Vec<_> = rig.instances.keys().cloned().collect();
    rig.bbs.forget(&lost);
    rig.hold_at_a_start(Instant::now());
    assert_eq!(rig.list_problem().await.kind, "unconfirmed");
    assert_eq!(rig.instances.len(), ALL);
}

#[tokio::test]
async fn a_first_list_of_which_nothing_is_to_run_is_doubted() {
    let peers = Peers::start().await;
    running(&peers.bbs, "p", 40);
    lie_of_desired(&peers.bbs, |row| row.instances = 0);
    let mut rig = peers.follow();
    let problem = rig.list_problem().await;
    assert!(
        problem.message.starts_with("40 of 40"),
        "{}",
        problem.message
    );
    assert_eq!(rig.readiness.pending(), ["instances"]);
}

#[tokio::test]
async fn a_first_list_without_half_of_what_is_to_run_is_doubted() {
    for instances in [0, 3, 19] {
        let peers = Peers::start().await;
        let places = (0..instances).map(place).collect();
        peers.bbs.load([(process("p", 40), places)]);
        let mut rig = peers.follow();
        let problem = rig.list_problem().await;
        assert_eq!(problem.kind, "unconfirmed", "{}", problem.message);
        assert!(problem.message.contains(&format!("{instances} of 40")));
        assert_eq!(rig.readiness.pending(), ["instances"]);
    }
}

#[tokio::test]
async fn that_there_is_nothing_at_all_has_to_be_said_twice() {
    let mut rig = Peers::start().await.follow();
    rig.synced().await;
    assert_eq!(*rig.bbs.lists_requested().borrow(), 2);
}
