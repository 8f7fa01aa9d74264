//! The simulated foundation with instances that answer, changed as Cloud Controller and Diego change a real one.

mod lost;
mod places;
mod truth;

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use copilot::{
    model::{AppGuid, DomainGuid, InstanceGuid, RouteGuid},
    sim::{
        bbs::{CellPorts, InstanceSpec},
        capi::{Destination, DomainKind, RouteSpec},
        cloud_foundry::{self, CloudFoundry, INGRESS_NAME},
    },
};
use tokio::task::JoinSet;

pub use self::{lost::Lost, places::Place};
use self::{
    places::{FromOutside, Places},
    truth::Truth,
};
use crate::{
    instances::{Clients, Credentials, Instance, Protocol, Record, Spec},
    oracle::Oracle,
};

/// The domain of the scenarios' routes.
pub const DOMAIN: &str = "interop.example.com";

/// The domain of their TCP routes.
pub const TCP_DOMAIN: &str = "tcp.interop.example.net";
/// The ports of the ingress for these.
pub const TCP_PORTS: RangeInclusive<u16> = 1024..=1047;

/// The region of all zones.
pub const REGION: &str = "eu-west";
/// The zone of it in which the ingress is, and all that are nowhere else.
pub const HERE: &str = "z1";
/// The other one.
pub const THERE: &str = "z2";

/// How long after a change an ingress may still do what was right before: with the daemon, istiod and Envoy in between.
pub const GRACE: Duration = Duration::from_secs(3);
/// How long an instance that ends may take for the requests that it has.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// An app with one process and the instances that run; another process of it is another of these.
pub struct App {
    /// By which its answers name it.
    pub name: String,
    /// Its guid.
    pub guid: AppGuid,
    /// Its process in Diego.
    pub process: String,
    /// What runs, in no order.
    pub instances: Vec<Running>,
    ports: Vec<(u16, Protocol)>,
}

/// An instance that runs.
pub struct Running {
    /// Its guid.
    pub guid: InstanceGuid,
    /// Its index among those of its process.
    pub index: u32,
    /// Where it runs.
    pub place: Place,
    /// In which zone that is.
    pub zone: &'static str,
    /// What answers there.
    pub server: Instance,
}

/// A foundation.
pub struct Stage {
    /// Its simulators.
    pub foundation: CloudFoundry,
    /// Who may answer, as far as the verbs here have changed it.
    pub oracle: Arc<Oracle>,
    /// Whether instances are placed on cells with plain ports alone. Those of today take TLS alone.
    pub plain_cells: bool,
    /// In which zone instances are placed.
    pub zone: &'static str,
    /// Whether whoever places an instance also runs the proxy in its container.
    pub own_proxies: bool,
    /// For which internal hostnames the proxies of instances that are placed have a certificate. Without any they take
    /// nothing from other apps.
    pub for_apps: Vec<String>,
    domain: DomainGuid,
    tcp_domain: DomainGuid,
    truth: Truth,
    places: Places,
    records: Vec<Arc<Record>>,
    leaving: JoinSet<()>,
}

impl Stage {
    /// An empty one.
    pub async fn start() -> Result<Self> {
        let foundation = CloudFoundry::start().await?;
        let (domain, tcp_domain) = {
            let mut state = foundation.capi.state();
            let http = state.add_domain(DOMAIN, DomainKind::Http);
            (http, state.add_domain(TCP_DOMAIN, DomainKind::Tcp))
        };
        Ok(Self {
            tcp_domain,
            foundation,
            oracle: Arc::new(Oracle::new(GRACE)),
            plain_cells: false,
            zone: HERE,
            own_proxies: false,
            for_apps: Vec::new(),
            domain,
            truth: Truth::default(),
            places: Places::default(),
            records: Vec::new(),
            leaving: JoinSet::new(),
        })
    }

    /// Adds so many routes in [`DOMAIN`] that nobody asks for, each to an app of its own with two instances.
    pub fn crowd(&mut self, routes: usize) {
        self.foundation
            .load_domain(&self.domain, routes, 2 * routes);
    }

    /// Whether the place of an instance that is gone is the next to be given, or never again.
    pub fn reuse_places(&self, reuse: bool) {
        self.places.reuse(reuse);
    }
}

// === Apps and their instances ===

impl Stage {
    /// Pushes an app whose instances listen on these container ports, each with a protocol.
    pub async fn push(
        &mut self,
        name: &str,
        instances: u32,
        ports: &[(u16, Protocol)],
    ) -> Result<App> {
        let app = AppGuid::from(self.foundation.capi.state().new_guid().as_str());
        self.start_process(name, app, instances, ports).await
    }

    /// Starts another process of an app, as a deployment does; its answers have a name of their own.
    pub async fn deploy(&mut self, app: &App, name: &str, instances: u32) -> Result<App> {
        let ports = app.ports.clone();
        self.start_process(name, app.guid.clone(), instances, &ports)
            .await
    }

