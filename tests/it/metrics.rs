//! The metrics page: as the platform's scraper and as Prometheus read it, and as the alerts and the dashboard need it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{self, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use regex::Regex;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::mesh::{Daemon, LONG, collections, eager, endpoints, foundation, holds, with};

/// Its name is Istio's own, and ends as a counter's does.
const OF_ISTIO: &str = "istio_mcp_clients_total";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A daemon with every listener, and a sink.
async fn page() -> String {
    let (foundation, _) = foundation().await;
    let config = with(
        eager(foundation.config()),
        &[
            ("/ListenAddressForXDS", json!("127.0.0.1:0")),
            ("/XDSAllowPlaintext", json!(true)),
        ],
    );
    let daemon = Daemon::start(config).await;
    daemon.ready().await;
    let pilot = foundation.connect_pilot(daemon.mcp, collections());
    let _pilot = pilot.await.unwrap();
    let seen = timeout(LONG, async {
        loop {
            let (_, page) = daemon.operator.get("/metrics").await.unwrap();
            if page.contains("copilot_mcp_stream_acked_total{") {
                return page;
            }
        }
    });
    seen.await.unwrap()
}

/// Runs a tool on a text.
fn run(command: &mut Command, text: &str) -> Output {
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    child.wait_with_output().unwrap()
}

/// To the terminal itself: what a test prints is shown only when it fails.
fn skipped(why: &str) {
    let mut terminal = io::stderr();
    writeln!(terminal, "SKIPPED: {why}").unwrap();
}

/// The program that reads as Go does; `None` where Go, or a module, cannot be had. With `COPILOT_TEST_GO` it has to be.
fn go_reader(folder: &Path) -> Option<Command> {
    let program = folder.join("expfmt");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&program).arg(".");
    let built = go.current_dir(root().join("tests/expfmt")).output();
    let is_built = built.as_ref().is_ok_and(|output| output.status.success());
    assert!(
        is_built || env::var_os("COPILOT_TEST_GO").is_none(),
        "{built:?}"
    );
    is_built.then(|| Command::new(program))
}

#[tokio::test]
async fn goes_text_parser_takes_the_page_whole_and_counters_as_counters() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut reader) = go_reader(folder.path()) else {
        return skipped("metrics as Go reads them need Go and github.com/prometheus/common");
    };
    let page = page().await;
    let output = run(&mut reader, &page);
    assert!(output.status.success(), "{output:?}\n{page}");
    let read = String::from_utf8(output.stdout).unwrap();
    let mut families = BTreeMap::new();
    for family in read.lines() {
        let parts: Vec<_> = family.split(' ').collect();
        families.insert(parts[0], (parts[1], parts[2].parse::<usize>().unwrap()));
    }
    let declared = page.lines().filter(|line| line.starts_with("# TYPE "));
    assert_eq!(families.len(), declared.count(), "{read}");
    for (name, (kind, series)) in &families {
        let is_counter = name.ends_with("_total") && *name != OF_ISTIO;
        assert_eq!(*kind == "counter", is_counter, "{name} is a {kind}");
        assert!(
            ["counter", "gauge", "histogram"].contains(kind) && *series > 0,
            "{name}: {kind}"
        );
    }
    let is_series = |line: &&str| !line.starts_with('#') && !line.contains("_bucket{");
    let is_of_histogram = |line: &&str| {
        let name = line.split(['{', ' ']).next().unwrap();
        let of = name.strip_suffix("_sum");
        of.is_some_and(|of| {
            families
                .get(of)
                .is_some_and(|(kind, _)| *kind == "histogram")
        })
    };
    let lines = page.lines().filter(is_series);
    let lines = lines.filter(|line| !is_of_histogram(line)).count();
    assert_eq!(
        families.values().map(|(_, series)| series).sum::<usize>(),
        lines
    );
}

