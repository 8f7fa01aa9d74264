//! `copilot demo`: the real daemon on a simulated foundation, and a person who watches.

mod istiod;
mod scene;
mod table;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    istiod::Beside,
    scene::{HOSTS, REACHED, RULES, Scene},
};
use super::{
    figures::{Progress, percentile, warn_of_debug_build},
    say::say,
};
use crate::{
    app,
    config::Config,
    istio::{Kind, OF_HOSTS},
    shutdown,
    sim::{cloud_foundry::CloudFoundry, operator::Operator, sink::State, usage},
    telemetry::{self, Format, Level},
};

/// How long the first complete state may take before the demo says that it failed.
const CONVERGENCE: Duration = Duration::from_secs(25);
/// How long a change may take before the demo says that it got lost.
const CHANGE: Duration = Duration::from_secs(20);
/// Time to read a line before the next.
const PAUSE: Duration = Duration::from_millis(1500);
/// What `--once` exits with when the state did not arrive.
const NOT_CONVERGED: u8 = 2;

/// The size of the foundation, and when to end.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Print the first complete state and end: 0 if it arrived, 2 if not.
    #[arg(long)]
    once: bool,
    /// Add this many routes, each to an app of its own.
    #[arg(long, default_value_t = 0)]
    routes: usize,
    /// Deal this many instances out to those apps.
    #[arg(long, default_value_t = 0)]
    instances: usize,
    /// Serve an istiod beside the Pilot, and show that both send requests to the same instances.
    #[arg(long)]
    xds: bool,
}

