//! Any foundation, any changes to it, and any requests: few names, so that they meet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddrV4},
    sync::Arc,
};

use copilot::{
    model::{
        AppPort, CapiProcessGuid, Destination, Hostname, Instance, InstanceGuid, PortMapping,
        Protocol, Refusal, Route, RouteGuid, Update, Weight, Workload,
    },
    sim::foundation,
};
use proptest::sample::Index;

use self::drawn::{Change, Drawn, RouteSpec, To};
use super::model::{Gorouter, Pool};

pub mod drawn;

/// What a request is drawn from: a route's host, another's path, and what is made of each.
pub type Draw = (Index, Index, u8, u8);

/// A foundation that lives.
#[derive(Debug, Clone, Default)]
pub struct Foundation {
    is_pushed: bool,
    pub routes: BTreeMap<RouteGuid, Route>,
    pub instances: BTreeMap<InstanceGuid, Arc<Instance>>,
    /// How many routes and instances there have been: no name comes twice.
    created: usize,
    started: u16,
}

impl Foundation {
    pub fn new(drawn: &Drawn) -> Self {
        let mut this = Self {
            is_pushed: drawn.is_pushed,
            ..Self::default()
        };
        for (app, instances) in drawn.apps.iter().enumerate() {
            for _ in 0..*instances {
                this.start_somehow(app);
            }
        }
        for spec in &drawn.routes {
            this.create(spec);
        }
        this
    }

    /// Whether its routes are pushed, and not polled.
    pub fn is_pushed(&self) -> bool {
        self.is_pushed
    }

    /// All that there is.
    pub fn read(&self) -> [Update; 2] {
        let routes = self.routes.values().cloned().collect();
        let routes = if self.is_pushed {
            Update::AllPushed {
                routes,
                associations: Vec::new(),
                leads: true,
            }
        } else {
            Update::AllRoutes(routes)
        };
        [
            Update::AllInstances(self.instances.values().cloned().collect()),
            routes,
        ]
    }

    /// Lets something happen; answers what the feeds say of it.
    pub fn apply(&mut self, change: &Change) -> Vec<Update> {
        match change {
            Change::Start(app) => vec![started(self.start_somehow(app.index(drawn::APPS)))],
            Change::Crash(instance) => self.end(|all| pick(all, *instance).into_iter().collect()),
            Change::Stop(app) => {
                let process = process(app.index(drawn::APPS));
                self.end(|all| {
                    let of_app = all
                        .iter()
                        .filter(|(_, one)| *one.process.capi_process() == process);
                    of_app.map(|(guid, _)| guid.clone()).collect()
                })
            }
            Change::Move(instance) => pick(&self.instances, *instance)
                .map(|guid| started(self.move_instance(&guid)))
                .into_iter()
                .collect(),
            Change::Create(spec) => self.create(spec).map(current).into_iter().collect(),
            Change::Delete(route) => pick(&self.routes, *route)
                .map(|guid| {
                    self.routes.remove(&guid);
                    Update::Routes {
                        current: vec![],
                        gone: vec![guid],
                    }
                })
                .into_iter()
                .collect(),
            Change::Map(route, to) => self.change(*route, |route, is_pushed| {
                // Cloud Controller has weights for all destinations of a route or for none.
                let weighed = |to: &Destination| matches!(to.weight, Weight::Fixed(_));
                let asked_for = route.destinations.iter().any(weighed).then_some(10);
                let mapped = destination(*to, is_pushed, asked_for);
                let same = |other: &Destination| {
                    (&other.workload, other.port) == (&mapped.workload, mapped.port)
                };
                if !route.destinations.iter().any(same) {
                    route.destinations.push(mapped);
                }
            }),
            Change::Unmap(route, to) => self.change(*route, |route, _| {
                if !route.destinations.is_empty() {
                    route
                        .destinations
                        .remove(to.index(route.destinations.len()));
                }
            }),
            Change::Weigh(route, weights) => self.change(*route, |route, is_pushed| {
                for (at, to) in route.destinations.iter_mut().enumerate() {
                    to.weight = weight(*weights, at, is_pushed);
                }
            }),
            Change::Choose(route, choice) => self.change(*route, |route, _| {
                route.load_balancing = choice.clone().map(Box::new);
            }),
            Change::Ask(route, asked) => self.change(*route, |route, _| {
                route.ask(asked.clone());
            }),
            Change::Refuse(route, refused) => self.change(*route, |route, _| {
                route.refused = *refused;
            }),
            Change::Read => self.read().into(),
        }
    }

