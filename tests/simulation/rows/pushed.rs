//! A Cloud Controller that pushes too little, and means it or not.

use std::time::Duration;

use copilot::{
    proto::api::{BulkSyncRequest, CapiDiegoProcessAssociation, Route, RouteMapping},
    sim::{
        cloud_controller::CloudController,
        cloud_foundry::{DOMAIN, loaded_host},
    },
};
use tokio::time::{Instant, sleep};

use super::{
    SOON, go_in_time,
    scene::{ALL, Daemon, Foundation, Of},
};
use crate::sinks::connect;

/// How often a Cloud Controller pushes everything.
const BETWEEN_PUSHES: Duration = Duration::from_secs(30);
/// How long the guid of a process is, which its name in Diego begins with.
const GUID: usize = 36;

/// Cloud Controller pushes everything, but for so many routes.
async fn push(cloud_controller: &CloudController, foundation: &Foundation, without: usize) {
    let pushed = foundation.subjects.iter().skip(without);
    let mut request = BulkSyncRequest::default();
    for (n, subject) in (without..).zip(pushed) {
        let (route, process) = (
            subject.route.to_string(),
            subject.process[..GUID].to_owned(),
        );
        request.routes.push(Route {
            guid: route.clone(),
            host: format!("{}.{DOMAIN}", loaded_host(n)),
            ..Route::default()
        });
        request.route_mappings.push(RouteMapping {
            capi_process_guid: process.clone(),
            route_guid: route,
            route_weight: 1,
        });
        let association = CapiDiegoProcessAssociation {
            capi_process_guid: process,
            diego_process_guids: vec![subject.process.clone()],
        };
        request.capi_diego_process_associations.push(association);
    }
    cloud_controller.bulk_sync(&request).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn q1_what_a_bulk_sync_lacks_is_held_until_it_may_be_true() {
    for (of, lost, seconds) in [
        (Of::FewPushed, 10, 600),
        (Of::Pushed, 13, 20),
        (Of::Pushed, 20, 60),
        (Of::Pushed, ALL, 600),
    ] {
        let what = format!("Q1, {lost}");
        let foundation = Foundation::new(of);
        let all = foundation.subjects.len();
        let daemon = Daemon::start(&foundation, false).await;
        let mut pilot = daemon.pilot().await;
        let channel = connect(daemon.entrances.cloud_controller.clone().unwrap()).await;
        let cloud_controller = CloudController::new(channel.unwrap());
        push(&cloud_controller, &foundation, 0).await;
        let holds = pilot.holds(SOON, |now| now == all).await;
        assert!(holds.is_some(), "{what}: a Pilot holds {:?}", pilot.seen());
        for without in [lost, lost, 0] {
            sleep(BETWEEN_PUSHES).await;
            push(&cloud_controller, &foundation, without).await;
            sleep(SOON).await;
            assert_eq!(daemon.held().is_empty(), without == 0, "{what}");
        }
        assert_eq!(pilot.seen().unwrap().fewest, all, "{what}");

        // Three have to agree.
        let time = Duration::from_secs(seconds).max(2 * BETWEEN_PUSHES);
        let said = Instant::now();
        let pushing = async {
            loop {
                push(&cloud_controller, &foundation, lost).await;
                sleep(BETWEEN_PUSHES).await;
            }
        };
        tokio::select! {
            () = pushing => unreachable!(),
            () = go_in_time(&mut pilot, (all, lost), (said, time), &what) => {}
        }
        daemon.end().await;
    }
}
