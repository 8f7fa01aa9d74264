//! The admin surface and those who would take it, or what is behind it.

use std::{net::Ipv4Addr, process::Command, sync::Arc};

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
    sync::{mpsc, watch},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    mcp::harness::soon,
    mesh::{eager, with},
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
    let mut half_sent = Vec::new();
    for _ in 0..admin::CONNECTIONS + 8 {
        let mut stream = surface.connect().await;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: l")
            .await
            .ok();
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
