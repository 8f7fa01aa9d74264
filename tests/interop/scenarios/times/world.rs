//! A foundation of many routes with an ingress of its own, and one app in it that changes.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use copilot::{
    model::RouteGuid,
    sim::{bbs::CellPorts, capi::Destination},
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{figures::Figures, peers::Peers};
use crate::{
    client::{Ask, Client, Reply},
    frontend,
    instances::Protocol,
    mesh::Mesh,
    peers::{Programs, daemon::NEWER, process::POLL},
    scenario::Tally,
    stage::{App, DOMAIN, Stage},
    surface,
};

/// Where its ingress is: the other scenarios' run on, and rest.
const INGRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 60);
/// The host of the app that changes.
const HOST: &str = "times";
/// Longer than a change takes at 20,000 routes on a machine that is busy.
const LONG: Duration = Duration::from_mins(3);
/// From one new route to the next while there are many.
const CHURN: Duration = Duration::from_millis(150);
/// What an app speaks that says nothing of it.
const WEB: &[(u16, Protocol)] = &[(8080, Protocol::Http1)];

/// What is changed and waited for.
#[derive(Debug, Clone, Copy)]
enum Change {
    NewInstance,
    NewRoute,
    DeletedRoute,
    Mapping,
}

const CHANGES: [(Change, &str); 4] = [
    (Change::NewInstance, "new instance"),
    (Change::NewRoute, "new route"),
    (Change::DeletedRoute, "deleted route"),
    (Change::Mapping, "blue-green"),
];

/// How instances are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// At plain ports, by a daemon that knows nothing else.
    InPlaintext,
    /// Over TLS: any instance of the foundation may answer.
    OverTlsByCa,
    /// Over TLS: an instance of the route has to answer.
    OverTlsByInstance,
}

impl Reached {
    /// What a daemon has for it in its config.
    fn config(self) -> fn(&mut Value) {
        match self {
            Self::InPlaintext => |config| {
                if let Some(keys) = config.as_object_mut() {
                    keys.retain(|key, _| key != "BackendTLS" && !NEWER.contains(&key.as_str()));
                }
            },
            Self::OverTlsByCa => |config| config["BackendTLS"]["Verify"] = json!("ca"),
            Self::OverTlsByInstance => |config| config["BackendTLS"]["Verify"] = json!("instance"),
        }
    }
}

/// The running world.
pub(super) struct World {
    mesh: Mesh,
    client: Client,
    peers: Peers,
    /// The app that is mapped to [`HOST`], and the one that is mapped next.
    apps: [App; 2],
    route: RouteGuid,
    /// Hosts with the routes that are to be deleted.
    new: Vec<(String, RouteGuid)>,
    changed: usize,
}

impl World {
    /// Starts it, and says how long that took.
    ///
    /// # Errors
    /// A peer does not start, or nothing is answered.
    pub(super) async fn start(
        programs: &Programs,
        tally: &mut Tally,
        (routes, reached): (usize, Reached),
        figures: &mut Figures,
    ) -> Result<Self> {
        let mut stage = Stage::start().await?;
        stage.plain_cells = reached == Reached::InPlaintext;
        if stage.plain_cells {
            stage.foundation.cell_ports = CellPorts::Plain;
        }
        stage.crowd(routes);
        let one = stage.push("times-one", 1, WEB).await?;
        let two = stage.push("times-two", 1, WEB).await?;
        let route = stage.route(HOST, "", [Destination::web(&one.guid)]);
        let began = Instant::now();
        let mesh = Mesh::start(programs, stage, INGRESS, frontend::ONE, reached.config()).await?;
        let client = mesh.ingress.client().keeping(1);
        let ask = Ask::get(&host(HOST), "/");
        let is_one = |reply: &Reply| by(reply) == Some(&one.name);
        answered(&client, tally, &ask, is_one).await?;
        let first = began.elapsed();
        let peers = Peers::of(&mesh).await?;
        let began = Instant::now();
        // It ends at once.
        mesh.another_daemon("alone").await?;
        let ready = began.elapsed();
        figures.add(
            "start",
            [
                ("daemon ready after", ready.as_secs_f64(), "s"),
                ("first answer of all three after", first.as_secs_f64(), "s"),
            ],
        );
        Ok(Self {
            mesh,
            client,
            peers,
            apps: [one, two],
            route,
            new: Vec::new(),
            changed: 0,
        })
    }

    /// Says how much memory everyone holds, and how many clusters Envoy.
    pub(super) async fn memory(&self, figures: &mut Figures) -> Result<()> {
        figures.add("resident", self.peers.memory()?);
        let path = "/stats?filter=cluster_manager.active_clusters";
        let page = surface::page(self.mesh.ingress.proxy.admin(), path).await;
        let (_, page) = page.context("Envoy does not answer")?;
        let count = page.rsplit(':').next().map(str::trim);
        let count = count.context("Envoy says no number of clusters")?.parse()?;
        figures.add("Envoy has", [("clusters", count, "")]);
        Ok(())
    }

