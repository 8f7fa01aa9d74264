//! A change of how a route is divided into services: what is new is there for a while before it is named, and what was
//! named has somebody until then.

use std::time::Instant;

use copilot::{
    istio::Verify,
    model::{Destination, Instance, Protocol, Refusal, Weight},
    proto::istio::networking::v1alpha3::{ServiceEntry, VirtualService},
    publisher::{Metrics, State},
};

use super::{
    tls::{backend, decoded, tls_alone},
    *,
};

const LINGER: Duration = Duration::from_secs(15);
/// How old a service has to be.
const SETTLING: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(1);

/// A publisher without its task, with one route of two apps.
struct Daemon {
    state: State,
    now: Instant,
    snapshot: Option<Snapshot>,
}

impl Daemon {
    /// With an instance of each of these apps, and the route to the first ones.
    fn start(linger: Duration, route: Route, instances: Vec<Arc<Instance>>) -> Self {
        let settings = Settings {
            linger,
            keep_empty_service_entries: true,
            backend_tls: Some(backend(Verify::Instance)),
            ..Settings::default()
        };
        let metrics = Metrics::new(&mut Registry::default());
        let mut daemon = Self {
            state: State::new(&settings, metrics).unwrap(),
            now: Instant::now(),
            snapshot: None,
        };
        daemon.after(
            Duration::ZERO,
            [Update::AllInstances(instances), routes(route)],
        );
        daemon.now += Duration::from_hours(1);
        daemon
    }

    /// What is published after so long, with these updates.
    fn after(&mut self, time: Duration, updates: impl IntoIterator<Item = Update>) -> &Snapshot {
        self.now += time;
        for update in updates {
            self.state.apply(update);
        }
        self.snapshot = self.state.publish_at(self.now).or(self.snapshot.take());
        self.snapshot.as_ref().unwrap()
    }

    /// After so long something happens by itself, and nothing before.
    fn by_itself_after(&mut self, time: Duration) {
        assert_eq!(self.state.next_end(), Some(self.now + time));
        self.after(time, []);
    }

    /// What the route is divided into, by the first label of each service that is not the hostname's.
    fn named(&self) -> Vec<(String, i32)> {
        self.named_at("")
    }

    fn named_at(&self, path: &str) -> Vec<(String, i32)> {
        let collection = self.snapshot.as_ref().unwrap();
        let collection = collection.xds(Kind::VirtualService).unwrap();
        let services = decoded::<VirtualService>(collection);
        let host = &foundation::route(0).host;
        let service = &services[&Kind::VirtualService.name(host, false)];
        let whole = istio::service(host, path);
        let to = service.http.iter().flat_map(|http| &http.route);
        let to = to.filter_map(|to| {
            let name = &to.destination.as_ref().unwrap().host;
            istio::is_of(name, &whole)
                .then(|| (name[..name.len() - whole.len()].to_owned(), to.weight))
        });
        let mut named: Vec<_> = to.collect();
        for (label, _) in &mut named {
            if label.starts_with("cf--to-") {
                "cf--to-".clone_into(label);
            }
        }
        named
    }

    /// How many endpoints the route's service of that label has, if it is there.
    fn endpoints(&self, label: &str) -> Option<usize> {
        let collection = self.snapshot.as_ref().unwrap();
        let collection = collection.xds(Kind::ServiceEntry).unwrap();
        let entries = decoded::<ServiceEntry>(collection);
        let name = format!("{label}{}", istio::service(&foundation::route(0).host, ""));
        entries.get(&name).map(|entry| entry.endpoints.len())
    }
}

fn routes(route: Route) -> Update {
    Update::Routes {
        current: vec![route],
        gone: vec![],
    }
}

fn started(instance: Arc<Instance>) -> Update {
    Update::Instances {
        current: vec![instance],
        gone: vec![],
    }
}

fn ended(instance: &Instance) -> Update {
    Update::Instances {
        current: vec![],
        gone: vec![instance.guid.clone()],
    }
}

fn mapped(apps: &[usize]) -> Route {
    let destinations = apps
        .iter()
        .map(|app| foundation::route(*app).destinations[0].clone());
    let mut destinations: Vec<Destination> = destinations.collect();
    destinations.sort();
    Route {
        destinations: destinations.into(),
        ..foundation::route(0)
    }
}

fn weighted(apps: &[usize]) -> Route {
    let mut route = mapped(apps);
    for to in &mut route.destinations {
        to.weight = Weight::Fixed(10);
    }
    route
}

/// The last app speaks HTTP/2.
fn in_two_protocols(apps: &[usize]) -> Route {
    let mut route = mapped(apps);
    let last = foundation::route(apps[apps.len() - 1]).destinations[0]
        .workload
        .clone();
    for to in route
        .destinations
        .iter_mut()
        .filter(|to| to.workload == last)
    {
        to.protocol = Protocol::Http2;
    }
    route
}

