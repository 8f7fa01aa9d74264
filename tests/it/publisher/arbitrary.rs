//! Whatever the foundation holds, what is published is valid and what is not is named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use copilot::{
    istio::{
        Defaults, Ejection, Era, FrontendCertificate, HttpsRedirect, InternalTls, Requests, Verify,
        validate::{Invalid, Validate},
    },
    model::{
        AppPort, Asked, Cookie, CookieName, Destination, HeaderName, Hostname, Instance,
        LoadBalancing, Policy, PortMapping, PortRange, Protocol, Refusal, Retries, Transport,
        Weight, Workload,
    },
    proto::istio::networking::v1alpha3::{DestinationRule, ServiceEntry, Sidecar, VirtualService},
    snapshot::Collection,
};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use super::*;

/// What an owner may ask for.
fn any_asked() -> impl Strategy<Value = Asked> {
    let texts = proptest::sample::subsequence(
        vec![
            ("timeout", "1500ms"),
            ("retry-attempts", "3"),
            ("path-rewrite", "/other"),
            ("session-affinity", "SHOP"),
            ("request-headers-set", "x-tenant: 7"),
            ("response-headers-remove", "server"),
        ],
        0..=6,
    );
    prop_oneof![2 => Just(Asked::default()), 1 => texts.prop_map(Asked::parse)]
}

fn any_route() -> impl Strategy<Value = Route> {
    let host = prop_oneof![
        "[a-z]{1,3}\\.example\\.com",
        "[a-zA-Z0-9_*-]{1,8}\\.apps\\.internal",
        "[a-zA-Z0-9_.*-]{1,70}",
    ];
    let destination = (0usize..4, "web|worker|[ -~é]{1,40}", 1u16.., any::<bool>());
    let weight = prop_oneof![
        Just(Weight::Instances),
        (0u32..200).prop_map(Weight::Fixed),
        (0u32..200).prop_map(Weight::Running),
    ];
    let load_balancing = prop_oneof![
        2 => Just(None),
        1 => Just(Some(LoadBalancing::RoundRobin)),
        1 => Just(Some(LoadBalancing::LeastConnection)),
        1 => "[a-zA-Z0-9_-]{1,9}".prop_map(|header| HeaderName::parse(&header).ok().map(LoadBalancing::Hash)),
    ];
    let refused = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Refusal::RoutePolicies)),
        1 => Just(Some(Refusal::RouteService)),
    ];
    (
        any::<u16>(),
        host,
        "(/[a-z%é\u{1}]{0,5})?",
        load_balancing,
        (refused, any_asked()),
        vec((destination, weight), 0..5),
    )
        .prop_map(|(guid, host, path, load_balancing, (refused, asked), to)| {
            let mut route = Route {
                guid: foundation::guid(9, guid.into()).as_str().into(),
                internal: host.ends_with(".internal"),
                host: Hostname::parse(&host).unwrap(),
                path: path.as_str().into(),
                vip: None,
                created_at: 0,
                load_balancing: load_balancing.map(Box::new),
                settings: None,
                refused,
                destinations: to
                    .into_iter()
                    .map(|((app, process_type, port, http2), weight)| Destination {
                        workload: Workload {
                            app: foundation::app(app),
                            process_type: process_type.as_str().into(),
                        },
                        port: match port % 3 {
                            0 => AppPort::Main,
                            1 => AppPort::Number(8081),
                            _ => AppPort::Number(port),
                        },
                        weight,
                        protocol: if http2 {
                            Protocol::Http2
                        } else {
                            Protocol::Http1
                        },
                    })
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
            };
            route.ask(asked);
            route
        })
}