impl Options {
    /// Ctrl-C is how the demo ends, and with `--once` comes before the state that was asked for.
    fn interrupted(&self) -> ExitCode {
        if self.once {
            ExitCode::from(NOT_CONVERGED)
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// The stage, and who watches it.
struct Demo {
    scene: Scene,
    /// What the client holds.
    sink: watch::Receiver<State>,
    /// Who follows the same daemon over the other protocol.
    istiod: Option<Beside>,
    operator: Operator,
    begun: Instant,
    /// Until the client held each change.
    times: Vec<Duration>,
}

/// Runs the demo until Ctrl-C, or once.
pub(super) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        options.routes > 0 || options.instances == 0,
        "--instances needs --routes"
    );
    telemetry::init(Level::Fatal, Format::Text)?;
    let stop = shutdown::signalled().context("installing signal handlers")?;

    say!(
        "Starting a simulated foundation on loopback, with real TLS: UAA, Cloud Controller, BBS and policy server.\n"
    );
    warn_of_debug_build(options.routes + options.instances);
    let goes_on = Progress::of("loading the foundation");
    let mut foundation = CloudFoundry::start().await?;
    foundation.load(options.routes, options.instances);
    drop(goes_on);
    let scene = Scene::set(foundation);

    let begun = Instant::now();
    let config = config(&scene.foundation, &options)?;
    let daemon = app::bind(config, None).await?;
    let addresses = daemon.addresses;
    print_addresses(&scene.foundation, &addresses);
    let end = CancellationToken::new();
    let running = tokio::spawn(daemon.run(end.clone().cancelled_owned()));

    let kinds = OF_HOSTS.into_iter().chain([Kind::Gateway]);
    let pilot = scene
        .foundation
        .connect_pilot(
            addresses.mcp,
            kinds.map(|kind| kind.collection().to_owned()).collect(),
        )
        .await?;
    let istiod = match addresses.xds {
        Some(address) => Some(Beside::connect(address).await?),
        None => None,
    };
    let mut demo = Demo {
        scene,
        sink: pilot.state(),
        istiod,
        operator: Operator::new(addresses.admin)?,
        begun,
        times: Vec::new(),
    };
    let outcome = tokio::select! {
        outcome = demo.show(&options) => outcome,
        () = stop => Ok(options.interrupted()),
    };
    if !options.once {
        demo.print_totals()?;
    }
    say!("Ending the daemon as SIGTERM would.\n");
    end.cancel();
    running.await.context("joining the daemon")??;
    outcome
}

fn config(foundation: &CloudFoundry, options: &Options) -> anyhow::Result<Config> {
    let mut config = foundation.config();
    if options.xds {
        config["ListenAddressForXDS"] = json!("127.0.0.1:0");
    }
    Config::parse(serde_json::from_value(config)?)
        .map_err(|problems| anyhow::anyhow!("the demo's config: {problems:?}"))
}

fn print_addresses(foundation: &CloudFoundry, addresses: &app::Addresses) {
    let app::Addresses {
        mcp, xds, admin, ..
    } = addresses;
    say!("\n");
    say!("  Cloud Controller   {}\n", foundation.capi.url());
    say!(
        "  BBS                {} (mutual TLS)\n",
        foundation.bbs.address()
    );
    say!("  Copilot for Pilot  {mcp} (MCP, mutual TLS)\n");
    if let Some(xds) = xds {
        say!("  Copilot for istiod {xds} (ADS, in the clear)\n");
    }
    for page in [
        "",
        "readyz",
        "metrics",
        "debug/snapshot",
        "debug/rejected",
        "debug/sinks",
    ] {
        say!("  Copilot for you    http://{admin}/{page}\n");
    }
    say!("  Certificates       {}\n", foundation.folder().display());
    say!("\n");
}

impl Demo {
    async fn show(&mut self, options: &Options) -> anyhow::Result<ExitCode> {
        let expected = [
            HOSTS + options.routes,
            RULES + options.routes,
            REACHED + options.routes.min(options.instances),
        ];
        let goes_on = Progress::of("waiting until the client holds everything");
        let complete = self
            .sink
            .wait_for(|state| table::is_complete(state, expected));
        let Ok(arrived) = tokio::time::timeout(CONVERGENCE, complete).await else {
            say!("The complete state did not reach the client within {CONVERGENCE:?}.\n");
            self.print_table().await?;
            return Ok(ExitCode::from(NOT_CONVERGED));
        };
        drop(goes_on);
        drop(arrived.context("the stream ended")?);
        let elapsed = self.begun.elapsed().as_millis();
        say!("The client holds the complete state {elapsed} ms after the daemon's start.\n\n");
        self.print_table().await?;
        self.compare().await?;
        if options.once {
            return Ok(ExitCode::SUCCESS);
        }
        say!(
            "\nNow the foundation changes. Each line is a change, with the time until the client holds it.\n"
        );
        say!("Ctrl-C ends the demo.\n\n");
        for step in 0.. {
            tokio::time::sleep(PAUSE).await;
            if !self.change(step).await? {
                break;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn print_table(&self) -> anyhow::Result<()> {
        let rejected = self.rejected().await?;
        say!(
            "{}",
            table::render(&self.sink.borrow(), scene::routes(), |host| rejected
                .get(host.as_str())
                .cloned())?
        );
        Ok(())
    }

    /// What it came to: what the client holds, in what memory, and how soon it was told.
    fn print_totals(&mut self) -> anyhow::Result<()> {
        let state = self.sink.borrow();
        let resources = || {
            state
                .collections
                .values()
                .flat_map(|one| one.resources.values())
        };
        let bytes: usize = resources().map(prost::Message::encoded_len).sum();
        let count = resources().count();
        let memory = usage::resident(std::process::id())?.now;
        say!(
            "The client holds {count} resources of {bytes} bytes. All of it, peers included, takes {memory:.0} MB.\n"
        );
        self.times.sort();
        let at = |percent| percentile(&self.times, percent).map(|time| time.as_millis());
        if let (Some(median), Some(late)) = (at(50), at(99)) {
            let changes = self.times.len();
            say!(
                "Of {changes} changes half were there within {median} ms, 99 % within {late} ms.\n"
            );
        }
        Ok(())
    }

    /// Says whether the istiod, if there is one, sends requests where the Pilot does.
    async fn compare(&self) -> anyhow::Result<()> {
        let Some(istiod) = &self.istiod else {
            return Ok(());
        };
        istiod.catch_up(self.sink.clone(), CHANGE).await?;
        say!("\n{}", istiod.render());
        Ok(())
    }

    /// Why hostnames are not served, as an operator learns it.
    async fn rejected(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let page = self.operator.json("/debug/rejected").await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resources = page["resources"].as_array().into_iter().flatten();
        Ok(resources
            .map(|resource| (text(&resource["host"]), text(&resource["detail"])))
            .collect())
    }

    /// Changes the foundation and waits for the consequence. Whether anybody reads of it.
    async fn change(&mut self, step: usize) -> anyhow::Result<bool> {
        let started = Instant::now();
        let change = self.scene.change(step, &self.sink.borrow());
        let mut sink = self.sink.clone();
        let arrived = sink.wait_for(|state| (change.arrived)(state));
        if let Ok(state) = tokio::time::timeout(CHANGE, arrived).await {
            let elapsed = started.elapsed();
            self.times.push(elapsed);
            let elapsed = elapsed.as_millis();
            drop(state.context("the stream ended")?);
            say!("{elapsed:>6} ms");
            if let Some(istiod) = &self.istiod {
                istiod.catch_up(self.sink.clone(), CHANGE).await?;
                say!(", istiod {:>4} ms", started.elapsed().as_millis());
            }
            Ok(say!("  {}\n", change.what))
        } else {
            let what = change.what;
            Ok(say!("  lost?    {what} (not seen for {CHANGE:?})\n"))
        }
    }
}
