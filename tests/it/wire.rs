//! What goes over the wire for one foundation, for a reviewer to read; and that it depends on nothing else.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use copilot::{
    istio::FrontendCertificate,
    model::{
        AppGuid, AppPort, Basis, Destination, Hostname, Instance, LoadBalancing, Policy,
        PortMapping, PortRange, ProcessType, Protocol, Refusal, Route, RouteGuid, Transport,
        Update, Weight, Workload,
    },
    proto::any_to_json,
    publisher::{Input, Metrics, Publisher, Settings, State},
    readiness::Readiness,
    snapshot::{Collection, Form, Resource, Snapshot},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn workload(app: &str, process_type: &str) -> Workload {
    Workload {
        app: AppGuid::from(app),
        process_type: ProcessType::from(process_type),
    }
}

fn to(app: &str, port: u16) -> Destination {
    Destination {
        workload: workload(app, "web"),
        port: AppPort::Number(port),
        weight: Weight::Instances,
        protocol: Protocol::Http1,
    }
}

fn weighted(app: &str, weight: u32) -> Destination {
    Destination {
        weight: Weight::Fixed(weight),
        ..to(app, 8080)
    }
}

/// A destination as the push API has it.
fn pushed(app: &str) -> Destination {
    Destination {
        port: AppPort::Main,
        weight: Weight::Running(1),
        ..to(app, 0)
    }
}

fn route(
    guid: &str,
    host: &str,
    path: &str,
    destinations: impl IntoIterator<Item = Destination>,
) -> Route {
    Route {
        guid: RouteGuid::from(guid),
        host: Hostname::parse(host).unwrap(),
        path: path.into(),
        internal: host.ends_with(".internal"),
        vip: None,
        created_at: 1_557_508_668,
        load_balancing: None,
        settings: None,
        refused: None,
        destinations: destinations.into_iter().collect(),
    }
}

fn instance(
    guid: &str,
    app: &str,
    process_type: &str,
    last: u8,
    ports: &[(u16, u16)],
) -> Arc<Instance> {
    Arc::new(Instance {
        guid: guid.into(),
        process: format!("{app}-process").as_str().into(),
        workload: Some(workload(app, process_type)),
        routable: true,
        since: 0,
        prefers_container: false,
        zone: None,
        host_address: IpAddr::from([10, 0, 16, last]),
        container_address: Some(IpAddr::from([10, 255, 0, last])),
        ports: ports
            .iter()
            .map(|&(container, host)| PortMapping::plain(container, host))
            .collect(),
    })
}

fn routes() -> Vec<Route> {
    let worker = Destination {
        workload: workload("queue", "worker"),
        port: AppPort::Number(8080),
        ..to("queue", 8080)
    };
    let grpc = Destination {
        protocol: Protocol::Http2,
        ..to("grpc", 8080)
    };
    vec![
        route("r1", "shop.example.com", "", [to("shop", 8080)]),
        route("r2", "shop.example.com", "/cart", [to("cart", 8080)]),
        route(
            "r3",
            "canary.example.com",
            "",
            [weighted("blue", 2), weighted("green", 1)],
        ),
        route(
            "r4",
            "shared.example.com",
            "",
            [to("blue", 8080), to("green", 8080)],
        ),
        route(
            "r5",
            "ports.example.com",
            "",
            [to("multi", 8080), to("multi", 9090)],
        ),
        route("r6", "*.wild.example.com", "", [worker]),
        route("r7", "backend.apps.internal", "", [to("cart", 8080)]),
        Route {
            vip: Some([127, 128, 0, 42].into()),
            ..route("r12", "grpc.apps.internal", "", [pushed("grpc")])
        },
        route("r8", "stopped.example.com", "", [to("stopped", 8080)]),
        route("r9", "unmapped.example.com", "", []),
        route("r10", "under_score.example.com", "", [to("shop", 8080)]),
        route("r11", "grpc.example.com", "", [grpc.clone()]),
        Route {
            load_balancing: Some(Box::new(LoadBalancing::LeastConnection)),
            ..route("r13", "busy.example.com", "", [to("shop", 8080)])
        },
        // Goes on from its path to the wildcard.
        route("r17", "*.deep.example.com", "", [to("shop", 8080)]),
        route("r18", "api.deep.example.com", "/V2/", [to("cart", 8080)]),
        route("r19", "mix.example.com", "", [to("blue", 8080), grpc]),
        Route {
            refused: Some(Refusal::RouteService),
            ..route("r14", "shop.example.com", "/admin", [to("shop", 9090)])
        },
        Route {
            refused: Some(Refusal::RoutePolicies),
            ..route("r15", "enforced.example.org", "", [to("shop", 8080)])
        },
        Route {
            refused: Some(Refusal::RoutePolicies),
            ..route("r16", "enforced.apps.internal", "", [to("cart", 8080)])
        },
    ]
}