fn any_instance() -> impl Strategy<Value = Arc<Instance>> {
    let address = prop_oneof![
        4 => any::<Ipv4Addr>().prop_map(IpAddr::from),
        1 => any::<Ipv6Addr>().prop_map(IpAddr::from),
    ];
    let port = || prop_oneof![Just(0), Just(8080), any::<u16>()];
    let container = prop_oneof![Just(8080), Just(8081), 1u16..];
    let ports = (container, port(), port(), port(), any::<bool>()).prop_map(
        |(container, host, container_tls, host_tls, is_internal)| PortMapping {
            container,
            host,
            container_tls,
            host_tls,
            internal_tls: if is_internal { 61_443 } else { 0 },
        },
    );
    let ports = vec(ports, 0..4);
    (
        any::<u16>(),
        0usize..4,
        "web|worker",
        address.clone(),
        proptest::option::of(address),
        ports,
        any::<bool>(),
    )
        .prop_map(
            |(guid, app, process_type, host, container, ports, prefers_container)| {
                Arc::new(Instance {
                    guid: foundation::guid(8, guid.into()).as_str().into(),
                    process: "process".into(),
                    workload: Some(Workload {
                        app: foundation::app(app),
                        process_type: process_type.as_str().into(),
                    }),
                    routable: true,
                    since: 0,
                    prefers_container,
                    zone: None,
                    host_address: host,
                    container_address: container,
                    ports: ports.into(),
                })
            },
        )
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let source = prop_oneof!["[ -~]{0,8}", "[a-z]{3}"];
    (source, 0usize..4, 1u16..=8080).prop_map(|(source, destination, first)| Policy {
        source: source.as_str().into(),
        destination: foundation::app(destination),
        transport: Transport::Tcp,
        ports: PortRange::new(first, 9090).unwrap(),
    })
}

/// What both eras are served keeps to the classic one's rules; what is different for xDS, to those of its own.
fn check<M: Validate + prost::Message + Default>(snapshot: &Snapshot, kind: Kind) {
    let (classic, xds) = (snapshot.get(kind).unwrap(), snapshot.xds(kind).unwrap());
    check_collection::<M>(classic, Era::Classic);
    if !Arc::ptr_eq(classic, xds) {
        check_collection::<M>(xds, Era::Xds);
    }
}

fn check_collection<M: Validate + prost::Message + Default>(collection: &Collection, era: Era) {
    for resource in collection.iter() {
        let body = resource.decode().body.unwrap();
        let message = M::decode(body.value.as_slice()).unwrap();
        message
            .validate(era)
            .unwrap_or_else(|invalid| panic!("{} {era:?}: {invalid}", resource.name));
    }
}

/// Every service that a VirtualService names is there for whoever takes services without endpoints.
fn check_destinations(snapshot: &Snapshot) {
    let entries = snapshot.xds(Kind::ServiceEntry).unwrap();
    let entries = entries.iter().map(|resource| {
        let body = resource.decode().body.unwrap();
        ServiceEntry::decode(body.value.as_slice())
            .unwrap()
            .hosts
            .concat()
    });
    let there: BTreeSet<_> = entries.collect();
    for resource in snapshot.xds(Kind::VirtualService).unwrap().iter() {
        let body = resource.decode().body.unwrap();
        let service = VirtualService::decode(body.value.as_slice()).unwrap();
        let open = service.http.iter().filter(|route| route.fault.is_none());
        let http = open
            .flat_map(|route| &route.route)
            .map(|to| &to.destination);
        let tcp = service
            .tcp
            .iter()
            .flat_map(|route| &route.route)
            .map(|to| &to.destination);
        for to in http.chain(tcp) {
            let host = &to.as_ref().unwrap().host;
            assert!(there.contains(host), "{} names {host}", resource.name);
        }
    }
}

/// Routes at few ports of few domains, so that some have one; some at ports that the ingress does not have.
fn any_tcp_routes() -> impl Strategy<Value = Vec<Route>> {
    let host = ("[ab_]\\.example\\.com", 1023u16..1028);
    let route = (any_route(), host, 0i64..3).prop_map(|(route, (domain, port), created_at)| {
        let mut route = Route {
            host: Hostname::parse(&domain).unwrap().with_port(port),
            path: "".into(),
            internal: false,
            settings: None,
            created_at,
            ..route
        };
        for to in &mut route.destinations {
            to.protocol = Protocol::Tcp;
        }
        route
    });
    vec(route, 0..6)
}

