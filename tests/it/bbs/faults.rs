//! What goes wrong between the daemon and the BBS; nothing of it empties the table.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use copilot::{
    feed::Status,
    model::Basis,
    proto::bbs::{
        ActualLrp, ActualLrpInstanceCreatedEvent, ActualLrpInstanceKey,
        ActualLrpInstanceRemovedEvent, ActualLrpKey,
    },
    sim::bbs::ListFault,
    tls::Identity,
};
use prost::Message as _;
use tokio::time::{Instant, timeout};

use super::rig::{LONG, NEVER, OFTEN, Peers, Rig, place, process, reached, running, well};

#[tokio::test]
async fn a_bbs_that_is_down_at_the_start_is_waited_for() {
    let peers = Peers::start().await;
    peers.bbs.refuse(true);
    running(&peers.bbs, "p", 2);
    let mut rig = peers.follow();
    reached(&mut rig.bbs.refused(), 3).await;
    rig.event_problem().await;
    assert_eq!(rig.readiness.pending(), ["instances"]);
    rig.bbs.refuse(false);
    rig.synced().await;
    assert_eq!(rig.instances.len(), 2);
    rig.readiness.ready().await;
}

#[tokio::test]
async fn nobody_at_the_address_is_a_matter_of_the_network() {
    let mut peers = Peers::start().await;
    // As a standby: its port is closed until it is the active one.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    peers.settings.peer.address.set_port(Some(port)).unwrap();
    let problem = peers.follow().event_problem().await;
    assert_eq!(problem.kind, "connect", "{}", problem.message);
}

#[tokio::test]
async fn a_client_certificate_that_the_bbs_refuses_is_called_that() {
    let mut peers = Peers::start().await;
    peers.settings.peer.identity = Some(peers.foreign_identity());
    peers.settings.peer.connect_timeout = Duration::from_millis(20);
    let mut rig = peers.follow();
    for problem in [rig.event_problem().await, rig.list_problem().await] {
        assert_eq!(problem.kind, "tls", "{}", problem.message);
        assert!(
            problem
                .message
                .contains("the BBS refuses our client certificate"),
            "{}",
            problem.message
        );
    }
}

#[tokio::test]
async fn a_client_certificate_that_is_replaced_counts_without_a_restart_and_a_broken_one_does_not()
{
    let peers = Peers::start().await;
    running(&peers.bbs, "p", 1);
    let ours = peers.settings.peer.identity.clone().unwrap();
    let read = |identity: &Identity| {
        [&identity.cert, &identity.key].map(|file| std::fs::read(file).unwrap())
    };
    let (good, foreign) = (read(&ours), read(&peers.foreign_identity()));
    let write = |[cert, key]: &[Vec<u8>; 2]| {
        std::fs::write(&ours.cert, cert).unwrap();
        std::fs::write(&ours.key, key).unwrap();
    };
    let mut peers = peers;
    peers.settings.sync_interval = OFTEN;
    let mut rig = peers.follow();
    rig.synced().await;
    write(&[b"broken".to_vec(), good[1].clone()]);
    rig.more_lists(3).await;
    write(&foreign);
    assert_eq!(rig.list_problem().await.kind, "tls");
    write(&good);
    well(&mut rig.lists).await;
}

#[tokio::test]
async fn a_bbs_that_cannot_prove_itself_is_not_believed() {
    let mut peers = Peers::start().await;
    peers.foreign_identity();
    peers.settings.peer.ca = peers.folder.path().join("foreign-ca.crt");
    let mut rig = peers.follow();
    let problem = rig.event_problem().await;
    assert_eq!(problem.kind, "tls");
    assert!(
        problem
            .message
            .contains("the BBS's certificate does not fit"),
        "{}",
        problem.message
    );
}

/// What happens while the stream is down is found by the list that follows the next subscription.
async fn finds_what_it_missed(break_stream: impl FnOnce(&Rig)) {
    let mut rig = Rig::with(NEVER, |bbs| running(bbs, "p", 2)).await;
    rig.bbs.subscribed().await;
    let missed = rig.instances.keys().next().unwrap().clone();
    rig.bbs.forget(std::slice::from_ref(&missed));
    break_stream(&rig);
    rig.until(|instances| instances.len() == 1).await;
    assert!(!rig.instances.contains_key(&missed));
    rig.resubscribed(2).await;
    rig.catch_up().await;
}

