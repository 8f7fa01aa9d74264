//! A BBS that does not say any more what happens is left for one that does.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use copilot::sim::bbs::Bbs;
use tokio::time::{Instant, timeout};

use super::rig::{LONG, NEVER, OFTEN, Peers, Rig, place, process, reached, running};
use crate::outbound::TwoAddresses;

const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[tokio::test]
async fn a_bbs_that_hangs_is_left_although_nothing_was_to_be_asked_or_told() {
    let mut peers = Peers::start().await;
    let port = peers.settings.peer.address.port().unwrap();
    let second = Bbs::start(
        (SECOND, port).into(),
        &peers.server,
        &peers.settings.peer.ca,
    );
    let second = second.await.unwrap();
    for bbs in [&peers.bbs, &second] {
        running(bbs, "p", 2);
    }
    peers
        .settings
        .peer
        .address
        .set_host(Some("localhost"))
        .unwrap();
    peers.settings.peer.connect_timeout = Duration::from_millis(300);
    let mut rig = peers.follow_over(Arc::new(TwoAddresses([Ipv4Addr::LOCALHOST, SECOND])));
    rig.synced().await;
    rig.bbs.subscribed().await;
    rig.bbs.hang();
    timeout(LONG, second.subscribed())
        .await
        .expect("it is left for the second one");
    second.desire(process("q", 1));
    let started = second.start_instance("q", 0, &place(9));
    rig.until(|instances| instances.contains_key(&started))
        .await;
    assert_eq!(rig.instances.len(), 3);
}

#[tokio::test]
async fn a_stream_that_says_nothing_of_what_lists_bring_is_begun_anew() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 2)).await;
    rig.bbs.subscribed().await;
    rig.more_lists(2).await;
    let lost = rig.instances.keys().next().unwrap().clone();
    rig.bbs.forget(&[lost]);
    rig.until(|instances| instances.len() == 1).await;
    rig.resubscribed(2).await;
    rig.catch_up().await;
}

/// No delay between two attempts that is drawn ends during a test.
async fn patient() -> Peers {
    let mut peers = Peers::start().await;
    peers.settings.backoff = (NEVER, NEVER);
    running(&peers.bbs, "p", 2);
    peers
}

#[tokio::test]
async fn after_a_stream_that_delivered_the_next_one_begins_at_once() {
    let mut rig = patient().await.follow();
    rig.synced().await;
    rig.bbs.subscribed().await;
    for streams in 2..=3 {
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(1_100) {
            rig.catch_up().await;
        }
        rig.bbs.end_streams();
        rig.resubscribed(streams).await;
    }
}

#[tokio::test]
async fn a_bbs_that_refuses_connections_is_asked_again_within_seconds() {
    let peers = patient().await;
    peers.bbs.refuse(true);
    let mut rig = peers.follow();
    rig.event_problem().await;
    let mut refused = rig.bbs.refused();
    let before = *refused.borrow();
    reached(&mut refused, before + 1).await;
    rig.bbs.refuse(false);
    rig.synced().await;
}

#[tokio::test]
async fn a_list_that_hangs_is_called_off_by_a_subscription_once_in_a_row() {
    let mut peers = Peers::start().await;
    peers.settings.peer.request_timeout = NEVER;
    running(&peers.bbs, "p", 2);
    let mut rig = peers.follow();
    rig.synced().await;
    rig.resubscribed(1).await;
    rig.bbs.hold_lists();
    let mut lists = rig.bbs.lists_requested();
    let before = *lists.borrow();
    for streams in 2..=3 {
        rig.bbs.end_streams();
        rig.resubscribed(streams).await;
        reached(&mut lists, before + streams - 1).await;
    }
    // Each of these takes as long as a list would take to be asked for.
    for streams in 4..=9 {
        rig.bbs.end_streams();
        rig.resubscribed(streams).await;
        rig.catch_up().await;
    }
    assert_eq!(*lists.borrow(), before + 2);
    rig.bbs.release_lists();
    rig.more_lists(1).await;
}
