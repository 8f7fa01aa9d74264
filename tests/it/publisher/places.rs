//! Of any rows, no address and port is served for two apps.

use std::{collections::BTreeMap, net::IpAddr};

use copilot::{
    model::{Instance, PortMapping},
    proto::istio::networking::v1alpha3::ServiceEntry,
};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::*;

const APPS: usize = 4;

/// Rows whose addresses and ports are few, so that some are the same.
fn any_instance() -> impl Strategy<Value = Arc<Instance>> {
    let address = || (1u8..5).prop_map(|last| IpAddr::from([10, 0, 0, last]));
    let port = || prop_oneof![Just(0u16), 61_000u16..61_003];
    let mapping = (port(), port()).prop_map(|(host, host_tls)| PortMapping {
        host_tls,
        container_tls: 61_001,
        internal_tls: 61_443,
        ..PortMapping::plain(8080, host)
    });
    (
        (0..APPS, 0usize..3, 0i64..3),
        proptest::bool::weighted(0.8),
        address(),
        proptest::option::of(address()),
        any::<bool>(),
        mapping,
    )
        .prop_map(
            |((app, index, since), routable, cell, container, prefers_container, mapping)| {
                Arc::new(Instance {
                    routable,
                    since,
                    host_address: cell,
                    container_address: container,
                    prefers_container,
                    ports: [mapping].into_iter().collect(),
                    ..foundation::instance(app, index, 0).as_ref().clone()
                })
            },
        )
}

/// The endpoints of every hostname's ServiceEntries, with the app that the hostname leads to.
fn endpoints(snapshot: &Snapshot) -> Vec<((String, u32), String)> {
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    let endpoints = entries.iter().flat_map(|resource| {
        let body = resource.decode().body.unwrap();
        let entry = ServiceEntry::decode(body.value.as_slice()).unwrap();
        let mut labels = entry.hosts[0].split('.');
        let app = labels.find(|label| label.starts_with("app-")).unwrap();
        let app = app.to_owned();
        let places = entry.endpoints.into_iter().flat_map(|endpoint| {
            let address = endpoint.address;
            let ports = endpoint.ports.into_values();
            ports.map(move |port| (address.clone(), port))
        });
        places.map(move |place| (place, app.clone()))
    });
    endpoints.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn for_any_rows_no_address_and_port_is_served_for_two_apps(
        instances in vec(any_instance(), 0..16),
        more in vec(any_instance(), 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut running = start(settings([Input::Routes, Input::Instances]));
            let routes = (0..APPS).flat_map(|n| {
                let internal = Route { guid: foundation::guid(9, n).as_str().into(), ..foundation::internal_route(n) };
                [foundation::route(n), internal]
            });
            running.send(Update::AllRoutes(routes.collect())).await;
            running.send(Update::AllInstances(instances)).await;
            let mut snapshot = running.next().await;
            running.send(Update::Instances { current: more, gone: vec![] }).await;
            // Whether or not it makes a difference, this does.
            running.send(Update::Routes { current: vec![foundation::route(APPS)], gone: vec![] }).await;
            let last = format!("app-{APPS:06}");
            while snapshot.get(Kind::VirtualService).unwrap().iter().all(|resource| !resource.name.contains(&last)) {
                snapshot = running.next().await;
            }
            let mut owners = BTreeMap::new();
            for (place, app) in endpoints(&snapshot) {
                let before = owners.insert(place.clone(), app.clone());
                assert!(before.is_none_or(|before| before == app), "{place:?}");
            }
        });
    }
}
