//! The whole daemon between a simulated foundation and a simulated Pilot, with an operator who looks on.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use copilot::{
    app,
    config::Config,
    istio::{Kind, OF_HOSTS, undivided},
    model::Hostname,
    outbound::{Sockets, Transport},
    proto::istio::networking::v1alpha3::ServiceEntry,
    shutdown,
    sim::{
        bbs::CellPorts,
        cloud_foundry::{App, CloudFoundry, DOMAIN},
        operator::Operator,
        sink::{Replica, Sink, State},
    },
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes.
pub const LONG: Duration = Duration::from_secs(30);

/// The collections that the daemon publishes.
pub fn collections() -> Vec<String> {
    let kinds = OF_HOSTS.map(|kind| kind.collection().to_owned());
    kinds
        .into_iter()
        .chain([Kind::Gateway.collection().to_owned()])
        .collect()
}

/// A foundation with one app of two instances behind one route.
pub async fn foundation() -> (CloudFoundry, App) {
    foundation_of(CellPorts::default()).await
}

/// The same on other cells than those of today.
pub async fn foundation_of(cell_ports: CellPorts) -> (CloudFoundry, App) {
    let mut foundation = CloudFoundry::start().await.unwrap();
    foundation.cell_ports = cell_ports;
    let app = foundation.push(2);
    let route = foundation.create_route("shop", "");
    foundation.map(&route, &app, None);
    (foundation, app)
}

/// Changes values of a config by their JSON pointers.
pub fn with(mut config: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    config
}

/// Reads all the time, so that a test need not wait.
pub fn eager(config: Value) -> Value {
    with(
        config,
        &[
            ("/CAPI/FullReadInterval", json!("50ms")),
            ("/CAPI/TailInterval", json!("50ms")),
            ("/BBS/SyncInterval", json!("50ms")),
        ],
    )
}

/// A running daemon.
pub struct Daemon {
    pub operator: Operator,
    pub mcp: std::net::SocketAddr,
    pub cloud_controller: Option<std::net::SocketAddr>,
    pub vip_resolver: Option<std::net::SocketAddr>,
    pub xds: Option<std::net::SocketAddr>,
    pub admin: std::net::SocketAddr,
    stop: CancellationToken,
    /// Until it is told to end.
    running: Option<JoinHandle<Result<(), shutdown::Error>>>,
}

impl Daemon {
    pub async fn start(config: Value) -> Self {
        Self::start_over(Arc::new(Sockets), config).await
    }

    /// With feeds that reach their peers over `transport`.
    pub async fn start_over(transport: Arc<dyn Transport>, config: Value) -> Self {
        let Value::Object(config) = config else {
            panic!("a config is an object")
        };
        let bound = app::bind_over(transport, Config::parse(config).unwrap(), None);
        let bound = Box::pin(bound).await.unwrap();
        let addresses = bound.addresses;
        let stop = CancellationToken::new();
        let running = tokio::spawn(bound.run(stop.clone().cancelled_owned()));
        Self {
            operator: Operator::new(addresses.admin).unwrap(),
            mcp: addresses.mcp,
            cloud_controller: addresses.cloud_controller,
            vip_resolver: addresses.vip_resolver,
            xds: addresses.xds,
            admin: addresses.admin,
            stop,
            running: Some(running),
        }
    }

    /// Asks for a page until it is as it should be.
    pub async fn shows(&self, path: &str, expected: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let seen = timeout(LONG, async {
            loop {
                last = self.operator.json(path).await.unwrap();
                if expected(&last) {
                    break;
                }
            }
        });
        let seen = seen.await.is_ok();
        assert!(seen, "{path} still shows {last:#}");
        last
    }

    /// Waits until a feed reports a problem of a kind.
    pub async fn reports(&self, feed: &str, kind: &str) -> Value {
        let page = self
            .shows("/readyz", |page| {
                problem(page, feed).is_some_and(|problem| problem["kind"] == kind)
            })
            .await;
        problem(&page, feed).unwrap().clone()
    }

    /// Waits until a feed reports nothing any more.
    pub async fn recovers(&self, feed: &str) {
        self.shows("/readyz", |page| {
            let feed = self::feed(page, feed);
            feed.is_some_and(|feed| {
                feed.get("problem").is_none() && !feed["last_success"].is_null()
            })
        })
        .await;
    }

