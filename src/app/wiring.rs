//! The modules on their channels, listeners and feeds.

use std::{collections::BTreeSet, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures_util::{FutureExt as _, future::BoxFuture};
use prometheus_client::registry::Registry;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    admin, bbs, capi, cloud_controller,
    config::Listener,
    feed::{Feeds, Watchdog},
    grpc::{self, Reports, Security, Services},
    mcp::{self, Sinks},
    metrics,
    model::{AppGuid, CapiProcessGuid, Confirmations, Report, Source},
    outbound::Transport,
    policy,
    proto::DESCRIPTOR_SET,
    publisher::{self, Publisher},
    readiness::Readiness,
    snapshot, store,
    telemetry::LevelHandle,
    vip, xds,
};

/// The push API waits for Cloud Controller, which calls when it likes: its loop turns by a timer.
const PUSHES_STALL_AFTER: Duration = Duration::from_mins(2);

/// A disk that hangs for longer is out of order.
const STORE_STALLS_AFTER: Duration = Duration::from_mins(5);

/// People who wait for an answer.
const QUESTIONS: usize = 4;

/// A task that is not started yet.
type Starting = (&'static str, BoxFuture<'static, ()>);

/// What the modules share while they are put together.
pub(super) struct Wiring {
    transport: Arc<dyn Transport>,
    readiness: Readiness,
    registry: Registry,
    feeds: Feeds,
    listeners: grpc::Metrics,
    /// Where people's questions about processes go.
    processes: Option<mpsc::Sender<bbs::Question>>,
    shutdown: CancellationToken,
    starting: Vec<Starting>,
}

/// What others need to know of a server of snapshots.
pub(super) struct Serving {
    pub(super) address: SocketAddr,
    pub(super) sinks: Sinks,
    pub(super) entrance: grpc::Entrance,
}

impl Wiring {
    pub(super) fn new(transport: Arc<dyn Transport>, shutdown: CancellationToken) -> Self {
        let mut registry = metrics::registry();
        Self {
            transport,
            readiness: Readiness::default(),
            feeds: Feeds::new(&mut registry),
            listeners: grpc::Metrics::new(&mut registry),
            registry,
            processes: None,
            shutdown,
            starting: Vec::new(),
        }
    }

    /// What is waited for before anything is served.
    pub(super) fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    fn start(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.starting.push((name, task.boxed()));
    }

    pub(super) fn publisher(
        &mut self,
        settings: publisher::Settings,
        inbox: mpsc::Receiver<Report>,
    ) -> anyhow::Result<publisher::Outputs> {
        let store = settings.store.clone();
        let made = Publisher::new(settings, inbox, &self.readiness, &mut self.registry);
        let (publisher, outputs) = made.context("TLSPems")?;
        if let Some(store) = store {
            let feed = self.feeds.register("state_file", STORE_STALLS_AFTER);
            let writer = store::Writer::new(store, outputs.saved.clone(), feed);
            self.start("state_file", writer.run(self.shutdown.clone()));
        }
        self.start(
            "publisher",
            on_its_own_thread(publisher.run(self.shutdown.clone())),
        );
        Ok(outputs)
    }

    pub(super) fn bbs(
        &mut self,
        settings: bbs::Settings,
        updates: mpsc::Sender<Report>,
        confirmations: watch::Receiver<Confirmations>,
        touched_apps: Vec<mpsc::Sender<AppGuid>>,
    ) -> anyhow::Result<()> {
        let stalls_after = stalls_after(settings.peer.request_timeout);
        let (ask, questions) = mpsc::channel(QUESTIONS);
        self.processes = Some(ask);
        let outputs = bbs::Outputs {
            questions,
            updates,
            confirmations,
            touched_apps,
            lists: self.feeds.register("bbs_lists", stalls_after),
            events: self.feeds.register("bbs_events", stalls_after),
            synced: self.readiness.gate("instances from the BBS"),
        };
        let watcher =
            bbs::Watcher::new(settings, Arc::clone(&self.transport), outputs).context("BBS")?;
        self.start("bbs", watcher.run(self.shutdown.clone()));
        Ok(())
    }

