//! The admin surface and those who would take it, or what is behind it.

use std::{
    io, mem,
    net::Ipv4Addr,
    process::Command,
    sync::{Arc, Mutex},
};

use copilot::{
    admin,
    feed::Feeds,
    mcp::Sinks,
    metrics,
    readiness::Readiness,
    sim::{cloud_foundry::CloudFoundry, operator::Operator},
};
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    mcp::harness::{SOON, soon},
    mesh::{self, Daemon, eager, with},
    process::Process,
};

/// What a surface shows that nobody publishes anything on.
pub fn sources(feeds: Feeds, registry: Registry, shutdown: CancellationToken) -> admin::Sources {
    admin::Sources {
        readiness: Readiness::default(),
        feeds,
        snapshots: watch::channel(None).1,
        rejected: watch::channel(Arc::default()).1,
        held: watch::channel(Arc::default()).1,
        decisions: mpsc::channel(1).0,
        questions: mpsc::channel(1).0,
        processes: None,
        failing: watch::channel(Vec::new()).1,
        shown: admin::Shown::default(),
        sinks: vec![Sinks::default()],
        registry,
        log_level: None,
        shutdown,
    }
}

struct Surface {
    address: std::net::SocketAddr,
    _stop: DropGuard,
}

impl Surface {
    async fn start() -> Self {
        let shutdown = CancellationToken::new();
        let mut registry = metrics::registry();
        let feeds = Feeds::new(&mut registry);
        let sources = sources(feeds, registry, shutdown.clone());
        let settings = admin::Settings {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            names: ["copilot.example.com".to_owned()].into(),
        };
        let server = admin::Server::bind(settings, sources).await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(server.run(shutdown.clone()));
        Self {
            address,
            _stop: shutdown.drop_guard(),
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Status and text of the answer to a request.
    async fn ask(&self, request: &str) -> (u16, String) {
        self.ask_with(request, "").await
    }

    async fn ask_with(&self, request: &str, body: &str) -> (u16, String) {
        let mut stream = self.connect().await;
        let length = body.len();
        let request =
            format!("{request}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }
}

/// That the other end has closed it, be it with a reset.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.ok();
}

#[tokio::test]
async fn half_sent_requests_make_room_and_the_health_check_is_answered() {
    let surface = Surface::start().await;
    // Of their bodies, since heads that do not end lose their connections by themselves, and soon.
    let half = b"PUT /debug/log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nde";
    let mut half_sent = Vec::new();
    for _ in 0..admin::CONNECTIONS + 8 {
        let mut stream = surface.connect().await;
        stream.write_all(half).await.ok();
        half_sent.push(stream);
    }
    for stream in &mut half_sent[..8] {
        closed(stream).await;
    }
    let operator = Operator::new(surface.address).unwrap();
    assert_eq!(operator.get("/healthz").await.unwrap().0.as_u16(), 200);
}

#[tokio::test]
async fn a_request_whose_head_does_not_end_loses_its_connection() {
    let surface = Surface::start().await;
    let mut stream = surface.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_before_it_has_ended() {
    let surface = Surface::start().await;
    let mut stream = surface.connect().await;
    let mut head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ".to_vec();
    head.resize(16 << 10, b'x');
    stream.write_all(&head).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
}

/// A log whose line of the first snapshot is not written, and holds up the publisher, until it is told to go on.
#[derive(Clone)]
struct Halting {
    halted: std::sync::mpsc::Sender<()>,
    go_on: Arc<Mutex<std::sync::mpsc::Receiver<()>>>,
}

impl io::Write for Halting {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if String::from_utf8_lossy(line).contains("first snapshot") {
            self.halted.send(()).ok();
            self.go_on.lock().unwrap().recv().ok();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_surface_and_new_pilots_are_served_while_the_publisher_keeps_its_thread_busy() {
    let (halted, has_halted) = std::sync::mpsc::channel();
    let (go_on, gone_on) = std::sync::mpsc::channel();
    let halting = Halting {
        halted,
        go_on: Arc::new(Mutex::new(gone_on)),
    };
    let log = tracing_subscriber::fmt().with_writer(move || halting.clone());
    let log = tracing::Dispatch::new(log.finish());
    // Nobody can take over what the only thread that serves does not get to.
    let serving = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .on_thread_start(move || mem::forget(tracing::dispatcher::set_default(&log)))
        .build()
        .unwrap();
    let others = runtime::Runtime::new().unwrap();
    let (foundation, _) = others.block_on(mesh::foundation());
    let daemon = Daemon::start(eager(foundation.config()));
    let daemon = others.block_on(serving.spawn(daemon)).unwrap();
    let is_halted = has_halted.recv_timeout(mesh::LONG);

    let served = others.block_on(async {
        let asked = async {
            let health = Operator::new(daemon.admin).unwrap().get("/healthz").await;
            let pilot = foundation.connect_pilot(daemon.mcp, mesh::collections());
            let _pilot = pilot.await.unwrap();
            health.unwrap().0.as_u16()
        };
        timeout(SOON, asked).await
    });
    // Before anything of it fails the test: a runtime does not end before its threads do.
    drop(go_on);
    let ended = others.block_on(async { timeout(mesh::LONG, daemon.end()).await });
    serving.shutdown_background();
    is_halted.expect("the publisher says so on a thread of that runtime");
    assert_eq!(served.expect("answers in time"), 200);
    ended.unwrap();
}

#[tokio::test]
async fn who_comes_by_a_foreign_name_or_from_another_site_is_told_what_to_do() {
    let surface = Surface::start().await;
    for host in ["127.0.0.1:9003", "localhost", "copilot.example.com:9003"] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n");
        assert_eq!(surface.ask(&request).await.0, 200, "{host}");
    }
    let foreign = "GET /metrics HTTP/1.1\r\nHost: rebound.example.net:9003\r\n";
    let (status, text) = surface.ask(foreign).await;
    assert_eq!(status, 421);
    assert!(
        text.contains("AdminHostNames") && !text.contains("copilot_"),
        "{text}"
    );
    let page = "PUT /debug/log-level HTTP/1.1\r\nHost: localhost\r\nOrigin: http://example.net\r\n";
    let (status, text) = surface.ask(page).await;
    assert_eq!(status, 403);
    assert!(text.contains("http://example.net"), "{text}");
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let surface = Surface::start().await;
    let head = "PUT /debug/log-level HTTP/1.1\r\nHost: localhost\r\n";
    let (status, _) = surface.ask_with(head, &"x".repeat(2000)).await;
    assert_eq!(status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_open_files_is_raised_and_each_listener_gets_its_part() {
    let foundation = CloudFoundry::start().await.unwrap();
    let config = with(eager(foundation.config()), &[]);
    let path = foundation.folder().join("limited.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "ulimit -Sn 100; ulimit -Hn 1000; exec \"$0\" serve --config \"$1\"",
        ])
        .arg(env!("CARGO_BIN_EXE_copilot"))
        .arg(path);
    let mut process = Process::start(&mut command);
    let said = |message: &str| {
        let mut lines = process.started.iter();
        lines.find(|line| line["message"] == message).cloned()
    };
    let limit = said("open files").expect("a line");
    assert_eq!(
        (&limit["limit"], &limit["before"]),
        (&1000.into(), &100.into())
    );
    let part = said("too few open files are allowed").expect("a line");
    assert_eq!(
        (&part["listener"], &part["wanted"]),
        (&"mcp".into(), &4096.into())
    );
    let connections = part["connections"].as_u64().unwrap();
    assert!((16..1000).contains(&connections), "{part}");
    process.terminate();
}

#[tokio::test]
async fn metrics_are_in_the_format_that_everyone_reads_unless_open_metrics_is_asked_for() {
    let surface = Surface::start().await;
    let ask = |accept: &str| format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{accept}");
    let (status, answer) = surface.ask(&ask("")).await;
    assert_eq!(status, 200);
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(
        answer.contains("# TYPE process_cpu_seconds_total counter\n"),
        "{answer}"
    );
    assert!(!answer.contains("# EOF"), "{answer}");

    let prometheus = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1\r\n";
    let (_, answer) = surface.ask(&ask(prometheus)).await;
    assert!(
        answer.contains(
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
        )
    );
    assert!(
        answer.contains("# TYPE process_cpu_seconds counter\n"),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}
