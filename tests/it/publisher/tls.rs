//! TLS to instances: what a change costs, and that nobody is served without being named.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use copilot::{
    istio::{BackendTls, ProxyIdentity, Verify},
    model::{Instance, PortMapping},
    proto::istio::networking::v1alpha3::{DestinationRule, ServiceEntry},
    publisher::{Metrics, State},
    snapshot::Collection,
};
use proptest::{collection::vec, prelude::*};
use prost::Message;

use super::*;

const LINGER: Duration = Duration::from_secs(15);

pub fn backend(verify: Verify) -> BackendTls {
    BackendTls {
        identity: Some(ProxyIdentity {
            chain: "/certs/client.crt".parse().unwrap(),
            key: "/certs/client.key".parse().unwrap(),
        }),
        ca: "/certs/instances.crt".parse().unwrap(),
        verify,
    }
}

fn with_tls(verify: Verify) -> Settings {
    Settings {
        backend_tls: Some(backend(verify)),
        ..settings([Input::Routes, Input::Instances])
    }
}

/// The same instance on a cell of today.
pub fn tls_alone(instance: &Instance) -> Arc<Instance> {
    let ports = instance.ports.iter().map(|mapping| PortMapping {
        host_tls: mapping.host,
        container_tls: 61_001,
        internal_tls: 61_443,
        ..PortMapping::plain(mapping.container, 0)
    });
    Arc::new(Instance {
        ports: ports.collect(),
        ..instance.clone()
    })
}

pub fn decoded<M: Message + Default>(collection: &Collection) -> BTreeMap<String, M> {
    let resources = collection.iter().map(|resource| {
        let body = resource.decode().body.unwrap();
        (
            resource.name.to_owned(),
            M::decode(body.value.as_slice()).unwrap(),
        )
    });
    resources.collect()
}

/// The endpoints of every service, and the names that are verified of each service that is reached over TLS.
type Served = (
    BTreeMap<String, Vec<(String, u32)>>,
    BTreeMap<String, Vec<String>>,
);

/// What both eras are served, but for services that are empty.
fn served(snapshot: &Snapshot) -> Served {
    let of = |kind: Kind| snapshot.get(kind).unwrap();
    let entries = decoded::<ServiceEntry>(of(Kind::ServiceEntry)).into_iter();
    let entries = entries.map(|(name, entry)| {
        let places = entry.endpoints.into_iter().flat_map(|endpoint| {
            let address = endpoint.address;
            let ports = endpoint.ports.into_values();
            ports.map(move |port| (address.clone(), port))
        });
        (name, places.collect())
    });
    let rules = decoded::<DestinationRule>(of(Kind::DestinationRule)).into_iter();
    let rules = rules.filter_map(|(name, rule)| {
        let tls = rule.traffic_policy?.tls?;
        Some((name, tls.subject_alt_names))
    });
    (entries.collect(), rules.collect())
}

#[tokio::test(start_paused = true)]
async fn one_changed_instance_encodes_one_resource_for_each_route_and_the_rule_where_it_is_named() {
    for (verify, rules) in [(Verify::Ca, 0), (Verify::Instance, 1)] {
        let mut running = start(Settings {
            linger: LINGER,
            ..with_tls(verify)
        });
        let on_three_hosts = [0, 1, 2].map(|n| Route {
            destinations: foundation::route(0).destinations,
            ..foundation::route(n)
        });
        let others = (3..40).map(foundation::route);
        let routes = on_three_hosts.into_iter().chain(others).collect();
        running.send(Update::AllRoutes(routes)).await;
        let instances =
            (0..40).flat_map(|n| [0, 1].map(|index| foundation::instance(n, index, 61_000)));
        let instances = instances.map(|instance| tls_alone(&instance)).collect();
        running.send(Update::AllInstances(instances)).await;
        running.next().await;

        let started = Update::Instances {
            current: vec![tls_alone(&foundation::instance(0, 2, 61_000))],
            gone: vec![],
        };
        let ended = Update::Instances {
            current: vec![],
            gone: vec![foundation::instance(0, 0, 61_000).guid.clone()],
        };
        // The name of one that ends goes later, by itself.
        let later = (rules > 0).then_some((None, rules, 0));
        for (change, rules, entries) in [(Some(started), rules, 1), (Some(ended), 0, 1)]
            .into_iter()
            .chain(later)
        {
            let (encoded, versions) = (running.encoded(), running.versions());
            if let Some(change) = change {
                running.send(change).await;
            }
            running.next().await;
            assert_eq!(
                running.encoded() - encoded,
                3 * (rules + entries),
                "{verify:?}"
            );
            let now = running.versions();
            assert_eq!(now[0], versions[0]);
            assert_eq!(
                [now[1] - versions[1], now[2] - versions[2]],
                [rules, entries]
            );
        }
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(!running.outputs.snapshots.has_changed().unwrap());
    }
}

