//! `copilot bench`: the daemon in a process of its own, a simulated foundation of any size, many sinks, and figures.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures are for people, and have fewer digits than an f64"
)]

mod counts;
mod report;
mod run;
mod sinks;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;

use self::{report::Report, run::Run, sinks::Sinks};
use crate::{
    shutdown,
    sim::load::Mode,
    telemetry::{self, Format, Level},
    tls::Identity,
};

/// The load, and how it is reported.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    /// External routes, each to an app of its own.
    #[arg(long, default_value_t = 1000)]
    routes: usize,
    /// Instances, dealt out to those apps.
    #[arg(long, default_value_t = 2000)]
    instances: usize,
    /// Internal routes, each to an app of its own with one instance; every fourth app has ten network policies.
    #[arg(long, default_value_t = 0)]
    internal: usize,
    /// Streams, each on a connection of its own.
    #[arg(long, default_value_t = 1)]
    sinks: usize,
    /// How they are served.
    #[arg(long, value_enum, default_value = "full")]
    mode: ServedBy,
    /// How instances are reached, and what is verified of them.
    #[arg(long, value_enum, default_value = "none")]
    backend_tls: BackendTls,
    /// Changes, one after the other, each timed until every sink holds it.
    #[arg(long, default_value_t = 20)]
    changes: usize,
    /// What changes.
    #[arg(long, value_enum, default_value = "route")]
    change: Change,
    /// Milliseconds of rest before each of them: with less than the daemon keeps full states apart, it waits for that.
    #[arg(long, default_value_t = 2000)]
    pause: u64,
    /// Changes in a second, after those: of instances, unless of routes.
    #[arg(long, default_value_t = 0)]
    event_rate: u32,
    /// Milliseconds from one of these changes to the next, in place of a rate.
    #[arg(long, conflicts_with = "event_rate")]
    event_every: Option<u64>,
    /// These changes are routes that are created and mapped.
    #[arg(long)]
    event_routes: bool,
    /// Seconds for which they do; and, of a daemon that runs already, for which its sinks stay.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds at rest that are observed, before the changes.
    #[arg(long, default_value_t = 0)]
    idle: u64,
    /// Run this program's `serve` in place of this one's: another build, or one that profiles it.
    #[arg(long)]
    daemon: Option<PathBuf>,
    /// One JSON object a line in place of the table.
    #[arg(long)]
    json: bool,
    /// Load the daemon that serves MCP there (xDS, if that is the mode), and start none.
    #[arg(long, requires_all = ["ca", "cert", "key"])]
    mcp: Option<SocketAddr>,
    /// The CA of its certificate.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The certificate to present to it.
    #[arg(long)]
    cert: Option<PathBuf>,
    /// Its private key.
    #[arg(long)]
    key: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BackendTls {
    /// In plaintext.
    None,
    /// Over TLS; the CA is enough.
    Ca,
    /// Over TLS; each is named.
    Instance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ServedBy {
    /// MCP, full states.
    Full,
    /// MCP, deltas.
    Delta,
    /// MCP over xDS, full states.
    Xds,
    /// MCP over xDS, deltas.
    XdsDelta,
}

impl ServedBy {
    fn mode(self) -> Mode {
        match self {
            Self::Full => Mode::Full,
            Self::Delta => Mode::Delta,
            Self::Xds => Mode::Xds,
            Self::XdsDelta => Mode::XdsDelta,
        }
    }

    fn is_xds(self) -> bool {
        matches!(self, Self::Xds | Self::XdsDelta)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Change {
    /// A route is created and mapped to an app that has instances.
    Route,
    /// An instance starts.
    Instance,
    /// An instance of an app with an internal route starts.
    Internal,
    /// An app is allowed to connect to another.
    Policy,
}

impl Options {
    /// From one of the events after the changes to the next, if there are to be any.
    fn event_every(&self) -> Option<Duration> {
        let of_rate = |rate| Duration::from_secs(1).checked_div(rate);
        self.event_every
            .map(Duration::from_millis)
            .or_else(|| of_rate(self.event_rate))
            .filter(|every| !every.is_zero())
    }
}

/// Runs the load to its end, or until Ctrl-C.
pub(super) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    telemetry::init(Level::Fatal, Format::Text)?;
    let stop = shutdown::signalled().context("installing signal handlers")?;
    let mut report = Report::new(options.json);
    tokio::select! {
        outcome = measure(&options, &mut report) => outcome?,
        () = stop => anyhow::bail!("interrupted"),
    }
    report.end();
    Ok(ExitCode::SUCCESS)
}

async fn measure(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    if let (Some(address), Some(ca), Some(cert), Some(key)) =
        (options.mcp, &options.ca, &options.cert, &options.key)
    {
        let identity = Identity {
            cert: cert.clone(),
            key: key.clone(),
        };
        let mut sinks = Sinks::new(options.mode, address, Some((ca.clone(), identity)));
        return load_another(options, &mut sinks, report).await;
    }
    anyhow::ensure!(
        options.routes > 0 || options.instances == 0,
        "--instances needs --routes"
    );
    let mut run = Run::start(options, report).await?;
    run.settle(options, report).await?;
    run.rest(options, report).await?;
    run.change(options, report).await?;
    run.churn(options, report).await?;
    run.end().await
}

/// Of a daemon that is somebody else's only what its sinks see can be told.
async fn load_another(
    options: &Options,
    sinks: &mut Sinks,
    report: &mut Report,
) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    sinks.connect(options.sinks).await?;
    sinks.hold_something().await?;
    let mut phase = report.phase("connect");
    phase.number("sinks", options.sinks as f64, "");
    phase.number("all_ms", report::ms(begun.elapsed()), "ms");
    phase.number("received_mb", sinks.megabytes(), "MB");
    phase.number("resources", sinks.resources() as f64, "of a sink");
    let (bytes, responses) = (sinks.counters().bytes(), sinks.counters().responses());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    sinks.check()?;
    let mut phase = report.phase("stay");
    phase.number("seconds", options.seconds as f64, "s");
    let responses = sinks.counters().responses() - responses;
    phase.number("responses", responses as f64, "");
    phase.number(
        "received_bytes",
        (sinks.counters().bytes() - bytes) as f64,
        "",
    );
    Ok(())
}
