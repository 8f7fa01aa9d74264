//! A foundation that is told what becomes of it, and the truth of it over time.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use copilot::proto::api::{
    BulkSyncRequest, CapiDiegoProcessAssociation, Route as PushedRoute, RouteMapping,
};
use copilot::{
    model::{AppGuid, DomainGuid, InstanceGuid, RouteGuid},
    sim::{
        bbs::{Bbs, CellPorts, InstanceSpec},
        capi::{Capi, Destination, DomainKind, RouteSpec},
        cloud_foundry::{self, DOMAIN, INTERNAL_DOMAIN},
        policy::PolicyServer,
    },
};
use fastrand::Rng;
use tokio::time::Instant;

use super::peers::CAPI;

/// The domain of TCP routes.
pub(super) const TCP_DOMAIN: &str = "tcp.example.com";
/// Their ports: so few that one which is free is soon another route's.
pub(super) const TCP_PORTS: std::ops::RangeInclusive<u16> = 1024..=1035;

/// As many routes and apps stay: what is nearly everything is held for long, however it goes.
const LEAST: usize = 8;

/// A hostname, and an address at which it is answered.
pub(super) type Pair = (String, IpAddr);

/// An app, and an internal hostname that it may connect to.
pub(super) type Reach = (AppGuid, String);

/// What is true, and since when; and until when it was. What is served has to be this.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) since: BTreeMap<Pair, Instant>,
    /// What apps may connect to, and since when.
    pub(super) reaches: BTreeMap<Reach, Instant>,
    /// The apps of hostnames, and until when they were if they are not any more.
    mapped: BTreeMap<(String, AppGuid), Option<Instant>>,
    /// The apps of addresses, and until when they were.
    running: BTreeMap<IpAddr, (AppGuid, Option<Instant>)>,
}

impl Truth {
    /// When something that is not true ceased to be; `None` if it never was.
    pub(super) fn end(&self, (host, address): &Pair) -> Option<Instant> {
        let (app, stopped) = self.running.get(address)?;
        let unmapped = self.mapped.get(&(host.clone(), app.clone()))?;
        stopped.iter().chain(unmapped).min().copied()
    }

    /// Whether the app at an address, of its cell or its container, is or was one of a hostname.
    pub(super) fn is_of_one_app(&self, (host, address): &Pair) -> bool {
        let app = self.running.get(address).map(|(app, _)| app.clone());
        app.is_some_and(|app| self.mapped.contains_key(&(host.clone(), app)))
    }
}

#[derive(Debug)]
struct Running {
    guid: InstanceGuid,
    cell: IpAddr,
    container: IpAddr,
}

#[derive(Debug)]
struct App {
    guid: AppGuid,
    process: String,
    /// By index.
    instances: BTreeMap<u32, Running>,
    /// Whose replacement runs, at their indices.
    leaving: Vec<Running>,
}

#[derive(Debug)]
struct Route {
    host: String,
    sort: Sort,
    apps: BTreeSet<AppGuid>,
    /// Whether its requests have to go through a route service, so that it is not served.
    is_bound: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Http,
    Internal,
    Tcp,
}

/// The foundation.
#[derive(Debug)]
pub(super) struct World {
    pub(super) capi: Capi,
    pub(super) bbs: Bbs,
    pub(super) policies: PolicyServer,
    pub(super) truth: Truth,
    /// Whether Cloud Controller pushes its routes, to a mesh that has none of TCP and knows no route services.
    pub(super) pushes: bool,
    rng: Rng,
    domains: [DomainGuid; 3],
    apps: BTreeMap<AppGuid, App>,
    routes: BTreeMap<RouteGuid, Route>,
    /// Who may connect to whom.
    allowed: BTreeSet<(AppGuid, AppGuid)>,
    hosts: u32,
    places: u32,
    began: Instant,
    /// Containers that are to stop, and when.
    stopping: Vec<(Instant, InstanceGuid)>,
    /// The last changes, to be shown with a failure.
    pub(super) history: Vec<String>,
}

