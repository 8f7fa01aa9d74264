//! The whole daemon in paused time, between a foundation and Pilots that live within the process: whatever its peers
//! do, nothing is lost that is true, and in the end what is served is what is true.
//!
//! Everything follows from a seed; with an odd one, peers lie too. `SEED=7 cargo test --test simulation -- whatever` runs
//! one alone, and says what happened; `SIMULATION_SEEDS` is how many run otherwise, from `SIMULATION_FIRST` on. `SIMULATION_LOG` is a level,
//! and `SIMULATION_LINES` how many of the last requests and answers are told.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on panics; nothing here is for another crate"
)]

mod clock;
mod lies;
mod oracle;
mod peers;
mod pusher;
mod rows;
mod sinks;
mod trace;
mod world;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use copilot::{
    app::{self, Entrances},
    config::Config,
    shutdown,
    sim::{
        capi::{CLIENT_ID, CLIENT_SECRET},
        cloud_foundry::{DOMAIN, INTERNAL_DOMAIN},
        pki::Pki,
    },
};
use fastrand::Rng;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::{
    oracle::{Oracle, soon},
    peers::{BBS, CAPI, Network, POLICIES, Weather},
    pusher::Pusher,
    sinks::{AllEntrances, Pilot, Protocol},
    trace::{Line, Trace},
    world::{TCP_DOMAIN, TCP_PORTS, World},
};

/// Seeds in an ordinary run.
const SEEDS: u64 = 10;
/// Seeds that are run twice.
const SEEDS_TWICE: u64 = 3;
/// How long it may take after the peers are well again: what is held for long is everything.
const CONVERGES_WITHIN: Duration = Duration::from_mins(15);

/// How long a request is waited for, as the config has it by default.
const UNANSWERED: Duration = Duration::from_secs(30);

/// Certificates that nobody verifies: there is no TLS.
static CERTIFICATES: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    let pki = Pki::new(folder.path(), "test").unwrap();
    pki.issue("copilot", &["localhost"]).unwrap();
    let ca = pki.ca().to_owned();
    (folder, ca)
});

/// What a seed decides of the whole run.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// Whether peers lie.
    lies: bool,
    /// Whether Cloud Controller pushes its routes.
    pushes: bool,
}

impl Kind {
    fn of(seed: u64) -> Self {
        Self {
            lies: seed % 2 == 1,
            pushes: seed / 2 % 4 == 3,
        }
    }
}

fn config(Kind { lies, pushes }: Kind, file: &Path) -> Value {
    // Where peers lie, whatever a read takes away is held: no lie is small enough to pass.
    let most = if lies { 0 } else { 1_000_000 };
    let (folder, ca) = &*CERTIFICATES;
    let certificate = |name: &str| folder.path().join(name);
    let address = |name: &str| format!("https://{name}/");
    let mut config = json!({
        "ListenAddressForMCP": "127.0.0.1:0",
        "ServerCertPath": certificate("copilot.crt"),
        "ServerKeyPath": certificate("copilot.key"),
        "PilotClientCAPath": ca,
        "CertificateReloadInterval": "24h",
        "ListenAddressForXDS": "127.0.0.1:0",
        "AdminListenAddress": "127.0.0.1:0",
        "StateFile": file,
        "MaxLoss": most,
        "MaxLossPercent": 0,
        "VIPCIDR": "127.128.0.0/9",
        "BBS": {
            "Address": address(BBS),
            "ServerCACertPath": ca,
            "ClientCertPath": certificate("copilot.crt"),
            "ClientKeyPath": certificate("copilot.key"),
            "SyncInterval": "30s",
        },
        "PolicyServerAddress": address(POLICIES),
        "PolicyServerCAPath": ca,
        "PolicyServerClientCertPath": certificate("copilot.crt"),
        "PolicyServerClientKeyPath": certificate("copilot.key"),
        "PolicyServerPollInterval": "10s",
    });
    let of_routes = if pushes {
        json!({
            "ListenAddressForCloudController": "127.0.0.1:0",
            "CloudControllerClientCAPath": ca,
        })
    } else {
        json!({
            "MeshDomains": [DOMAIN, INTERNAL_DOMAIN],
            "TCPRoutes": {
                "Domains": [TCP_DOMAIN],
                "Ports": [format!("{}-{}", TCP_PORTS.start(), TCP_PORTS.end())],
            },
            "CAPI": {
                "Address": address(CAPI),
                "CACertPath": ca,
                "ClientID": CLIENT_ID,
                "ClientSecret": CLIENT_SECRET,
                "TailInterval": "5s",
                "FullReadInterval": "1m",
            },
        })
    };
    let Value::Object(of_routes) = of_routes else {
        unreachable!()
    };
    config.as_object_mut().unwrap().extend(of_routes);
    config
}

