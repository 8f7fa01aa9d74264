//! The read-only HTTP surface for operators: health, readiness, metrics, and what is served and why not.

mod certificates;
mod changes;
mod connections;
mod debug;
mod explain;
mod health;
mod held;
mod home;
mod hosts;
mod listing;
mod metrics;
mod page;
mod rejected;
mod sinks;
mod status;

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, header},
    middleware,
    response::Response,
    routing::get,
};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

pub use self::{connections::CONNECTIONS, home::PAGES, hosts::Names};
use crate::{
    bbs,
    capi::DomainPattern,
    delivery::Sinks,
    descriptors,
    explain::Question,
    feed::Feeds,
    grpc::FailingPeer,
    guard::{Decision, Summary},
    istio::validate::Rejected,
    readiness::Readiness,
    snapshot,
    telemetry::LevelHandle,
    tls,
};

/// A request carries a word at most.
const MAX_BODY: usize = 1024;

/// How every answer is signed: something else may listen where the surface is asked for.
pub const SERVER: &str = "copilot";

/// Where the surface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub address: SocketAddr,
    /// By which names it may be asked beside `localhost` and addresses.
    pub names: Names,
}

/// What the surface shows of the config.
#[derive(Debug, Default)]
pub struct Shown {
    /// Its certificates.
    pub certificates: Vec<tls::Certificates>,
    /// The domains of the mesh; `None` where routes are pushed.
    pub domains: Option<Vec<DomainPattern>>,
    /// The TCP domains of the mesh, likewise.
    pub tcp_domains: Vec<DomainPattern>,
}

/// What the surface shows.
#[derive(Debug)]
pub struct Sources {
    /// What the process is waiting for.
    pub readiness: Readiness,
    /// The state of every feed.
    pub feeds: Feeds,
    /// What is published.
    pub snapshots: snapshot::Receiver,
    /// What is withheld.
    pub rejected: watch::Receiver<Arc<Rejected>>,
    /// What is held.
    pub held: watch::Receiver<Arc<Vec<Summary>>>,
    /// Takes an operator's word on it.
    pub decisions: mpsc::Sender<Decision>,
    /// Takes what people ask of the table.
    pub questions: mpsc::Sender<Question>,
    /// Takes what people ask of the BBS, if there is one.
    pub processes: Option<mpsc::Sender<bbs::Question>>,
    /// Who fails at the listeners.
    pub failing: watch::Receiver<Vec<FailingPeer>>,
    /// What is shown of the config.
    pub shown: Shown,
    /// Who reads it.
    pub sinks: Vec<Sinks>,
    /// Every metric.
    pub registry: Registry,
    /// The log level, where this process's logs are ours.
    pub log_level: Option<LevelHandle>,
    /// Cancelled when the process is to end.
    pub shutdown: CancellationToken,
}

/// The bound, not yet running server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    names: Arc<Names>,
    sources: Arc<Sources>,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// The address is in use, or not this machine's.
    #[expect(
        clippy::unused_async,
        reason = "a socket wants a runtime, which who awaits is sure to have"
    )]
    pub async fn bind(settings: Settings, sources: Sources) -> io::Result<Self> {
        let listener = descriptors::listen(settings.address)?;
        Ok(Self {
            listener,
            names: Arc::new(settings.names),
            sources: Arc::new(sources),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop`: later than the other tasks, so that a shutdown can be watched.
    pub async fn run(self, stop: CancellationToken) {
        let router = Router::new()
            .route("/", get(home::home))
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .route("/metrics", get(metrics::page))
            .route("/debug/snapshot", get(debug::snapshot))
            .route("/debug/resources/{*path}", get(debug::resources))
            .route("/debug/explain/{*path}", get(explain::explain))
            .route("/debug/status", get(status::status))
            .route("/debug/routes", get(listing::routes))
            .route("/debug/instances", get(listing::instances))
            .route("/debug/peers", get(sinks::peers))
            .route("/debug/certificates", get(certificates::certificates))
            .route("/debug/changes", get(changes::changes))
            .route("/debug/rejected", get(rejected::rejected))
            .route("/debug/sinks", get(debug::sinks))
            .route("/debug/held", get(held::held).put(held::decide))
            .route(
                "/debug/log-level",
                get(home::log_level_page).put(debug::set_log_level),
            )
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(middleware::from_fn_with_state(self.names, hosts::check))
            .layer(middleware::map_response(signed))
            .with_state(self.sources);
        connections::serve(self.listener, router, stop).await;
    }
}

async fn signed(mut answer: Response) -> Response {
    let name = HeaderValue::from_static(SERVER);
    answer.headers_mut().insert(header::SERVER, name);
    answer
}