    pub(super) fn capi(
        &mut self,
        settings: capi::Settings,
        updates: mpsc::Sender<Report>,
        confirmations: impl Fn(Source) -> watch::Receiver<Confirmations>,
        mut touched_apps: impl FnMut() -> mpsc::Receiver<AppGuid>,
        undescribed: watch::Receiver<Arc<BTreeSet<CapiProcessGuid>>>,
    ) -> anyhow::Result<()> {
        if settings.serve_bound_routes {
            warn!(
                "routes are served past the route services that they are bound to: CAPI.ServeBoundRoutes is on"
            );
        }
        let stalls_after = stalls_after(settings.request_timeout);
        let io = capi::Io {
            updates: updates.clone(),
            confirmations: confirmations(Source::Routes),
            touched_apps: touched_apps(),
            undescribed,
            routes: self.feeds.register("capi_routes", stalls_after),
            tail: self.feeds.register("capi_tail", stalls_after),
            processes: self.feeds.register("capi_processes", stalls_after),
            access: self.feeds.register("capi_access", stalls_after),
            token: self.feeds.register("capi_token", stalls_after),
            synced: Some(self.readiness.gate(publisher::ROUTES_GATE)),
        };
        if let Some(tcp) = settings.tcp.clone() {
            let io = capi::TcpIo {
                updates,
                confirmations: confirmations(Source::TcpRoutes),
                touched_apps: touched_apps(),
                routes: self.feeds.register("tcp_routes", stalls_after),
                token: self.feeds.register("tcp_routes_token", stalls_after),
            };
            let transport = Arc::clone(&self.transport);
            let poller = capi::TcpPoller::new(&settings, tcp, transport, io).context("CAPI")?;
            self.start("tcp_routes", poller.run(self.shutdown.clone()));
        }
        let poller =
            capi::Poller::new(settings, Arc::clone(&self.transport), io).context("CAPI")?;
        self.start("capi", poller.run(self.shutdown.clone()));
        Ok(())
    }

    pub(super) fn cloud_controller(
        &mut self,
        settings: cloud_controller::Settings,
        updates: mpsc::Sender<Report>,
        confirmations: watch::Receiver<Confirmations>,
    ) -> cloud_controller::Service {
        warn!(
            "pushed routes do not say whether they are bound to a route service: they are served past it"
        );
        let io = cloud_controller::Io {
            updates,
            confirmations,
            feed: self.feeds.register("cloud_controller", PUSHES_STALL_AFTER),
            synced: Some(self.readiness.gate(publisher::ROUTES_GATE)),
        };
        let (service, registrar) = cloud_controller::new(settings, io);
        self.start("cloud_controller", registrar.run(self.shutdown.clone()));
        service
    }

    pub(super) fn policy(
        &mut self,
        settings: policy::Settings,
        updates: mpsc::Sender<Report>,
        confirmations: watch::Receiver<Confirmations>,
    ) -> anyhow::Result<()> {
        let stalls_after = settings.poll_interval + stalls_after(settings.peer.request_timeout);
        let outputs = policy::Outputs {
            updates,
            confirmations,
            feed: self.feeds.register("policies", stalls_after),
        };
        let poller = policy::Poller::new(settings, Arc::clone(&self.transport), outputs)
            .context("PolicyServerAddress")?;
        self.start("policies", poller.run(self.shutdown.clone()));
        Ok(())
    }

    pub(super) async fn mcp(
        &mut self,
        address: SocketAddr,
        settings: mcp::Settings,
        outputs: &publisher::Outputs,
    ) -> anyhow::Result<Serving> {
        let snapshots = outputs.snapshots.clone();
        let (registry, reports) = self.reports("mcp", "mcp_certificates");
        let server = mcp::Server::bind(address, settings, snapshots, registry, reports).await;
        let mut server = server.with_context(|| format!("ListenAddressForMCP {address}"))?;
        let serving = Serving {
            address: server.local_addr(),
            sinks: server.sinks(),
            entrance: server.entrance(),
        };
        self.start("mcp", server.run(self.shutdown.clone()));
        Ok(serving)
    }

    pub(super) async fn xds(
        &mut self,
        address: SocketAddr,
        settings: xds::Settings,
        outputs: &publisher::Outputs,
    ) -> anyhow::Result<Serving> {
        if settings.security == Security::Plaintext && !address.ip().is_loopback() {
            warn!(%address, "istiods are served in plaintext: XDSAllowPlaintext is on");
        }
        let snapshots = outputs.snapshots.clone();
        let (registry, reports) = self.reports("xds", "xds_certificates");
        let server = xds::Server::bind(address, settings, snapshots, registry, reports).await;
        let mut server = server.with_context(|| format!("ListenAddressForXDS {address}"))?;
        let serving = Serving {
            address: server.local_addr(),
            sinks: server.sinks(),
            entrance: server.entrance(),
        };
        self.start("xds", server.run(self.shutdown.clone()));
        Ok(serving)
    }