#[tokio::test]
async fn promtool_minds_nothing_but_the_name_that_is_istios() {
    let promtool = env::var("COPILOT_TEST_PROMTOOL");
    let is_named = promtool.is_ok();
    let promtool = promtool.unwrap_or_else(|_| "promtool".to_owned());
    if Command::new(&promtool).arg("--version").output().is_err() {
        assert!(!is_named, "{promtool} is not there");
        return skipped("promtool check metrics needs promtool; name one in COPILOT_TEST_PROMTOOL");
    }
    let page = page().await;
    let output = run(Command::new(promtool).args(["check", "metrics"]), &page);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    let others: Vec<_> = said
        .lines()
        .filter(|line| !line.contains(OF_ISTIO))
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[tokio::test]
async fn what_can_be_counted_is_there_before_it_happens() {
    let page = page().await;
    for series in [
        r#"copilot_feed_errors_total{feed="capi_routes",kind="rate_limited"} 0"#,
        r#"istio_mcp_request_nacks_total{collection="istio/networking/v1alpha3/gateways",code="InvalidArgument"} 0"#,
        r#"copilot_xds_request_nacks_total{collection="istio/networking/v1alpha3/gateways",code="Unknown"} 0"#,
        r#"copilot_mcp_refused_streams_total{code="ResourceExhausted"} 0"#,
        r#"copilot_grpc_handshake_failures_total{listener="mcp",reason="certificate"} 0"#,
        r#"copilot_held{feed="routes",what="routes"} 0"#,
        r#"copilot_held_losses_total{feed="instances",outcome="refuted"} 0"#,
        r#"copilot_cause_to_publish_seconds_count{cause="routes_pushed"} 0"#,
        "copilot_mcp_cause_to_ack_seconds_count 0",
        "copilot_xds_clients 0",
        "copilot_ready 1",
    ] {
        let is_there = page.lines().any(|line| line == series);
        assert!(is_there, "{series} is not in\n{page}");
    }
}

#[tokio::test]
async fn a_change_is_timed_from_its_cause_to_the_snapshot_and_to_the_ack() {
    let (mut foundation, mut app) = foundation().await;
    // No list is to be faster than the event.
    let interval = [("/BBS/SyncInterval", json!("10m"))];
    let daemon = Daemon::start(with(eager(foundation.config()), &interval)).await;
    let pilot = foundation.connect_pilot(daemon.mcp, collections());
    let pilot = pilot.await.unwrap();
    holds(&pilot, |state| endpoints(state, "shop").len() == 2).await;
    foundation.scale(&mut app, 4);
    holds(&pilot, |state| endpoints(state, "shop").len() == 4).await;
    let published = r#"copilot_cause_to_publish_seconds_count{cause="instance_event"}"#;
    let acked = "copilot_mcp_cause_to_ack_seconds_count";
    let counted = timeout(LONG, async {
        while daemon.counter(acked).await == 0 {}
        daemon.counter(published).await
    });
    assert!(counted.await.unwrap() > 0);
    daemon.end().await;
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"(?-u:\b)(copilot|istio_mcp|process)_[a-z0-9_]+").unwrap();
    let names = name.find_iter(text).map(|found| found.as_str());
    let of_histogram = ["_bucket", "_count", "_sum"];
    let family = |name: &str| {
        let mut suffixes = of_histogram.iter();
        let family = suffixes.find_map(|suffix| name.strip_suffix(suffix));
        family.unwrap_or(name).to_owned()
    };
    names.map(family).collect()
}

#[tokio::test]
async fn every_metric_of_the_alerts_and_the_dashboard_is_one_of_the_daemons() {
    let page = page().await;
    let declared = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let there: BTreeSet<_> = declared.filter_map(|line| line.split(' ').next()).collect();
    for file in ["alerts.yml", "alerts_test.yml", "dashboard.json"] {
        let text = fs::read_to_string(root().join("deploy/monitoring").join(file)).unwrap();
        let named = names(&text);
        assert!(named.len() > 5, "{named:?}");
        let missing: Vec<_> = named
            .iter()
            .filter(|name| !there.contains(&***name))
            .collect();
        assert!(
            missing.is_empty(),
            "{missing:?} of {file} are not in\n{page}"
        );
    }
}

/// An alert on their age would fire for ever.
#[tokio::test]
async fn without_tcp_routes_no_metric_tells_of_their_feed() {
    let page = page().await;
    let feeds = page
        .lines()
        .filter(|line| line.starts_with("copilot_feed_"));
    let told: Vec<_> = feeds.filter(|line| line.contains("tcp_routes")).collect();
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
fn every_alert_has_a_summary_and_a_row_of_the_runbook() {
    let alerts = fs::read_to_string(root().join("deploy/monitoring/alerts.yml")).unwrap();
    let runbook = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let rules: Vec<_> = alerts.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 15);
    for rule in rules {
        let name = rule.lines().next().unwrap();
        let anchor = name.to_lowercase();
        assert!(rule.contains("      summary: "), "{name}");
        let link = format!("runbook: docs/operations.md#{anchor}");
        assert!(rule.contains(&link), "{name} has no link");
        let row = format!("| <a id=\"{anchor}\"></a>`{name}` |");
        assert!(runbook.contains(&row), "{name} has no row");
    }
}

#[test]
fn the_dashboard_is_read_by_grafana_and_no_two_panels_overlap() {
    let text = fs::read_to_string(root().join("deploy/monitoring/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut places = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()));
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            assert!(x < 24);
            for y in at("y")..at("y") + at("h") {
                assert!(places.insert((x, y)), "{}", panel["title"]);
            }
        }
    }
}
