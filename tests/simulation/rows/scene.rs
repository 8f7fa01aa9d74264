//! A foundation that has forty of something, a daemon that serves them, and a Pilot that counts them.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use copilot::{
    app::{self, Entrances},
    config::Config,
    guard::Summary,
    istio::Kind,
    model::{AppGuid, DomainGuid, InstanceGuid, RouteGuid},
    proto::istio::mcp::v1alpha1::Resources,
    shutdown,
    sim::{
        bbs::{Bbs, CellPorts, InstanceSpec, ProcessSpec},
        capi::{Capi, Destination, DomainKind, RouteSpec, State as CapiState},
        cloud_foundry::{DOMAIN, INTERNAL_DOMAIN, loaded_host},
        policy::PolicyServer,
        sink::{Answer, Options, Sink, State},
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::peers::{Part, Peers, Read};
use crate::{
    config,
    oracle::View,
    peers::CAPI,
    sinks::{Protocol, connect},
    world::TCP_DOMAIN,
};

/// How many there are.
pub(super) const ALL: usize = 40;
/// How many are few.
const FEW: usize = 10;
/// A domain that may enforce route policies.
const ENFORCED: &str = "guarded.example.com";
/// The port of the first TCP route.
const FIRST_PORT: u16 = 2000;
/// From one complete read to the next, unless something is to be confirmed: longer than all but the longest time of the guard.
pub(super) const BETWEEN_READS: Duration = Duration::from_mins(5);

/// What there are forty of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Routes, each of which leads to an instance.
    Routes,
    /// TCP routes that do.
    TcpRoutes,
    /// Ten of them alone.
    FewTcpRoutes,
    /// Routes that would, and are bound to a route service: it counts how many are withheld.
    Bound,
    /// The same in a domain that enforces route policies.
    Enforced,
    /// Apps that may connect to one internal hostname.
    Policies,
    /// Routes that are pushed.
    Pushed,
    /// Ten of them alone.
    FewPushed,
}

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) route: RouteGuid,
    pub(super) app: AppGuid,
    pub(super) process: String,
    pub(super) instance: InstanceGuid,
}

/// A foundation that has them.
pub(super) struct Foundation {
    of: Of,
    pub(super) capi: Capi,
    pub(super) bbs: Bbs,
    pub(super) policies: PolicyServer,
    pub(super) peers: Peers,
    /// The domain of their routes.
    pub(super) domain: DomainGuid,
    pub(super) subjects: Vec<Subject>,
    /// Where the state file is.
    folder: TempDir,
}

impl Foundation {
    pub(super) fn new(of: Of) -> Self {
        let (capi, bbs, policies) = (Capi::within(CAPI), Bbs::within(), PolicyServer::within());
        let (domain, tcp) = add_domains(of, &mut capi.state());
        let peers = Peers::new(&capi, &bbs, &policies, tcp.to_string());
        let mut foundation = Self {
            of,
            capi,
            bbs,
            policies,
            peers,
            domain,
            subjects: Vec::new(),
            folder: TempDir::new().unwrap(),
        };
        let is_few = matches!(of, Of::FewTcpRoutes | Of::FewPushed);
        let count = if is_few { FEW } else { ALL };
        foundation.subjects = (0..count).map(|n| foundation.load(n)).collect();
        if of == Of::Policies {
            for (one, other) in foundation.pairs() {
                foundation.policies.allow(&one, &other, 8080);
            }
        }
        if of == Of::Bound {
            for subject in &foundation.subjects {
                foundation.capi.state().bind(&subject.route);
            }
        }
        foundation.capi.state().advance(60);
        foundation
    }