    /// Starts an instance that is reached at both ports.
    pub fn start(&mut self, app: usize) -> Arc<Instance> {
        self.started += 1;
        let n = self.started;
        let (first, second) = (61_000 + 2 * n, 61_001 + 2 * n);
        let workload = Workload {
            app: foundation::app(app),
            process_type: "web".into(),
        };
        let process = format!("{}-{}", foundation::app(app), foundation::guid(7, app));
        let mut instance = foundation::instance(app, 0, 0).as_ref().clone();
        instance.guid = foundation::guid(8, n.into()).as_str().into();
        instance.process = process.as_str().into();
        instance.workload = (!self.is_pushed).then_some(workload);
        instance.host_address = [10, 0, 0, 1].into();
        instance.container_address = Some([10, 255, 0, u8::try_from(n).unwrap()].into());
        instance.ports = [(8080, first), (9090, second)]
            .map(|(container, host)| PortMapping::plain(container, host))
            .into();
        self.insert(instance)
    }

    /// Starts one that may be hard to reach.
    fn start_somehow(&mut self, app: usize) -> Arc<Instance> {
        let mut instance = self.start(app).as_ref().clone();
        match self.started % 8 {
            // Started before the second port was asked for.
            2 | 5 => drop(instance.ports.pop()),
            // Its cell does not lead there.
            6 => instance.ports[0].host = 0,
            7 => instance.host_address = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16]),
            _ => {}
        }
        self.insert(instance)
    }

    fn insert(&mut self, instance: Instance) -> Arc<Instance> {
        let instance = Arc::new(instance);
        let guid = instance.guid.clone();
        self.instances.insert(guid, instance.clone());
        instance
    }

    fn move_instance(&mut self, guid: &InstanceGuid) -> Arc<Instance> {
        self.started += 1;
        let mut moved = self.instances[guid].as_ref().clone();
        for (n, mapping) in (0..).zip(&mut moved.ports) {
            mapping.host = 61_000 + 2 * self.started + n;
        }
        self.insert(moved)
    }

    fn end(
        &mut self,
        choose: impl FnOnce(&BTreeMap<InstanceGuid, Arc<Instance>>) -> Vec<InstanceGuid>,
    ) -> Vec<Update> {
        let gone = choose(&self.instances);
        for guid in &gone {
            self.instances.remove(guid);
        }
        vec![Update::Instances {
            current: vec![],
            gone,
        }]
    }

    /// Nothing, if there is one that is spelled alike: Cloud Controller has no two.
    fn create(&mut self, spec: &RouteSpec) -> Option<Route> {
        let (host, path) = spec.url();
        let host = Hostname::parse(host).unwrap();
        let mut routes = self.routes.values();
        if routes.any(|route| route.host == host && &*route.path == path) {
            return None;
        }
        self.created += 1;
        let n = self.created;
        // A route has one destination of each workload and port.
        let mut places = BTreeSet::new();
        let to = spec.to.iter().enumerate();
        let destinations = to.map(|(at, to)| {
            destination(*to, self.is_pushed, spec.weights.map(|weights| weights[at]))
        });
        let first = destinations.filter(|to| places.insert((to.workload.clone(), to.port)));
        let mut destinations: Vec<_> = first.collect();
        destinations.sort();
        let mut route = Route {
            guid: foundation::guid(9, n).as_str().into(),
            internal: host.as_str().ends_with(".internal"),
            host,
            path: path.into(),
            load_balancing: spec.choice.clone().map(Box::new),
            settings: None,
            refused: spec.refused,
            destinations: destinations.into(),
            ..foundation::route(n)
        };
        route.ask(spec.asked.clone());
        self.routes.insert(route.guid.clone(), route.clone());
        Some(route)
    }

    fn change(&mut self, which: Index, change: impl FnOnce(&mut Route, bool)) -> Vec<Update> {
        let Some(guid) = pick(&self.routes, which) else {
            return Vec::new();
        };
        let route = self.routes.get_mut(&guid).unwrap();
        change(route, self.is_pushed);
        route.destinations.sort();
        vec![current(route.clone())]
    }

    /// The routing table of its gorouter, as the external routes make it.
    pub fn gorouter(&self) -> Gorouter<Shared> {
        let mut gorouter = Gorouter::<Shared>::default();
        for route in self.routes.values().filter(|route| !route.internal) {
            let members = self.members(route, outside);
            let pool = gorouter.pool(route.host.as_str(), &route.path);
            pool.members.extend(members);
            pool.routes.push(route.clone());
        }
        gorouter
    }

    /// The internal hostnames: with a port that their destinations share, and what answers there; nobody where the
    /// route is refused. Those that have several ports or protocols are left out, since a service of the mesh has its
    /// own ports and one protocol for each.
    pub fn internal(&self) -> Vec<(String, u32, Shared)> {
        let mut hosts: BTreeMap<&Hostname, Vec<&Route>> = BTreeMap::new();
        for route in self.routes.values().filter(|route| route.internal) {
            hosts.entry(&route.host).or_default().push(route);
        }
        let alone = |(host, routes): (&Hostname, Vec<&Route>)| {
            let &[route] = &routes[..] else { return None };
            let ports = route.destinations.iter();
            let ports: BTreeSet<_> = ports.map(|to| (to.port.number(), to.protocol)).collect();
            let mut ports = ports.into_iter();
            let ((port, _), None) = (ports.next()?, ports.next()) else {
                return None;
            };
            let mut shared = Shared::default();
            if route.refused.is_none() {
                shared.members = self.members(route, inside);
                shared.routes.push(route.clone());
            }
            Some((host.to_string(), port.into(), shared))
        };
        hosts.into_iter().filter_map(alone).collect()
    }

    fn members(
        &self,
        route: &Route,
        endpoint: fn(&Instance, PortMapping) -> Option<SocketAddrV4>,
    ) -> Vec<Member> {
        let member = |to: &Destination| {
            let instances = self
                .instances
                .values()
                .filter(|one| is_of(one, &to.workload));
            let endpoints = instances.filter_map(|one| endpoint(one, mapping(one, to.port)?));
            Member {
                endpoints: endpoints.collect(),
                to: to.clone(),
            }
        };
        route.destinations.iter().map(member).collect()
    }

    /// Whether Istio can be told where requests for a host go: it takes the name, or that of a wildcard above it.
    pub fn is_told(&self, host: &str) -> bool {
        let (name, _) = host.split_once(':').unwrap_or((host, ""));
        let name = name.to_lowercase();
        let is_taken = |name: &str| !name.contains('_') && !name.starts_with('-');
        let covers = |route: &Route| {
            let wildcard = route.host.as_str().strip_prefix('*');
            let suffix = wildcard.filter(|suffix| !route.internal && is_taken(suffix));
            suffix.is_some_and(|suffix| name.ends_with(suffix))
        };
        (is_taken(&name) && !name.contains(".-")) || self.routes.values().any(covers)
    }

    /// A request that has something to do with the routes.
    pub fn request(&self, (host, path, of_host, of_path): &Draw) -> (String, String) {
        let hosts: Vec<&str> = self
            .routes
            .values()
            .map(|route| route.host.as_str())
            .collect();
        let paths: Vec<&str> = self.routes.values().map(|route| &*route.path).collect();
        let host = if hosts.is_empty() {
            "none.example.org"
        } else {
            host.get(&hosts)
        };
        let path = if paths.is_empty() {
            ""
        } else {
            path.get(&paths)
        };
        let label = ["other", "a.b", "Shop", "x-1", "b.deep"][usize::from(*of_host) % 5];
        let host = host.replacen('*', label, 1);
        let host = match of_host / 5 % 8 {
            0 => host.to_uppercase(),
            1 => format!("{host}:8080"),
            2 => format!("x.{host}"),
            _ => host,
        };
        (host, target(path, *of_path))
    }
}