impl World {
    pub(super) fn new(mut rng: Rng, pushes: bool) -> Self {
        let capi = Capi::within(CAPI);
        let domains = {
            let mut state = capi.state();
            [
                state.add_domain(DOMAIN, DomainKind::Http),
                state.add_domain(INTERNAL_DOMAIN, DomainKind::Internal),
                state.add_domain(TCP_DOMAIN, DomainKind::Tcp),
            ]
        };
        let routes = rng.u32(12..=30);
        let mut world = Self {
            capi,
            bbs: Bbs::within(),
            policies: PolicyServer::within(),
            pushes,
            truth: Truth::default(),
            rng,
            domains,
            apps: BTreeMap::new(),
            routes: BTreeMap::new(),
            allowed: BTreeSet::new(),
            hosts: 0,
            places: 0,
            began: Instant::now(),
            stopping: Vec::new(),
            history: Vec::new(),
        };
        for _ in 0..routes {
            world.push();
            // Nobody pushes all of them at once.
            world.capi.state().advance(20);
        }
        world.look();
        world
    }

    /// A second passes, and perhaps something changes.
    pub(super) fn tick(&mut self, changes: usize, is_calm: bool) {
        self.capi.state().advance(1);
        let now = Instant::now();
        let stopping = std::mem::take(&mut self.stopping);
        for (at, guid) in stopping {
            if at <= now {
                self.bbs.stop_instance(&guid);
                for app in self.apps.values_mut() {
                    app.leaving.retain(|leaving| leaving.guid != guid);
                }
            } else {
                self.stopping.push((at, guid));
            }
        }
        for _ in 0..changes {
            self.change(is_calm);
        }
        self.look();
    }

    /// Everything as a Cloud Controller pushes it.
    pub(super) fn pushed(&self) -> BulkSyncRequest {
        let routes = self.routes.iter().map(|(guid, of)| PushedRoute {
            guid: guid.to_string(),
            host: of.host.clone(),
            internal: of.sort == Sort::Internal,
            ..PushedRoute::default()
        });
        let mapped = self.routes.iter();
        let mapped = mapped.flat_map(|(guid, of)| of.apps.iter().map(move |app| (guid, app)));
        let mappings = mapped.map(|(guid, app)| RouteMapping {
            route_guid: guid.to_string(),
            capi_process_guid: app.to_string(),
            route_weight: 1,
        });
        let running = self.apps.values();
        let associations = running.map(|app| CapiDiegoProcessAssociation {
            capi_process_guid: app.guid.to_string(),
            diego_process_guids: vec![app.process.clone()],
        });
        BulkSyncRequest {
            routes: routes.collect(),
            route_mappings: mappings.collect(),
            capi_diego_process_associations: associations.collect(),
        }
    }

    /// The domain of TCP routes.
    pub(super) fn tcp_domain(&self) -> &DomainGuid {
        let [.., tcp] = &self.domains;
        tcp
    }

    /// Every change that is under way comes to its end.
    pub(super) fn is_settled(&self) -> bool {
        self.stopping.is_empty()
    }

    /// Without it Cloud Controller fails lists with TCP domains and routes.
    pub(super) fn set_routing_api(&mut self, is_there: bool) {
        self.capi.state().has_routing_api = is_there;
        self.note(if is_there {
            "the Routing API answers"
        } else {
            "no Routing API"
        });
    }

    pub(super) fn note(&mut self, what: &str) {
        let at = self.began.elapsed().as_secs();
        self.history.push(format!("{at} s: {what}"));
    }

    /// Nothing that takes much at once, where all is to be quick.
    fn change(&mut self, is_calm: bool) {
        match self.rng.u32(0..100) {
            0..12 => self.push(),
            12..16 => self.route_again(),
            16..22 => self.map(),
            22..30 => self.unmap(),
            30..38 => self.delete_route(),
            38..54 => self.scale_up(),
            54..66 => self.scale_down(),
            66..76 => self.crash(),
            76..84 => self.evacuate(),
            84..90 => self.deploy(),
            90..93 => self.stop(),
            93..95 => self.bind(),
            95 if !is_calm => self.delete_org(),
            _ => self.allow(),
        }
    }

    fn any_app(&mut self) -> Option<AppGuid> {
        let apps: Vec<_> = self.apps.keys().cloned().collect();
        self.rng.choice(apps)
    }