    fn load(&self, n: usize) -> Subject {
        let number = u16::try_from(n).unwrap();
        let mut state = self.capi.state();
        let guid = state.new_guid();
        let app = AppGuid::from(guid.as_str());
        let route = match self.of {
            Of::TcpRoutes | Of::FewTcpRoutes => {
                RouteSpec::new(&self.domain, "").port(FIRST_PORT + number)
            }
            _ => RouteSpec::new(&self.domain, &loaded_host(n)),
        };
        let route = state.load([route.to(Destination::web(&app))]).remove(0);
        let spec = ProcessSpec {
            process_guid: format!("{guid}-{guid}"),
            app_guid: guid,
            process_type: "web".to_owned(),
            instances: 1,
            metric_tags: true,
        };
        let process = spec.process_guid.clone();
        let [cell, container] = [0x0a00_1000_u32, 0x0aff_0000]
            .map(|first| IpAddr::from((first + u32::from(number)).to_be_bytes()));
        let place = InstanceSpec {
            cell_ports: CellPorts::Plain,
            ..InstanceSpec::new(cell, container, vec![(8080, 61_000)])
        };
        let instance = self.bbs.load([(spec, vec![place])]).remove(0);
        Subject {
            route,
            app,
            process,
            instance,
        }
    }

    /// The first of them.
    pub(super) fn first(&self, count: usize) -> &[Subject] {
        &self.subjects[..count]
    }

    /// Each app, and the one that it may connect to.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        let others = self.subjects.iter().cycle().skip(1);
        let pairs = self.subjects.iter().zip(others);
        pairs.map(|(one, other)| (one.app.to_string(), other.app.to_string()))
    }

    /// All names of the first of them.
    pub(super) fn names(&self, count: usize) -> BTreeSet<String> {
        let names = |subject: &Subject| {
            let (route, app) = (subject.route.to_string(), subject.app.to_string());
            [route, app, subject.process.clone()]
        };
        self.first(count).iter().flat_map(names).collect()
    }

    /// Reads of a kind lack a part of what the first of them have.
    pub(super) fn withhold(&self, read: Read, part: Part, count: usize) {
        self.peers.withhold(read, part, self.names(count));
    }

    /// No peer lies any more.
    pub(super) fn tell_the_truth(&self) {
        self.peers.withhold_nothing();
        self.capi.clear();
        self.bbs.lie_no_more();
        self.bbs.set_fresh(true);
        self.policies.fail(None);
        if self.of == Of::Enforced {
            self.enforce(true);
        }
    }

    /// Whether Cloud Controller says that the domain enforces route policies.
    pub(super) fn enforce(&self, is_enforced: bool) {
        self.capi.state().change_domain(&self.domain, |domain| {
            domain.route_policies = is_enforced.then_some("org");
        });
    }

    fn config(&self, has_file: bool) -> Value {
        let kind = crate::Kind {
            lies: false,
            pushes: false,
        };
        let mut config = config(kind, &self.folder.path().join("state"));
        let between = json!(format!("{}s", BETWEEN_READS.as_secs()));
        let mut unused = vec!["MaxLoss", "MaxLossPercent"];
        if !has_file {
            unused.push("StateFile");
        }
        config["CAPI"]["FullReadInterval"] = between.clone();
        config["CAPI"]["TailInterval"] = json!("1m");
        // These would be read again each time: nobody's clock goes on.
        config["CAPI"]["TailRouteUpdates"] = json!(false);
        config["BBS"]["SyncInterval"] = between.clone();
        if matches!(self.of, Of::TcpRoutes | Of::FewTcpRoutes) {
            let last = FIRST_PORT + u16::try_from(ALL).unwrap();
            config["TCPRoutes"]["Ports"] = json!([format!("{FIRST_PORT}-{last}")]);
            config["TCPRoutes"]["PollInterval"] = between.clone();
        } else {
            unused.push("TCPRoutes");
        }
        if self.of == Of::Enforced {
            config["MeshDomains"]
                .as_array_mut()
                .unwrap()
                .push(json!(ENFORCED));
        }
        if self.of == Of::Policies {
            config["PolicyServerPollInterval"] = between;
        } else {
            unused.extend([
                "PolicyServerAddress",
                "PolicyServerCAPath",
                "PolicyServerClientCertPath",
                "PolicyServerClientKeyPath",
                "PolicyServerPollInterval",
            ]);
        }
        if matches!(self.of, Of::Pushed | Of::FewPushed) {
            unused.extend(["CAPI", "MeshDomains"]);
            config["ListenAddressForCloudController"] = json!("127.0.0.1:0");
            config["CloudControllerClientCAPath"] = config["PilotClientCAPath"].clone();
        }
        let keys = config.as_object_mut().unwrap();
        keys.retain(|key, _| !unused.contains(&key.as_str()));
        config
    }
}

