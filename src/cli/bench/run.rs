//! A run against a daemon of our own: start, rest, changes one by one, and many a second.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    BackendTls, Change, Options,
    counts::Counts,
    report::{Phase, Report, ms},
    sinks::Sinks,
};
use crate::{
    cli::figures::{Progress, warn_of_debug_build},
    istio::{self, Kind},
    model::Hostname,
    sim::{
        bbs::CellPorts,
        cloud_foundry::{App, CloudFoundry, DOMAIN, INTERNAL_DOMAIN, loaded_host},
        daemon::Daemon,
        load::Sight,
    },
    tls::Identity,
};

/// Until memory is read: for the ACKs, and for what was sent to be freed.
const SETTLE: Duration = Duration::from_secs(2);

/// What runs.
pub(super) struct Run {
    foundation: CloudFoundry,
    /// Whether external routes lead to instances over TLS.
    is_tls: bool,
    apps: Vec<App>,
    internal_apps: Vec<App>,
    daemon: Daemon,
    sinks: Sinks,
    /// Until the sinks held each change.
    times: Vec<Duration>,
}

/// What is counted from one moment to another.
struct Window {
    begun: Instant,
    cpu: Duration,
    counts: Counts,
    bytes: u64,
}

impl Window {
    async fn open(run: &Run) -> anyhow::Result<Self> {
        Ok(Self {
            counts: Counts::of(run.daemon.operator()).await?,
            cpu: run.daemon.cpu()?,
            bytes: run.sinks.counters().bytes(),
            begun: Instant::now(),
        })
    }

    /// What each sink was sent since.
    fn bytes_per_sink(&self, run: &Run) -> f64 {
        (run.sinks.counters().bytes() - self.bytes) as f64 / run.sinks.len() as f64
    }

    /// What came since, shared out to `per` changes.
    async fn close(self, run: &Run, per: usize, phase: &mut Phase<'_>) -> anyhow::Result<()> {
        let took = self.begun.elapsed();
        let cpu = run.daemon.cpu()?.saturating_sub(self.cpu);
        let counts = Counts::of(run.daemon.operator()).await?;
        let per = per.max(1) as f64;
        let share = |value: f64| value / per;
        let generation = counts.generation.saturating_sub(self.counts.generation);
        let bytes = self.bytes_per_sink(run);
        phase.number("daemon_cpu_ms", share(ms(cpu)), "ms");
        phase.number(
            "daemon_cpu_percent",
            100.0 * cpu.as_secs_f64() / took.as_secs_f64(),
            "%",
        );
        phase.number("generation_us", share(generation.as_secs_f64() * 1e6), "µs");
        phase.number(
            "encoded",
            share(counts.encoded - self.counts.encoded),
            "resources",
        );
        phase.number(
            "collections",
            share(counts.changes - self.counts.changes),
            "versions",
        );
        phase.number(
            "pushes",
            share(counts.pushes - self.counts.pushes),
            "responses",
        );
        phase.number("bytes_per_sink", share(bytes), "bytes");
        Ok(())
    }
}

impl Run {
    /// Loads the foundation, starts the daemon, and waits until one sink holds everything, then all.
    pub(super) async fn start(options: &Options, report: &mut Report) -> anyhow::Result<Self> {
        warn_of_debug_build(options.routes + options.instances + options.internal);
        let _goes_on = Progress::of("loading the foundation and the first sink");
        let mut foundation = CloudFoundry::start().await?;
        if options.backend_tls == BackendTls::None {
            foundation.cell_ports = CellPorts::Plain;
        }
        let apps = match options.routes {
            0 => Vec::new(),
            routes => foundation.load(routes, options.instances),
        };
        let internal_apps = foundation.load_internal(options.internal);
        let config = config(&foundation, options);
        let begun = Instant::now();
        let program = match &options.daemon {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("finding this program")?,
        };
        let daemon = Daemon::start(&program, foundation.folder(), &config);
        let daemon = daemon.context("starting the daemon")?;
        let address = daemon.address(if options.mode.is_xds() {
            "xds_address"
        } else {
            "mcp_address"
        })?;
        let file = |name: &str| foundation.folder().join(name);
        let tls = (!options.mode.is_xds()).then(|| {
            let identity = Identity {
                cert: file("pilot.crt"),
                key: file("pilot.key"),
            };
            (foundation.pki.ca().to_owned(), identity)
        });
        let mut sinks = Sinks::new(options.mode, address, tls);
        sinks.connect(1).await?;
        let reachable = options.routes.min(options.instances) + options.internal;
        let expected = [
            (Kind::VirtualService.collection(), options.routes),
            (Kind::ServiceEntry.collection(), reachable),
        ];
        sinks.hold(&expected).await?;
        let mut phase = report.phase("start");
        for (name, count) in [
            ("routes", options.routes),
            ("instances", options.instances),
            ("internal", options.internal),
        ] {
            phase.number(name, count as f64, "");
        }
        phase.number("first_sink_ms", ms(begun.elapsed()), "ms");
        phase.number("daemon_cpu_ms", ms(daemon.cpu()?), "ms");
        phase.number("received_mb", sinks.megabytes(), "MB");
        Ok(Self {
            foundation,
            is_tls: options.backend_tls != BackendTls::None,
            apps,
            internal_apps,
            daemon,
            sinks,
            times: Vec::new(),
        })
    }