/// The `index`th instance of an app on a plain cell, at the place of that port.
fn plain(app: usize, index: usize) -> Arc<Instance> {
    let place = u16::try_from(10 * app + index).unwrap();
    foundation::instance(app, index, 61_000 + place)
}

fn owned(named: &[(&str, i32)]) -> Vec<(String, i32)> {
    let named = named.iter();
    named
        .map(|(label, weight)| ((*label).to_owned(), *weight))
        .collect()
}

/// A route with a plain instance of each of two apps is divided as it was until the services of its new division are old
/// enough; then they are named, and what was named before lingers.
fn goes_over(change: Update, there: &[&str], to: &[(&str, i32)]) {
    let mut daemon = Daemon::start(LINGER, mapped(&[0, 1]), vec![plain(0, 0), plain(1, 0)]);
    assert_eq!(daemon.named(), owned(&[("", 100)]));
    daemon.after(Duration::ZERO, [change]);
    for label in there {
        assert_eq!(daemon.endpoints(label), Some(1), "{label}");
    }
    assert_eq!(daemon.named(), owned(&[("", 100)]));
    daemon.by_itself_after(SETTLING);
    assert_eq!(daemon.named(), owned(to));
    assert!(daemon.endpoints("").is_some_and(|count| count > 0));
    if to.iter().any(|(label, _)| label.is_empty()) {
        assert_eq!(daemon.state.next_end(), None);
    } else {
        daemon.by_itself_after(LINGER);
        assert_eq!(daemon.endpoints(""), None);
    }
}

#[test]
fn a_route_that_gets_weights_is_divided_when_its_new_services_are_old_enough() {
    goes_over(
        routes(weighted(&[0, 1])),
        &[],
        &[("cf--to-", 50), ("cf--to-", 50)],
    );
}

#[test]
fn a_route_of_which_one_app_speaks_another_protocol_goes_on_with_the_others_until_then() {
    goes_over(
        routes(in_two_protocols(&[0, 1])),
        &["", "cf--h2."],
        &[("", 50), ("cf--h2.", 50)],
    );
}

#[test]
fn a_route_goes_over_to_tls_and_back_when_the_service_for_that_is_old_enough() {
    goes_over(
        started(tls_alone(&foundation::instance(0, 1, 61_900))),
        &["cf--tls."],
        &[("", 67), ("cf--tls.", 33)],
    );
    let over_tls = [0, 1].map(|index| tls_alone(&plain(0, index)));
    let mut daemon = Daemon::start(LINGER, mapped(&[0]), over_tls.to_vec());
    assert_eq!(daemon.named(), owned(&[("cf--tls.", 100)]));
    daemon.after(Duration::ZERO, [started(plain(0, 2)), ended(&over_tls[0])]);
    assert_eq!(daemon.named(), owned(&[("cf--tls.", 100)]));
    assert_eq!(daemon.endpoints("cf--tls."), Some(1), "it has others");
    daemon.by_itself_after(SETTLING);
    assert_eq!(daemon.named(), owned(&[("", 50), ("cf--tls.", 50)]));
}

#[test]
fn what_is_left_of_a_service_stays_while_the_route_that_leaves_it_is_replaced() {
    let over_tls = tls_alone(&plain(0, 1));
    let mut daemon = Daemon::start(LINGER, mapped(&[0]), vec![plain(0, 0), over_tls]);
    assert_eq!(daemon.named(), owned(&[("", 50), ("cf--tls.", 50)]));
    daemon.after(Duration::ZERO, [ended(&plain(0, 0))]);
    assert_eq!(daemon.named(), owned(&[("cf--tls.", 100)]));
    assert_eq!(daemon.endpoints(""), Some(1));
    daemon.by_itself_after(SETTLING);
    assert_eq!(daemon.endpoints(""), Some(0));
}

/// Another app's, at the cell's port or at the address of the container.
#[test]
fn what_is_left_of_a_service_goes_at_once_when_its_place_is_anothers() {
    let others = |before: &Instance| {
        let other = || plain(1, 1).as_ref().clone();
        let at_port = Instance {
            host_address: before.host_address,
            ports: before.ports.clone(),
            ..other()
        };
        let in_container = Instance {
            container_address: before.container_address,
            ..other()
        };
        [at_port, in_container].map(Arc::new)
    };
    for prefers_container in [false, true] {
        let mut leaves = plain(0, 0).as_ref().clone();
        leaves.prefers_container = prefers_container;
        let stays = tls_alone(&plain(0, 1));
        let other = others(&leaves)[usize::from(prefers_container)].clone();
        for is_late in [false, true] {
            let instances = vec![Arc::new(leaves.clone()), stays.clone()];
            let mut daemon = Daemon::start(LINGER, mapped(&[0]), instances);
            let (first, second) = ([ended(&leaves)], [started(other.clone())]);
            if is_late {
                daemon.after(Duration::ZERO, first);
                assert_eq!(daemon.endpoints(""), Some(1));
                daemon.after(MOMENT, second);
            } else {
                daemon.after(Duration::ZERO, first.into_iter().chain(second));
            }
            assert_eq!(
                daemon.endpoints(""),
                Some(0),
                "{prefers_container} {is_late}"
            );
        }
    }
}

