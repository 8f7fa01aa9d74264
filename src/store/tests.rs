//! What was written is read again, whole, or not at all.

use proptest::{collection::vec, prelude::*};
use tempfile::TempDir;

use super::*;
use crate::model::{
    AppPort, Asked, Cookie, CookieName, Destination, HeaderName, Hostname, LoadBalancing,
    PortRange, Protocol, Refusal, Transport, Weight,
};

fn settings(folder: &TempDir) -> Settings {
    Settings {
        path: folder.path().join("state"),
        foundation: "https://api.example.com apps.example.com".to_owned(),
        max_age: Duration::from_hours(24),
        after: Duration::from_mins(1),
    }
}

fn any_workload() -> impl Strategy<Value = Workload> {
    ("[a-z]{1,4}", "web|worker").prop_map(|(app, process_type)| Workload {
        app: app.as_str().into(),
        process_type: process_type.as_str().into(),
    })
}

fn any_destination() -> impl Strategy<Value = Destination> {
    let weight = prop_oneof![
        Just(Weight::Instances),
        any::<u32>().prop_map(Weight::Fixed),
        any::<u32>().prop_map(Weight::Running),
    ];
    let port = prop_oneof![Just(AppPort::Main), (1u16..).prop_map(AppPort::Number)];
    let protocol = prop_oneof![Just(Protocol::Http1), Just(Protocol::Http2)];
    (any_workload(), port, weight, protocol).prop_map(|(workload, port, weight, protocol)| {
        Destination {
            workload,
            port,
            weight,
            protocol,
        }
    })
}

fn any_route() -> impl Strategy<Value = Arc<Route>> {
    let load_balancing = prop_oneof![
        Just(None),
        Just(Some(LoadBalancing::RoundRobin)),
        Just(Some(LoadBalancing::LeastConnection)),
        "[a-z]{1,5}".prop_map(|name| Some(LoadBalancing::Hash(HeaderName::parse(&name).unwrap()))),
        ("SHOP_[a-zA-Z]{1,5}", 0u64..100_000).prop_map(|(name, ttl)| {
            Some(LoadBalancing::Cookie(Cookie {
                name: CookieName::parse(&name).unwrap(),
                ttl: Duration::from_secs(ttl),
            }))
        }),
    ];
    let settings = proptest::option::of((1u64..9, "/[a-z]{1,5}"));
    let settings = settings.prop_map(|settings| {
        let (seconds, path) = settings?;
        let timeout = format!("{seconds}s");
        let asked = Asked::parse([("timeout", &*timeout), ("path-rewrite", &*path)]);
        Some(Arc::new(asked.settings))
    });
    let refused = prop_oneof![
        Just(None),
        Just(Some(Refusal::RoutePolicies)),
        Just(Some(Refusal::RouteService)),
    ];
    let vip = proptest::option::of((1u32..).prop_map(Into::into));
    let destinations = vec(any_destination(), 0..4);
    (
        "[a-z0-9-]{0,9}",
        (
            "(\\*\\.)?[a-z]{1,9}\\.example\\.com",
            proptest::option::of(1u16..),
        ),
        "(/[a-zA-Z]{1,5})?",
        (any::<bool>(), vip, any::<i64>()),
        (load_balancing, settings),
        refused,
        destinations,
    )
        .prop_map(
            |(
                guid,
                (host, port),
                path,
                (internal, vip, created_at),
                (lb, settings),
                refused,
                to,
            )| {
                let host = Hostname::parse(&host).unwrap();
                let protocol = |mut to: Destination| {
                    if port.is_some() {
                        to.protocol = Protocol::Tcp;
                    }
                    to
                };
                let to: Vec<_> = to.into_iter().map(protocol).collect();
                Arc::new(Route {
                    guid: guid.as_str().into(),
                    host: match port {
                        Some(port) => host.with_port(port),
                        None => host,
                    },
                    path: path.into(),
                    internal,
                    vip,
                    created_at,
                    load_balancing: lb.map(Box::new),
                    settings,
                    refused,
                    destinations: to.into(),
                })
            },
        )
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (
        "[a-z]{1,4}",
        "[a-z]{1,4}",
        any::<bool>(),
        1u16..100,
        100u16..,
    )
        .prop_map(|(source, destination, udp, first, last)| Policy {
            source: source.as_str().into(),
            destination: destination.as_str().into(),
            transport: if udp { Transport::Udp } else { Transport::Tcp },
            ports: PortRange::new(first, last).unwrap(),
        })
}