/// A daemon, and the way to its peers.
struct Daemon {
    network: Network,
    file: PathBuf,
    stop: CancellationToken,
    running: JoinHandle<Result<(), shutdown::Error>>,
}

impl Daemon {
    async fn start(network: Network, file: PathBuf, kind: Kind) -> (Self, Entrances) {
        let Value::Object(config) = config(kind, &file) else {
            unreachable!()
        };
        let config = Config::parse(config).unwrap();
        let bound = app::bind_over(Arc::new(network.clone()), config, None);
        let bound = bound.await.unwrap();
        let entrances = bound.entrances.clone();
        let stop = CancellationToken::new();
        let running = tokio::spawn(bound.run(stop.clone().cancelled_owned()));
        let daemon = Self {
            network,
            file,
            stop,
            running,
        };
        (daemon, entrances)
    }
}

/// What the next process finds of the state file.
#[derive(Debug, Clone, Copy)]
enum Finds {
    Whole,
    Damaged,
    CutShort,
    Gone,
}

impl Finds {
    const ALL: [Self; 6] = [
        Self::Whole,
        Self::Whole,
        Self::Whole,
        Self::Damaged,
        Self::CutShort,
        Self::Gone,
    ];

    fn leave(self, file: &Path) {
        let Ok(mut bytes) = fs::read(file) else {
            return;
        };
        match self {
            Self::Whole => return,
            Self::Damaged => *bytes.last_mut().unwrap() ^= 1,
            Self::CutShort => bytes.truncate(bytes.len() / 2),
            Self::Gone => return fs::remove_file(file).unwrap(),
        }
        fs::write(file, bytes).unwrap();
    }
}

/// One run.
struct Run {
    kind: Kind,
    rng: Rng,
    oracle: Oracle,
    daemons: Vec<Daemon>,
    entrances: AllEntrances,
    sinks: usize,
}

impl Run {
    async fn start(seed: u64, folder: &Path, trace: &Trace) -> Self {
        let mut rng = Rng::with_seed(seed);
        let kind = Kind::of(seed);
        let world = World::new(rng.fork(), kind.pushes);
        let mut run = Self {
            kind,
            oracle: Oracle::new(world, kind.lies),
            daemons: Vec::new(),
            entrances: AllEntrances::default(),
            sinks: rng.usize(1..=3),
            rng,
        };
        for number in 0..run.rng.usize(1..=2) {
            let seed = run.rng.u64(..);
            let network = |world: &mut World| Network::new(seed, trace.clone(), world);
            let network = run.oracle.world(network);
            let file = folder.join(number.to_string());
            let (daemon, entrances) = Daemon::start(network, file, kind).await;
            run.daemons.push(daemon);
            run.entrances.lock().unwrap().push(entrances);
        }
        if kind.pushes {
            for (number, daemon) in run.daemons.iter().enumerate() {
                let pusher = Pusher {
                    number,
                    entrances: run.entrances.clone(),
                    oracle: run.oracle.clone(),
                    network: daemon.network.clone(),
                    trace: trace.clone(),
                };
                tokio::spawn(pusher.run());
            }
        }
        for number in 0..run.sinks {
            run.follow(number, None, trace);
        }
        // What no other sink reads for a while has to become true, too.
        for daemon in 0..run.daemons.len() {
            run.follow(run.sinks, Some(daemon), trace);
            run.sinks += 1;
        }
        run
    }

    fn follow(&mut self, number: usize, home: Option<usize>, trace: &Trace) {
        let pilot = Pilot {
            number,
            entrances: self.entrances.clone(),
            oracle: self.oracle.clone(),
            trace: trace.clone(),
            protocol: self.rng.choice(Protocol::ALL).unwrap(),
            rng: self.rng.fork(),
            home,
        };
        tokio::spawn(pilot.run());
    }