/// Something that is at a path, below it, beside it, or only looks like it.
fn target(path: &str, how: u8) -> String {
    let path = match how / 16 % 4 {
        0 => path.to_uppercase(),
        1 => path.to_lowercase(),
        _ => path.to_owned(),
    };
    let target = match how % 16 {
        0..=3 => path,
        4 | 5 => format!("{path}/"),
        6 | 7 => format!("{path}/x"),
        8 => format!("{path}x"),
        9 => format!("{path}?a=/p"),
        10 => format!("{path}//"),
        11 => format!("/{path}"),
        12 => format!("{path}/../p/q"),
        13 => path.replacen('p', "%70", 1),
        14 => path
            .rsplit_once('/')
            .map_or(String::new(), |(above, _)| above.to_owned()),
        _ => path.replacen(['.', '+', '%', '~'], "y", 1),
    };
    if target.starts_with('/') {
        target
    } else {
        format!("/{target}")
    }
}

fn started(instance: Arc<Instance>) -> Update {
    Update::Instances {
        current: vec![instance],
        gone: vec![],
    }
}

fn current(route: Route) -> Update {
    Update::Routes {
        current: vec![route],
        gone: vec![],
    }
}

fn pick<K: Clone, V>(map: &BTreeMap<K, V>, which: Index) -> Option<K> {
    let keys: Vec<_> = map.keys().collect();
    (!keys.is_empty()).then(|| (*which.get(&keys)).clone())
}