    /// Believes what is held of a feed.
    pub async fn accept(&self, feed: &str) {
        let word = format!("accept {feed}");
        let (status, answer) = self.operator.put("/debug/held", &word).await.unwrap();
        assert!(status.is_success(), "{answer}");
    }

    pub async fn ready(&self) {
        self.shows("/readyz", |page| page["ready"] == true).await;
    }

    /// A counter of the metrics page, by its name and labels; zero as long as it is not there.
    pub async fn counter(&self, series: &str) -> u64 {
        let (_, page) = self.operator.get("/metrics").await.unwrap();
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        page.lines().find_map(value).unwrap_or_default()
    }

    pub async fn end(mut self) {
        self.stop.cancel();
        let running = self.running.take().unwrap();
        timeout(LONG, running)
            .await
            .expect("an end in time")
            .unwrap()
            .unwrap();
    }
}

impl Drop for Daemon {
    /// A daemon that ended by itself fails its test, whatever the test looked at.
    fn drop(&mut self) {
        let ended = self.running.as_ref().is_some_and(JoinHandle::is_finished);
        assert!(!ended || std::thread::panicking(), "the daemon ended early");
    }
}

fn feed<'a>(page: &'a Value, name: &str) -> Option<&'a Value> {
    page["feeds"]
        .as_array()?
        .iter()
        .find(|feed| feed["feed"] == name)
}

fn problem<'a>(page: &'a Value, name: &str) -> Option<&'a Value> {
    feed(page, name)?.get("problem")
}

/// A foundation, a daemon that serves it, and a Pilot.
pub struct Mesh {
    pub foundation: CloudFoundry,
    pub app: App,
    pub daemon: Daemon,
    pub pilot: Sink,
}

impl Mesh {
    /// Everything is up, and the Pilot holds the one route.
    pub async fn start() -> Self {
        let (foundation, app) = foundation().await;
        let daemon = Daemon::start(eager(foundation.config())).await;
        let pilot = foundation
            .connect_pilot(daemon.mcp, collections())
            .await
            .unwrap();
        let mesh = Self {
            foundation,
            app,
            daemon,
            pilot,
        };
        mesh.holds(|state| endpoints(state, "shop").len() == 2)
            .await;
        mesh
    }

    /// Waits until the Pilot holds what it should.
    pub async fn holds(&self, expected: impl Fn(&State) -> bool) -> State {
        holds(&self.pilot, expected).await
    }

    /// What the Pilot holds now.
    pub fn held(&self) -> BTreeMap<String, Replica> {
        self.pilot.state().borrow().collections.clone()
    }

    /// Something changes in each source, and reaches the Pilot: nothing was lost, and everything works again.
    pub async fn still_works(&mut self) {
        let route = self.foundation.create_route("proof", "");
        self.foundation.map(&route, &self.app, None);
        self.foundation.scale(&mut self.app, 3);
        self.holds(|state| {
            endpoints(state, "proof").len() == 3 && endpoints(state, "shop").len() == 3
        })
        .await;
    }
}

pub async fn holds(pilot: &Sink, expected: impl Fn(&State) -> bool) -> State {
    let mut state = pilot.state();
    let held = timeout(LONG, state.wait_for(|state| expected(state))).await;
    let held = held
        .unwrap_or_else(|_| panic!("the Pilot holds {:#?}", pilot.state().borrow().collections));
    held.unwrap().clone()
}

/// The endpoints of an external host as the Pilot holds them.
pub fn endpoints(state: &State, host: &str) -> Vec<String> {
    let host = Hostname::parse(&format!("{host}.{DOMAIN}")).unwrap();
    let held = state.collections.get(Kind::ServiceEntry.collection());
    let services = undivided(&host, "");
    let held = services.iter().filter_map(|name| held?.resources.get(name));
    let endpoints = held.flat_map(|resource| {
        let body = resource.body.as_ref().unwrap();
        ServiceEntry::decode(body.value.as_slice())
            .unwrap()
            .endpoints
    });
    endpoints
        .map(|endpoint| format!("{}:{:?}", endpoint.address, endpoint.ports))
        .collect()
}

/// What the Pilot holds, without what differs between streams.
pub fn content(state: &State) -> BTreeMap<String, (String, Vec<u8>)> {
    state
        .collections
        .iter()
        .map(|(name, replica)| {
            let bytes = replica
                .resources
                .values()
                .flat_map(prost::Message::encode_to_vec)
                .collect();
            (name.clone(), (replica.version.clone(), bytes))
        })
        .collect()
}