    async fn start_process(
        &mut self,
        name: &str,
        app: AppGuid,
        instances: u32,
        ports: &[(u16, Protocol)],
    ) -> Result<App> {
        let CloudFoundry { capi, bbs, .. } = &self.foundation;
        let process = cloud_foundry::desire(capi, bbs, &app, instances);
        let mut app = App {
            name: name.to_owned(),
            guid: app,
            process,
            instances: Vec::new(),
            ports: ports.to_vec(),
        };
        self.fill(&mut app, instances).await?;
        Ok(app)
    }

    /// Starts what is missing of so many instances, such as those that crashed.
    ///
    /// # Errors
    /// An address cannot be had.
    pub async fn fill(&mut self, app: &mut App, instances: u32) -> Result<()> {
        for index in 0..instances {
            if !app.instances.iter().any(|running| running.index == index) {
                let running = self.start_instance(app, index).await?;
                app.instances.push(running);
            }
        }
        Ok(())
    }

    /// Places an instance, has it listen, and only then has it run.
    async fn start_instance(&mut self, app: &App, index: u32) -> Result<Running> {
        let place = self.places.take();
        let bbs = &self.foundation.bbs;
        let guid = bbs.claim_instance(&app.process, index, place.cell);
        let server = self.listen(app, &guid, &place).await?;
        let spec = InstanceSpec {
            cell_ports: self.cell_ports(),
            zone: self.zone,
            ..InstanceSpec::new(place.cell, place.container, place.mappings(&app.ports))
        };
        self.foundation.bbs.run_instance(&guid, &spec);
        self.begin(app);
        Ok(Running {
            guid,
            index,
            place,
            zone: self.zone,
            server,
        })
    }

    fn cell_ports(&self) -> CellPorts {
        if self.plain_cells {
            CellPorts::Plain
        } else {
            CellPorts::Tls
        }
    }

    /// What answers at a place.
    async fn listen(&mut self, app: &App, guid: &InstanceGuid, place: &Place) -> Result<Instance> {
        let from_outside = match self.cell_ports() {
            _ if self.own_proxies => FromOutside::No,
            CellPorts::Plain => FromOutside::Plain,
            CellPorts::Tls | CellPorts::Both => {
                FromOutside::Tls(self.credentials(app, guid, place)?)
            }
        };
        let spec = Spec {
            app: app.name.clone(),
            guid: guid.to_string(),
        };
        let for_apps = self.credentials_for_apps(app, guid)?;
        let open = place.endpoints(&app.ports, &from_outside, for_apps.as_ref());
        let server = Instance::start(spec, &open).await?;
        self.records.push(server.record());
        Ok(server)
    }

    fn begin(&mut self, app: &App) {
        self.truth.start(&app.guid, &app.name);
        self.truth.tell_of(&app.guid, &self.oracle);
    }

    /// Scales up.
    ///
    /// # Errors
    /// An address cannot be had.
    pub async fn scale_up(&mut self, app: &mut App, instances: u32) -> Result<()> {
        self.foundation.bbs.scale(&app.process, instances);
        self.fill(app, instances).await
    }

    /// Scales down: the last instances are told to stop, answer on for `drain`, and are gone then. Until then Diego starts
    /// no others in their stead.
    pub fn scale_down(&mut self, app: &mut App, instances: u32, drain: Duration) {
        self.foundation.bbs.scale(&app.process, instances);
        for running in beyond(app, instances) {
            self.leave(app, running, drain);
        }
    }

    /// Scales down, and the last instances are gone for the foundation at once. For `linger` they answer all the same and
    /// count it; then they are gone altogether.
    pub fn scale_down_at_once(&mut self, app: &mut App, instances: u32, linger: Duration) {
        self.foundation.bbs.scale(&app.process, instances);
        for running in beyond(app, instances) {
            self.foundation.bbs.stop_instance(&running.guid);
            self.leave(app, running, linger);
        }
    }

    /// Stops a process: all of its instances are told to stop.
    pub fn stop(&mut self, app: &mut App, drain: Duration) {
        self.foundation.bbs.remove_process(&app.process);
        for running in std::mem::take(&mut app.instances) {
            self.leave(app, running, drain);
        }
    }

    /// The last of an app's instances crashes: its connections are reset, and Diego sees it at once.
    ///
    /// # Errors
    /// None runs.
    pub async fn crash(&mut self, app: &mut App) -> Result<()> {
        let crashed = app.instances.pop().context("nothing runs")?;
        self.end(app, &crashed.server);
        crashed.server.crash().await;
        self.foundation.bbs.crash(&crashed.guid);
        self.places.give_back(crashed.place);
        Ok(())
    }

    /// A cell is evacuated: the instance of the app that is there serves on until its replacement runs, is told to stop, and answers on
    /// for `drain`.
    ///
    /// # Errors
    /// An address cannot be had.
    pub async fn evacuate(&mut self, app: &mut App, at: usize, drain: Duration) -> Result<()> {
        self.foundation.bbs.evacuate(&app.instances[at].guid);
        let replacement = self.start_instance(app, app.instances[at].index).await?;
        let evacuated = std::mem::replace(&mut app.instances[at], replacement);
        // The row goes as soon as the replacement runs, the container after that.
        self.foundation.bbs.stop_instance(&evacuated.guid);
        self.leave(app, evacuated, drain);
        Ok(())
    }

