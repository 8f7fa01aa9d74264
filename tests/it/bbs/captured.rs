//! What real BBSs of three generations sent, replayed over TLS.

use bytes::Bytes;
use copilot::model::{AppGuid, Workload};
use tokio::time::timeout;

use super::rig::{LONG, Peers, Rig};

const PATHS: [(&str, &str); 3] = [
    ("/v1/actual_lrps/list", "actual_lrps-list.http"),
    (
        "/v1/desired_lrp_routing_infos/list",
        "desired_lrp_routing_infos-list.http",
    ),
    ("/v1/domains/list", "domains-list.http"),
];

fn captured(generation: &str, file: &str) -> Bytes {
    let path = format!(
        "{}/tests/fixtures/bbs/{generation}/{file}",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(path).unwrap().into()
}

async fn replayed(generation: &str, replays: &[(&str, &str)]) -> Rig {
    let peers = Peers::start().await;
    for (path, file) in replays {
        peers.bbs.replay(path, captured(generation, file));
    }
    let mut rig = peers.follow();
    rig.synced().await;
    rig
}

/// The guids of the rows that the capture's own log shows as running and not withheld.
fn running(generation: &str) -> Vec<String> {
    let log = captured(generation, "actual_lrps-list.decoded.txt");
    let log = std::str::from_utf8(&log).unwrap();
    let mut guids: Vec<_> = log
        .lines()
        .filter(|line| line.contains(" RUNNING ") && line.contains("routable=true"))
        .map(|line| {
            let guid = line.split("inst=").nth(1).unwrap();
            guid.split(' ').next().unwrap().to_owned()
        })
        .collect();
    guids.sort();
    guids
}

#[tokio::test]
async fn the_lists_of_every_generation_give_what_ran() {
    for generation in ["new", "old", "pb"] {
        let rig = replayed(generation, &PATHS).await;
        let guids: Vec<_> = rig.instances.keys().map(ToString::to_string).collect();
        assert_eq!(guids, running(generation), "{generation}");
        for instance in rig.instances.values() {
            let ports: Vec<_> = instance.ports.iter().map(|port| port.container).collect();
            assert_eq!(ports, [2222, 8080]);
            assert!(instance.container_address.is_some());
            // Of a web process the guid is its app's.
            let workload = Workload {
                app: instance.process.capi_process().to_string().as_str().into(),
                process_type: "web".into(),
            };
            assert_eq!(instance.workload, Some(workload), "{generation}");
        }
    }
}

#[tokio::test]
async fn a_bbs_that_does_not_know_routing_infos_is_asked_for_scheduling_infos() {
    let lists = [
        PATHS[0],
        (PATHS[1].0, "error-404.http"),
        (
            "/v1/desired_lrp_scheduling_infos/list",
            "desired_lrp_scheduling_infos-list.http",
        ),
        PATHS[2],
    ];
    for generation in ["new", "old", "pb"] {
        let rig = replayed(generation, &lists).await;
        let guids: Vec<_> = rig.instances.keys().map(ToString::to_string).collect();
        assert_eq!(guids, running(generation), "{generation}");
    }
}

#[tokio::test]
async fn a_minute_of_events_of_every_generation_is_followed_to_its_end() {
    let (a, b) = (
        AppGuid::from("61000000-aaaa-4aaa-8aaa-000000000000"),
        AppGuid::from("62000000-aaaa-4aaa-8aaa-000000000000"),
    );
    for generation in ["new", "old", "pb"] {
        let events = (
            "/v1/events/lrp_instances.r1",
            "events-lrp_instances.r1.http",
        );
        let mut rig = replayed(generation, &[events]).await;
        // Desired, desired, scaled up, scaled down, removed, removed.
        for app in [&a, &b, &a, &a, &b, &a] {
            let touched = timeout(LONG, rig.touched_apps.recv()).await.unwrap();
            assert_eq!(touched.as_ref(), Some(app), "{generation}");
        }
        assert_eq!(rig.events.borrow().problem, None);
    }
}