/// The domain of the routes, and the one of TCP routes.
fn add_domains(of: Of, state: &mut CapiState) -> (DomainGuid, DomainGuid) {
    let http = state.add_domain(DOMAIN, DomainKind::Http);
    let internal = state.add_domain(INTERNAL_DOMAIN, DomainKind::Internal);
    let tcp = state.add_domain(TCP_DOMAIN, DomainKind::Tcp);
    let domain = match of {
        Of::Routes | Of::Bound | Of::Pushed | Of::FewPushed => http,
        Of::TcpRoutes | Of::FewTcpRoutes => tcp.clone(),
        Of::Enforced => state.add_enforced_domain(ENFORCED),
        Of::Policies => internal,
    };
    (domain, tcp)
}

/// A daemon of a foundation.
pub(super) struct Daemon {
    of: Of,
    pub(super) entrances: Entrances,
    held: watch::Receiver<Arc<Vec<Summary>>>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), shutdown::Error>>,
}

impl Daemon {
    pub(super) async fn start(foundation: &Foundation, has_file: bool) -> Self {
        let Value::Object(config) = foundation.config(has_file) else {
            unreachable!()
        };
        let config = Config::parse(config).unwrap();
        let transport = Arc::new(foundation.peers.clone());
        let bound = app::bind_over(transport, config, None).await.unwrap();
        let (entrances, held) = (bound.entrances.clone(), bound.held.clone());
        let stop = CancellationToken::new();
        let running = tokio::spawn(bound.run(stop.clone().cancelled_owned()));
        Self {
            of: foundation.of,
            entrances,
            held,
            stop,
            running,
        }
    }

    /// A Pilot that counts what it holds.
    pub(super) async fn pilot(&self) -> Pilot {
        let channel = connect(self.entrances.mcp.clone()).await.unwrap();
        let options = Options {
            collections: Kind::ALL.map(|kind| kind.collection().to_owned()).into(),
            ..Options::default()
        };
        let (seen, counts) = watch::channel(None);
        let (of, mut state) = (self.of, State::default());
        let answer = move |response: &Resources| {
            state.apply(response.clone());
            if state.collections.len() == Kind::ALL.len() {
                seen.send_modify(|seen: &mut Option<Seen>| {
                    let now = count(of, &state);
                    let fewest = seen.map_or(now, |seen| seen.fewest.min(now));
                    *seen = Some(Seen { now, fewest });
                });
            }
            Answer::Ack
        };
        let sink = Sink::open(&channel, options, answer).await.unwrap();
        Pilot {
            _sink: sink,
            counts,
        }
    }

    /// What the guard holds.
    pub(super) fn held(&self) -> Vec<Summary> {
        self.held.borrow().to_vec()
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// How many a Pilot holds, and the fewest it ever did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) now: usize,
    pub(super) fewest: usize,
}

fn count(of: Of, state: &State) -> usize {
    let view = View::of(state, Protocol::Mcp);
    let hosts: BTreeSet<_> = view.pairs.iter().map(|(host, _)| host).collect();
    match of {
        Of::Bound | Of::Enforced => ALL - hosts.len(),
        Of::Policies => view.reaches.len(),
        _ => hosts.len(),
    }
}

/// A Pilot of a daemon.
pub(super) struct Pilot {
    _sink: Sink,
    counts: watch::Receiver<Option<Seen>>,
}

impl Pilot {
    /// Waits for so long until it holds as many as expected; `None` if that does not come.
    pub(super) async fn holds(
        &mut self,
        within: Duration,
        expected: impl Fn(usize) -> bool,
    ) -> Option<Instant> {
        let is_expected = |seen: &Option<Seen>| seen.is_some_and(|seen| expected(seen.now));
        let seen = timeout(within, self.counts.wait_for(is_expected));
        seen.await.ok().map(|_| Instant::now())
    }

    /// What it has seen; `None` while it was told of nothing.
    pub(super) fn seen(&self) -> Option<Seen> {
        *self.counts.borrow()
    }
}