    /// The other sinks, and the memory that all of it takes.
    pub(super) async fn settle(
        &mut self,
        options: &Options,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let _goes_on = Progress::of("connecting the sinks");
        self.sinks.hold_something().await?;
        sleep(SETTLE).await;
        let memory = self.daemon.memory()?;
        let mut phase = report.phase("memory");
        phase.number("resident_mb", memory.now, "MB");
        phase.number("peak_mb", memory.peak, "MB");
        if options.sinks > 1 {
            self.connect_all(options, memory.now, report).await?;
        }
        Ok(())
    }

    async fn connect_all(
        &mut self,
        options: &Options,
        before: f64,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        self.daemon.forget_peak()?;
        let window = Window::open(self).await?;
        self.sinks.connect(options.sinks).await?;
        self.sinks.hold_something().await?;
        let mut phase = report.phase("sinks");
        phase.number("sinks", options.sinks as f64, "");
        phase.number("all_ms", ms(window.begun.elapsed()), "ms");
        window.close(self, 1, &mut phase).await?;
        sleep(SETTLE).await;
        let memory = self.daemon.memory()?;
        phase.number("resident_mb", memory.now, "MB");
        phase.number("peak_mb", memory.peak, "MB");
        let kilobytes = (memory.now - before) * 1024.0 / (options.sinks - 1) as f64;
        phase.number("kb_per_sink", kilobytes, "KB");
        Ok(())
    }

    /// Nothing changes.
    pub(super) async fn rest(&self, options: &Options, report: &mut Report) -> anyhow::Result<()> {
        if options.idle == 0 {
            return Ok(());
        }
        let _goes_on = Progress::of("at rest");
        let window = Window::open(self).await?;
        sleep(Duration::from_secs(options.idle)).await;
        let mut phase = report.phase("rest");
        phase.number("seconds", options.idle as f64, "s");
        window.close(self, 1, &mut phase).await?;
        let memory = self.daemon.memory()?;
        phase.number("resident_mb", memory.now, "MB");
        self.sinks.check()
    }

    /// One change after the other.
    pub(super) async fn change(
        &mut self,
        options: &Options,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        if options.changes == 0 {
            return Ok(());
        }
        let _goes_on = Progress::of("changing one after the other");
        // The first one opens connections, here and there.
        self.change_once(options.change, 0).await?;
        self.daemon.forget_peak()?;
        let window = Window::open(self).await?;
        let mut times = Vec::new();
        for n in 1..=options.changes {
            sleep(Duration::from_millis(options.pause)).await;
            times.push(self.change_once(options.change, n).await?);
        }
        let mut phase = report.phase("change");
        phase.number("changes", options.changes as f64, "");
        phase.times("change", times.clone());
        self.times.extend(times);
        window.close(self, options.changes, &mut phase).await?;
        let memory = self.daemon.memory()?;
        phase.number("resident_mb", memory.now, "MB");
        phase.number("peak_mb", memory.peak, "MB");
        Ok(())
    }