    fn any_route(&mut self) -> Option<RouteGuid> {
        let routes: Vec<_> = self.routes.keys().cloned().collect();
        self.rng.choice(routes)
    }

    fn push(&mut self) {
        let guid = AppGuid::from(self.capi.state().new_guid().as_str());
        let instances = self.rng.u32(1..=3);
        self.note(&format!("push {guid} x{instances}"));
        self.start_process(&guid, instances);
        self.create_route(&guid);
    }

    fn route_again(&mut self) {
        if let Some(app) = self.any_app() {
            self.create_route(&app);
            self.note(&format!("another route for {app}"));
        }
    }

    fn create_route(&mut self, app: &AppGuid) {
        self.hosts += 1;
        let label = format!("app-{}", self.hosts);
        let [http, internal, tcp] = &self.domains;
        let draw = self.rng.u32(0..6);
        let port = self.rng.u16(TCP_PORTS);
        let tcp_host = format!("{TCP_DOMAIN}:{port}");
        let is_taken = self.routes.values().any(|route| route.host == tcp_host);
        let (sort, spec, host) = match draw {
            0 | 1 => (
                Sort::Internal,
                RouteSpec::new(internal, &label),
                format!("{label}.{INTERNAL_DOMAIN}"),
            ),
            2 if !is_taken && !self.pushes => {
                (Sort::Tcp, RouteSpec::new(tcp, "").port(port), tcp_host)
            }
            _ => (
                Sort::Http,
                RouteSpec::new(http, &label),
                format!("{label}.{DOMAIN}"),
            ),
        };
        let route = {
            let mut state = self.capi.state();
            let route = state.create_route(spec);
            state.map(&route, Destination::web(app));
            route
        };
        self.touch(app);
        let route_of = Route {
            host,
            sort,
            apps: BTreeSet::from([app.clone()]),
            is_bound: false,
        };
        self.routes.insert(route, route_of);
    }

    /// As Cloud Controller does after each change of an app's routes.
    fn touch(&self, app: &AppGuid) {
        if let Some(app) = self.apps.get(app) {
            self.bbs.touch(&app.process);
        }
    }

    fn start_process(&mut self, app: &AppGuid, instances: u32) {
        let process = if self.pushes {
            self.desire_again(app, instances)
        } else {
            cloud_foundry::desire(&self.capi, &self.bbs, app, instances)
        };
        let mut instances_of = BTreeMap::new();
        for index in 0..instances {
            instances_of.insert(index, self.start(&process, index));
        }
        let started = App {
            guid: app.clone(),
            process,
            instances: instances_of,
            leaving: Vec::new(),
        };
        self.apps.insert(app.clone(), started);
    }

    /// A Cloud Controller that pushes has one process of an app, with its guid, and Diego one for each time it starts.
    fn desire_again(&self, app: &AppGuid, instances: u32) -> String {
        let process_guid = format!("{app}-{}", self.capi.state().new_guid());
        cloud_foundry::desire_as(&process_guid, &self.bbs, app, instances);
        process_guid
    }

    fn start(&mut self, process: &str, index: u32) -> Running {
        self.places += 1;
        let n = self.places;
        let [cell, container] =
            [0x0a00_1000_u32, 0x0aff_0000].map(|first| IpAddr::from((first + n).to_be_bytes()));
        let spec = InstanceSpec {
            cell_ports: CellPorts::Plain,
            ..InstanceSpec::new(cell, container, vec![(8080, 61_000), (2222, 61_001)])
        };
        Running {
            guid: self.bbs.start_instance(process, index, &spec),
            cell,
            container,
        }
    }

    fn map(&mut self) {
        let (Some(app), Some(route)) = (self.any_app(), self.any_route()) else {
            return;
        };
        let of = self.routes.get_mut(&route).unwrap();
        if of.apps.len() < 3 && of.apps.insert(app.clone()) {
            self.capi.state().map(&route, Destination::web(&app));
            self.touch(&app);
            self.note(&format!("map {route} to {app}"));
        }
    }

