//! A route that is deleted, from Cloud Controller to sinks of each sort, over sockets.

use copilot::{
    istio::{Kind, undivided},
    model::Hostname,
    sim::{
        cloud_foundry::{CloudFoundry, DOMAIN},
        istiod::{self, Istiod},
        sink::State,
    },
};
use prost::Message as _;
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::mesh::{Daemon, LONG, collections, eager, holds, with};

const LINGER: Duration = Duration::from_secs(3);

/// What a sink holds of a hostname.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    has_route: bool,
    /// Of its service, if that is there.
    endpoints: Option<usize>,
}

impl Held {
    /// `protocol` says by which names the sink has asked.
    fn of(state: &State, protocol: Protocol) -> Self {
        let host = Hostname::parse(&format!("shop.{DOMAIN}")).unwrap();
        let resource = |kind: Kind, name: &str| {
            let replica = state.collections.get(&protocol.asks_for(name))?;
            let mut resources = replica.resources.iter();
            let name = match kind {
                Kind::VirtualService => kind.name(&host, false),
                _ => undivided(&host, "")[1].clone(),
            };
            let found = resources.find(|(one, _)| one.rsplit('/').next() == Some(&name));
            found.map(|(_, resource)| resource.clone())
        };
        let entry = resource(Kind::ServiceEntry, SERVICES);
        Self {
            has_route: resource(Kind::VirtualService, ROUTES).is_some(),
            endpoints: entry.map(|entry| {
                let body = entry.body.unwrap();
                ServiceEntry::decode(&*body.value).unwrap().endpoints.len()
            }),
        }
    }
}

#[tokio::test]
async fn a_deleted_routes_service_outlives_it_at_every_sink_with_the_instances_that_run() {
    let mut foundation = CloudFoundry::start().await.unwrap();
    let mut app = foundation.push(2);
    let route = foundation.create_route("shop", "");
    foundation.map(&route, &app, None);
    let config = with(
        eager(foundation.config()),
        &[
            ("/MCPLingerInterval", json!("3s")),
            ("/ListenAddressForXDS", json!("127.0.0.1:0")),
        ],
    );
    let daemon = Daemon::start(config).await;
    let pilot = foundation.connect_pilot(daemon.mcp, collections());
    let pilot = pilot.await.unwrap();
    let channel = istiod::connect(daemon.xds.unwrap()).await.unwrap();
    let istiod = Istiod::open(&channel, &istiod::types("v1")).await.unwrap();
    let both_hold = async |expected: Held| {
        let held = |state: &State| Held::of(state, Protocol::Full) == expected;
        holds(&pilot, held).await;
        let mut states = istiod.state();
        let held = states.wait_for(|state| Held::of(state, Protocol::World) == expected);
        timeout(LONG, held)
            .await
            .expect("the istiod follows")
            .unwrap();
    };
    let held = |has_route, endpoints| Held {
        has_route,
        endpoints,
    };
    both_hold(held(true, Some(2))).await;

    let begin = Instant::now();
    foundation.capi.state().delete_route(&route);
    both_hold(held(false, Some(2))).await;
    foundation.scale(&mut app, 1);
    both_hold(held(false, Some(1))).await;
    both_hold(held(false, None)).await;
    assert!(begin.elapsed() >= LINGER);
    assert_eq!(daemon.counter("copilot_lingering_services").await, 0);
    daemon.end().await;
}