#[test]
fn a_held_route_goes_over_at_once_when_nobody_is_left_where_it_leads() {
    let mut daemon = Daemon::start(LINGER, mapped(&[0, 1]), vec![plain(0, 0), plain(1, 0)]);
    daemon.after(
        Duration::ZERO,
        [
            routes(weighted(&[2, 3])),
            started(plain(2, 0)),
            started(plain(3, 0)),
        ],
    );
    assert_eq!(
        (daemon.named(), daemon.endpoints("")),
        (owned(&[("", 100)]), Some(2))
    );
    // What it leads to are no destinations any more, and end.
    daemon.after(MOMENT, [ended(&plain(1, 0))]);
    assert_eq!(
        (daemon.named(), daemon.endpoints("")),
        (owned(&[("", 100)]), Some(1))
    );
    daemon.after(MOMENT, [ended(&plain(0, 0))]);
    assert_eq!(daemon.named(), owned(&[("cf--to-", 50), ("cf--to-", 50)]));
    assert_eq!(daemon.endpoints(""), Some(1));
}

#[test]
fn a_part_without_instances_gets_nothing_of_a_held_route() {
    let instances = vec![plain(0, 0), tls_alone(&plain(0, 1))];
    let mut daemon = Daemon::start(LINGER, mapped(&[0]), instances);
    let mut route = in_two_protocols(&[0, 2]);
    route.destinations.sort();
    daemon.after(
        Duration::ZERO,
        [routes(route), started(plain(2, 0)), ended(&plain(0, 0))],
    );
    assert_eq!(daemon.named(), owned(&[("cf--tls.", 100)]));
    daemon.by_itself_after(SETTLING);
    assert_eq!(daemon.named(), owned(&[("cf--tls.", 50), ("cf--h2.", 50)]));
}

#[test]
fn a_held_route_that_is_refused_leads_nowhere_at_once() {
    let mut daemon = Daemon::start(LINGER, mapped(&[0, 1]), vec![plain(0, 0), plain(1, 0)]);
    daemon.after(Duration::ZERO, [routes(weighted(&[0, 1]))]);
    assert_eq!(daemon.endpoints(""), Some(2));
    let refused = vec![(foundation::route(0).guid, Refusal::RouteService)];
    let snapshot = daemon.after(MOMENT, [Update::Refused(refused)]);
    let entries = snapshot.xds(Kind::ServiceEntry).unwrap();
    assert!(entries.is_empty());
    assert!(daemon.named().is_empty());
    assert_eq!(daemon.state.next_end(), None);
}

#[test]
fn what_else_its_hostname_has_is_not_held_with_a_route() {
    let mut daemon = Daemon::start(LINGER, mapped(&[0]), vec![plain(0, 0), plain(1, 0)]);
    daemon.after(Duration::ZERO, [routes(weighted(&[0, 1]))]);
    let path = Route {
        guid: foundation::route(7).guid,
        path: "/path".into(),
        ..mapped(&[1])
    };
    daemon.after(MOMENT, [routes(path)]);
    assert_eq!(daemon.named_at("/path"), owned(&[("", 100)]));
    assert_eq!(daemon.named(), owned(&[("", 100)]), "held");
}

#[test]
fn a_route_that_is_deleted_is_held_no_longer() {
    let mut daemon = Daemon::start(LINGER, mapped(&[0]), vec![plain(0, 0), plain(1, 0)]);
    daemon.after(Duration::ZERO, [routes(weighted(&[0, 1]))]);
    let gone = Update::Routes {
        current: vec![],
        gone: vec![foundation::route(0).guid],
    };
    let snapshot = daemon.after(MOMENT, [gone]);
    assert!(snapshot.xds(Kind::VirtualService).unwrap().is_empty());
    daemon.by_itself_after(LINGER);
    let snapshot = daemon.snapshot.as_ref().unwrap();
    assert!(snapshot.xds(Kind::ServiceEntry).unwrap().is_empty());
    assert_eq!(daemon.state.next_end(), None);
}

