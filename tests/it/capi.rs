//! The poller against a simulated Cloud Controller and UAA, over TLS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod between_reads;
mod cursors;
mod endless;
mod faults;
mod full_read;
mod lies;
mod processes;
mod tcp;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use copilot::{
    capi::{AnnotationPrefix, Io, Poller, Settings},
    feed::{Feed, Feeds, Status},
    model::{
        AppGuid, Basis, CapiProcessGuid, Confirmations, DomainGuid, Refusal, Report, Route,
        RouteGuid, Update,
    },
    outbound::Sockets,
    readiness::Readiness,
    sim::{
        capi::{
            CLIENT_ID, CLIENT_SECRET, Capi, Destination, DomainKind, Endpoint, Fault, Lie,
            Operation, RouteSpec,
        },
        pki::Pki,
    },
};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// An interval that never passes during a test.
const NEVER: Duration = Duration::from_hours(1);

async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, event)
        .await
        .expect("it should have happened by now")
}

/// A foundation with the domain `mesh.example.com` in the mesh and `other.example.com` outside.
struct Foundation {
    capi: Capi,
    mesh: DomainGuid,
    other: DomainGuid,
    pki: Pki,
    folder: TempDir,
}

impl Foundation {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::new(folder.path(), "cf").unwrap();
        let capi = Capi::start(&pki, "127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let mesh = capi
            .state()
            .add_domain("mesh.example.com", DomainKind::Http);
        let other = capi
            .state()
            .add_domain("other.example.com", DomainKind::Http);
        Self {
            capi,
            mesh,
            other,
            pki,
            folder,
        }
    }

    /// Polled once, with nothing in between.
    fn settings(&self) -> Settings {
        Settings {
            api: self.capi.url(),
            uaa: None,
            ca: self.pki.ca().to_owned(),
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned().into(),
            domains: vec!["mesh.example.com".parse().unwrap()],
            annotations: AnnotationPrefix::default(),
            full_read_interval: NEVER,
            tail_interval: Duration::from_millis(20),
            tail_audit_events: false,
            tail_updated_at: false,
            page_size: 5000,
            confirm_after: Duration::from_millis(20),
            serve_bound_routes: false,
            domains_interval: Duration::from_millis(20),
            request_timeout: SOON,
            max_rows: 100_000,
            page_retries: 3,
            min_backoff: Duration::from_millis(10),
            max_backoff: Duration::from_millis(50),
            gather: Duration::from_millis(10),
            tcp: None,
            recheck_after: Vec::new(),
        }
    }

    /// Creates `count` routes without destinations, one in each second.
    fn load(&self, count: usize) -> Vec<RouteGuid> {
        let mut state = self.capi.state();
        (0..count)
            .map(|_| {
                state.advance(1);
                let host = format!("host-{}", state.now());
                let spec = RouteSpec::new(&self.mesh, &host);
                state.load([spec]).remove(0)
            })
            .collect()
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn poll(&self) -> Polling {
        Polling::start(self.settings())
    }
}

fn app(name: &str) -> AppGuid {
    AppGuid::from(name)
}

fn web(name: &str) -> Destination {
    Destination::web(&app(name))
}

/// What the updates of a poller add up to.
#[derive(Debug, Default)]
struct Held(BTreeMap<RouteGuid, Route>);

impl Held {
    fn apply(&mut self, update: Update) {
        match update {
            Update::AllRoutes(routes) => {
                self.0.clear();
                self.insert(routes);
            }
            Update::Routes { current, gone } => {
                self.insert(current);
                self.0.retain(|guid, _| !gone.contains(guid));
            }
            Update::Refused(routes) => {
                for (guid, why) in routes {
                    // A route that the last reads lack may be held, and is withheld all the same.
                    if let Some(route) = self.0.get_mut(&guid) {
                        route.refused = Some(why);
                    }
                }
            }
            Update::Enforced(_) => assert!(self.0.is_empty(), "these are named"),
            other => panic!("{other:?}"),
        }
    }

    fn insert(&mut self, routes: Vec<Route>) {
        let by_guid = routes.into_iter().map(|route| (route.guid.clone(), route));
        self.0.extend(by_guid);
    }

    /// Whether the route is known and served.
    fn is_open(&self, route: &RouteGuid) -> bool {
        self.0
            .get(route)
            .is_some_and(|route| route.refused.is_none())
    }