    fn unmap(&mut self) {
        let mapped = self.routes.values().filter(|of| !of.apps.is_empty());
        if mapped.count() <= LEAST {
            return;
        }
        let Some(route) = self.any_route() else {
            return;
        };
        let of = self.routes.get_mut(&route).unwrap();
        if let Some(app) = of.apps.pop_first() {
            self.capi.state().unmap(&route, &app);
            self.touch(&app);
            self.note(&format!("unmap {route} from {app}"));
        }
    }

    /// Binds a route to the route service, or releases one.
    fn bind(&mut self) {
        let Some(guid) = self.any_route() else {
            return;
        };
        let served = self.routes.values().filter(|route| !route.is_bound);
        let are_few = served.count() <= LEAST;
        let route = self.routes.get_mut(&guid).unwrap();
        let is_bound = !route.is_bound;
        if self.pushes || route.sort != Sort::Http || is_bound && are_few {
            return;
        }
        route.is_bound = is_bound;
        let what = if is_bound { "bind" } else { "release" };
        if is_bound {
            self.capi.state().bind(&guid);
        } else {
            self.capi.state().unbind(&guid);
        }
        self.note(&format!("{what} {guid}"));
    }

    fn delete_route(&mut self) {
        let Some(route) = self.any_route() else {
            return;
        };
        if self.routes.len() > LEAST {
            self.remove_route(&route);
        }
    }

    fn remove_route(&mut self, route: &RouteGuid) {
        let of = self.routes.remove(route).unwrap();
        self.capi.state().delete_route(route);
        for app in of.apps {
            self.touch(&app);
        }
        self.note(&format!("delete {route} {}", of.host));
    }

    fn scale_up(&mut self) {
        let Some(mut app) = self.take_app() else {
            return;
        };
        let running = u32::try_from(app.instances.len()).unwrap();
        let more = self.rng.u32(1..=2);
        self.bbs.scale(&app.process, running + more);
        for index in running..running + more {
            let started = self.start(&app.process, index);
            app.instances.insert(index, started);
        }
        self.note(&format!("scale {} up to {}", app.guid, running + more));
        self.apps.insert(app.guid.clone(), app);
    }

    fn take_app(&mut self) -> Option<App> {
        let app = self.any_app()?;
        self.apps.remove(&app)
    }

    fn scale_down(&mut self) {
        let Some(mut app) = self.take_app() else {
            return;
        };
        let running = u32::try_from(app.instances.len()).unwrap();
        if running > 1 && app.leaving.is_empty() {
            self.bbs.scale(&app.process, running - 1);
            let gone = app.instances.remove(&(running - 1));
            self.note(&format!("scale {} down to {}", app.guid, running - 1));
            self.end(gone);
        }
        self.apps.insert(app.guid.clone(), app);
    }

    /// Its container takes a while to stop.
    fn end(&mut self, gone: impl IntoIterator<Item = Running>) {
        for running in gone {
            let at = Instant::now() + std::time::Duration::from_secs(self.rng.u64(0..10));
            self.stopping.push((at, running.guid));
        }
    }

    fn crash(&mut self) {
        let Some(mut app) = self.take_app() else {
            return;
        };
        if app.leaving.is_empty()
            && let Some((index, crashed)) = app.instances.pop_last()
        {
            self.bbs.crash(&crashed.guid);
            let started = self.start(&app.process, index);
            app.instances.insert(index, started);
            self.note(&format!("crash {} of {}", crashed.guid, app.guid));
        }
        self.apps.insert(app.guid.clone(), app);
    }

    /// A few instances leave their cells while others take their places.
    fn evacuate(&mut self) {
        for _ in 0..self.rng.u32(1..=4) {
            let Some(mut app) = self.take_app() else {
                return;
            };
            if app.leaving.is_empty()
                && let Some((index, leaving)) = app.instances.pop_first()
            {
                self.bbs.evacuate(&leaving.guid);
                let started = self.start(&app.process, index);
                app.instances.insert(index, started);
                let at = Instant::now() + std::time::Duration::from_secs(self.rng.u64(1..10));
                self.stopping.push((at, leaving.guid.clone()));
                self.note(&format!("evacuate {} of {}", leaving.guid, app.guid));
                app.leaving.push(leaving);
            }
            self.apps.insert(app.guid.clone(), app);
        }
    }