fn instances() -> Vec<Arc<Instance>> {
    vec![
        instance("shop-0", "shop", "web", 1, &[(8080, 61_001)]),
        instance("shop-1", "shop", "web", 2, &[(8080, 61_002)]),
        instance("cart-0", "cart", "web", 3, &[(8080, 61_003)]),
        instance("blue-0", "blue", "web", 4, &[(8080, 61_004)]),
        instance("blue-1", "blue", "web", 5, &[(8080, 61_005)]),
        instance("green-0", "green", "web", 6, &[(8080, 61_006)]),
        // The second instance was not restarted since the port was added.
        instance(
            "multi-0",
            "multi",
            "web",
            7,
            &[(8080, 61_007), (9090, 61_008)],
        ),
        instance("multi-1", "multi", "web", 8, &[(8080, 61_009)]),
        instance("queue-0", "queue", "worker", 9, &[(8080, 61_010)]),
        instance("queue-web", "queue", "web", 10, &[(8080, 61_011)]),
        instance("grpc-0", "grpc", "web", 11, &[(8080, 61_012)]),
    ]
}

fn policies() -> Vec<Policy> {
    [
        ("shop", "cart"),
        ("shop", "grpc"),
        ("blue", "cart"),
        ("cart", "shop"),
    ]
    .map(|(source, destination)| Policy {
        source: source.into(),
        destination: destination.into(),
        transport: Transport::Tcp,
        ports: PortRange::new(1, 65_535).unwrap(),
    })
    .into()
}

fn settings() -> Settings {
    Settings {
        debounce_after: Duration::from_millis(1),
        debounce_max: Duration::from_secs(1),
        required: [Input::Routes, Input::Instances].into(),
        certificates: vec![
            FrontendCertificate {
                names: vec!["*.example.com".into(), "example.com".into()],
            },
            FrontendCertificate {
                names: vec!["example.org".into()],
            },
        ],
        vip_range: Some("127.128.0.0/9".parse().unwrap()),
        keep_empty_service_entries: true,
        policies: Some(Duration::from_mins(1)),
        ..Settings::default()
    }
}

/// Runs a daemon's core over the updates, to the snapshot that follows the last of them.
async fn snapshot(updates: Vec<Update>) -> Arc<Snapshot> {
    let readiness = Readiness::default();
    let (sender, receiver) = mpsc::channel(updates.len());
    for update in updates {
        sender.send(update.on(Basis::Told)).await.unwrap();
    }
    let (publisher, mut outputs) =
        Publisher::new(settings(), receiver, &readiness, &mut Registry::default()).unwrap();
    let running = tokio::spawn(publisher.run(CancellationToken::new()));
    // Updates that are there already are taken in before the quiet time can pass.
    let first = outputs
        .snapshots
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone();
    running.abort();
    first.unwrap()
}

