//! One foundation, served over both protocols at once.

use std::{collections::BTreeMap, sync::Arc};

use copilot::{
    istio::Kind,
    model::{LoadBalancing, Route, Update},
    proto::istio::mcp::v1alpha1::Resource,
    publisher::{Metrics, Settings, State},
    sim::{
        foundation,
        istiod::Istiod,
        sink::{self, Answer, Options, Replica, Sink},
    },
};
use prometheus_client::registry::Registry;

use super::harness::{Harness, StreamExt as _, soon};
use crate::mcp::harness as mcp;

/// Those of which both are served the same.
const TYPES: [(&str, &str); 4] = [
    ("Gateway", Kind::Gateway.collection()),
    ("ServiceEntry", "istio/networking/v1alpha3/serviceentries"),
    ("Sidecar", Kind::Sidecar.collection()),
    (
        "VirtualService",
        "istio/networking/v1alpha3/virtualservices",
    ),
];

fn type_url(kind: &str) -> String {
    format!("networking.istio.io/v1/{kind}")
}

/// External and internal routes, the external ones as `change` makes them, with policies between their apps.
fn state(change: impl Fn(Route) -> Route) -> State {
    let settings = Settings {
        vip_range: Some("127.128.0.0/9".parse().unwrap()),
        ..Settings::default()
    };
    let mut state = State::new(&settings, Metrics::new(&mut Registry::default())).unwrap();
    let external = (0..100).map(foundation::route).map(change);
    let internal = (100..200).map(foundation::internal_route);
    state.apply(Update::AllRoutes(external.chain(internal).collect()));
    let instances = (0..200).map(|n| foundation::instance(n, 0, 61_000));
    state.apply(Update::AllInstances(instances.collect()));
    state.apply(Update::AllPolicies(foundation::policies(200)));
    state
}

/// What two clients of the two protocols hold is the same.
fn assert_same(classic: &sink::State, xds: &sink::State) {
    for (kind, collection) in TYPES {
        let (ours, theirs) = (
            &classic.collections[collection],
            &xds.collections[&type_url(kind)],
        );
        assert_eq!(ours.version, theirs.version, "{kind}");
        let renamed = ours.resources.values().map(|resource| {
            let mut resource = resource.clone();
            let metadata = resource.metadata.as_mut().unwrap();
            if !metadata.name.contains('/') {
                metadata.name = format!("cloudfoundry/{}", metadata.name);
            }
            (metadata.name.clone(), resource)
        });
        let renamed: BTreeMap<String, Resource> = renamed.collect();
        assert!(!renamed.is_empty(), "{kind}");
        assert_eq!(renamed, theirs.resources, "{kind}");
    }
}

#[tokio::test]
async fn both_protocols_serve_the_same_resources_in_the_same_versions_from_one_publish() {
    let classic = mcp::Harness::start().await;
    let xds = Harness::start_beside(&classic.snapshots).await;
    let options = Options {
        collections: TYPES.map(|(_, name)| name.to_owned()).to_vec(),
        ..Options::default()
    };
    let channel = classic.channel().await;
    let pilot = Sink::open(&channel, options, |_| Answer::Ack).await;
    let pilot = pilot.unwrap();
    let types = TYPES.map(|(kind, _)| type_url(kind));
    let channel = xds.channel().await;
    let istiod = Istiod::open(&channel, &types).await.unwrap();
    let delta = Istiod::open_delta(&channel, &types, sink::State::default());
    let delta = delta.await.unwrap();

    let mut state = state(|route| route);
    for port in [61_000, 61_001] {
        state.apply(Update::Instances {
            current: vec![foundation::instance(7, 0, port)],
            gone: Vec::new(),
        });
        let snapshot = Arc::new(state.publish().unwrap());
        classic.snapshots.send_replace(Some(snapshot.clone()));
        let holds = |names: [String; 4]| {
            let snapshot = snapshot.clone();
            move |state: &sink::State| {
                std::iter::zip(&names, TYPES).all(|(name, (_, collection))| {
                    let kind = Kind::from_collection(collection).unwrap();
                    let newest = snapshot.get(kind).unwrap().version().to_string();
                    let held = state.collections.get(name);
                    held.is_some_and(|replica: &Replica| replica.version == newest)
                })
            }
        };
        let (mut ours, mut theirs, mut deltas) = (pilot.state(), istiod.state(), delta.state());
        let collections = TYPES.map(|(_, name)| name.to_owned());
        let ours = soon(ours.wait_for(holds(collections))).await.unwrap();
        let theirs = soon(theirs.wait_for(holds(types.clone()))).await.unwrap();
        assert_same(&ours, &theirs);
        let deltas = soon(deltas.wait_for(holds(types.clone()))).await.unwrap();
        assert_same(&ours, &deltas);
    }
    // The kinds that the second publish did not change were sent once, on every protocol.
    let services = Kind::VirtualService.collection();
    assert_eq!(pilot.state().borrow().collections[services].applied, 1);
    for client in [&istiod, &delta] {
        let state = client.state();
        let state = state.borrow();
        assert_eq!(state.collections[&type_url("VirtualService")].applied, 1);
        assert_eq!(state.collections[&type_url("ServiceEntry")].applied, 2);
    }
}

#[tokio::test]
async fn the_destination_rules_are_each_protocols_own_and_nothing_else() {
    let classic = mcp::Harness::start().await;
    let xds = Harness::start_beside(&classic.snapshots).await;
    let mut state = state(|route| Route {
        load_balancing: Some(Box::new(LoadBalancing::LeastConnection)),
        ..route
    });
    let snapshot = state.publish().unwrap();
    classic.snapshots.send_replace(Some(Arc::new(snapshot)));
    let (mut pilot, mut istiod) = (classic.stream().await, xds.stream().await);
    let mut served = async |kind: &str, collection: &str| {
        pilot.subscribe(collection).await;
        let ours = soon(pilot.next()).await.unwrap().unwrap();
        istiod.subscribe(&type_url(kind)).await;
        let theirs = istiod.response().await;
        let same = ours.system_version_info == theirs.version_info;
        (same, [ours.resources.len(), theirs.resources.len()])
    };
    for (kind, collection) in TYPES {
        let (same, [ours, theirs]) = served(kind, collection).await;
        assert!(same && ours == theirs, "{kind}");
    }
    let (same, counts) = served("DestinationRule", Kind::DestinationRule.collection()).await;
    assert!(!same, "the choice has another number");
    // Only istiods are told that internal services are not encrypted.
    assert_eq!(counts, [100, 200]);
}