#[tokio::test]
async fn a_stream_that_ends_in_order_is_begun_anew_with_a_list() {
    finds_what_it_missed(|rig| rig.bbs.end_streams()).await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_in_an_event_is_begun_anew_with_a_list() {
    finds_what_it_missed(|rig| rig.bbs.cut_streams_mid_event()).await;
}

#[tokio::test]
async fn a_garbage_event_is_a_loss_like_any_other() {
    finds_what_it_missed(|rig| rig.bbs.send_raw_event("desired_lrp_created", "~garbage~")).await;
}

#[tokio::test]
async fn an_event_of_an_unknown_type_is_skipped() {
    let mut rig = Rig::with(NEVER, |_| {}).await;
    rig.bbs.send_raw_event("actual_lrp_renamed", "AAAA");
    rig.catch_up().await;
    assert_eq!(*rig.bbs.subscriptions().borrow(), 1);
}

#[tokio::test]
async fn an_invalid_instance_is_left_out_by_name_and_the_others_are_served() {
    let mut rig = Rig::with(NEVER, |bbs| running(bbs, "p", 1)).await;
    let invalid = ActualLrpInstanceCreatedEvent {
        actual_lrp: Some(ActualLrp {
            actual_lrp_key: Some(ActualLrpKey {
                process_guid: "q".to_owned(),
                index: 3,
                domain: "cf-apps".to_owned(),
            }),
            actual_lrp_instance_key: Some(ActualLrpInstanceKey {
                instance_guid: "lost".to_owned(),
                cell_id: "cell".to_owned(),
            }),
            state: "RUNNING".to_owned(),
            ..ActualLrp::default()
        }),
    };
    let data = STANDARD.encode(invalid.encode_to_vec());
    rig.bbs.send_raw_event("actual_lrp_instance_created", &data);
    rig.catch_up().await;
    assert_eq!(rig.instances.len(), 1);
    let dropped = rig.lists.borrow().dropped.named()["q/3 lost"].clone();
    assert_eq!(
        (dropped.reason, dropped.detail.as_str()),
        ("address", "\"\" is no IP address")
    );
}

#[tokio::test]
async fn lists_that_fail_in_any_way_empty_nothing() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 3)).await;
    for (fault, kind) in [
        (ListFault::Status(503), "server_error"),
        (ListFault::Status(404), "not_found"),
        (ListFault::Reported(31), "server_error"),
        (ListFault::Garbage, "malformed"),
        (ListFault::Short, "truncated"),
    ] {
        rig.bbs.fail_lists(fault);
        let problem = rig.list_problem().await;
        assert_eq!(problem.kind, kind, "{}", problem.message);
        rig.catch_up().await;
        assert_eq!(rig.instances.len(), 3);
        rig.bbs.fail_lists(ListFault::None);
        well(&mut rig.lists).await;
    }
}

/// Has the BBS answer with a list of these bytes.
fn replay(rig: &Rig, rows: &[u8]) {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        rows.len()
    );
    let response = [head.as_bytes(), rows].concat();
    rig.bbs.replay("/v1/actual_lrps/list", response.into());
}

#[tokio::test]
async fn a_list_of_more_rows_than_anybody_has_is_a_failed_read() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 3)).await;
    // Field 2, and nothing in it.
    replay(&rig, &[0x12, 0x00].repeat(1_000_001));
    assert_eq!(rig.list_problem().await.kind, "too_large");
    rig.catch_up().await;
    assert_eq!(rig.instances.len(), 3);
}

#[tokio::test]
async fn a_list_of_junk_is_counted_named_to_a_number_and_empties_nothing() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 3)).await;
    // Field 2, two bytes: a key of a field without what follows it.
    let junk = [0x12, 0x02, 0xff, 0xff].repeat(50_000);
    replay(&rig, &junk);
    let is_counted = |status: &Status| status.dropped.len() == 50_000;
    let status = timeout(LONG, rig.lists.wait_for(is_counted)).await;
    let dropped = status.unwrap().unwrap().dropped.clone();
    assert_eq!(dropped.named().len(), 1000);
    rig.catch_up().await;
    assert_eq!(rig.instances.len(), 3);
}

#[tokio::test]
async fn a_list_that_hangs_is_given_up_and_asked_for_again() {
    let mut peers = Peers::start().await;
    peers.settings.peer.request_timeout = Duration::from_millis(200);
    running(&peers.bbs, "p", 2);
    peers.bbs.hold_lists();
    let mut rig = peers.follow();
    assert_eq!(rig.list_problem().await.kind, "timeout");
    rig.bbs.release_lists();
    rig.synced().await;
    assert_eq!(rig.instances.len(), 2);
}

