//! The calls that change one thing, and those that only ask.

use copilot::{
    cloud_controller::Service,
    model::{AppPort, Protocol, Update, Weight},
    proto::api,
};
use tonic::{Code, Status};

use super::rig::{self, Client, Rig, association, mapping, soon, sync};

async fn map(rig: &mut Rig, route: &str, process: &str, weight: u32) {
    let request = api::MapRouteRequest {
        route_mapping: Some(mapping(route, process, weight)),
    };
    soon(rig.client.map_route(request)).await.unwrap();
}

async fn unmap(rig: &mut Rig, route: &str, process: &str) {
    let request = api::UnmapRouteRequest {
        route_mapping: Some(mapping(route, process, 1)),
    };
    soon(rig.client.unmap_route(request)).await.unwrap();
}

async fn associate(rig: &mut Rig, process: &str, diego: &[&str]) {
    let request = api::UpsertCapiDiegoProcessAssociationRequest {
        capi_diego_process_association: Some(association(process, diego)),
    };
    let call = rig.client.upsert_capi_diego_process_association(request);
    soon(call).await.unwrap();
}

async fn dissociate(rig: &mut Rig, process: &str) {
    let request = api::DeleteCapiDiegoProcessAssociationRequest {
        capi_process_guid: process.to_owned(),
    };
    let call = rig.client.delete_capi_diego_process_association(request);
    soon(call).await.unwrap();
}

async fn delete(rig: &mut Rig, guid: &str) {
    let request = api::DeleteRouteRequest {
        guid: guid.to_owned(),
    };
    soon(rig.client.delete_route(request)).await.unwrap();
}

#[tokio::test]
async fn a_route_and_its_mapping_reach_the_publisher_as_one_route_with_a_destination() {
    let mut rig = Rig::start().await;
    rig.upsert("r", "Shop.Example.com").await;
    rig.next_update().await;
    map(&mut rig, "r", "p", 3).await;

    let Update::Routes { current, gone } = rig.next_update().await else {
        panic!("a route");
    };
    assert_eq!((current.len(), gone.len()), (1, 0));
    assert_eq!(current[0].host.as_str(), "shop.example.com");
    let [to] = &current[0].destinations[..] else {
        panic!("{current:?}");
    };
    assert_eq!(to.workload.app.to_string(), "p");
    assert_eq!((to.port, to.weight), (AppPort::Main, Weight::Running(3)));
    assert_eq!(to.protocol, Protocol::Http1);
}

/// Fault 15 of the Go Copilot: it added the weights of a pair that was mapped twice.
#[tokio::test]
async fn mapping_twice_changes_the_weight_and_unmapping_twice_harms_nothing() {
    let mut rig = Rig::start().await;
    rig.upsert("r", "a.example.com").await;
    map(&mut rig, "r", "p", 1).await;
    map(&mut rig, "r", "q", 1).await;
    map(&mut rig, "r", "p", 3).await;
    assert_eq!(rig.mappings().await, ["r-p=3", "r-q=1"]);
    for _ in 0..2 {
        unmap(&mut rig, "r", "p").await;
        unmap(&mut rig, "unknown", "p").await;
        assert_eq!(rig.mappings().await, ["r-q=1"]);
    }
}

#[tokio::test]
async fn what_changes_nothing_is_no_update() {
    let mut rig = Rig::start().await;
    rig.upsert("r", "a.example.com").await;
    rig.next_update().await;
    rig.upsert("r", "A.example.com").await;
    unmap(&mut rig, "r", "p").await;
    delete(&mut rig, "unknown").await;
    dissociate(&mut rig, "unknown").await;
    assert!(!rig.has_updates());
}

#[tokio::test]
async fn lists_what_is_known_under_the_keys_of_the_wire() {
    let mut rig = Rig::start().await;
    rig.upsert("r", "A.example.com").await;
    map(&mut rig, "r", "p", 2).await;
    associate(&mut rig, "p", &["p-2", "p-1"]).await;
    assert_eq!(rig.routes().await, ["r=a.example.com"]);
    assert_eq!(rig.mappings().await, ["r-p=2"]);
    assert_eq!(rig.associations().await, ["p=p-1,p-2"]);

    rig.upsert("r", "b.example.com").await;
    assert_eq!(rig.routes().await, ["r=b.example.com"]);
    delete(&mut rig, "r").await;
    dissociate(&mut rig, "p").await;
    assert_eq!(rig.routes().await, [""; 0]);
    assert_eq!(rig.associations().await, [""; 0]);
}

#[tokio::test]
async fn the_feed_says_how_much_is_known() {
    let mut rig = Rig::start().await;
    rig.upsert("r", "a.example.com").await;
    map(&mut rig, "r", "p", 2).await;
    associate(&mut rig, "p", &["p-1"]).await;
    let counts = rig.feed().counts;
    for kind in ["associations", "mappings", "routes"] {
        assert_eq!(counts[kind], 1, "{kind}");
    }
}

async fn health(client: &mut Client) -> Result<bool, Status> {
    let response = soon(client.health(api::HealthRequest {})).await?;
    Ok(response.into_inner().healthy)
}

#[tokio::test]
async fn every_call_is_unavailable_once_the_daemon_ends() {
    let mut rig = Rig::start().await;
    assert!(health(&mut rig.client).await.unwrap());
    rig.shutdown.cancel();
    soon(&mut rig.registrar).await.unwrap();
    let list = rig.client.list_cf_routes(api::ListCfRoutesRequest {});
    assert_eq!(soon(list).await.unwrap_err().code(), Code::Unavailable);
    let refused = rig.bulk_sync(&sync(&["a"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let unhealthy = health(&mut rig.client).await.unwrap_err();
    assert_eq!(unhealthy.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_daemon_that_polls_says_so_to_whoever_pushes() {
    let mut client = rig::client(rig::serve(Service::polled()).await).await;
    assert!(health(&mut client).await.unwrap());
    let chunks = tokio_stream::iter([rig::chunk(bytes::Bytes::new())]);
    let refusals = [
        soon(client.bulk_sync(chunks)).await.unwrap_err(),
        soon(client.list_cf_routes(api::ListCfRoutesRequest {}))
            .await
            .unwrap_err(),
        // Before anything else that may be wrong with it.
        soon(client.upsert_route(api::UpsertRouteRequest { route: None }))
            .await
            .unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.code(), Code::FailedPrecondition);
        assert!(refusal.message().contains("CAPI"), "{refusal}");
    }
}
