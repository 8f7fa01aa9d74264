//! The life of instances, as Diego's events and lists tell it.

use std::{collections::BTreeMap, time::Duration};

use copilot::model::{AppGuid, InstanceGuid, PortMapping, ProcessType, Workload};
use tokio::time::timeout;

use super::rig::{LONG, NEVER, OFTEN, Peers, Rig, place, process, reached, running};

#[tokio::test]
async fn an_instance_that_starts_is_routed_and_one_that_stops_is_not() {
    let mut rig = Rig::with(NEVER, |_| {}).await;
    assert!(rig.instances.is_empty());
    assert_eq!(rig.readiness.pending(), [""; 0]);

    rig.bbs.desire(process("p", 1));
    let guid = rig.bbs.start_instance("p", 0, &place(7));
    rig.until(|instances| instances.len() == 1).await;
    let instance = &rig.instances[&guid];
    assert_eq!(instance.host_address, place(7).cell);
    assert_eq!(instance.container_address, Some(place(7).container));
    let ports = [
        PortMapping {
            container_tls: 61_002,
            host_tls: 61_001,
            ..PortMapping::plain(2222, 0)
        },
        PortMapping {
            container_tls: 61_001,
            host_tls: 61_000,
            internal_tls: 61_443,
            ..PortMapping::plain(8080, 0)
        },
    ];
    assert_eq!(instance.ports.as_slice(), ports);
    // Changed events carry no metric tags: the desired state says what it is an instance of.
    let workload = Workload {
        app: AppGuid::from("app-of-p"),
        process_type: ProcessType::Web,
    };
    assert_eq!(instance.workload, Some(workload));

    rig.bbs.stop_instance(&guid);
    rig.until(BTreeMap::is_empty).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_large_foundation_is_read_whole() {
    let rig = Rig::with(NEVER, |bbs| {
        let processes =
            (0..100).map(|n| (process(&format!("p{n}"), 50), (0..50).map(place).collect()));
        bbs.load(processes);
    })
    .await;
    assert_eq!(rig.instances.len(), 5000);
}

#[tokio::test]
async fn what_changes_nothing_for_routing_is_not_sent() {
    let mut rig = Rig::with(NEVER, |bbs| running(bbs, "p", 2)).await;
    let (first, second) = two(&rig);
    rig.bbs.touch("p");
    rig.bbs.suspect(&first);
    rig.bbs.set_routable(&second, false);
    rig.change().await;
    assert_eq!(rig.instances.keys().collect::<Vec<_>>(), [&first]);
}

fn two(rig: &Rig) -> (InstanceGuid, InstanceGuid) {
    let mut guids = rig.instances.keys().cloned();
    (guids.next().unwrap(), guids.next().unwrap())
}

#[tokio::test]
async fn an_instance_that_is_not_ready_is_left_out_until_it_is() {
    let mut rig = Rig::with(NEVER, |bbs| running(bbs, "p", 1)).await;
    let guid = rig.instances.keys().next().unwrap().clone();
    rig.bbs.set_routable(&guid, false);
    rig.until(BTreeMap::is_empty).await;
    rig.bbs.set_routable(&guid, true);
    rig.until(|instances| instances.contains_key(&guid)).await;
}

#[tokio::test]
async fn a_retired_instance_is_not_brought_back_by_the_lists_that_still_show_it() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 2)).await;
    let (retired, other) = two(&rig);
    rig.bbs.retire(&retired);
    rig.until(|instances| instances.len() == 1).await;
    rig.more_lists(3).await;
    rig.bbs.set_routable(&other, false);
    rig.change().await;
    assert!(rig.instances.is_empty(), "the change came first");
}

#[tokio::test]
async fn a_retired_instance_is_not_brought_back_by_an_event_of_its_last_moments() {
    let mut rig = Rig::with(NEVER, |bbs| running(bbs, "p", 2)).await;
    let (retired, _) = two(&rig);
    rig.bbs.retire(&retired);
    rig.until(|instances| instances.len() == 1).await;
    rig.bbs.set_routable(&retired, true);
    rig.catch_up().await;
    assert_eq!(rig.instances.len(), 1);
}

#[tokio::test]
async fn an_instance_whose_end_was_told_out_of_order_is_not_served_until_the_next_list() {
    let mut rig = Rig::with(NEVER, |bbs| running(bbs, "p", 2)).await;
    let (gone, other) = two(&rig);
    rig.bbs.stop_with_older_row(&gone);
    rig.until(|instances| instances.len() == 1).await;
    assert!(rig.instances.contains_key(&other));
    assert_eq!(*rig.bbs.lists_requested().borrow(), 1);
}