    /// A second, with so many changes.
    async fn second(&self, changes: usize, is_calm: bool) -> Result<(), String> {
        self.oracle.world(|world| world.tick(changes, is_calm));
        sleep(Duration::from_secs(1)).await;
        for (number, daemon) in self.daemons.iter().enumerate() {
            if daemon.running.is_finished() {
                self.oracle.fails("a daemon has ended");
            }
            if self.oracle.serves(number) {
                daemon.network.serves();
            }
            if let Some(at) = daemon.network.told_policies() {
                self.oracle.told_policies(number, at);
            }
        }
        self.oracle.verdict()
    }

    /// Peers fail, in other ways at other times, while the foundation changes.
    async fn storm(&mut self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(self.rng.u64(20..90));
        let is_lying = self.kind.lies && self.rng.bool();
        while Instant::now() < until {
            if self.rng.u32(0..10) == 0 {
                self.weather(is_lying);
            }
            if self.rng.u32(0..60) == 0 {
                self.restart().await;
            }
            let changes = self.rng.usize(0..3).saturating_sub(1);
            self.second(changes, false).await?;
        }
        for daemon in &self.daemons {
            for peer in [CAPI, BBS, POLICIES] {
                daemon.network.set(peer, Weather::Fine);
            }
        }
        self.oracle.world(|world| {
            world.set_routing_api(true);
            world.note("calm");
        });
        // Who was asked last and never answers is waited for.
        for _ in 0..UNANSWERED.as_secs() {
            self.second(0, true).await?;
        }
        Ok(())
    }

    fn weather(&mut self, is_lying: bool) {
        let has_routing_api = self.rng.u32(0..4) > 0;
        self.oracle
            .world(|world| world.set_routing_api(has_routing_api));
        let mut weathers = vec![
            Weather::Fine,
            Weather::Flaky,
            Weather::Lagging,
            Weather::Down,
            Weather::Silent,
        ];
        if is_lying {
            weathers = vec![
                Weather::Fine,
                Weather::Lying,
                Weather::Lying,
                Weather::Flaky,
            ];
        }
        let weather = self.rng.choice(weathers).unwrap();
        let peer = self.rng.choice([CAPI, BBS, POLICIES]).unwrap();
        let number = self.rng.usize(..self.daemons.len());
        self.daemons[number].network.set(peer, weather);
        let what = format!("daemon {number}: {peer} is {weather:?}");
        self.oracle.world(|world| world.note(&what));
    }

    /// A daemon ends, in order or not, and another takes its place.
    async fn restart(&mut self) {
        let number = self.rng.usize(..self.daemons.len());
        let ended = self.daemons.remove(number);
        if self.rng.bool() {
            ended.stop.cancel();
            ended.running.await.unwrap().unwrap();
        } else {
            ended.running.abort();
            // Time does not pass while a file is being written.
            sleep(Duration::from_secs(1)).await;
        }
        fastrand::seed(self.rng.u64(..));
        let finds = self.rng.choice(Finds::ALL).unwrap();
        finds.leave(&ended.file);
        let has_file = matches!(finds, Finds::Whole) && ended.file.exists();
        ended.network.begins(has_file);
        self.oracle.begins(number, has_file);
        let (daemon, entrances) = Daemon::start(ended.network, ended.file, self.kind).await;
        self.daemons.insert(number, daemon);
        self.entrances.lock().unwrap()[number] = entrances;
        let what = format!("daemon {number} is another, with a state file that is {finds:?}");
        self.oracle.world(|world| world.note(&what));
    }

    async fn converges(&self) -> Result<(), String> {
        let until = Instant::now() + CONVERGES_WITHIN;
        loop {
            self.second(0, true).await?;
            let is_settled = self.oracle.world(|world| world.is_settled());
            match self.oracle.converged(self.sinks) {
                Ok(()) if is_settled => return Ok(()),
                Err(what) if Instant::now() > until => {
                    self.oracle.fails(&format!("no convergence: {what}"));
                }
                _ => {}
            }
        }
    }