    /// The time until the last sink holds the `n`th change.
    async fn change_once(&mut self, change: Change, n: usize) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let expected = match change {
            Change::Route => self.add_route(n)?,
            Change::Instance => self.move_instance(n)?,
            Change::Internal => {
                let app = self.internal_apps.get_mut(n);
                let app = app.context("not as many internal routes as changes")?;
                let moved = self.foundation.crash(app);
                let (container, port) = moved.context("an app without an instance")?.inside;
                let names = [self.name(Kind::ServiceEntry, &loaded_host(n), true)];
                self.sinks.expect(&names, Sight::Endpoint(container, port));
                1
            }
            Change::Policy => {
                // Every fourth has some already.
                let app = |n: usize| self.internal_apps.get(n).map(|app| app.guid.to_string());
                let (source, destination) = app(4 * n + 1)
                    .zip(app(4 * n))
                    .context("four internal routes are needed for each change")?;
                self.sinks
                    .expect(std::slice::from_ref(&source), Sight::Present);
                self.foundation.policies.allow(&source, &destination, 8080);
                1
            }
        };
        for _ in 0..expected * self.sinks.len() {
            self.sinks.seen().await?;
        }
        Ok(begun.elapsed())
    }

    /// A route to the `n`th app is created and mapped.
    fn add_route(&mut self, n: usize) -> anyhow::Result<usize> {
        let app = self.apps.get(n).context("not as many routes as changes")?;
        let host = format!("new-{n:06}");
        let kinds = [Kind::VirtualService, Kind::ServiceEntry];
        let names = kinds.map(|kind| self.name(kind, &host, false)).to_vec();
        self.sinks.expect(&names, Sight::Present);
        let route = self.foundation.create_route(&host, "");
        self.foundation.map(&route, app, None);
        Ok(names.len())
    }

    /// An instance of the `n`th app crashes and comes back elsewhere.
    fn move_instance(&mut self, n: usize) -> anyhow::Result<usize> {
        let app = self
            .apps
            .get_mut(n)
            .context("not as many routes as changes")?;
        let moved = self.foundation.crash(app);
        let (cell, port) = moved.context("an app without an instance")?.outside;
        // In time: a response takes longer than this.
        let names = [self.name(Kind::ServiceEntry, &loaded_host(n), false)];
        self.sinks.expect(&names, Sight::Endpoint(cell, port));
        Ok(1)
    }

    /// Many changes a second, each of an app of its own.
    pub(super) async fn churn(
        &mut self,
        options: &Options,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let Some(every) = options.event_every() else {
            return Ok(());
        };
        let _goes_on = Progress::of("changing many a second");
        let window = Window::open(self).await?;
        let seconds = Duration::from_secs(options.seconds);
        let count = usize::try_from(seconds.as_nanos() / every.as_nanos())?;
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut lags, mut expected) = (Vec::new(), 0);
        // Not the apps whose routes or instances the changes were.
        for n in 0..count {
            ticks.tick().await;
            let app = self.apps.len().checked_sub(n + 1);
            let app = app.context("not as many routes as events")?;
            expected += if options.event_routes {
                self.add_route(app)?
            } else {
                self.move_instance(app)?
            };
            lags.extend(std::iter::from_fn(|| self.sinks.seen_by_now()).map(|seen| seen.after));
        }
        while lags.len() < expected * self.sinks.len() {
            lags.push(self.sinks.seen().await?.after);
        }
        let lost = self.sinks.unseen();
        let mut phase = report.phase("churn");
        phase.number("events", count as f64, "");
        phase.number("seconds", options.seconds as f64, "s");
        phase.number("lost", lost as f64, "");
        phase.times("lag", lags.clone());
        self.times.extend(lags);
        let bytes = window.bytes_per_sink(self) / count.max(1) as f64;
        phase.number("bytes_per_change", bytes, "bytes of a sink");
        window.close(self, 1, &mut phase).await
    }

    /// All of it in a few lines.
    pub(super) fn total(&mut self, options: &Options, report: &mut Report) -> anyhow::Result<()> {
        let memory = self.daemon.memory()?;
        let mut phase = report.phase("total");
        let routes = options.routes + options.internal;
        phase.number("routes", routes as f64, "");
        let instances = options.instances + options.internal;
        phase.number("instances", instances as f64, "");
        phase.number("received_mb", self.sinks.megabytes(), "MB");
        phase.number("resident_mb", memory.now, "MB");
        phase.times("seen", std::mem::take(&mut self.times));
        Ok(())
    }

    /// The name of what a sink is to hold.
    fn name(&self, kind: Kind, host: &str, internal: bool) -> String {
        let domain = if internal { INTERNAL_DOMAIN } else { DOMAIN };
        let host = Hostname::parse(&format!("{host}.{domain}")).expect("a valid hostname");
        let [_, over_tls] = istio::undivided(&host, "");
        if self.is_tls && !internal && kind == Kind::ServiceEntry {
            over_tls
        } else {
            kind.name(&host, internal)
        }
    }

    /// Ends the daemon in order.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        drop(self.sinks);
        let daemon = self.daemon;
        let ended = tokio::task::spawn_blocking(|| daemon.stop()).await?;
        ended.context("ending the daemon")
    }
}

/// The defaults of the daemon, but for what one address would not be allowed.
fn config(foundation: &CloudFoundry, options: &Options) -> Value {
    let mut config = foundation.config();
    if let Some(config) = config.as_object_mut() {
        config.remove("PolicyServerPollInterval");
    }
    match options.backend_tls {
        BackendTls::None => config["BackendTLS"] = Value::Null,
        BackendTls::Ca => config["BackendTLS"]["Verify"] = json!("ca"),
        BackendTls::Instance => {}
    }
    config["MaxSinkStreamsPerPeer"] = json!(options.sinks.max(1));
    if options.mode.is_xds() {
        config["ListenAddressForXDS"] = json!("127.0.0.1:0");
    }
    config
}