fn any_saved() -> impl Strategy<Value = Saved> {
    let process = ("[a-z]{1,4}", any_workload()).prop_map(|(guid, workload)| Process {
        guid: guid.as_str().into(),
        workload,
    });
    let association =
        ("[a-z]{1,4}", vec("[a-z]{1,4}", 0..3)).prop_map(|(process, of)| Association {
            process: process.as_str().into(),
            diego_processes: of.iter().map(|guid| guid.as_str().into()).collect(),
        });
    (
        vec(any_route(), 0..9),
        vec(process, 0..3),
        vec(association, 0..3),
        proptest::option::of(vec(any_policy(), 0..5)),
        vec((any_workload(), any::<u32>()), 0..5),
    )
        .prop_map(
            |(mut routes, processes, associations, policies, instances)| {
                // As they are written; their order says nothing.
                routes.sort_by_key(|route: &Arc<Route>| route.is_tcp());
                Saved {
                    routes,
                    processes,
                    associations,
                    policies,
                    instances,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_written_is_read_again(saved in any_saved()) {
        let folder = TempDir::new().unwrap();
        let settings = settings(&folder);
        settings.write(&saved, SystemTime::now()).unwrap();
        let (read, _) = settings.read().unwrap().unwrap();
        prop_assert_eq!(read, saved);
    }

    #[test]
    fn any_damage_is_seen(saved in any_saved(), at: prop::sample::Index, bit in 0u8..8, cut: bool) {
        let folder = TempDir::new().unwrap();
        let settings = settings(&folder);
        settings.write(&saved, SystemTime::now()).unwrap();
        let mut bytes = fs::read(&settings.path).unwrap();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << bit;
        }
        fs::write(&settings.path, bytes).unwrap();
        let error = settings.read().unwrap_err();
        prop_assert!(matches!(error, Error::Damaged | Error::Version(_)), "{}", error);
        prop_assert!(!settings.path.exists(), "it is set aside");
    }
}

#[test]
fn there_is_nothing_where_there_is_no_file() {
    let folder = TempDir::new().unwrap();
    assert!(settings(&folder).read().unwrap().is_none());
}

#[test]
fn nobody_else_may_read_it_and_a_file_that_a_crash_left_is_replaced() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = TempDir::new().unwrap();
    let settings = settings(&folder);
    fs::write(folder.path().join("state.new"), "half").unwrap();
    settings
        .write(&Saved::default(), SystemTime::now())
        .unwrap();
    let mode = fs::metadata(&settings.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!folder.path().join("state.new").exists());
}

#[test]
fn one_of_another_foundation_or_version_or_too_old_is_set_aside_by_name() {
    let folder = TempDir::new().unwrap();
    let ours = settings(&folder);
    let theirs = Settings {
        foundation: "https://api.elsewhere.example.com".to_owned(),
        ..ours.clone()
    };
    let write = |now| theirs.write(&Saved::default(), now).unwrap();
    write(SystemTime::now());
    assert!(matches!(ours.read(), Err(Error::Foundation(_))));
    write(SystemTime::now() - Duration::from_hours(25));
    assert!(matches!(theirs.read(), Err(Error::TooOld(_))));
    write(SystemTime::now() + Duration::from_hours(25));
    assert!(theirs.read().is_ok(), "clocks differ");
    let mut bytes = fs::read(&ours.path).unwrap();
    bytes[11] = 2;
    fs::write(&ours.path, bytes).unwrap();
    assert!(matches!(ours.read(), Err(Error::Version(2))));
    for word in ["foundation", "old", "version"] {
        assert!(
            folder.path().join(format!("state.{word}")).exists(),
            "{word}"
        );
    }
}

/// A state of one route.
fn state_of(route: state::Route) -> state::State {
    state::State {
        routes: vec![route],
        ..state::State::default()
    }
}

#[test]
fn a_setting_that_another_build_took_is_left_out_alone() {
    let settings = [
        ("timeout", "5s"),
        ("path-rewrite", "nowhere"),
        ("patience", "none"),
        ("session-affinity", "JSESSIONID"),
    ];
    let settings = settings.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let route = state::Route {
        guid: "r".to_owned(),
        host: "a.example.com".to_owned(),
        settings: settings.into(),
        ..state::Route::default()
    };
    let saved = Saved::from_wire(state_of(route)).unwrap();
    let known = Asked::parse([("timeout", "5s")]).settings;
    assert_eq!(saved.routes[0].settings.as_deref(), Some(&known));
    assert_eq!(saved.routes[0].load_balancing, None);
}

#[test]
fn a_build_that_knows_no_settings_finds_in_the_file_what_it_knows() {
    let route = state::Route {
        guid: "r".to_owned(),
        host: "a.example.com".to_owned(),
        settings: [("session-affinity".to_owned(), "SHOP".to_owned())].into(),
        ..state::Route::default()
    };
    let saved = Saved::from_wire(state_of(route.clone())).unwrap();
    assert!(saved.routes[0].load_balancing.is_some());
    let written = saved.to_wire("", SystemTime::now()).routes.remove(0);
    // An unknown kind of it would be damage to that build; an unknown field is nothing.
    assert_eq!(written.load_balancing, None);
    let ttl = ("session-affinity-ttl".to_owned(), "0s".to_owned());
    assert_eq!(
        written.settings,
        route.settings.into_iter().chain([ttl]).collect()
    );
}
