//! A whole foundation: Cloud Controller, UAA, the BBS and the policy server together, changed as Cloud Controller would
//! change them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    bbs::{self, Bbs, CellPorts, InstanceSpec, ProcessSpec},
    capi::{self, CLIENT_ID, CLIENT_SECRET, Capi, Destination, DomainKind, RouteSpec},
    instance_identity::InstanceIdentities,
    pki::{self, Pki},
    policy::{self, PolicyServer},
    sink::{self, Answer, Options, Sink},
};
use crate::{
    model::{AppGuid, DomainGuid, InstanceGuid, RouteGuid},
    tls,
};

/// The domain of external routes.
pub const DOMAIN: &str = "apps.example.com";
/// The domain of internal routes.
pub const INTERNAL_DOMAIN: &str = "apps.internal";

/// The name in the ingress's certificate, which cells admit.
pub const INGRESS_NAME: &str = "mesh-ingress.service.cf.internal";

/// How many policies an app has that has any.
const POLICIES_PER_APP: usize = 10;

/// Why a foundation could not be simulated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no place for the certificates.
    #[error("making a folder for certificates")]
    Folder(#[from] std::io::Error),
    /// A certificate could not be made.
    #[error("making certificates")]
    Pki(#[from] pki::Error),
    /// A certificate cannot be used.
    #[error("using the certificates")]
    Tls(#[from] tls::Error),
    /// No Cloud Controller.
    #[error("starting the simulated cloud controller")]
    Capi(#[from] capi::Error),
    /// No BBS.
    #[error("starting the simulated BBS")]
    Bbs(#[from] bbs::Error),
    /// No policy server.
    #[error("starting the simulated policy server")]
    Policies(#[from] policy::Error),
    /// No connection to the daemon.
    #[error("connecting the simulated Pilot")]
    Connect(#[from] tonic::transport::Error),
    /// The daemon refuses the stream.
    #[error("opening a stream of the simulated Pilot")]
    Stream(#[from] Box<tonic::Status>),
}

/// An app with one process and the instances that run.
#[derive(Debug, Clone)]
pub struct App {
    /// Its guid.
    pub guid: AppGuid,
    /// Its process's guid in Diego.
    pub process: String,
    /// The instances by index.
    pub instances: Vec<InstanceGuid>,
}

/// Where an instance is reached that has come back.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    /// By other containers: its own address and port.
    pub inside: (IpAddr, u16),
    /// By everyone else: its cell's.
    pub outside: (IpAddr, u16),
}

/// A simulated foundation.
pub struct CloudFoundry {
    /// Its Cloud Controller and UAA.
    pub capi: Capi,
    /// Its BBS.
    pub bbs: Bbs,
    /// Its policy server.
    pub policies: PolicyServer,
    /// Who signs every certificate but those of instances and of the ingress.
    pub pki: Pki,
    /// Who signs those of instances.
    pub identities: InstanceIdentities,
    /// Who signs those that the ingress presents to instances.
    pub ingress: Pki,
    /// What the ports of the cells take that the next instances run on.
    pub cell_ports: CellPorts,
    /// Whether they ask everyone to use the container's address.
    pub prefers_container: bool,
    domain: DomainGuid,
    internal_domain: DomainGuid,
    started: u32,
    folder: TempDir,
}

/// Has Diego run another process of an app; answers its guid there.
pub fn desire(capi: &Capi, bbs: &Bbs, app: &AppGuid, instances: u32) -> String {
    let process_guid = {
        let mut state = capi.state();
        let process = state.add_process(app, "web");
        format!("{process}-{}", state.new_guid())
    };
    desire_as(&process_guid, bbs, app, instances);
    process_guid
}

/// Has Diego run a process of an app that has this guid there.
pub fn desire_as(process: &str, bbs: &Bbs, app: &AppGuid, instances: u32) {
    bbs.desire(ProcessSpec {
        process_guid: process.to_owned(),
        app_guid: app.to_string(),
        process_type: "web".to_owned(),
        instances,
        metric_tags: true,
    });
}

impl CloudFoundry {
    /// An empty foundation on loopback, with certificates in a folder that ends with it.
    pub async fn start() -> Result<Self, Error> {
        let folder = TempDir::new()?;
        let pki = Pki::new(folder.path(), "demo")?;
        let capi = Capi::start(&pki, (Ipv4Addr::LOCALHOST, 0).into()).await?;
        let identity = pki.issue("bbs", &["127.0.0.1", "localhost"])?;
        let bbs = Bbs::start_on_loopback(&identity, pki.ca()).await?;
        let identity = pki.issue("policy-server", &["127.0.0.1", "localhost"])?;
        let policies = PolicyServer::start_on_loopback(&identity, pki.ca()).await?;
        pki.issue("copilot", &["localhost", "127.0.0.1"])?;
        pki.issue("pilot", &["pilot"])?;
        let identities = InstanceIdentities::new(folder.path())?;
        let ingress = Pki::new(folder.path(), "ingress")?;
        ingress.issue("ingress", &[INGRESS_NAME])?;
        let (domain, internal_domain) = {
            let mut state = capi.state();
            let domain = state.add_domain(DOMAIN, DomainKind::Http);
            (
                domain,
                state.add_domain(INTERNAL_DOMAIN, DomainKind::Internal),
            )
        };
        Ok(Self {
            capi,
            bbs,
            policies,
            pki,
            identities,
            ingress,
            cell_ports: CellPorts::default(),
            prefers_container: false,
            domain,
            internal_domain,
            started: 0,
            folder,
        })
    }

    /// Where the certificates are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The config of a daemon that serves this foundation, on free ports.
    pub fn config(&self) -> Value {
        let file = |name: &str| self.folder.path().join(name);
        json!({
            "ListenAddressForMCP": "127.0.0.1:0",
            "ServerCertPath": file("copilot.crt"),
            "ServerKeyPath": file("copilot.key"),
            "PilotClientCAPath": self.pki.ca(),
            "AdminListenAddress": "127.0.0.1:0",
            "MeshDomains": [DOMAIN, INTERNAL_DOMAIN],
            "VIPCIDR": "127.128.0.0/9",
            "CAPI": {
                "Address": self.capi.url().as_str(),
                "CACertPath": self.pki.ca(),
                "ClientID": CLIENT_ID,
                "ClientSecret": CLIENT_SECRET,
            },
            "BBS": {
                "Address": self.bbs.address().as_str(),
                "ServerCACertPath": self.pki.ca(),
                "ClientCertPath": file("copilot.crt"),
                "ClientKeyPath": file("copilot.key"),
            },
            "BackendTLS": {
                "Mode": "mutual",
                "ClientCertPath": file("ingress.crt"),
                "ClientKeyPath": file("ingress.key"),
                "CACertPath": self.identities.trusted(),
            },
            "PolicyServerAddress": self.policies.url().as_str(),
            "PolicyServerCAPath": self.pki.ca(),
            "PolicyServerClientCertPath": file("copilot.crt"),
            "PolicyServerClientKeyPath": file("copilot.key"),
            "PolicyServerPollInterval": "50ms",
        })
    }

    /// Connects a Pilot to a daemon; it asks for `collections` and acknowledges everything.
    pub async fn connect_pilot(
        &self,
        mcp: SocketAddr,
        collections: Vec<String>,
    ) -> Result<Sink, Error> {
        let pilot = tls::Identity {
            cert: self.folder.path().join("pilot.crt"),
            key: self.folder.path().join("pilot.key"),
        };
        let channel = sink::connect(mcp, tls::client(self.pki.ca(), Some(&pilot))?).await?;
        let options = Options {
            collections,
            ..Options::default()
        };
        Ok(Sink::open(&channel, options, |_| Answer::Ack)
            .await
            .map_err(Box::new)?)
    }

    /// Pushes an app and starts its instances.
    pub fn push(&mut self, instances: u32) -> App {
        let guid = AppGuid::from(self.capi.state().new_guid().as_str());
        self.start_process(&guid, instances)
    }

    /// Starts another process of the app, as a rolling deployment does.
    pub fn start_process(&mut self, app: &AppGuid, instances: u32) -> App {
        let process = desire(&self.capi, &self.bbs, app, instances);
        let mut app = App {
            guid: app.clone(),
            process,
            instances: Vec::new(),
        };
        for index in 0..instances {
            app.instances.push(self.start_instance(&app.process, index));
        }
        app
    }

    fn start_instance(&mut self, process: &str, index: u32) -> InstanceGuid {
        let spec = self.next_instance();
        self.bbs.start_instance(process, index, &spec)
    }

    fn next_instance(&mut self) -> InstanceSpec {
        self.started += 1;
        let n = self.started;
        // 250 instances on a cell, as on a real one.
        let offset = |first: u32, n: u32| IpAddr::from((first + n).to_be_bytes());
        let port = u16::try_from(61_000 + n % 250 * 2).expect("a port");
        InstanceSpec {
            cell_ports: self.cell_ports,
            prefers_container: self.prefers_container,
            ..InstanceSpec::new(
                offset(0x0a00_1001, n / 250),
                offset(0x0aff_0001, n),
                vec![(8080, port), (2222, port + 1)],
            )
        }
    }

    /// Scales an app to a number of instances.
    pub fn scale(&mut self, app: &mut App, instances: u32) {
        self.bbs.scale(&app.process, instances);
        let running = u32::try_from(app.instances.len()).expect("few instances");
        for index in running..instances {
            app.instances.push(self.start_instance(&app.process, index));
        }
        for gone in app.instances.drain(instances as usize..) {
            self.bbs.stop_instance(&gone);
        }
    }

    /// Stops an app: its route stays, nothing answers.
    pub fn stop(&mut self, app: &mut App) {
        self.bbs.remove_process(&app.process);
        for gone in app.instances.drain(..) {
            self.bbs.stop_instance(&gone);
        }
    }

    /// The last instance of an app crashes, and comes back elsewhere.
    pub fn crash(&mut self, app: &mut App) -> Option<Moved> {
        let crashed = app.instances.pop()?;
        self.bbs.crash(&crashed);
        let index = u32::try_from(app.instances.len()).expect("few instances");
        let spec = self.next_instance();
        let instance = self.bbs.start_instance(&app.process, index, &spec);
        app.instances.push(instance);
        let (inside, outside) = spec.ports[0];
        Some(Moved {
            inside: (spec.container, inside),
            outside: (spec.cell, outside),
        })
    }

    /// The first instance of an app is placed anew, and leaves its cell when the other runs: as when a cell is evacuated.
    pub fn move_first(&mut self, app: &mut App) {
        let leaving = app.instances.remove(0);
        self.bbs.evacuate(&leaving);
        let spec = self.next_instance();
        let index = self.bbs.index_of(&leaving).unwrap_or_default();
        let instance = self.bbs.start_instance(&app.process, index, &spec);
        self.bbs.stop_instance(&leaving);
        app.instances.push(instance);
    }

    /// Creates an external route.
    pub fn create_route(&self, host: &str, path: &str) -> RouteGuid {
        self.capi
            .state()
            .create_route(RouteSpec::new(&self.domain, host).path(path))
    }

    /// Creates an internal route.
    pub fn create_internal_route(&self, host: &str) -> RouteGuid {
        self.capi
            .state()
            .create_route(RouteSpec::new(&self.internal_domain, host))
    }

    /// Maps a route to an app, by weight where there is one; Cloud Controller then updates the desired state.
    pub fn map(&self, route: &RouteGuid, app: &App, weight: Option<u32>) {
        self.capi.state().map(
            route,
            Destination {
                weight,
                ..Destination::web(&app.guid)
            },
        );
        self.bbs.touch(&app.process);
    }

    /// Unmaps a route from an app.
    pub fn unmap(&self, route: &RouteGuid, app: &App) {
        self.capi.state().unmap(route, &app.guid);
        self.bbs.touch(&app.process);
    }

    /// Binds a route to the route service; Cloud Controller then updates the desired state of the app.
    pub fn bind(&self, route: &RouteGuid, app: &App) {
        self.capi.state().bind(route);
        self.bbs.touch(&app.process);
    }

    /// Releases it.
    pub fn unbind(&self, route: &RouteGuid, app: &App) {
        self.capi.state().unbind(route);
        self.bbs.touch(&app.process);
    }

    /// Many routes, each to an app of its own, and the instances dealt out to the apps: without events. The apps in
    /// the order of their routes.
    pub fn load(&mut self, routes: usize, instances: usize) -> Vec<App> {
        self.load_domain(&self.domain.clone(), routes, instances)
    }

    /// The same in the internal domain, one instance each. Every fourth app may connect to the ten after it.
    pub fn load_internal(&mut self, routes: usize) -> Vec<App> {
        let apps = self.load_domain(&self.internal_domain.clone(), routes, routes);
        let guid = |n: usize| apps[n % apps.len()].guid.to_string();
        for source in (0..apps.len()).step_by(4) {
            for step in 1..=POLICIES_PER_APP {
                self.policies
                    .allow(&guid(source), &guid(source + step), 8080);
            }
        }
        apps
    }

    /// The same in a domain that the caller has added.
    pub fn load_domain(
        &mut self,
        domain: &DomainGuid,
        routes: usize,
        instances: usize,
    ) -> Vec<App> {
        let guids: Vec<_> = {
            let mut state = self.capi.state();
            (0..routes).map(|_| state.new_guid()).collect()
        };
        let specs = guids.iter().enumerate().map(|(n, app)| {
            RouteSpec::new(domain, &loaded_host(n)).to(Destination::web(&app.as_str().into()))
        });
        {
            let mut state = self.capi.state();
            for spec in specs {
                state.load([spec]);
                // Nobody creates them all at once, and who looks for what is new finds few.
                state.advance(60);
            }
        }
        let load_app = |(n, guid): (usize, String)| {
            let count = instances / routes + usize::from(n < instances % routes);
            let process = format!("{guid}-{guid}");
            let spec = ProcessSpec {
                process_guid: process.clone(),
                app_guid: guid.clone(),
                process_type: "web".to_owned(),
                instances: u32::try_from(count).expect("few instances"),
                metric_tags: true,
            };
            let places = (0..count).map(|_| self.next_instance()).collect();
            App {
                guid: guid.as_str().into(),
                process,
                instances: self.bbs.load([(spec, places)]),
            }
        };
        guids.into_iter().enumerate().map(load_app).collect()
    }
}

/// The host of the `n`th loaded route.
pub fn loaded_host(n: usize) -> String {
    format!("app-{n:06}")
}