    fn end(&mut self, app: &App, server: &Instance) {
        server.record().end();
        self.truth.stop(&app.guid, &app.name);
        self.truth.tell_of(&app.guid, &self.oracle);
    }

    fn leave(&mut self, app: &App, running: Running, drain: Duration) {
        self.end(app, &running.server);
        let (bbs, places) = (self.foundation.bbs.clone(), self.places.clone());
        self.leaving.spawn(async move {
            tokio::time::sleep(drain).await;
            running.server.drain(LAST_REQUESTS).await;
            bbs.stop_instance(&running.guid);
            places.give_back(running.place);
        });
    }

    /// What the proxy of an instance presents and asks for, made anew.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn credentials(
        &self,
        app: &App,
        instance: &InstanceGuid,
        place: &Place,
    ) -> Result<Credentials> {
        let CloudFoundry {
            identities,
            ingress,
            ..
        } = &self.foundation;
        Ok(Credentials {
            identity: identities.issue(instance, place.container, &app.guid)?,
            clients: Some(Clients {
                ca: ingress.ca().to_owned(),
                names: vec![INGRESS_NAME.to_owned()],
            }),
        })
    }

    /// What its proxy presents to other apps, of which it asks for nothing.
    fn credentials_for_apps(
        &self,
        app: &App,
        instance: &InstanceGuid,
    ) -> Result<Option<Credentials>> {
        let hostnames: Vec<_> = self.for_apps.iter().map(String::as_str).collect();
        if hostnames.is_empty() {
            return Ok(None);
        }
        let identities = &self.foundation.identities;
        Ok(Some(Credentials {
            identity: identities.issue_for_apps(instance, &hostnames, &app.guid)?,
            clients: None,
        }))
    }

    /// An app's instances get new certificates, as they do every day.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn rotate_identities(&self, app: &App) -> Result<()> {
        for running in &app.instances {
            let credentials = self.credentials(app, &running.guid, &running.place)?;
            running.server.rotate(&credentials)?;
        }
        Ok(())
    }

    /// Resolves once every instance that was told to stop is gone.
    pub async fn settled(&mut self) {
        while self.leaving.join_next().await.is_some() {}
    }

    /// How long after its end each request came that an instance got after its end, for those that ended since `since`.
    pub fn late(&self, since: Instant) -> Vec<Duration> {
        let asked = self.records.iter().map(|record| record.asked());
        let ended = asked.filter(|asked| asked.ended.is_some_and(|ended| ended >= since));
        let mut late: Vec<_> = ended.flat_map(|asked| asked.late).collect();
        late.sort_unstable();
        late
    }
}

/// Takes the instances whose index is too high.
fn beyond(app: &mut App, instances: u32) -> Vec<Running> {
    let is_beyond = |running: &mut Running| running.index >= instances;
    app.instances.extract_if(.., is_beyond).collect()
}

// === Routes ===

impl Stage {
    /// Creates a route in [`DOMAIN`].
    pub fn route(
        &mut self,
        host: &str,
        path: &str,
        destinations: impl IntoIterator<Item = Destination>,
    ) -> RouteGuid {
        let mut spec = RouteSpec::new(&self.domain, host).path(path);
        spec.destinations.extend(destinations);
        let apps = spec.destinations.iter().map(|to| to.app.clone());
        let apps = apps.collect::<BTreeSet<_>>();
        let host = format!("{host}.{DOMAIN}");
        let route = self.foundation.capi.state().create_route(spec);
        self.truth.create(&route, host.clone(), apps);
        self.truth.tell(&host, &self.oracle);
        route
    }

    /// Creates a TCP route: of who may answer there, the oracle is told nothing.
    pub fn tcp_route(
        &mut self,
        port: u16,
        destinations: impl IntoIterator<Item = Destination>,
    ) -> RouteGuid {
        let mut spec = RouteSpec::new(&self.tcp_domain, "").port(port);
        spec.destinations.extend(destinations);
        self.foundation.capi.state().create_route(spec)
    }

    /// Deletes a route.
    pub fn delete_route(&mut self, route: &RouteGuid) {
        self.foundation.capi.state().delete_route(route);
        self.truth.delete(route, &self.oracle);
    }

    /// Maps a route to an app, by weight where there is one; Cloud Controller then updates the desired state.
    pub fn map(&mut self, route: &RouteGuid, app: &App, weight: Option<u32>) {
        let destination = Destination {
            weight,
            ..Destination::web(&app.guid)
        };
        self.foundation.capi.state().map(route, destination);
        self.foundation.bbs.touch(&app.process);
        self.truth.map(route, &app.guid);
        self.truth.tell_of(&app.guid, &self.oracle);
    }

    /// Unmaps a route from an app.
    pub fn unmap(&mut self, route: &RouteGuid, app: &App) {
        self.foundation.capi.state().unmap(route, &app.guid);
        self.foundation.bbs.touch(&app.process);
        if let Some(host) = self.truth.unmap(route, &app.guid) {
            self.truth.tell(&host, &self.oracle);
        }
    }
}
