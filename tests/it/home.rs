//! The page for a person: what is on it, in a real browser and without.

mod tab;

use std::{
    net::Ipv4Addr,
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use copilot::{
    admin::{self, PAGES},
    feed::Feeds,
    istio::{Kind, OF_HOSTS, validate::Invalid},
    metrics,
    proto::istio::networking::v1alpha3::VirtualService,
    sim::{
        bbs::CellPorts,
        operator::Operator,
        sink::{self, Answer, Options, Sink},
    },
    snapshot::{Collection, Encoded, Snapshot},
    tls,
};
use serde_json::json;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::tab::Tab;
use crate::mesh::{Daemon, LONG, Mesh, collections, eager, foundation_of};

/// The browsers' names, in Debian and elsewhere.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

fn browser() -> Option<&'static str> {
    let is_there = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let found = BROWSERS.into_iter().find(is_there);
    if found.is_none() {
        println!("SKIPPED: there is no browser ({})", BROWSERS.join(", "));
    }
    found
}

async fn page(daemon: &Daemon, path: &str) -> String {
    daemon.operator.get(path).await.unwrap().1
}

/// Waits until the page says all of that.
async fn shows(daemon: &Daemon, path: &str, expected: &[&str]) -> String {
    let mut last = String::new();
    let seen = timeout(LONG, async {
        while last.is_empty() || !expected.iter().all(|words| last.contains(words)) {
            last = page(daemon, path).await;
        }
    });
    let seen = seen.await.is_ok();
    assert!(seen, "{expected:?} are not all in\n{last}");
    last
}

#[tokio::test]
async fn the_page_says_whether_all_is_well_and_explains_a_hostname() {
    let mesh = Mesh::start().await;
    let page = shows(
        &mesh.daemon,
        "/?host=https://shop.apps.example.com/a?b",
        &[
            "ready, nothing is wrong",
            "SYNCED",
            "GOOD: it is served by shop.apps.example.com with 2 endpoints",
            "value=\"https://shop.apps.example.com/a?b\"",
        ],
    );
    let page = page.await;
    for expected in [
        "<noscript><meta http-equiv=\"refresh\"",
        "prefers-color-scheme:dark",
        "capi_routes",
        "Certificates",
        "fixed",
    ] {
        assert!(page.contains(expected), "{expected:?} is not in\n{page}");
    }
    assert_eq!(page.matches("<script").count(), 1, "{page}");
}

#[tokio::test]
async fn every_endpoint_is_linked_with_a_line_of_what_it_is_and_answers() {
    let mesh = Mesh::start().await;
    let home = page(&mesh.daemon, "/").await;
    for (path, what) in PAGES {
        assert!(
            !what.is_empty() && home.contains(&format!("<a href=\"{path}\">")),
            "{path}"
        );
        let (status, text) = mesh.daemon.operator.get(path).await.unwrap();
        // In the process of a test nobody sets the level.
        let is_fixed = text == "the log level is fixed\n";
        assert!(status.is_success() || is_fixed, "{path}: {status} {text}");
    }
}

#[tokio::test]
async fn what_others_write_is_text_on_the_page() {
    let (foundation, _) = foundation_of(CellPorts::default()).await;
    let daemon = Daemon::start(eager(foundation.config())).await;
    let identity = tls::Identity {
        cert: foundation.folder().join("pilot.crt"),
        key: foundation.folder().join("pilot.key"),
    };
    let config = tls::client(foundation.pki.ca(), Some(&identity)).unwrap();
    let channel = sink::connect(daemon.mcp, config).await.unwrap();
    let options = Options {
        collections: collections(),
        ..Options::default()
    };
    let nack = |_: &_| Answer::Nack {
        code: 3,
        message: "<b>bad</b> & \"worse\"".to_owned(),
    };
    let _sink = Sink::open(&channel, options, nack).await.unwrap();
    let escaped = "&lt;b&gt;bad&lt;/b&gt; &amp; &quot;worse&quot;";
    let page = shows(&daemon, "/", &[escaped]).await;
    assert!(!page.contains("<b>"), "{page}");
    let asked = "/?host=%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    let page = shows(&daemon, asked, &["value=\"&quot;&gt;&lt;script&gt;"]).await;
    assert_eq!(page.matches("<script").count(), 1, "{page}");
}

/// What a browser makes of a page, and what it says in its console.
async fn browsed(browser: &'static str, url: String) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(browser);
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
        ])
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .args(["--dump-dom", &url]);
    let output = tokio::task::spawn_blocking(move || command.output());
    let Output { stdout, stderr, .. } = output.await.unwrap().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let console: String = text(&stderr)
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    (text(&stdout), console)
}