    /// Another process takes the place of an app's.
    fn deploy(&mut self) {
        let Some(app) = self.take_app() else {
            return;
        };
        self.note(&format!("deploy {}", app.guid));
        let instances = u32::try_from(app.instances.len()).unwrap();
        self.start_process(&app.guid, instances);
        self.bbs.remove_process(&app.process);
        self.end(app.instances.into_values().chain(app.leaving));
    }

    /// Its routes stay.
    fn stop(&mut self) {
        if self.apps.len() > LEAST
            && let Some(app) = self.take_app()
        {
            self.remove_app(app);
        }
    }

    fn remove_app(&mut self, app: App) {
        self.note(&format!("stop {}", app.guid));
        self.bbs.remove_process(&app.process);
        self.end(app.instances.into_values().chain(app.leaving));
    }

    /// A third of everything goes.
    fn delete_org(&mut self) {
        self.note("delete an org");
        let routes: Vec<_> = self.routes.keys().cloned().collect();
        let count = routes.len() / 3;
        let spare = routes.len().saturating_sub(LEAST);
        for route in routes.into_iter().take(count.min(spare)) {
            self.remove_route(&route);
        }
        for _ in 0..self.apps.len() / 3 {
            self.stop();
        }
    }

    fn allow(&mut self) {
        let forbidden = self.rng.choice(&self.allowed).cloned();
        if let Some(pair) = forbidden.filter(|_| self.rng.u32(0..3) == 0) {
            let (one, other) = &pair;
            self.note(&format!("forbid {one} to {other}"));
            self.policies.forbid(&one.to_string(), &other.to_string());
            self.allowed.remove(&pair);
        } else if let (Some(one), Some(other)) = (self.any_app(), self.any_app()) {
            self.note(&format!("allow {one} to {other}"));
            if self.allowed.insert((one.clone(), other.clone())) {
                self.policies
                    .allow(&one.to_string(), &other.to_string(), 8080);
            }
        }
    }

    /// Writes down what has become true, and what is not any more.
    fn look(&mut self) {
        let now = Instant::now();
        let Truth {
            since,
            reaches,
            mapped,
            running,
        } = &mut self.truth;
        for (_, until) in running.values_mut() {
            until.get_or_insert(now);
        }
        for app in self.apps.values() {
            for instance in app.instances.values().chain(&app.leaving) {
                for address in [instance.cell, instance.container] {
                    running.insert(address, (app.guid.clone(), None));
                }
            }
        }
        for until in mapped.values_mut() {
            until.get_or_insert(now);
        }
        let mut pairs = BTreeSet::new();
        // Who has not heard of a binding yet hears of a mapping that is newer.
        for route in self.routes.values().filter(|route| route.is_bound) {
            for app in &route.apps {
                let mapping = (route.host.clone(), app.clone());
                mapped.entry(mapping).or_insert(Some(now));
            }
        }
        for route in self.routes.values().filter(|route| !route.is_bound) {
            for app in &route.apps {
                mapped.insert((route.host.clone(), app.clone()), None);
            }
            let apps = route.apps.iter().filter_map(|app| self.apps.get(app));
            for running in apps.flat_map(|app| app.instances.values().chain(&app.leaving)) {
                let address = if route.sort == Sort::Internal {
                    running.container
                } else {
                    running.cell
                };
                pairs.insert((route.host.clone(), address));
            }
        }
        let mut reached = BTreeSet::new();
        for (source, destination) in &self.allowed {
            let internal = self.routes.values();
            let internal = internal.filter(|route| route.sort == Sort::Internal);
            let led = internal.filter(|route| route.apps.contains(destination));
            reached.extend(led.map(|route| (source.clone(), route.host.clone())));
        }
        reaches.retain(|reach, _| reached.contains(reach));
        for reach in reached {
            reaches.entry(reach).or_insert(now);
        }
        since.retain(|pair, _| pairs.contains(pair));
        for pair in pairs {
            since.entry(pair).or_insert(now);
        }
    }
}