    fn is_refused(&self, route: &RouteGuid, why: Refusal) -> bool {
        self.0
            .get(route)
            .is_some_and(|route| route.refused == Some(why))
    }
}

/// A running poller, and what it says.
struct Polling {
    held: Held,
    updates: mpsc::Receiver<Report>,
    confirmations: watch::Sender<Confirmations>,
    touched: mpsc::Sender<AppGuid>,
    undescribed: watch::Sender<Arc<BTreeSet<CapiProcessGuid>>>,
    routes: watch::Receiver<Status>,
    tail: watch::Receiver<Status>,
    asked: watch::Receiver<Status>,
    access: watch::Receiver<Status>,
    token: watch::Receiver<Status>,
    readiness: Readiness,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Polling {
    fn start(settings: Settings) -> Self {
        let mut feeds = Feeds::new(&mut Registry::default());
        let names = ["routes", "tail", "processes", "access", "token"];
        let [routes, tail, processes, access, token] =
            names.map(|name| feeds.register(name, NEVER));
        let readiness = Readiness::default();
        let (sender, updates) = mpsc::channel(1024);
        let (touched, touched_apps) = mpsc::channel(16);
        let undescribed = watch::Sender::default();
        let confirmations = watch::Sender::default();
        let statuses = [&routes, &tail, &processes, &access, &token].map(Feed::status);
        let [
            routes_status,
            tail_status,
            processes_status,
            access_status,
            token_status,
        ] = statuses;
        let io = Io {
            updates: sender,
            confirmations: confirmations.subscribe(),
            touched_apps,
            undescribed: undescribed.subscribe(),
            routes,
            tail,
            processes,
            access,
            token,
            synced: Some(readiness.gate("routes")),
        };
        let shutdown = CancellationToken::new();
        let poller = Poller::new(settings, Arc::new(Sockets), io).unwrap();
        let task = tokio::spawn(poller.run(shutdown.clone()));
        Self {
            held: Held::default(),
            updates,
            confirmations,
            touched,
            undescribed,
            routes: routes_status,
            tail: tail_status,
            asked: processes_status,
            access: access_status,
            token: token_status,
            readiness,
            shutdown,
            task,
        }
    }

    async fn report(&mut self) -> Report {
        let report = soon(self.updates.recv()).await;
        report.expect("the poller runs")
    }

    async fn update(&mut self) -> Update {
        self.report().await.update
    }

    /// A complete read can confirm something from now on.
    fn ask_for_routes(&self) {
        self.confirmations
            .send_modify(|confirmations| confirmations.routes = Some(Instant::now()));
    }

    /// Takes in updates until they add up to what is expected.
    async fn holds(&mut self, expected: impl Fn(&Held) -> bool) {
        while !expected(&self.held) {
            let update = tokio::time::timeout(SOON, self.updates.recv()).await;
            let update = update.unwrap_or_else(|_| panic!("holds {:#?}", self.held));
            self.held.apply(update.expect("the poller runs").update);
        }
    }

    /// Takes in what there is.
    fn catch_up(&mut self) -> &Held {
        while let Ok(update) = self.updates.try_recv() {
            self.held.apply(update.update);
        }
        &self.held
    }

    /// The next full read, by hostname and path.
    async fn all_routes(&mut self) -> BTreeMap<String, Route> {
        loop {
            match self.update().await {
                Update::AllRoutes(routes) => return by_name(routes),
                // What domains enforce is said before it is known whose it is.
                Update::Enforced(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next change of routes.
    async fn changed(&mut self) -> (BTreeMap<String, Route>, Vec<RouteGuid>) {
        loop {
            match self.update().await {
                Update::Routes { current, gone } => return (by_name(current), gone),
                // What is bound is said before it is known whose it is.
                Update::Refused(_) | Update::Enforced(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits until the full reads fail in this way; what the problem says.
    async fn problem(&mut self, kind: &str) -> String {
        problem(&mut self.routes, kind).await
    }

    async fn problem_is_over(&mut self) {
        is_well(&mut self.routes).await;
    }

    fn has_sent_nothing(&mut self) -> bool {
        matches!(
            self.updates.try_recv(),
            Err(mpsc::error::TryRecvError::Empty)
        )
    }

    async fn stop(self) {
        self.shutdown.cancel();
        soon(self.task).await.unwrap();
    }
}

async fn problem(status: &mut watch::Receiver<Status>, kind: &str) -> String {
    let has_kind = |status: &Status| {
        let problem = status.problem.as_ref();
        problem.is_some_and(|problem| problem.kind == kind)
    };
    let last = status.clone();
    let status = tokio::time::timeout(SOON, status.wait_for(has_kind)).await;
    let status = status.unwrap_or_else(|_| panic!("{:?} is no {kind}", last.borrow().problem));
    status.unwrap().problem.as_ref().unwrap().message.clone()
}

/// Waits until a feed has succeeded and has no problem.
async fn is_well(status: &mut watch::Receiver<Status>) {
    let is_well = |status: &Status| status.problem.is_none() && status.last_success.is_some();
    soon(status.wait_for(is_well)).await.unwrap();
}

fn by_name(routes: Vec<Route>) -> BTreeMap<String, Route> {
    let count = routes.len();
    let routes: BTreeMap<_, _> = routes
        .into_iter()
        .map(|route| (format!("{}{}", route.host, route.path), route))
        .collect();
    assert_eq!(routes.len(), count, "every route is there once");
    routes
}

fn guids(routes: &BTreeMap<String, Route>) -> BTreeSet<RouteGuid> {
    routes.values().map(|route| route.guid.clone()).collect()
}