fn readable(snapshot: &Snapshot) -> Value {
    let collections: BTreeMap<_, _> = snapshot
        .iter()
        .map(|(kind, collection)| {
            (
                kind.collection(),
                collection
                    .iter()
                    .map(|it| resource(&it))
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    json!(collections)
}

fn resource(resource: &Resource<'_>) -> Value {
    let message = resource.decode();
    let metadata = message.metadata.unwrap();
    json!({
        "name": metadata.name,
        "create_time": metadata.create_time.unwrap().to_string(),
        "version": metadata.version,
        "body": any_to_json(&message.body.unwrap()).unwrap(),
    })
}

/// Every byte that a full response of every collection carries, with the collections' versions: for Pilots, then for
/// istiods.
fn bytes(snapshot: &Snapshot) -> BTreeMap<&'static str, [(String, Vec<u8>); 2]> {
    let bytes = |collection: &Collection, form| {
        (
            collection.version().to_string(),
            collection.chunks(form).flatten().copied().collect(),
        )
    };
    snapshot
        .iter()
        .map(|(kind, classic)| {
            (
                kind.collection(),
                [
                    bytes(classic, Form::Mcp),
                    bytes(snapshot.xds(kind).unwrap(), Form::Ads),
                ],
            )
        })
        .collect()
}

#[tokio::test]
async fn a_foundation_with_one_of_everything_is_served_as_reviewed() {
    let snapshot = snapshot(vec![
        Update::AllRoutes(routes()),
        Update::AllInstances(instances()),
        Update::AllPolicies(policies()),
    ])
    .await;
    insta::assert_json_snapshot!(readable(&snapshot));
}

#[tokio::test]
async fn istiods_are_served_the_same_but_for_what_is_reviewed_here() {
    let snapshot = snapshot(vec![
        Update::AllRoutes(routes()),
        Update::AllInstances(instances()),
        Update::AllPolicies(policies()),
    ])
    .await;
    let differing: BTreeMap<_, _> = snapshot
        .iter()
        .map(|(kind, classic)| (kind.collection(), snapshot.xds(kind).unwrap().diff(classic)))
        .filter(|(_, diff)| !diff.is_empty())
        .map(|(name, diff)| {
            assert!(diff.removed.is_empty(), "{name}");
            (name, diff.changed.iter().map(resource).collect::<Vec<_>>())
        })
        .collect();
    insta::assert_json_snapshot!(differing);
}

#[tokio::test]
async fn equal_foundations_have_equal_bytes_and_versions_whatever_came_first() {
    let at_once = snapshot(vec![
        Update::AllRoutes(routes()),
        Update::AllInstances(instances()),
        Update::AllPolicies(policies()),
    ])
    .await;

    let mut one_by_one = vec![
        Update::AllPolicies(policies()[1..].to_vec()),
        Update::AllInstances(vec![]),
        Update::AllRoutes(vec![]),
    ];
    for instance in instances().into_iter().rev() {
        one_by_one.push(Update::Instances {
            current: vec![instance],
            gone: vec![],
        });
    }
    let detour = route("r1", "elsewhere.example.com", "", [to("shop", 8080)]);
    one_by_one.push(Update::Routes {
        current: vec![detour],
        gone: vec![],
    });
    for route in routes().into_iter().rev() {
        one_by_one.push(Update::Routes {
            current: vec![route],
            gone: vec![],
        });
    }
    let mut reversed = policies();
    reversed.reverse();
    one_by_one.push(Update::AllPolicies(reversed));
    assert_eq!(bytes(snapshot(one_by_one).await.as_ref()), bytes(&at_once));
}

#[test]
fn a_foundation_that_is_read_again_in_another_order_publishes_nothing() {
    // Fault 34 of the original: apps with several routes, and routes with several apps, were pushed all the time.
    let mut state = State::new(&settings(), Metrics::new(&mut Registry::default())).unwrap();
    let mut read = |is_reversed| {
        let (mut routes, mut instances, mut policies) = (routes(), instances(), policies());
        if is_reversed {
            routes.reverse();
            instances.reverse();
            policies.reverse();
        }
        state.apply(Update::AllRoutes(routes));
        state.apply(Update::AllInstances(instances));
        state.apply(Update::AllPolicies(policies));
        (state.is_due(), state.publish().is_some())
    };
    assert_eq!(read(false), (true, true));
    assert_eq!(read(true), (false, false));
    assert_eq!(read(false), (false, false));
}