    /// Maps new routes for so long, and says how long each took to be answered, and what all of them cost whom.
    pub(super) async fn churn(
        &mut self,
        tally: &mut Tally,
        lasting: Duration,
        figures: &mut Figures,
    ) -> Result<()> {
        let window = self.peers.open()?;
        let stage = &mut self.mesh.stage;
        let app = Destination::web(&self.apps[0].guid);
        let (created, mut to_ask) = mpsc::unbounded_channel();
        let creating = async move {
            let mut ticks = interval(CHURN);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let end = Instant::now() + lasting;
            for at in 1.. {
                ticks.tick().await;
                if Instant::now() >= end {
                    break;
                }
                let name = format!("{HOST}-churn-{at}");
                stage.route(&name, "", [app.clone()]);
                created.send((name, Instant::now())).expect("it is asked");
            }
        };
        // They come in the order in which they were made: of several that are due, the oldest is asked for.
        let asking = async {
            let mut took = Vec::new();
            while let Some((name, began)) = to_ask.recv().await {
                let ask = Ask::get(&host(&name), "/");
                answered(&self.client, tally, &ask, |reply| reply.answer.is_some()).await?;
                took.push(began.elapsed().as_secs_f64());
            }
            anyhow::Ok(took)
        };
        let ((), took) = tokio::join!(creating, asking);
        let mut took = took?;
        let routes = u32::try_from(took.len())?;
        self.peers.rest().await?;
        let [daemon, istiod, envoy] = self.peers.used(&window)?;
        took.sort_by(f64::total_cmp);
        let part = |percent| took[(took.len() - 1) * percent / 100];
        figures.add(
            "churn of routes",
            [
                ("routes", f64::from(routes), ""),
                ("answered after p50", part(50), "s"),
                ("p99", part(99), "s"),
                ("CPU of the daemon", daemon / 1000.0, "s"),
                ("of istiod", istiod / 1000.0, "s"),
                ("of Envoy", envoy / 1000.0, "s"),
            ],
        );
        Ok(())
    }

    /// Does each change so many times, and says how long it took and what it cost whom: the medians.
    pub(super) async fn changes(
        &mut self,
        tally: &mut Tally,
        times: usize,
        figures: &mut Figures,
    ) -> Result<()> {
        for (change, name) in CHANGES {
            let mut took = Vec::new();
            let mut cpu = [const { Vec::new() }; 3];
            for _ in 0..times {
                let window = self.peers.open()?;
                took.push(self.change(change, tally).await?.as_secs_f64());
                self.peers.rest().await?;
                for (all, used) in std::iter::zip(&mut cpu, self.peers.used(&window)?) {
                    all.push(used);
                }
            }
            let [daemon, istiod, envoy] = cpu.map(median);
            figures.add(
                name,
                [
                    ("answered after", median(took), "s"),
                    ("CPU of the daemon", daemon, "ms"),
                    ("of istiod", istiod, "ms"),
                    ("of Envoy", envoy, "ms"),
                ],
            );
        }
        Ok(())
    }

    /// Changes something; from then until it is answered so.
    async fn change(&mut self, change: Change, tally: &mut Tally) -> Result<Duration> {
        let (stage, [current, next]) = (&mut self.mesh.stage, &mut self.apps);
        self.changed += 1;
        match change {
            Change::NewInstance => {
                let instances = u32::try_from(current.instances.len())? + 1;
                stage.scale_up(current, instances).await?;
                let new = current.instances.last().context("nothing runs")?;
                let guid = new.guid.to_string();
                let is_new = |reply: &Reply| {
                    let answer = reply.answer.as_ref();
                    answer.is_some_and(|answer| answer.instance == guid)
                };
                answered(&self.client, tally, &Ask::get(&host(HOST), "/"), is_new).await
            }
            Change::NewRoute => {
                let name = format!("{HOST}-{}", self.changed);
                let route = stage.route(&name, "", [Destination::web(&current.guid)]);
                let ask = Ask::get(&host(&name), "/");
                self.new.push((name, route));
                answered(&self.client, tally, &ask, |reply| reply.answer.is_some()).await
            }
            Change::DeletedRoute => {
                let (name, route) = self.new.pop().context("no new route is left")?;
                stage.delete_route(&route);
                let ask = Ask::get(&host(&name), "/");
                answered(&self.client, tally, &ask, |reply| {
                    reply.status.as_u16() == 404
                })
                .await
            }
            Change::Mapping => {
                stage.map(&self.route, next, None);
                let ask = Ask::get(&host(HOST), "/");
                let is_next = |reply: &Reply| by(reply) == Some(&next.name);
                let took = answered(&self.client, tally, &ask, is_next).await?;
                stage.unmap(&self.route, current);
                self.apps.swap(0, 1);
                Ok(took)
            }
        }
    }
}

fn host(name: &str) -> String {
    format!("{name}.{DOMAIN}")
}

/// The app that gave an answer.
fn by(reply: &Reply) -> Option<&String> {
    Some(&reply.answer.as_ref()?.app)
}

/// How long it takes until there is an answer that is as wanted.
async fn answered(
    client: &Client,
    tally: &mut Tally,
    ask: &Ask,
    is_wanted: impl Fn(&Reply) -> bool,
) -> Result<Duration> {
    let began = Instant::now();
    let answered = async {
        loop {
            if let Ok(reply) = client.ask(ask).await
                && is_wanted(&reply)
            {
                return reply;
            }
            sleep(POLL).await;
        }
    };
    let reply = timeout(LONG, answered).await;
    let reply =
        reply.with_context(|| format!("{} is not answered as it should in {LONG:?}", ask.host))?;
    let took = began.elapsed();
    let status = reply.status.as_u16().to_string();
    tally.answered(by(&reply).unwrap_or(&status), reply.took);
    Ok(took)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