#[tokio::test]
async fn an_app_that_was_stopped_unheard_has_no_endpoints_although_its_containers_run() {
    let mut rig = Rig::with(NEVER, |bbs| {
        running(bbs, "p", 2);
        running(bbs, "q", 1);
    })
    .await;
    rig.bbs.subscribed().await;
    rig.bbs.end_streams();
    // Nobody is told.
    rig.bbs.remove_process("p");
    rig.until(|instances| instances.len() == 1).await;
    assert_eq!(rig.withheld.len(), 2, "its containers have their places");
}

#[tokio::test]
async fn an_evacuating_instance_serves_until_its_replacement_runs() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 1)).await;
    let evacuating = rig.instances.keys().next().unwrap().clone();
    rig.bbs.evacuate(&evacuating);
    rig.more_lists(2).await;
    let replacement = rig.bbs.start_instance("p", 0, &place(9));
    rig.until(|instances| instances.contains_key(&replacement))
        .await;
    assert!(rig.instances.contains_key(&evacuating));
    rig.bbs.stop_instance(&evacuating);
    rig.change().await;
    assert_eq!(rig.instances.keys().collect::<Vec<_>>(), [&replacement]);
}

#[tokio::test]
async fn a_suspect_instance_stays() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 1)).await;
    let suspect = rig.instances.keys().next().unwrap().clone();
    rig.bbs.suspect(&suspect);
    rig.more_lists(2).await;
    let replacement = rig.bbs.start_instance("p", 0, &place(9));
    rig.change().await;
    assert!(rig.instances.contains_key(&replacement) && rig.instances.contains_key(&suspect));
}

#[tokio::test]
async fn a_crashed_instance_goes_and_its_successor_comes() {
    let mut rig = Rig::with(NEVER, |bbs| running(bbs, "p", 1)).await;
    let crashed = rig.instances.keys().next().unwrap().clone();
    rig.bbs.crash(&crashed);
    rig.until(BTreeMap::is_empty).await;
    let successor = rig.bbs.start_instance("p", 0, &place(3));
    rig.until(|instances| instances.contains_key(&successor))
        .await;
}

#[tokio::test]
async fn scaling_down_and_stopping_show_before_the_containers_have_stopped() {
    let mut rig = Rig::with(OFTEN, |bbs| running(bbs, "p", 3)).await;
    rig.bbs.scale("p", 1);
    rig.until(|instances| instances.len() == 1).await;
    rig.more_lists(2).await;
    rig.bbs.remove_process("p");
    rig.change().await;
    assert!(rig.instances.is_empty());
    // The instances are still listed as running.
    rig.more_lists(3).await;
    rig.catch_up().await;
    assert!(rig.instances.is_empty());
}

#[tokio::test]
async fn an_event_that_overtakes_the_list_is_not_undone_by_it() {
    let peers = Peers::start().await;
    running(&peers.bbs, "p", 2);
    peers.bbs.hold_lists();
    let mut rig = peers.follow();
    reached(&mut rig.bbs.lists_requested(), 1).await;
    // The list that is on its way shows two instances of p, and none of q.
    rig.bbs.desire(process("q", 1));
    let started = rig.bbs.start_instance("q", 0, &place(5));
    rig.bbs.scale("p", 1);
    rig.bbs.release_lists();
    rig.synced().await;
    rig.until(|instances| instances.len() == 2).await;
    assert!(rig.instances.contains_key(&started));
}

#[tokio::test]
async fn apps_whose_desired_state_is_written_are_announced_and_too_many_are_not_waited_for() {
    let mut rig = Rig::with(NEVER, |bbs| running(bbs, "p", 1)).await;
    rig.bbs.touch("p");
    let touched = timeout(LONG, rig.touched_apps.recv()).await.unwrap();
    assert_eq!(touched, Some(AppGuid::from("app-of-p")));
    for _ in 0..100 {
        rig.bbs.touch("p");
    }
    rig.catch_up().await;
}

#[tokio::test]
async fn a_bbs_without_metric_tags_still_says_what_runs() {
    let mut peers = Peers::start().await;
    peers.settings.sync_interval = Duration::from_millis(20);
    peers.bbs.set_routing_infos(false);
    let mut spec = process("p", 1);
    spec.metric_tags = false;
    peers.bbs.load([(spec, vec![place(1), place(2)])]);
    let mut rig = peers.follow();
    rig.synced().await;
    let workloads: Vec<_> = rig
        .instances
        .values()
        .map(|one| one.workload.clone())
        .collect();
    assert_eq!(workloads, [None], "one instance of two is to run");
}