    /// While all is well, changes reach sinks soon.
    async fn calm(&mut self) -> Result<(), String> {
        let (begin, soon) = (Instant::now(), soon(self.kind.lies).as_secs());
        let long = 2 * soon + 5;
        for second in 0..long {
            let changes = self.rng.usize(0..4).saturating_sub(2);
            let changes = if second + soon < long { changes } else { 0 };
            self.second(changes, true).await?;
            self.oracle.is_prompt(begin);
        }
        self.oracle.verdict()
    }
}

async fn run(seed: u64, folder: &Path, trace: Trace) -> Result<(), String> {
    clock::begin();
    let mut run = Run::start(seed, folder, &trace).await;
    run.converges().await?;
    for _ in 0..run.rng.usize(1..=2) {
        run.storm().await?;
        run.converges().await?;
        run.calm().await?;
    }
    run.converges().await
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed with everything that is drawn by chance drawn from it.
fn simulate(seed: u64) -> Result<(), String> {
    traced(seed).0
}

/// And says what happened.
fn traced(seed: u64) -> (Result<(), String>, Vec<Line>) {
    // Their folder has a name that is drawn.
    LazyLock::force(&CERTIFICATES);
    // On a disk, each of thousands of writes would be waited for.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        TempDir::new_in(memory)
    } else {
        TempDir::new()
    };
    let folder = folder.unwrap();
    fastrand::seed(seed);
    let trace = Trace::default();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime
            .unwrap()
            .block_on(run(seed, folder.path(), trace.clone()))
    }));
    let ran = ran.unwrap_or_else(|_| Err("a panic".to_owned()));
    (ran, trace.take())
}

#[test]
fn a_seed_is_the_same_run_again() {
    for seed in 0..SEEDS_TWICE {
        let [one, other] = [(); 2].map(|()| traced(seed).1);
        let is_same = |at: &usize| one.get(*at) == other.get(*at);
        if let Some(at) = (0..one.len().max(other.len())).find(|at| !is_same(at)) {
            let [one, other] = [one, other].map(|lines| {
                let begin = at.saturating_sub(3);
                lines.into_iter().skip(begin).take(6).collect::<Vec<_>>()
            });
            panic!("seed {seed}: {one:#?}\nand the other time: {other:#?}");
        }
    }
}

#[test]
fn whatever_peers_do_nothing_true_is_lost_and_what_is_served_becomes_what_is_true() {
    if let Some(seed) = number("SEED") {
        let level = std::env::var("SIMULATION_LOG").unwrap_or_else(|_| "info".to_owned());
        tracing_subscriber::fmt()
            .with_timer(clock::Elapsed)
            .with_max_level(level.parse::<tracing::Level>().unwrap())
            .init();
        let (ran, trace) = traced(seed);
        if let Err(failure) = ran {
            let lines = number("SIMULATION_LINES").unwrap_or(40);
            for (at, what) in &trace[trace.len().saturating_sub(usize::try_from(lines).unwrap())..]
            {
                println!("{at:?} {what}");
            }
            panic!("seed {seed}: {failure}");
        }
        return;
    }
    let first = number("SIMULATION_FIRST").unwrap_or(0);
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Relaxed)
                    && seed < first + seeds
                {
                    if let Err(failure) = simulate(seed) {
                        failures.lock().unwrap().push((seed, failure));
                    }
                }
            });
        }
    });
    // One that fails is run again, alone: what a busy machine does to threads is no finding.
    let mut failures = failures.into_inner().unwrap();
    failures.retain_mut(|(seed, failure)| match simulate(*seed) {
        Ok(()) => {
            println!("seed {seed} failed among others and not alone: {failure}");
            false
        }
        Err(again) => {
            *failure = again;
            true
        }
    });
    let Some((seed, failure)) = failures.first() else {
        return;
    };
    let first_line = |failure: &str| failure.lines().next().unwrap_or_default().to_owned();
    let others: Vec<_> = failures
        .iter()
        .map(|(seed, what)| (seed, first_line(what)))
        .collect();
    panic!(
        "seed {seed}: {failure}\nof {seeds} seeds these fail: {others:#?}\n\
         SEED={seed} cargo test --test simulation -- whatever"
    );
}