#[tokio::test]
async fn a_browser_shows_the_page_without_an_error() {
    let Some(browser) = browser() else { return };
    let mesh = Mesh::start().await;
    let url = format!("http://{}/?host=shop.apps.example.com", mesh.daemon.admin);
    let (page, console) = browsed(browser, url).await;
    assert!(page.contains("GOOD: it is served"), "{page}");
    assert_eq!(console, "");
}

#[tokio::test]
async fn a_browser_reads_the_page_anew_but_not_while_somebody_types() {
    let Some(browser) = browser() else { return };
    let mesh = Mesh::start().await;
    let mut tab = Tab::open(browser, &format!("http://{}/", mesh.daemon.admin)).await;
    let minute = Duration::from_mins(1);
    tab.evaluate("window.old = true; window.box = document.querySelector('input'); box.focus()")
        .await;
    tab.type_in("shop.").await;
    tab.let_pass(minute).await;
    // Also while somebody looks for the rest of it elsewhere.
    tab.evaluate("box.blur()").await;
    tab.let_pass(minute).await;
    assert_eq!(tab.evaluate("window.old").await, json!(true));
    assert_eq!(tab.evaluate("box.value").await, json!("shop."));

    tab.evaluate("box.value = ''").await;
    tab.reads_anew_within(minute).await;
}

#[tokio::test]
async fn a_browser_of_text_shows_the_page_and_nothing_of_its_script() {
    if Command::new("lynx").arg("--version").output().is_err() {
        println!("SKIPPED: there is no lynx");
        return;
    }
    let mesh = Mesh::start().await;
    let url = format!("http://{}/?host=shop.apps.example.com", mesh.daemon.admin);
    let mut command = Command::new("lynx");
    command.args(["-dump", "-width=120", &url]);
    let output = tokio::task::spawn_blocking(move || command.output());
    let page = String::from_utf8(output.await.unwrap().unwrap().stdout).unwrap();
    for expected in ["GOOD: it is served", "SYNCED", "Explain"] {
        assert!(page.contains(expected), "{expected:?} is not in\n{page}");
    }
    assert!(!page.contains("setInterval"), "{page}");
}

/// The page alone: what is published of so many routes, and as many that are rejected.
async fn surface_of(routes: usize) -> (Operator, DropGuard) {
    let collection = |kind: Kind| {
        let edits = (0..routes).map(|n| {
            let name = format!("copilot-service-for-app-{n:06}.apps.example.com");
            let resource = Encoded::new(&name, 0, &VirtualService::default());
            (name.into(), Some(resource))
        });
        let published = Collection::default().edited(edits.collect());
        (kind, Arc::new(published))
    };
    let snapshot = Snapshot::new(OF_HOSTS.map(collection).into_iter().collect());
    let rejected = (0..routes).map(|n| {
        let key = (
            Kind::VirtualService.collection(),
            format!("app_{n}.example.com"),
        );
        let rule = "host";
        let detail = "a character that Istio does not take".to_owned();
        (key, vec![Invalid { rule, detail }])
    });
    let shutdown = CancellationToken::new();
    let mut registry = metrics::registry();
    let feeds = Feeds::new(&mut registry);
    let sources = admin::Sources {
        snapshots: watch::channel(Some(Arc::new(snapshot))).1,
        rejected: watch::channel(Arc::new(rejected.collect())).1,
        ..crate::admin::sources(feeds, registry, shutdown.clone())
    };
    let settings = admin::Settings {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        names: admin::Names::new(),
    };
    let server = admin::Server::bind(settings, sources).await.unwrap();
    let operator = Operator::new(server.local_addr().unwrap()).unwrap();
    tokio::spawn(server.run(shutdown.clone()));
    (operator, shutdown.drop_guard())
}

#[tokio::test]
async fn the_page_of_a_large_foundation_is_as_long_as_that_of_a_small_one() {
    let (small, _small) = surface_of(100).await;
    let (_, short) = small.get("/").await.unwrap();
    let (large, _large) = surface_of(20_000).await;
    let asked = Instant::now();
    let (_, long) = large.get("/").await.unwrap();
    println!(
        "the page at 20,000 routes: {} bytes in {:?}",
        long.len(),
        asked.elapsed()
    );
    let longer = long.len().abs_diff(short.len());
    assert!(longer < 1024, "{longer} bytes");
}