/// A process is known by its app's guid until the first rolling deployment.
fn process(app: usize) -> CapiProcessGuid {
    foundation::app(app).to_string().as_str().into()
}

fn destination(to: To, is_pushed: bool, asked_for: Option<u8>) -> Destination {
    let weights = asked_for.map(|weight| [weight; 4]);
    let (workload, port) = if is_pushed {
        (Workload::pushed(&process(to.app)), AppPort::Main)
    } else {
        let workload = Workload {
            app: foundation::app(to.app),
            process_type: "web".into(),
        };
        (
            workload,
            AppPort::Number(if to.on_second_port { 9090 } else { 8080 }),
        )
    };
    // The push API knows no protocols.
    let protocol = if is_pushed {
        Protocol::Http1
    } else {
        to.protocol
    };
    Destination {
        workload,
        port,
        protocol,
        weight: weight(weights, 0, is_pushed),
    }
}

/// The push API sends 1 where none was asked for.
fn weight(asked_for: Option<[u8; 4]>, at: usize, is_pushed: bool) -> Weight {
    match asked_for.map(|weights| weights[at % 4].into()) {
        None if is_pushed => Weight::Running(1),
        None => Weight::Instances,
        Some(weight) if is_pushed => Weight::Running(weight),
        Some(weight) => Weight::Fixed(weight),
    }
}

fn is_of(instance: &Instance, workload: &Workload) -> bool {
    match &instance.workload {
        Some(own) => own == workload,
        None => *workload == Workload::pushed(instance.process.capi_process()),
    }
}

/// All instances have the default port, and it is their main one.
fn mapping(instance: &Instance, port: AppPort) -> Option<PortMapping> {
    let mut ports = instance.ports.iter().copied();
    ports.find(|mapping| mapping.container == port.number())
}

/// Where the ingress reaches an instance: Pilots up to 1.4 know IPv4 only.
fn outside(instance: &Instance, mapping: PortMapping) -> Option<SocketAddrV4> {
    match instance.host_address {
        IpAddr::V4(address) if mapping.host != 0 => Some(SocketAddrV4::new(address, mapping.host)),
        _ => None,
    }
}

/// Where other apps do.
fn inside(instance: &Instance, mapping: PortMapping) -> Option<SocketAddrV4> {
    match instance.container_address {
        Some(IpAddr::V4(address)) => Some(SocketAddrV4::new(address, mapping.container)),
        _ => None,
    }
}

/// As a reader of a failed test needs it.
impl fmt::Display for Foundation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for route in self.routes.values() {
            let choice = &route.load_balancing;
            let refused = &route.refused;
            writeln!(f, "{}{} {choice:?} {refused:?}", route.host, route.path)?;
            let shared = Shared {
                members: self.members(route, outside),
                ..Shared::default()
            };
            for Member { to, endpoints } in shared.members {
                let app = to.workload.app;
                let (port, weight, protocol) = (to.port, to.weight, to.protocol);
                writeln!(
                    f,
                    "    {app}:{port:?} {weight:?} {protocol:?} {endpoints:?}"
                )?;
            }
        }
        Ok(())
    }
}

/// What takes the requests of a route.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// More than one if they differ in case or in a slash.
    pub routes: Vec<Route>,
    pub members: Vec<Member>,
}

/// A destination and the instances that are reached.
#[derive(Debug, Clone)]
pub struct Member {
    pub to: Destination,
    pub endpoints: Vec<SocketAddrV4>,
}

impl Shared {
    /// What its requests are refused with; by any of its routes is by all.
    pub fn refusals(&self) -> impl Iterator<Item = Refusal> {
        self.routes.iter().filter_map(|route| route.refused)
    }
}

impl Pool for Shared {
    /// Not where requests are refused: they go nowhere else, whoever runs.
    fn is_empty(&self) -> bool {
        let nobody = self
            .members
            .iter()
            .all(|member| member.endpoints.is_empty());
        nobody && self.refusals().next().is_none()
    }
}