/// Each part of what an operator can have for all routes, or not.
fn any_defaults() -> impl Strategy<Value = Defaults> {
    let retries = |kind: fn(u8) -> Retries| proptest::option::of((0u8..4).prop_map(kind));
    let requests = (
        retries(Retries::of_unsent),
        retries(Retries::of_server_errors),
        any::<bool>(),
    );
    (requests, any::<[bool; 4]>()).prop_map(
        |((external, internal, retry_resets), [is_kept, connects, ejects, is_divided])| Defaults {
            external: Requests {
                retries: external,
                retry_resets,
                ..Requests::default()
            },
            internal: Requests {
                retries: internal,
                ..Requests::default()
            },
            connect_timeout: connects.then_some(Duration::from_secs(5)),
            ejection: ejects.then_some(Ejection {
                failures: 3,
                duration: Duration::from_secs(30),
            }),
            load_balancing: is_kept.then(|| {
                LoadBalancing::Cookie(Cookie {
                    name: CookieName::parse("MESH_ROUTE").unwrap(),
                    ttl: Duration::ZERO,
                })
            }),
            region: Some("eu".into()),
            https_redirect: is_divided.then(|| HttpsRedirect {
                except: [Hostname::parse("a.example.com").unwrap()].into(),
            }),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_published_resource_passes_validation_and_none_is_lost_without_a_word(
        routes in vec(any_route(), 0..30),
        instances in vec(any_instance(), 0..30),
        policies in vec(any_policy(), 0..10),
        keep_empty_service_entries: bool,
        verify in proptest::option::of(prop_oneof![Just(Verify::Instance), Just(Verify::Ca)]),
        internal_tls: bool,
        defaults in any_defaults(),
        tcp in any_tcp_routes(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut running = start(Settings {
                keep_empty_service_entries,
                backend_tls: verify.map(tls::backend),
                internal_tls: internal_tls.then(|| InternalTls { ca: "/apps/ca.crt".parse().unwrap() }),
                // Without one there is nothing to redirect to.
                certificates: vec![FrontendCertificate { names: vec!["*.example.com".to_owned()] }],
                defaults,
                tcp_ports: (1024..=1026).collect(),
                guard: told_once(),
                ..settings([Input::Routes, Input::TcpRoutes, Input::Instances])
            });
            running.send(Update::AllInstances(instances)).await;
            running.send(Update::AllTcpRoutes(tcp.clone())).await;
            running.send(Update::AllPolicies(policies)).await;
            running.send(Update::AllRoutes(routes.clone())).await;
            let snapshot = running.next().await;
            check::<VirtualService>(&snapshot, Kind::VirtualService);
            check::<DestinationRule>(&snapshot, Kind::DestinationRule);
            check::<ServiceEntry>(&snapshot, Kind::ServiceEntry);
            check::<Sidecar>(&snapshot, Kind::Sidecar);
            if keep_empty_service_entries {
                check_destinations(&snapshot);
            }

            let rejected = running.outputs.rejected.borrow().clone();
            // Of two routes with one guid, the later counts.
            let last = |route: &Route| routes.iter().rfind(|other| other.guid == route.guid) == Some(route);
            let placed = |route: &&Route| route.refused.is_some() || !route.destinations.is_empty();
            for route in tcp.iter().filter(|route| tcp.iter().rfind(|other| other.guid == route.guid) == Some(route)) {
                let name = Kind::VirtualService.name(&route.host, false);
                let published = snapshot.xds(Kind::VirtualService).unwrap().get(&name).is_some();
                let reasons = rejected.get(&(Kind::VirtualService.collection(), route.host.to_string()));
                let withholds = |reason: &Invalid| ["port", "route-policies", "route-service"].contains(&reason.rule);
                let withheld = reasons.is_some_and(|reasons| reasons.iter().any(withholds));
                assert!(published != withheld, "{}: published {published}, {reasons:?}", route.host);
            }
            for route in routes.iter().filter(|route| last(route) && placed(route)) {
                // Most internal hostnames need no VirtualService, and one without instances only istiods hear of.
                let kind = if route.internal { Kind::ServiceEntry } else { Kind::VirtualService };
                if route.internal && (route.refused.is_some() || !keep_empty_service_entries) {
                    continue;
                }
                let name = kind.name(&route.host, route.internal);
                let published = snapshot.xds(kind).unwrap().get(&name).is_some();
                let reasons = |kind: Kind| {
                    let reasons = rejected.get(&(kind.collection(), route.host.to_string()));
                    reasons.map_or(&[][..], Vec::as_slice)
                };
                // What another route takes is said of the lookup, even where nothing but a service is served.
                let taken = reasons(Kind::VirtualService).iter().any(|reason| reason.rule == "shadowed");
                let reasons = reasons(kind);
                // Hidden by another route of the same hostname and path; served in part; answered in the app's place.
                let served = ["shadowed", "settings", "share", "route-policies", "route-service", "unreachable", "taken", "tls", "plaintext"];
                let partly = |reason: &Invalid| served.contains(&reason.rule);
                assert!(
                    if published { reasons.iter().all(partly) } else { taken || !reasons.is_empty() },
                    "{}: published {published}, rejected {reasons:?}", route.host
                );
                if route.refused.is_some() {
                    let named = |reason: &Invalid| reason.detail.contains(&route.guid.to_string());
                    assert!(!published || reasons.iter().any(named), "{} is not named", route.guid);
                }
            }
        });
    }
}
