//! A foundation, a daemon that serves it, and good sinks that follow it.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use copilot::{
    istio::{Kind, OF_HOSTS},
    model::Hostname,
    sim::{
        bbs::CellPorts,
        cloud_foundry::{App, CloudFoundry, DOMAIN, loaded_host},
        daemon::Daemon,
        istiod,
        load::{Counters, LoadSink, Mode, Seen, Sight},
        sink,
    },
    tls::{self, Identity},
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::transport::Channel;

use crate::{
    attackers::Attack,
    course,
    figures::{Figures, Times},
    health::Prober,
    tenants::{TENANTS, Tenants},
};

/// Good routes, each to an app of its own with two instances.
const ROUTES: usize = 1000;
/// From one change to the next.
const CHANGE_EVERY: Duration = Duration::from_millis(250);
/// From one new sink to the next.
const SINK_EVERY: Duration = Duration::from_secs(2);
/// After this it is lost.
const LOST: Duration = Duration::from_mins(1);

/// What runs, but for the attackers.
pub struct Scene {
    pub foundation: CloudFoundry,
    pub tenants: Tenants,
    pub daemon: Daemon,
    apps: Vec<App>,
    changed: usize,
    followers: [Follower; 2],
    pilot: Identity,
}

/// A good sink, which is told what to look out for.
struct Follower {
    sink: LoadSink,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl Scene {
    /// A daemon that serves a foundation to a Pilot and to an istiod.
    pub async fn start(program: &Path, attacks: &[Attack]) -> Result<Self> {
        let mut foundation = CloudFoundry::start().await?;
        foundation.cell_ports = CellPorts::Plain;
        let apps = foundation.load(ROUTES, 2 * ROUTES);
        let tenants = Tenants::settle(&mut foundation, attacks);
        let daemon = Daemon::start(program, foundation.folder(), &config(&foundation))
            .context("starting the daemon")?;
        let file = |name: &str| foundation.folder().join(name);
        let pilot = Identity {
            cert: file("pilot.crt"),
            key: file("pilot.key"),
        };
        let mcp = mcp(&foundation, &daemon, &pilot).await?;
        let xds = istiod::connect(daemon.address("xds_address")?).await?;
        let services = ROUTES + tenants.routes();
        let followers = [
            Follower::open(&mcp, Mode::Full, services).await?,
            Follower::open(&xds, Mode::Xds, services).await?,
        ];
        Ok(Self {
            foundation,
            tenants,
            daemon,
            apps,
            changed: 0,
            followers,
            pilot,
        })
    }

    /// Where a listener is, by its name in the log.
    pub fn address(&self, name: &str) -> Result<SocketAddr> {
        Ok(self.daemon.address(name)?)
    }

    /// Changes the foundation for so long, and takes note of when the sinks know.
    pub async fn follow(&mut self, lasts: Duration) -> Result<Figures> {
        let mut figures = Figures::default();
        self.daemon.forget_peak()?;
        let (cpu, logged, begun) = (self.daemon.cpu()?, self.daemon.logged(), Instant::now());
        let prober = Prober::start(self.address("admin_address")?, begun);
        let mut course = JoinSet::new();
        course.spawn(course::tell(self.daemon.operator().clone(), begun));
        let mut arriving = JoinSet::new();
        let mut changes = interval(CHANGE_EVERY);
        changes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sinks = interval(SINK_EVERY);
        while begun.elapsed() < lasts {
            tokio::select! {
                _ = changes.tick() => self.change()?,
                _ = sinks.tick() => {
                    let channel = mcp(&self.foundation, &self.daemon, &self.pilot).await;
                    let since = Instant::now();
                    arriving.spawn(async move { (since, arrive(channel, since).await) });
                }
            }
            self.take(&mut figures, begun);
        }
        drop(course);
        let took = begun.elapsed();
        figures.cpu_percent = percent(self.daemon.cpu()?.saturating_sub(cpu), took);
        let waits = Instant::now();
        while self.unseen() > 0 && waits.elapsed() < LOST {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.take(&mut figures, begun);
        }
        figures.lost = self.unseen();
        figures.ended = self.followers.iter().filter_map(Follower::ended).collect();
        for (since, arrived) in arriving.join_all().await {
            match arrived {
                Ok(after) => figures.arrivals.add(after, since - begun),
                Err(error) => figures.refused.push(format!("{error:#}")),
            }
        }
        figures.health = prober.stop();
        figures.peak_mb = self.daemon.memory()?.peak;
        figures.log_kb_per_minute = per_minute(self.daemon.logged() - logged, begun.elapsed());
        Ok(figures)
    }

    /// An instance of an app comes back elsewhere.
    fn change(&mut self) -> Result<()> {
        let n = self.changed % self.apps.len();
        self.changed += 1;
        let moved = self.foundation.crash(&mut self.apps[n]);
        let (cell, port) = moved.context("an app without an instance")?.outside;
        let host = Hostname::parse(&format!("{}.{DOMAIN}", loaded_host(n)))?;
        let name = Kind::ServiceEntry.name(&host, false);
        for follower in &self.followers {
            let sight = Sight::Endpoint(cell, port);
            follower.sink.expect(&name, sight, Instant::now());
        }
        Ok(())
    }

    fn take(&mut self, figures: &mut Figures, begun: Instant) {
        let [mcp, xds] = &mut self.followers;
        mcp.take(&mut figures.mcp, begun);
        xds.take(&mut figures.xds, begun);
    }

    fn unseen(&self) -> usize {
        self.followers.iter().map(|one| one.sink.unseen()).sum()
    }

    /// Ends the daemon in order.
    pub async fn end(self) -> Result<()> {
        let daemon = self.daemon;
        let ended = tokio::task::spawn_blocking(|| daemon.stop()).await?;
        ended.context("ending the daemon")
    }
}

impl Follower {
    async fn open(channel: &Channel, mode: Mode, services: usize) -> Result<Self> {
        let (sender, seen) = mpsc::unbounded_channel();
        let collections = OF_HOSTS.map(Kind::collection);
        let counters = Arc::<Counters>::default();
        let sink = LoadSink::open(channel, mode, &collections, counters, sender).await?;
        let mut totals = sink.totals();
        let holds = totals.wait_for(|totals| {
            let held = totals.resources.get(Kind::ServiceEntry.collection());
            totals.ended.is_some() || held.is_some_and(|held| *held >= services)
        });
        timeout(LOST, holds).await.context("no first state")??;
        Ok(Self { sink, seen })
    }

