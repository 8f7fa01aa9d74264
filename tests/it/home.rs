//! The page for a person: what is on it, in a real browser and without.

use std::{
    process::{Command, Output},
    time::Instant,
};

use copilot::{
    admin::PAGES,
    sim::{bbs::Doors, capi::Destination, cloud_foundry::CloudFoundry},
};
use tokio::time::timeout;

use crate::mesh::{Daemon, LONG, Mesh, collections, eager, foundation_of, holds};

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
            "GOOD: it is served with 2 endpoints",
            "value=\"https://shop.apps.example.com/a?b\"",
        ],
    );
    let page = page.await;
    for expected in [
        "http-equiv=\"refresh\"",
        "prefers-color-scheme:dark",
        "capi_routes",
        "Certificates",
        "fixed",
    ] {
        assert!(page.contains(expected), "{expected:?} is not in\n{page}");
    }
    assert!(!page.contains("<script"), "{page}");
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
    let mesh = Mesh::start().await;
    let route = mesh.foundation.create_route("a<b>&\"'", "");
    mesh.foundation
        .capi
        .state()
        .map(&route, Destination::web(&mesh.app.guid));
    mesh.foundation.bbs.touch(&mesh.app.process);
    let escaped = "a&lt;b&gt;&amp;";
    let page = shows(&mesh.daemon, "/", &[escaped]).await;
    assert!(!page.contains("<b>"), "{page}");
    let asked = "/?host=%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    let page = shows(&mesh.daemon, asked, &["value=\"&quot;&gt;&lt;script&gt;"]).await;
    assert!(!page.contains("<script"), "{page}");
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
async fn the_page_of_a_large_foundation_costs_no_more_than_that_of_a_small_one() {
    const ROUTES: usize = 20_000;
    let (small, _) = foundation_of(Doors::default()).await;
    let small = Daemon::start(eager(small.config())).await;
    small.ready().await;
    let short = page(&small, "/").await.len();

    let mut foundation = CloudFoundry::start().await.unwrap();
    foundation.load(ROUTES, 1);
    let daemon = Daemon::start(foundation.config()).await;
    let pilot = foundation
        .connect_pilot(daemon.mcp, collections())
        .await
        .unwrap();
    let virtual_services = copilot::istio::Kind::VirtualService.collection();
    let has_all = |names: Vec<&str>| names.len() == ROUTES;
    holds(&pilot, |state| {
        state.names(virtual_services).is_some_and(has_all)
    })
    .await;
    let asked = Instant::now();
    let long = page(&daemon, "/").await.len();
    println!(
        "the page at {ROUTES} routes: {long} bytes in {:?}",
        asked.elapsed()
    );
    assert!(long < 2 * short, "{long} bytes, {short} without routes");
    if let Some(browser) = browser() {
        let asked = Instant::now();
        let url = format!("http://{}/", daemon.admin);
        let (_, console) = browsed(browser, url).await;
        println!("in {browser}, with its start: {:?}", asked.elapsed());
        assert_eq!(console, "");
    }
}
