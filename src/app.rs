//! Wiring: every module's task, its channels, and the end of all of them.

mod room;
mod wiring;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::wiring::Wiring;
use crate::{
    admin, cloud_controller,
    config::{self, Config, Routes},
    descriptors,
    feed::Watchdog,
    grpc, guard,
    model::Source,
    outbound::{Sockets, Transport},
    readiness::Readiness,
    shutdown::{self, Tasks},
    telemetry::LevelHandle,
    tls,
};

/// Updates that wait for the publisher. An update can be a whole foundation, so a feed that is faster waits.
const UPDATES: usize = 64;
/// Touched apps that wait for Cloud Controller's answers. Further ones are left to the next full read.
const TOUCHED_APPS: usize = 4096;
/// How long tasks have to end after a signal; monit kills after ten seconds.
const SHUTDOWN: Duration = Duration::from_secs(8);

/// The daemon with everything bound that can be in use by another.
#[derive(Debug)]
pub struct Bound {
    /// Where it listens.
    pub addresses: Addresses,
    /// Ways in for peers within the process.
    pub entrances: Entrances,
    /// What it waits for before it serves anything.
    pub readiness: Readiness,
    /// What ends a process whose loops do not turn.
    pub watchdog: Watchdog,
    /// What the guard holds.
    pub held: watch::Receiver<Arc<Vec<guard::Summary>>>,
    tasks: Tasks,
    admin: admin::Server,
}

/// Ways in beside the listeners, without TLS.
#[derive(Debug, Clone)]
pub struct Entrances {
    /// For Pilots.
    pub mcp: grpc::Entrance,
    /// For istiods.
    pub xds: Option<grpc::Entrance>,
    /// For Cloud Controllers that push.
    pub cloud_controller: Option<grpc::Entrance>,
}

/// Where the daemon listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// For Pilots.
    pub mcp: SocketAddr,
    /// For Cloud Controllers that push.
    pub cloud_controller: Option<SocketAddr>,
    /// For resolvers of virtual addresses.
    pub vip_resolver: Option<SocketAddr>,
    /// For istiods.
    pub xds: Option<SocketAddr>,
    /// For operators.
    pub admin: SocketAddr,
}

/// Reads certificates and binds addresses: all that can fail at start.
///
/// # Errors
/// What cannot be bound or read, with its key.
pub async fn bind(config: Config, log_level: Option<LevelHandle>) -> anyhow::Result<Bound> {
    bind_over(Arc::new(Sockets), config, log_level).await
}

/// The same, with feeds that reach their peers over `transport`.
///
/// # Errors
/// What cannot be bound or read, with its key.
pub async fn bind_over(
    transport: Arc<dyn Transport>,
    mut config: Config,
    log_level: Option<LevelHandle>,
) -> anyhow::Result<Bound> {
    config.tell();
    for expiry in tls::expiries(&config.certificates) {
        warn!(key = expiry.key, "{expiry}");
    }
    room::fit(&mut config, descriptors::limit());
    let mut tasks = Tasks::default();
    let mut wiring = Wiring::new(transport, tasks.shutdown());
    let (updates, inbox) = mpsc::channel(UPDATES);
    let mut touched = Vec::new();
    let touched_apps = || {
        let (sender, receiver) = mpsc::channel(TOUCHED_APPS);
        touched.push(sender);
        receiver
    };
    let outputs = wiring.publisher(config.publisher, inbox)?;
    let confirmations = |source| outputs.confirmations[&source].clone();
    let mut shown = admin::Shown {
        certificates: config.certificates,
        domains: None,
        tcp_domains: Vec::new(),
    };
    let pushes = match config.routes {
        Routes::Polled(settings) => {
            shown.domains = Some(settings.domains.clone());
            let tcp = settings.tcp.iter().flat_map(|tcp| &tcp.domains);
            shown.tcp_domains = tcp.cloned().collect();
            let undescribed = outputs.undescribed.clone();
            wiring.capi(
                *settings,
                updates.clone(),
                confirmations,
                touched_apps,
                undescribed,
            )?;
            cloud_controller::Service::polled()
        }
        Routes::Pushed(settings) => {
            wiring.cloud_controller(settings, updates.clone(), confirmations(Source::Routes))
        }
    };
    if let Some(settings) = config.bbs {
        wiring.bbs(
            settings,
            updates.clone(),
            confirmations(Source::Instances),
            touched,
        )?;
    }
    if let Some(settings) = config.policy {
        wiring.policy(settings, updates, confirmations(Source::Policies))?;
    }

    let mcp = wiring.mcp(config.mcp_address, config.mcp, &outputs).await?;
    let listening = wiring.pushes(config.cloud_controller, pushes).await?;
    let (cloud_controller, entrance) = listening.unzip();
    let vip_resolver = match config.vip_resolver {
        Some(listener) => Some(wiring.vip_resolver(listener, &outputs).await?),
        None => None,
    };
    let readiness = wiring.readiness();
    let mut sinks = vec![mcp.sinks];
    let mut xds = None;
    let mut entrances = Entrances {
        mcp: mcp.entrance,
        xds: None,
        cloud_controller: entrance,
    };
    if let Some(config::Xds { address, settings }) = config.xds {
        let server = wiring.xds(address, settings, &outputs).await?;
        xds = Some(server.address);
        entrances.xds = Some(server.entrance);
        sinks.push(server.sinks);
    }
    let watchdog = wiring.watchdog();
    let held = outputs.held.clone();
    let (sources, starting) = wiring.finish(outputs, sinks, shown, log_level);
    let address = config.admin.address;
    let bound = admin::Server::bind(config.admin, sources).await;
    let admin = bound.with_context(|| format!("AdminListenAddress {address}"))?;
    let addresses = Addresses {
        mcp: mcp.address,
        cloud_controller,
        vip_resolver,
        xds,
        admin: admin.local_addr().context("AdminListenAddress")?,
    };
    addresses.tell();
    // Nothing runs before all of it can.
    for (name, task) in starting {
        tasks.spawn(name, task);
    }
    Ok(Bound {
        addresses,
        entrances,
        readiness,
        watchdog,
        held,
        tasks,
        admin,
    })
}

impl Addresses {
    fn tell(&self) {
        let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        info!(
            mcp_address = %self.mcp,
            cloud_controller_address = text(self.cloud_controller),
            vip_resolver_address = text(self.vip_resolver),
            xds_address = text(self.xds),
            admin_address = %self.admin,
            "listening"
        );
        if !self.admin.ip().is_loopback() {
            let address = self.admin;
            warn!(%address, "the admin surface has no authentication, and is not on loopback");
        }
    }
}

impl Bound {
    /// Runs until `stop` resolves, then ends every task in order.
    ///
    /// # Errors
    /// A task ended early, panicked, or did not end when told to.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), shutdown::Error> {
        let mut tasks = self.tasks;
        // The admin surface outlives the others, so that their end can be watched; its early end is theirs.
        let last = CancellationToken::new();
        let admin = tokio::spawn(self.admin.run(last.clone()));
        let abort = admin.abort_handle();
        let shutdown = tasks.shutdown();
        tasks.spawn("admin", async move {
            tokio::select! {
                biased;
                ended = admin => {
                    // A panic is this task's, so that it is reported as one.
                    if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
                        std::panic::resume_unwind(panic);
                    }
                }
                () = shutdown.cancelled() => {}
            }
        });
        let ended = tasks.run(stop, SHUTDOWN).await;
        last.cancel();
        abort.abort();
        info!("stopped");
        ended
    }
}