    /// The listener for Cloud Controllers that push, if they may.
    pub(super) async fn pushes(
        &mut self,
        listener: Option<Listener>,
        service: cloud_controller::Service,
    ) -> anyhow::Result<Option<(SocketAddr, grpc::Entrance)>> {
        let Some(listener) = listener else {
            return Ok(None);
        };
        let (_, reports) = self.reports("cloud_controller", "cloud_controller_certificates");
        let mut bound = listen("ListenAddressForCloudController", listener, reports).await?;
        let (address, entrance) = (bound.local_addr(), bound.entrance());
        let services = Services::new(DESCRIPTOR_SET).with(cloud_controller::Calls::new(service));
        // It can be pushed to from the start: what is pushed is what the others wait for.
        let serving = bound.serve(services, std::future::ready(()), self.shutdown.clone());
        self.start("cloud_controller_listener", serving);
        Ok(Some((address, entrance)))
    }

    /// The listener for resolvers of virtual addresses.
    pub(super) async fn vip_resolver(
        &mut self,
        listener: Listener,
        outputs: &publisher::Outputs,
    ) -> anyhow::Result<SocketAddr> {
        let is_open = listener.settings.security == Security::Plaintext;
        let (_, reports) = self.reports("vip_resolver", "vip_resolver_certificates");
        let bound = listen("ListenAddressForVIPResolver", listener, reports).await?;
        let address = bound.local_addr();
        if is_open && !address.ip().is_loopback() {
            warn!(%address, "virtual addresses are told to everyone in plaintext: VIPResolverTLS is off");
        }
        let vips = outputs.vips.clone();
        let services = Services::new(DESCRIPTOR_SET).with(vip::service(vips.clone()));
        let ready = snapshot::published(vips);
        let serving = bound.serve(services, ready, self.shutdown.clone());
        self.start("vip_resolver_listener", serving);
        Ok(address)
    }

    /// Where a listener says how it fares, it and its certificates.
    fn reports(
        &mut self,
        listener: &'static str,
        certificates: &'static str,
    ) -> (&mut Registry, Reports<'_>) {
        let reports = Reports {
            listener,
            certificates,
            feeds: &mut self.feeds,
            metrics: &self.listeners,
        };
        (&mut self.registry, reports)
    }

    /// What watches the loops of all feeds.
    pub(super) fn watchdog(&self) -> Watchdog {
        self.feeds.watchdog()
    }

    /// What the admin surface shows, and the tasks, none of which runs yet.
    pub(super) fn finish(
        self,
        outputs: publisher::Outputs,
        sinks: Vec<Sinks>,
        shown: admin::Shown,
        log_level: Option<LevelHandle>,
    ) -> (admin::Sources, Vec<Starting>) {
        let sources = admin::Sources {
            readiness: self.readiness,
            feeds: self.feeds,
            snapshots: outputs.snapshots,
            rejected: outputs.rejected,
            held: outputs.held,
            decisions: outputs.decisions,
            questions: outputs.questions,
            processes: self.processes,
            failing: self.listeners.failing(),
            shown,
            sinks,
            registry: self.registry,
            log_level,
            shutdown: self.shutdown,
        };
        (sources, self.starting)
    }
}

/// Binds a listener; what is wrong with it is wrong with its key.
async fn listen(
    key: &str,
    Listener { address, settings }: Listener,
    reports: Reports<'_>,
) -> anyhow::Result<grpc::Listener> {
    let bound = grpc::Listener::bind(address, settings, reports).await;
    bound.with_context(|| format!("{key} {address}"))
}

/// How long a feed's loop may be silent: it says a word before each request, which may take its time.
fn stalls_after(request_timeout: Duration) -> Duration {
    Duration::from_mins(1) + 2 * request_timeout
}

/// Runs a task that works for long at a time on a thread of its own, so that it holds up nobody who serves. A runtime of
/// one thread has nobody else: there it is a task like any other, and a simulation the same at each run.
async fn on_its_own_thread(task: impl Future<Output = ()> + Send + 'static) {
    let runtime = Handle::current();
    if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return task.await;
    }
    let ended = tokio::task::spawn_blocking(move || runtime.block_on(task)).await;
    // A panic is this task's, so that it is reported as one.
    if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
        std::panic::resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::on_its_own_thread;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_works_for_long_does_not_hold_up_the_only_thread_that_serves() {
        let (served, is_served) = std::sync::mpsc::channel();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let working = tokio::spawn(on_its_own_thread(async move {
            begun.send(()).unwrap();
            is_served.recv_timeout(Duration::from_secs(10)).unwrap();
        }));
        let serving = tokio::spawn(async move {
            has_begun.await.unwrap();
            served.send(()).unwrap();
        });
        working.await.unwrap();
        serving.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    #[should_panic(expected = "of the task")]
    async fn a_panic_on_a_thread_of_its_own_is_the_tasks() {
        on_its_own_thread(async { panic!("of the task") }).await;
    }
}
