//! Wiring: every module's task, its channels, and the end of all of them.

use std::{collections::BTreeSet, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    admin, bbs, capi,
    config::Config,
    feed::Feeds,
    mcp::{self, Sinks},
    metrics,
    model::{AppGuid, CapiProcessGuid, Update},
    publisher::{self, Publisher},
    readiness::Readiness,
    shutdown::{self, Tasks},
    telemetry::LevelHandle,
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
    /// Where Pilots connect.
    pub mcp_address: SocketAddr,
    /// Where operators look.
    pub admin_address: SocketAddr,
    /// What it waits for before it serves anything.
    pub readiness: Readiness,
    tasks: Tasks,
    admin: admin::Server,
}

/// Reads certificates and binds addresses: all that can fail at start.
///
/// # Errors
/// What cannot be bound or read, with its key.
pub async fn bind(config: Config, log_level: Option<LevelHandle>) -> anyhow::Result<Bound> {
    let mut wiring = Wiring::default();
    let (updates, inbox) = mpsc::channel(UPDATES);
    let (touched, touched_apps) = mpsc::channel(TOUCHED_APPS);
    let (publisher, outputs) = wiring.publisher(config.publisher, inbox)?;
    let watcher = wiring.bbs(config.bbs, updates.clone(), touched)?;
    let poller = wiring.capi(
        config.capi,
        updates,
        touched_apps,
        outputs.undescribed.clone(),
    )?;
    let server = wiring.mcp(config.mcp_address, config.mcp, &outputs).await?;
    let mcp_address = server.local_addr();

    let mut tasks = Tasks::default();
    let readiness = wiring.readiness.clone();
    let sources = wiring.sources(outputs, server.sinks(), log_level, tasks.shutdown());
    let bound = admin::Server::bind(config.admin_address, sources).await;
    let admin = bound.with_context(|| format!("AdminListenAddress {}", config.admin_address))?;
    let admin_address = admin.local_addr().context("AdminListenAddress")?;
    if !admin_address.ip().is_loopback() {
        warn!(%admin_address, "the admin surface has no authentication, and is not on loopback");
    }
    info!(%mcp_address, %admin_address, "listening");

    // Nothing runs before all of it can.
    tasks.spawn("publisher", publisher.run(tasks.shutdown()));
    tasks.spawn("bbs", watcher.run(tasks.shutdown()));
    tasks.spawn("capi", poller.run(tasks.shutdown()));
    tasks.spawn("mcp", server.run(tasks.shutdown()));
    Ok(Bound {
        mcp_address,
        admin_address,
        readiness,
        tasks,
        admin,
    })
}

/// What the modules share while they are put together.
struct Wiring {
    registry: Registry,
    feeds: Feeds,
    readiness: Readiness,
}

impl Default for Wiring {
    fn default() -> Self {
        let mut registry = metrics::registry();
        let feeds = Feeds::new(&mut registry);
        Self {
            registry,
            feeds,
            readiness: Readiness::default(),
        }
    }
}

impl Wiring {
    fn publisher(
        &mut self,
        settings: publisher::Settings,
        inbox: mpsc::Receiver<Update>,
    ) -> anyhow::Result<(Publisher, publisher::Outputs)> {
        Publisher::new(settings, inbox, &self.readiness, &mut self.registry).context("TLSPems")
    }

    fn bbs(
        &mut self,
        settings: bbs::Settings,
        updates: mpsc::Sender<Update>,
        touched_apps: mpsc::Sender<AppGuid>,
    ) -> anyhow::Result<bbs::Watcher> {
        let stalls_after = stalls_after(settings.request_timeout);
        let outputs = bbs::Outputs {
            updates,
            touched_apps,
            lists: self.feeds.register("bbs_lists", stalls_after),
            events: self.feeds.register("bbs_events", stalls_after),
            synced: self.readiness.gate("instances from the BBS"),
        };
        bbs::Watcher::new(settings, outputs).context("BBS")
    }

    fn capi(
        &mut self,
        settings: capi::Settings,
        updates: mpsc::Sender<Update>,
        touched_apps: mpsc::Receiver<AppGuid>,
        undescribed: watch::Receiver<Arc<BTreeSet<CapiProcessGuid>>>,
    ) -> anyhow::Result<capi::Poller> {
        let stalls_after = stalls_after(settings.request_timeout);
        let io = capi::Io {
            updates,
            touched_apps,
            undescribed,
            routes: self.feeds.register("capi_routes", stalls_after),
            tail: self.feeds.register("capi_tail", stalls_after),
            processes: self.feeds.register("capi_processes", stalls_after),
            token: self.feeds.register("capi_token", stalls_after),
            synced: Some(self.readiness.gate("routes from Cloud Controller")),
        };
        capi::Poller::new(settings, io).context("CAPI")
    }

    async fn mcp(
        &mut self,
        address: SocketAddr,
        settings: mcp::Settings,
        outputs: &publisher::Outputs,
    ) -> anyhow::Result<mcp::Server> {
        let snapshots = outputs.snapshots.clone();
        let bound = mcp::Server::bind(address, settings, snapshots, &mut self.registry).await;
        bound.with_context(|| format!("ListenAddressForMCP {address}"))
    }

    fn sources(
        self,
        outputs: publisher::Outputs,
        sinks: Sinks,
        log_level: Option<LevelHandle>,
        shutdown: CancellationToken,
    ) -> admin::Sources {
        admin::Sources {
            readiness: self.readiness,
            feeds: self.feeds,
            snapshots: outputs.snapshots,
            rejected: outputs.rejected,
            sinks,
            registry: self.registry,
            log_level,
            shutdown,
        }
    }
}

/// How long a feed's loop may be silent: it says a word before each request, which may take its time.
fn stalls_after(request_timeout: Duration) -> Duration {
    Duration::from_mins(1) + 2 * request_timeout
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