    fn take(&mut self, times: &mut Times, begun: Instant) {
        while let Ok(seen) = self.seen.try_recv() {
            times.add(seen.after, begun.elapsed().saturating_sub(seen.after));
        }
    }

    fn ended(&self) -> Option<String> {
        let totals = self.sink.totals();
        let ended = totals.borrow().ended.clone();
        ended.map(|status| status.to_string())
    }
}

/// A Pilot's connection.
async fn mcp(foundation: &CloudFoundry, daemon: &Daemon, pilot: &Identity) -> Result<Channel> {
    let config = tls::client(foundation.pki.ca(), Some(pilot))?;
    Ok(sink::connect(daemon.address("mcp_address")?, config).await?)
}

/// How long a new Pilot waits for its first answer.
async fn arrive(channel: Result<Channel>, since: Instant) -> Result<Duration> {
    let channel = channel.context("connecting")?;
    let answered = async {
        let mut stream = sink::Stream::open(&channel).await?;
        stream.subscribe(Kind::Gateway.collection()).await;
        let answer = stream.next().await?;
        answer.context("the stream has ended")
    };
    timeout(LOST, answered).await.context("no answer")??;
    Ok(since.elapsed())
}

fn config(foundation: &CloudFoundry) -> Value {
    let mut config = foundation.config();
    config["BackendTLS"] = Value::Null;
    config["ListenAddressForXDS"] = json!("127.0.0.1:0");
    config["AllowedSinkNames"] = json!(["pilot"]);
    config["MeshDomains"] = json!([DOMAIN, TENANTS]);
    config["PolicyServerPollInterval"] = json!("1s");
    // Often, so that the servers' lies are heard.
    config["CAPI"]["FullReadInterval"] = json!("20s");
    config
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn per_minute(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1024.0 / took.as_secs_f64() * 60.0
}

fn percent(cpu: Duration, took: Duration) -> f64 {
    100.0 * cpu.as_secs_f64() / took.as_secs_f64()
}