fn with_linger() -> Settings {
    Settings {
        linger: LINGER,
        ..with_tls(Verify::Instance)
    }
}

/// A publisher with that, which knows one route and no instances yet.
async fn lingering() -> Running {
    let running = start(with_linger());
    running
        .send(Update::AllRoutes(vec![foundation::route(0)]))
        .await;
    running
}

/// The names that are verified of the first route's instances.
fn names(snapshot: &Snapshot) -> Vec<String> {
    let (_, mut names) = served(snapshot);
    let service = istio::service(&foundation::route(0).host, "");
    names.remove(&format!("cf--tls.{service}")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_named_for_a_while_after_it_has_ended_and_then_all_is_as_at_first() {
    let mut running = lingering().await;
    let instance = |index| tls_alone(&foundation::instance(0, index, 61_000));
    running.send(Update::AllInstances(vec![instance(0)])).await;
    let first = names(&*running.next().await);
    let mut both = vec![instance(0).guid.to_string(), instance(1).guid.to_string()];
    both.sort();
    let started = || Update::Instances {
        current: vec![instance(1)],
        gone: vec![],
    };
    let ended = || Update::Instances {
        current: vec![],
        gone: vec![instance(1).guid.clone()],
    };
    // It comes back once, and its time begins anew.
    for change in [started(), ended(), started(), ended()] {
        running.send(change).await;
        assert_eq!(names(&*running.next().await), both);
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(names(&*running.next().await), first);
}

#[tokio::test(start_paused = true)]
async fn an_app_that_ends_all_the_time_has_few_names_and_those_that_it_had_last() {
    let mut running = lingering().await;
    let instance = |index| tls_alone(&foundation::instance(0, index, 61_000));
    running.send(Update::AllInstances(vec![])).await;
    running.next().await;
    for index in 0..200usize {
        let gone = index
            .checked_sub(1)
            .map(|before| instance(before).guid.clone());
        running
            .send(Update::Instances {
                current: vec![instance(index)],
                gone: gone.into_iter().collect(),
            })
            .await;
        running.next().await;
        // Six seconds and a half in which 65 are of the last, of which a third of the time is recent.
        tokio::time::advance(LINGER / 150).await;
    }
    let last = (200 - 65..200).map(|index| instance(index).guid.to_string());
    let last: BTreeSet<_> = last.collect();
    let snapshot = running.outputs.snapshots.borrow().clone().unwrap();
    assert_eq!(names(&snapshot).into_iter().collect::<BTreeSet<_>>(), last);
}

#[tokio::test(start_paused = true)]
async fn however_many_end_at_once_their_names_stay_as_long_as_the_endpoints_may() {
    let mut running = lingering().await;
    let instance = |index: u16| tls_alone(&foundation::instance(0, index.into(), 61_000 + index));
    let all: Vec<_> = (0..100).map(instance).collect();
    running.send(Update::AllInstances(all.clone())).await;
    let before = names(&*running.next().await);
    assert_eq!(before.len(), 100);
    let gone = all[1..].iter().map(|instance| instance.guid.clone());
    let ended = Update::Instances {
        current: vec![],
        gone: gone.collect(),
    };
    running.send(ended).await;
    assert_eq!(names(&*running.next().await), before);
    running
        .send(Update::Instances {
            current: vec![instance(100)],
            gone: vec![],
        })
        .await;
    let after = names(&*running.next().await);
    assert!(before.iter().all(|name| after.contains(name)));
}

#[tokio::test(start_paused = true)]
async fn a_name_goes_in_its_time_though_something_happens_then() {
    let settings = with_linger();
    let mut state = State::new(&settings, Metrics::new(&mut Registry::default())).unwrap();
    let instance = |index: u16| tls_alone(&foundation::instance(0, index.into(), 61_000 + index));
    let started = |index| Update::Instances {
        current: vec![instance(index)],
        gone: vec![],
    };
    state.apply(Update::AllRoutes(vec![foundation::route(0)]));
    state.apply(Update::AllInstances(vec![instance(0), instance(1)]));
    let mut now = std::time::Instant::now();
    state.publish_at(now).unwrap();
    state.apply(Update::Instances {
        current: vec![],
        gone: vec![instance(1).guid.clone()],
    });
    state.publish_at(now);
    for index in 2..5 {
        now += LINGER;
        state.apply(started(index));
        let served = names(&state.publish_at(now).unwrap());
        assert!(!served.contains(&instance(1).guid.to_string()), "{index}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_cells_change_over_as_many_instances_are_reached_as_before() {
    const INSTANCES: usize = 6;
    let mut running = start(with_tls(Verify::Instance));
    running
        .send(Update::AllRoutes(vec![foundation::route(0)]))
        .await;
    let plain = |index| foundation::instance(0, index, 61_000);
    let all = (0..INSTANCES).map(plain).collect();
    running.send(Update::AllInstances(all)).await;
    let first = running.next().await;
    let host = foundation::route(0).host;
    let name = Kind::ServiceEntry.name(&host, false);
    assert_eq!(served(&first).0[&name].len(), INSTANCES);

    let there = (0..INSTANCES).map(|index| tls_alone(&plain(index)));
    let back = (0..INSTANCES).map(plain);
    for (step, changed) in there.chain(back).enumerate() {
        running
            .send(Update::Instances {
                current: vec![changed],
                gone: vec![],
            })
            .await;
        let snapshot = running.next().await;
        let over_tls = INSTANCES - (INSTANCES - 1).abs_diff(step);
        let (entries, names) = served(&snapshot);
        let count = |name: &str| entries.get(name).map_or(0, Vec::len);
        let tls = format!("cf--tls.{name}");
        assert_eq!(
            (count(&tls), count(&name)),
            (over_tls, INSTANCES - over_tls)
        );
        assert_eq!(names.get(&tls).map_or(0, Vec::len), over_tls);
    }
}

/// One of eight instances, with one of a few addresses, by one of its endpoints, or by none.
fn any_instance() -> impl Strategy<Value = Arc<Instance>> {
    let port = || prop_oneof![Just(0u16), 61_000u16..61_003];
    let place = (0usize..4, 0usize..2, 1u8..4, 1u8..4, port(), port());
    (place, 0i64..3, any::<bool>(), proptest::bool::weighted(0.8)).prop_map(
        |((app, index, cell, container, host, host_tls), since, prefers_container, routable)| {
            let endpoints = PortMapping {
                host_tls,
                container_tls: if host_tls == 0 { 0 } else { 61_001 },
                ..PortMapping::plain(8080, host)
            };
            Arc::new(Instance {
                since,
                routable,
                prefers_container,
                host_address: IpAddr::from([10, 0, 0, cell]),
                container_address: Some(IpAddr::from([10, 255, 0, container])),
                ports: [endpoints].into_iter().collect(),
                ..foundation::instance(app, index, 0).as_ref().clone()
            })
        },
    )
}

/// Where an instance may be, over TLS or not.
fn endpoints(instance: &Instance) -> BTreeSet<(String, u32)> {
    let cell = instance.host_address.to_string();
    let container = instance.container_address.unwrap().to_string();
    let of = |mapping: &PortMapping| {
        let of_cell = [mapping.host, mapping.host_tls].map(|port| (cell.clone(), port.into()));
        let own = [mapping.container, mapping.container_tls];
        let own = own.map(|port| (container.clone(), port.into()));
        of_cell.into_iter().chain(own).collect::<Vec<_>>()
    };
    let endpoints = instance.ports.iter().flat_map(of);
    endpoints.filter(|(_, port)| *port != 0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_endpoint_over_tls_stands_without_the_guid_of_whom_it_is(
        batches in vec(vec(any_instance(), 1..6), 1..4),
        weights in proptest::option::of([1u32..5, 1u32..5]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut running = start(with_tls(Verify::Instance));
            let mut routes: Vec<_> = (0..4).map(foundation::route).collect();
            let second = routes[1].destinations[0].clone();
            routes[0].destinations.push(second);
            if let Some(weights) = weights {
                for (to, weight) in std::iter::zip(&mut routes[0].destinations, weights) {
                    to.weight = copilot::model::Weight::Fixed(weight);
                }
            }
            running.send(Update::AllRoutes(routes)).await;
            running.send(Update::AllInstances(Vec::new())).await;
            let mut snapshot = running.next().await;
            let mut known = BTreeMap::new();
            for batch in batches {
                known.extend(batch.iter().map(|one| (one.guid.clone(), one.clone())));
                running.send(Update::Instances { current: batch, gone: vec![] }).await;
                // It may change nothing.
                tokio::time::advance(Duration::from_secs(1)).await;
                tokio::task::yield_now().await;
                if let Some(latest) = running.outputs.snapshots.borrow_and_update().clone() {
                    snapshot = latest;
                }
                let (entries, names) = served(&snapshot);
                for (service, places) in entries {
                    let names = names.get(&service);
                    assert_eq!(names.is_some(), service.starts_with("cf--tls."), "{service}");
                    for place in places {
                        let own = known.values().filter(|one| one.routable && endpoints(one).contains(&place));
                        let mut own = own.map(|one| one.guid.to_string());
                        let Some(names) = names else { continue };
                        assert!(own.any(|guid| names.contains(&guid)), "{place:?} of {service} for {names:?}");
                    }
                }
            }
        });
    }
}