#[tokio::test]
async fn a_stream_that_ends_at_once_is_not_asked_for_more_often_than_the_backoff_says() {
    let mut peers = Peers::start().await;
    let min = Duration::from_millis(20);
    peers.settings.backoff = (min, min * 4);
    peers.settings.sync_interval = OFTEN;
    peers.bbs.end_streams_at_once(true);
    running(&peers.bbs, "p", 1);
    let started = Instant::now();
    let mut rig = peers.follow();
    rig.resubscribed(7).await;
    // Six delays of at least half of 20, 40 and four times 80 ms.
    assert!(started.elapsed() >= min / 2 * (1 + 2 + 4 * 4));
    // The lists do without the stream.
    rig.synced().await;
    let guid = rig.instances.keys().next().unwrap().clone();
    rig.bbs.set_routable(&guid, false);
    rig.until(BTreeMap::is_empty).await;
}

#[tokio::test]
async fn what_lists_lack_is_reported_as_read_and_again_when_that_could_confirm_it() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 40)).await;
    let lost: Vec<_> = rig.instances.keys().take(30).cloned().collect();
    rig.bbs.forget(&lost);
    let first = rig.next_read().await;
    assert_eq!(rig.instances.len(), 10);
    // Nothing is different by then, and nothing would be said.
    rig.hold(Instant::now());
    let second = rig.next_read().await;
    assert!(second.began >= first.ended);
    rig.bbs.set_fresh(false);
    let all: Vec<_> = rig.instances.keys().cloned().collect();
    rig.bbs.forget(&all);
    while !rig.instances.is_empty() {
        rig.hold(Instant::now());
        let basis = rig.next_basis().await;
        let is_empty = rig.instances.is_empty();
        assert_eq!(basis == Basis::Asked, is_empty, "nobody vouches for it");
    }
}

#[tokio::test]
async fn the_end_of_an_instance_that_lists_lack_is_told_while_it_may_be_held() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 40)).await;
    let lost: Vec<_> = rig.instances.keys().take(30).cloned().collect();
    rig.bbs.forget(&lost);
    rig.next_read().await;
    rig.hold(Instant::now() + LONG);
    let gone = ActualLrpInstanceRemovedEvent {
        actual_lrp: Some(ActualLrp {
            actual_lrp_key: Some(ActualLrpKey {
                process_guid: "p".to_owned(),
                index: 0,
                domain: "cf-apps".to_owned(),
            }),
            actual_lrp_instance_key: Some(ActualLrpInstanceKey {
                instance_guid: lost[0].to_string(),
                cell_id: "cell".to_owned(),
            }),
            ..ActualLrp::default()
        }),
    };
    let data = STANDARD.encode(gone.encode_to_vec());
    rig.bbs.send_raw_event("actual_lrp_instance_removed", &data);
    assert_eq!(rig.next_end().await, lost[..1]);
}

/// A BBS that does not vouch for what it lists.
async fn stale(confirm_after: Duration) -> Rig {
    let mut peers = Peers::start().await;
    peers.settings.sync_interval = OFTEN;
    peers.settings.confirm_after = confirm_after;
    peers.bbs.set_fresh(false);
    peers.follow()
}

#[tokio::test]
async fn a_first_list_of_a_domain_that_is_not_fresh_is_not_believed_at_once() {
    let mut rig = stale(NEVER).await;
    rig.bbs.load([(process("p", 1), vec![place(1)])]);
    assert_eq!(rig.list_problem().await.kind, "unconfirmed");
    rig.more_lists(3).await;
    assert_eq!(rig.readiness.pending(), ["instances"]);
    rig.bbs.set_fresh(true);
    rig.synced().await;
    assert_eq!(rig.instances.len(), 1);
}

#[tokio::test]
async fn a_first_list_that_stays_the_same_is_believed_in_the_end_but_nothing_never() {
    let mut rig = stale(Duration::ZERO).await;
    assert_eq!(rig.list_problem().await.kind, "unconfirmed");
    rig.more_lists(3).await;
    assert_eq!(rig.readiness.pending(), ["instances"]);
    rig.bbs.load([(process("p", 1), vec![place(1)])]);
    rig.synced().await;
    assert_eq!(rig.instances.len(), 1);
}

#[tokio::test]
async fn events_that_come_faster_than_they_are_taken_are_not_waited_for() {
    let mut rig = Rig::with(NEVER, |bbs| running(bbs, "p", 1)).await;
    let guid = rig.instances.keys().next().unwrap().clone();
    // Nobody takes the updates; the BBS ends the stream when its queue is full, or ours overflows.
    while *rig.bbs.subscriptions().borrow() < 2 {
        for turn in 0..100 {
            rig.bbs.set_routable(&guid, turn % 2 == 0);
        }
        tokio::task::yield_now().await;
    }
    rig.until(BTreeMap::is_empty).await;
    rig.bbs.set_routable(&guid, true);
    rig.until(|instances| instances.len() == 1).await;
}
