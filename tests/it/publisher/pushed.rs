//! What only the push API brings: associations and virtual addresses.

use std::net::Ipv4Addr;

use copilot::model::{
    AppPort, Association, CapiProcessGuid, Destination, Protocol, Weight, Workload,
};

use super::*;

#[tokio::test]
async fn a_virtual_address_that_changes_alone_is_published_and_sends_sinks_nothing() {
    let mut running = start(settings([Input::Routes]));
    let pushed = |vip: Option<[u8; 4]>| Route {
        vip: vip.map(Ipv4Addr::from),
        destinations: Vec::new().into(),
        ..foundation::internal_route(0)
    };
    let host = pushed(None).host;
    running
        .send(Update::AllRoutes(vec![pushed(Some([127, 129, 0, 1]))]))
        .await;
    let first = running.next().await;
    assert_eq!(first.vips().get(&host), Some([127, 129, 0, 1].into()));
    running
        .send(Update::AllRoutes(vec![pushed(Some([127, 129, 0, 2]))]))
        .await;
    let second = running.next().await;
    assert_eq!(second.vips().get(&host), Some([127, 129, 0, 2].into()));
    for (kind, collection) in second.iter() {
        assert!(
            Arc::ptr_eq(first.get(kind).unwrap(), collection),
            "{kind:?}"
        );
    }
    running.send(Update::AllRoutes(vec![pushed(None)])).await;
    let assigned = running.next().await.vips().get(&host).unwrap();
    assert_eq!(assigned.octets()[0], 127);
    running.send(Update::AllRoutes(vec![])).await;
    assert_eq!(running.next().await.vips().get(&host), None);
}

#[tokio::test]
async fn pushed_routes_are_joined_by_associations_without_a_question_to_cloud_controller() {
    let mut running = start(Settings {
        join: Join::Associated,
        ..settings([Input::Routes, Input::Instances, Input::Processes])
    });
    let process = CapiProcessGuid::from(foundation::guid(7, 0).as_str());
    let mut instance = foundation::instance(0, 0, 61_000).as_ref().clone();
    instance.workload = None;
    let association = Association {
        process: process.clone(),
        diego_processes: [instance.process.clone()].into(),
    };
    running
        .send(Update::AllInstances(vec![instance.into()]))
        .await;
    let mut route = foundation::route(0);
    route.destinations[0] = Destination {
        workload: Workload::pushed(&process),
        port: AppPort::Main,
        weight: Weight::Running(1),
        protocol: Protocol::Http1,
    };
    running
        .send(Update::AllPushed {
            routes: vec![route],
            associations: vec![],
            leads: true,
        })
        .await;
    let entries = Kind::ServiceEntry;
    assert!(running.next().await.get(entries).unwrap().is_empty());
    assert!(running.outputs.undescribed.borrow().is_empty());
    running
        .send(Update::Associations {
            current: vec![association],
            gone: vec![],
        })
        .await;
    assert_eq!(running.next().await.get(entries).unwrap().len(), 1);
}