#[test]
fn a_route_that_is_made_anew_is_not_held_to_the_apps_of_the_one_before() {
    let theirs = tls_alone(&plain(1, 0));
    let mut daemon = Daemon::start(LINGER, mapped(&[0]), vec![plain(0, 0), theirs]);
    assert_eq!(daemon.named(), owned(&[("", 100)]));
    let another = Route {
        guid: foundation::route(7).guid,
        ..mapped(&[1])
    };
    let replaced = Update::Routes {
        current: vec![another],
        gone: vec![foundation::route(0).guid],
    };
    daemon.after(Duration::ZERO, [replaced]);
    assert_eq!(daemon.named(), owned(&[("cf--tls.", 100)]));
}

#[test]
fn a_service_of_the_same_name_that_leads_to_others_now_is_not_held_to() {
    let instances = vec![plain(0, 0), plain(1, 0), plain(1, 1), plain(1, 2)];
    let mut daemon = Daemon::start(LINGER, in_two_protocols(&[1]), instances);
    assert_eq!(daemon.named(), owned(&[("", 100)]));
    daemon.after(Duration::ZERO, [routes(in_two_protocols(&[0, 1]))]);
    assert_eq!(daemon.named(), owned(&[("", 25), ("cf--h2.", 75)]));
}

#[test]
fn an_app_that_is_to_get_nothing_any_more_gets_nothing_while_the_others_wait() {
    let instances = (0..3).map(|app| plain(app, 0)).collect();
    let mut daemon = Daemon::start(LINGER, weighted(&[0, 1]), instances);
    assert_eq!(daemon.named(), owned(&[("cf--to-", 50), ("cf--to-", 50)]));
    let mut route = weighted(&[0, 1, 2]);
    route.destinations[0].weight = Weight::Fixed(0);
    daemon.after(Duration::ZERO, [routes(route)]);
    assert_eq!(daemon.named(), owned(&[("cf--to-", 100)]));
    daemon.by_itself_after(SETTLING);
    assert_eq!(daemon.named(), owned(&[("cf--to-", 50), ("cf--to-", 50)]));
}

#[test]
fn changes_without_end_hold_a_route_for_as_long_as_a_service_lingers_at_most() {
    let apps: Vec<usize> = (0..9).collect();
    let instances = apps.iter().map(|app| plain(*app, 0)).collect();
    let mut daemon = Daemon::start(LINGER, mapped(&[0]), instances);
    let step = Duration::from_secs(3);
    for (count, waited) in (2..).zip([0, 3, 6, 9, 12]) {
        daemon.after(
            if waited == 0 { Duration::ZERO } else { step },
            [routes(weighted(&apps[..count]))],
        );
        assert_eq!(daemon.named(), owned(&[("", 100)]), "after {waited} s");
    }
    daemon.after(step, [routes(weighted(&apps[..7]))]);
    assert_eq!(daemon.named().len(), 7);
}

#[test]
fn nothing_is_held_where_nothing_lingers_nor_what_has_no_virtual_service_yet() {
    let mut daemon = Daemon::start(
        Duration::ZERO,
        mapped(&[0, 1]),
        vec![plain(0, 0), plain(1, 0)],
    );
    daemon.after(Duration::ZERO, [routes(weighted(&[0, 1]))]);
    assert_eq!(daemon.named().len(), 2);
    assert_eq!(daemon.state.next_end(), None);

    let other = Route {
        guid: foundation::route(7).guid,
        host: foundation::route(7).host,
        ..mapped(&[0])
    };
    let mut daemon = Daemon::start(LINGER, other, vec![plain(0, 0), plain(1, 0)]);
    daemon.after(Duration::ZERO, [routes(weighted(&[0, 1]))]);
    assert_eq!(daemon.named().len(), 2);
}

#[test]
fn what_is_named_already_or_was_there_at_first_is_not_waited_for() {
    let mut route = weighted(&[0, 1]);
    route.destinations[1].weight = Weight::Fixed(0);
    let instances = vec![plain(0, 0), plain(1, 0)];
    let mut daemon = Daemon::start(LINGER, route, instances);
    daemon.now -= Duration::from_hours(1);
    assert_eq!(daemon.named(), owned(&[("cf--to-", 100)]));
    daemon.after(MOMENT, [routes(weighted(&[0, 1]))]);
    assert_eq!(daemon.named(), owned(&[("cf--to-", 50), ("cf--to-", 50)]));

    let other = Route {
        guid: foundation::route(7).guid,
        host: foundation::route(7).host,
        ..mapped(&[0])
    };
    let instances = vec![plain(0, 0), plain(1, 0)];
    let mut daemon = Daemon::start(LINGER, other, instances);
    daemon.after(Duration::ZERO, [routes(in_two_protocols(&[0, 1]))]);
    assert_eq!(daemon.named(), owned(&[("", 50), ("cf--h2.", 50)]));
    daemon.after(MOMENT, [started(plain(0, 1))]);
    assert_eq!(daemon.named(), owned(&[("", 67), ("cf--h2.", 33)]));
}
