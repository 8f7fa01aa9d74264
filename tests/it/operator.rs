//! An operator at night: the commands that are typed, and what they print of each state that a mesh can be in.

mod absent;
mod names;
mod partly;
mod sinks;

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
    time::{Duration, SystemTime},
};

use copilot::{
    istio::Kind,
    sim::{
        bbs::CellPorts,
        capi::{Destination, Endpoint, Fault},
        cloud_foundry::{App, DOMAIN},
        pki::Pki,
        sink::{self, Answer, Options, Sink},
    },
    tls,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::mesh::{Daemon, LONG, Mesh, collections, eager, foundation_of, holds, with};

/// What a command prints, and its exit code.
async fn run(daemon: &Daemon, command: &[&str]) -> (String, Option<i32>) {
    let admin = daemon.admin.to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_copilot"));
    child.args(command).env("COPILOT_ADMIN", admin);
    let output = tokio::task::spawn_blocking(move || child.output());
    let Output {
        status,
        stdout,
        stderr,
    } = output.await.unwrap().unwrap();
    let said = [stdout, stderr].concat();
    (String::from_utf8(said).unwrap(), status.code())
}

/// Types a command until it says all of that; what it says then.
async fn says(daemon: &Daemon, command: &[&str], expected: &[&str]) -> String {
    let mut said = String::new();
    let seen = timeout(LONG, async {
        while said.is_empty() || !expected.iter().all(|words| said.contains(words)) {
            said = run(daemon, command).await.0;
        }
    });
    let seen = seen.await.is_ok();
    assert!(seen, "{expected:?} are not all in\n{said}");
    said
}

/// The last line says what is wrong and what to do.
async fn concludes(daemon: &Daemon, host: &str, expected: &[&str]) {
    ends(daemon, host, "WRONG: ", expected).await;
}

/// The last line says what is not as it should be, though it is served.
async fn partly(daemon: &Daemon, host: &str, expected: &[&str]) {
    ends(daemon, host, "PARTLY: ", expected).await;
}

async fn ends(daemon: &Daemon, host: &str, word: &str, expected: &[&str]) {
    let all = [&[word], expected].concat();
    let said = says(daemon, &["explain", host], &all).await;
    let (again, code) = run(daemon, &["explain", host]).await;
    let is_wrong = word.starts_with("WRONG");
    assert_eq!(code, Some(is_wrong.into()), "{again}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with(word) && last.contains(" DO: "), "{last}");
    for words in expected {
        assert!(last.contains(words), "{words:?} is not in {last:?}");
    }
}

fn host(name: &str) -> String {
    format!("{name}.{DOMAIN}")
}

/// A mesh with an app of one instance behind a route of its own.
async fn with_single(name: &str) -> (Mesh, App) {
    let mut mesh = Mesh::start().await;
    let app = mesh.foundation.push(1);
    let route = mesh.foundation.create_route(name, "");
    mesh.foundation.map(&route, &app, None);
    let endpoints = |state: &sink::State| crate::mesh::endpoints(state, name).len();
    mesh.holds(|state| endpoints(state) == 1).await;
    (mesh, app)
}

/// A route to an app in a way that Cloud Foundry allows and that leads nowhere.
fn map_to(mesh: &Mesh, name: &str, destination: Destination) {
    let route = mesh.foundation.create_route(name, "");
    mesh.foundation.capi.state().map(&route, destination);
    mesh.foundation.bbs.touch(&mesh.app.process);
}

#[tokio::test]
async fn a_route_that_is_served_is_explained_from_its_domain_to_the_sinks() {
    let mesh = Mesh::start().await;
    let app = mesh.app.guid.to_string();
    let shop = host("shop");
    let to = format!("to app {app} web, port 8080, http1");
    let said = says(
        &mesh.daemon,
        &["explain", &shop],
        &[
            "domain: in the mesh, by apps.example.com",
            "takes the requests",
            &to,
            "over TLS",
            "process web, 2 wanted, 2 there",
            "serviceentries/cf--tls.shop.apps.example.com.routes.cloudfoundry",
            "SYNCED",
            "GOOD: it is served with 2 endpoints, and every sink has it",
        ],
    )
    .await;
    assert!(said.lines().last().unwrap().starts_with("GOOD"), "{said}");

    let url = format!("https://{}/any/path?query", host("shop"));
    let (page, code) = run(&mesh.daemon, &["explain", &url, "--json"]).await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["verdict"]["cause"], "good", "{page:#}");
    assert_eq!(page["path"], "/any/path");
    assert_eq!(
        page["lookups"][0]["routes"][0]["destinations"][0]["app"],
        app
    );
    assert_eq!(code, Some(0));
}

/// N1.
#[tokio::test]
async fn a_route_that_is_mapped_to_nothing_is_there_with_its_guid_and_since_when() {
    let mesh = Mesh::start().await;
    let route = mesh.foundation.capi.state().route("shop").unwrap();
    mesh.foundation.unmap(&route, &mesh.app);
    let guid = route.to_string();
    concludes(
        &mesh.daemon,
        &host("shop"),
        &[&guid, "is mapped to nothing since 20", "cf map-route"],
    )
    .await;
}

/// What happens to another path of the hostname is not what took its destination away.
#[tokio::test]
async fn since_when_one_of_several_paths_is_mapped_to_nothing_is_not_guessed() {
    let mut mesh = Mesh::start().await;
    mesh.foundation.create_route("shop", "/x");
    mesh.foundation.scale(&mut mesh.app, 3);
    let url = format!("{}/x", host("shop"));
    let expected = ["is mapped to nothing; since when is not remembered"];
    concludes(&mesh.daemon, &url, &expected).await;
}

/// N2.
#[tokio::test]
async fn a_hostname_outside_the_mesh_is_told_with_the_patterns_and_what_is_nearly_it() {
    let mesh = Mesh::start().await;
    concludes(
        &mesh.daemon,
        "shop.app.example.com",
        &[
            "is of no domain of the mesh (apps.example.com, apps.internal)",
            "apps.example.com is nearly it",
            "MeshDomains",
        ],
    )
    .await;
    let nowhere = ["Cloud Controller has no route for", "as of ", " s ago"];
    concludes(&mesh.daemon, &host("nowhere"), &nowhere).await;
}

/// N3.
#[tokio::test]
async fn a_crashed_app_is_told_with_its_last_state_and_how_many_are_wanted() {
    let (mesh, app) = with_single("flaky").await;
    mesh.foundation.bbs.crash(&app.instances[0]);
    concludes(
        &mesh.daemon,
        &host("flaky"),
        &[
            "none of 1 wanted instances",
            &app.guid.to_string(),
            "(web)",
            "has crashed since 20",
            "Exited with status 1",
        ],
    )
    .await;
}

/// N4.
#[tokio::test]
async fn a_stopped_app_is_told_apart_from_a_crashed_one() {
    let (mut mesh, mut app) = with_single("asleep").await;
    mesh.foundation.stop(&mut app);
    let expected = [
        &*app.guid.to_string(),
        "is stopped",
        "desired 0",
        "cf start",
    ];
    concludes(&mesh.daemon, &host("asleep"), &expected).await;
}

/// N5.
#[tokio::test]
async fn a_process_type_that_an_app_has_not_is_told_with_those_that_it_has() {
    let mesh = Mesh::start().await;
    let to_api = Destination {
        process_type: "api".to_owned(),
        ..Destination::web(&mesh.app.guid)
    };
    map_to(&mesh, "api", to_api);
    let expected = ["has no process of type api, only web"];
    concludes(&mesh.daemon, &host("api"), &expected).await;
}

/// N6.
#[tokio::test]
async fn a_hostname_that_istio_refuses_is_told_with_the_rule_and_the_value() {
    let mesh = Mesh::start().await;
    map_to(&mesh, "under_score", Destination::web(&mesh.app.guid));
    concludes(
        &mesh.daemon,
        &host("under_score"),
        &[
            "withheld by rule host",
            "under_score",
            "nothing is served instead",
        ],
    )
    .await;
    let rejected = ["RULE", "under_score.apps.example.com", "host"];
    says(&mesh.daemon, &["rejected", "--host", "under"], &rejected).await;
    let once = ["1 is not served as it is"];
    says(&mesh.daemon, &["status"], &once).await;
    let (said, _) = run(&mesh.daemon, &["explain", &host("under_score")]).await;
    assert_eq!(said.matches("not as it is: ").count(), 1, "{said}");
    let withheld = "under_score.apps.example.com: would take the requests, and is withheld";
    assert!(said.contains(withheld), "{said}");
}

/// N7.
#[tokio::test]
async fn a_port_that_instances_have_not_is_told_with_those_that_they_have() {
    let mesh = Mesh::start().await;
    let to_port = Destination {
        port: 9090,
        ..Destination::web(&mesh.app.guid)
    };
    map_to(&mesh, "ported", to_port);
    let app = mesh.app.guid.to_string();
    let expected = ["port 9090", &app, "have the ports 2222, 8080"];
    concludes(&mesh.daemon, &host("ported"), &expected).await;
}

/// N8.
#[tokio::test]
async fn who_has_left_and_who_cannot_connect_is_told_with_address_reason_and_time() {
    let mesh = Mesh::start().await;
    let Mesh {
        foundation,
        daemon,
        pilot,
        ..
    } = mesh;
    drop(pilot);
    says(
        &daemon,
        &["status"],
        &["(pilot) left ", " s ago and has not come back"],
    )
    .await;

    let stranger = Pki::new(foundation.folder(), "stranger").unwrap();
    let identity = stranger.issue("stranger", &["stranger"]).unwrap();
    let config = tls::client(foundation.pki.ca(), Some(&identity)).unwrap();
    let channel = sink::connect(daemon.mcp, config).await;
    drop(channel.map(drop));
    let expected = [
        "127.0.0.1",
        "NO HANDSHAKE",
        "certificate is missing or not accepted",
    ];
    says(&daemon, &["sinks"], &expected).await;

    // From another address of this machine: what fails is told by address.
    let mut plaintext = TcpStream::connect(daemon.mcp).await.unwrap();
    plaintext
        .write_all(b"PRI * HTTP/2.0\r\n\r\n")
        .await
        .unwrap();
    says(&daemon, &["sinks"], &["no TLS that both sides speak"]).await;
    let gone = ["GONE", "pilot", "no sink is connected"];
    says(&daemon, &["sinks"], &gone).await;
}

/// N9.
#[tokio::test]
async fn a_sink_that_refuses_is_told_with_its_words_and_the_resource_can_be_read() {
    let (foundation, _) = foundation_of(CellPorts::default()).await;
    let daemon = Daemon::start(eager(foundation.config())).await;
    let pilot = tls::Identity {
        cert: foundation.folder().join("pilot.crt"),
        key: foundation.folder().join("pilot.key"),
    };
    let config = tls::client(foundation.pki.ca(), Some(&pilot)).unwrap();
    let channel = sink::connect(daemon.mcp, config).await.unwrap();
    let options = Options {
        collections: vec![Kind::VirtualService.collection().to_owned()],
        ..Options::default()
    };
    let reject = |_: &_| Answer::Nack {
        code: 3,
        message: "copilot-service-for-shop.apps.example.com: bad match".to_owned(),
    };
    let _sink = Sink::open(&channel, options, reject).await.unwrap();
    let words = "copilot-service-for-shop.apps.example.com: bad match";
    let collection = Kind::VirtualService.collection();
    concludes(
        &daemon,
        &host("shop"),
        &["is REFUSED ", " s of ", collection, words],
    )
    .await;
    let resource = format!("{collection}/copilot-service-for-{}", host("shop"));
    says(
        &daemon,
        &["resources", &resource],
        &["\"hosts\"", &host("shop")],
    )
    .await;
}

/// N10.
#[tokio::test]
async fn a_source_that_fails_is_told_with_its_status_and_how_old_what_is_known_is() {
    let mesh = Mesh::start().await;
    let capi = &mesh.foundation.capi;
    for endpoint in [Endpoint::Routes, Endpoint::Domains, Endpoint::AuditEvents] {
        capi.inject(endpoint, 0, usize::MAX, Fault::Forbidden);
    }
    let expected = [
        "feed capi_routes: forbidden since 20",
        "last success",
        "403",
    ];
    says(&mesh.daemon, &["status"], &expected).await;
    let stale = ["what was known", "feed capi_", "forbidden"];
    concludes(&mesh.daemon, &host("shop"), &stale).await;
    assert_eq!(run(&mesh.daemon, &["status"]).await.1, Some(1));
    capi.stop().await;
    let expected = ["feed capi_routes: connect since 20"];
    says(&mesh.daemon, &["status"], &expected).await;
}

/// N11.
#[tokio::test]
async fn what_a_start_waits_for_is_told_with_the_name_of_its_feed() {
    let (foundation, _) = foundation_of(CellPorts::default()).await;
    foundation.bbs.stop();
    let daemon = Daemon::start(eager(foundation.config())).await;
    let expected = [
        "NOT READY",
        "waits for instances from the BBS (bbs_lists)",
        "feed bbs_lists: connect since 20",
        "last success never",
    ];
    says(&daemon, &["status"], &expected).await;
    assert_eq!(run(&daemon, &["status"]).await.1, Some(2));
    let expected = ["nothing is served yet", "instances from the BBS"];
    concludes(&daemon, &host("shop"), &expected).await;
}

/// N12.
#[tokio::test]
async fn a_certificate_that_has_ended_is_told_with_its_file_and_its_name() {
    let (foundation, _) = foundation_of(CellPorts::default()).await;
    let ended = foundation.pki.issue_ended("ended", &["ended"]).unwrap();
    let config = with(
        eager(foundation.config()),
        &[
            ("/PolicyServerClientCertPath", json!(ended.cert)),
            ("/PolicyServerClientKeyPath", json!(ended.key)),
        ],
    );
    let daemon = Daemon::start(config).await;
    let expected = ["PolicyServerClientCertPath", "ended.crt", "ENDED", " ago"];
    says(&daemon, &["certificates"], &expected).await;
    says(
        &daemon,
        &["status"],
        &["LOOK AT  PolicyServerClientCertPath"],
    )
    .await;
}

/// N12, before anybody is hurt.
#[tokio::test]
async fn a_certificate_of_twenty_days_is_told_wherever_it_is_and_one_that_has_ended_is_refused_by_check()
 {
    let (foundation, _) = foundation_of(CellPorts::default()).await;
    let end = SystemTime::now() + Duration::from_hours(20 * 24 + 1);
    let pki = &foundation.pki;
    let soon = pki
        .issue_until("soon", &["shop.apps.example.com"], end)
        .unwrap();
    let text = |path| std::fs::read_to_string(path).unwrap();
    let pair = json!({ "CertChain": text(&soon.cert), "PrivateKey": text(&soon.key) });
    let config = with(eager(foundation.config()), &[("/TLSPems", json!([pair]))]);
    let file = foundation.folder().join("soon.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let check = ["check", "--config", file.to_str().unwrap()];
    let daemon = Daemon::start(config.clone()).await;
    let expected = [
        "TLSPems[0].CertChain",
        "CN=soon",
        "ends in 20 d",
        "the config",
    ];
    says(&daemon, &["certificates"], &expected).await;
    says(&daemon, &["status"], &["LOOK AT  TLSPems[0].CertChain"]).await;
    let (said, code) = run(&daemon, &check).await;
    assert!(
        said.contains("TLSPems[0].CertChain: certificate CN=soon ends "),
        "{said}"
    );
    assert_eq!(code, Some(0), "{said}");
    let (_, page) = daemon.operator.get("/metrics").await.unwrap();
    let series = r#"copilot_certificate_end_timestamp_seconds{key="TLSPems[0].CertChain",role="presented",subject="CN=soon"} "#;
    assert!(page.contains(series), "{page}");

    let ended = pki.issue_ended("ended", &["ended"]).unwrap();
    let client = [
        ("/PolicyServerClientCertPath", json!(ended.cert)),
        ("/PolicyServerClientKeyPath", json!(ended.key)),
    ];
    std::fs::write(&file, with(config, &client).to_string()).unwrap();
    let (said, code) = run(&daemon, &check).await;
    let words = "PolicyServerClientCertPath: certificate CN=ended ended 2021-01-01T00:00:00Z";
    assert!(said.contains(words), "{said}");
    assert_eq!(code, Some(1), "{said}");
}

/// N13.
#[tokio::test]
async fn of_two_routes_with_one_hostname_it_is_told_who_has_it_and_who_lost() {
    let mesh = Mesh::start().await;
    let older = mesh.foundation.capi.state().route("shop").unwrap();
    mesh.foundation.capi.state().advance(60);
    let younger = mesh.foundation.create_route("shop", "");
    mesh.foundation.map(&younger, &mesh.app, None);
    let lost = format!("route {younger} is not served: route {older} has the same hostname");
    let expected = [&*lost, "and path, and is refused or older", "delete one"];
    concludes(&mesh.daemon, &host("shop"), &expected).await;
}

/// N14.
#[tokio::test]
async fn a_loss_that_is_held_is_told_with_its_source_and_what_to_do() {
    let mut mesh = Mesh::start().await;
    mesh.foundation.load(30, 30);
    let last = "app-000029";
    mesh.holds(|state| crate::mesh::endpoints(state, last).len() == 1)
        .await;
    let capi = &mesh.foundation.capi;
    for n in 0..30 {
        let route = capi.state().route(&format!("app-{n:06}")).unwrap();
        capi.state().delete_route_silently(&route);
    }
    let expected = [
        "reads of routes lack 30 routes and 30 endpoints for ",
        "held for",
        "copilot accept routes",
    ];
    says(&mesh.daemon, &["status"], &expected).await;
    let expected = [
        "served though reads of routes lack it",
        "copilot accept routes",
    ];
    concludes(&mesh.daemon, &host(last), &expected).await;
    says(&mesh.daemon, &["accept", "routes"], &["what is held goes"]).await;
}

#[tokio::test]
async fn policies_that_are_held_are_counted_by_the_hosts_in_sidecars() {
    let (mut foundation, _) = foundation_of(CellPorts::default()).await;
    foundation.load_internal(30);
    let daemon = Daemon::start(eager(foundation.config())).await;
    let sidecars = [Kind::Sidecar.collection().to_owned()];
    let pilot = foundation.connect_pilot(daemon.mcp, sidecars.into());
    holds(&pilot.await.unwrap(), |state| !state.collections.is_empty()).await;
    foundation.policies.clear();
    let expected = ["reads of policies lack ", " sidecar hosts for ", "held for"];
    let said = says(&daemon, &["status"], &expected).await;
    assert!(!said.contains(" 0 routes"), "{said}");
}

/// N15.
#[tokio::test]
async fn what_has_changed_is_told_with_its_hostname_and_its_cause() {
    let mut mesh = Mesh::start().await;
    mesh.foundation.scale(&mut mesh.app, 3);
    mesh.holds(|state| crate::mesh::endpoints(state, "shop").len() == 3)
        .await;
    let shop = host("shop");
    let expected = ["20", &*shop, "endpoints 2 -> 3", "BBS)"];
    says(&mesh.daemon, &["changes", "--host", &shop], &expected).await;
    let (of_another, _) = run(&mesh.daemon, &["changes", "--host", &host("other")]).await;
    let none = format!("no change of {} is among the ", host("other"));
    assert!(of_another.contains(&none), "{of_another}");
    assert!(of_another.contains("since 20"), "{of_another}");
    says(&mesh.daemon, &["explain", &shop], &["changed: 20"]).await;
}

/// N16.
#[tokio::test]
async fn cells_that_take_nothing_but_tls_are_told_with_the_key_that_is_missing() {
    let (foundation, _) = foundation_of(CellPorts::Tls).await;
    let mut config = eager(foundation.config());
    config.as_object_mut().unwrap().remove("BackendTLS");
    let daemon = Daemon::start(config).await;
    let expected = [
        "takes nothing but TLS, and BackendTLS is not set",
        "backend_tls.mode",
    ];
    concludes(&daemon, &host("shop"), &expected).await;
}

#[tokio::test]
async fn what_leads_nowhere_is_rejected_with_the_reason_and_each_fault_once() {
    let (mut mesh, mut app) = with_single("asleep").await;
    mesh.foundation.stop(&mut app);
    let route = mesh.foundation.capi.state().route("shop").unwrap();
    mesh.foundation.unmap(&route, &mesh.app);
    map_to(&mesh, "under_score", Destination::web(&mesh.app.guid));
    let expected = [
        "unmapped",
        "is mapped to nothing since 20",
        "stopped",
        "(desired 0)",
        "under_score",
    ];
    let said = says(&mesh.daemon, &["rejected"], &expected).await;
    for host in ["shop", "asleep", "under_score"].map(host) {
        let lines = said.lines().filter(|line| line.contains(&host));
        assert_eq!(lines.count(), 1, "{host} in\n{said}");
    }
    let (said, _) = run(&mesh.daemon, &["rejected", "--host", "asleep"]).await;
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[tokio::test]
async fn routes_instances_and_resources_are_listed_in_columns_and_by_what_is_asked_for() {
    let mesh = Mesh::start().await;
    let app = mesh.app.guid.to_string();
    let shop = host("shop");
    let said = says(&mesh.daemon, &["routes", "--host", "shop"], &[&shop]).await;
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    let column = lines[0].find("RUNNING").unwrap();
    assert!(lines[1][column..].starts_with("2  "), "{said}");
    let (none, _) = run(&mesh.daemon, &["routes", "--host", "nothing"]).await;
    assert_eq!(none.lines().count(), 1, "{none}");

    let (said, _) = run(&mesh.daemon, &["instances", "--app", &app]).await;
    assert_eq!(said.lines().count(), 3, "{said}");
    for (name, lines) in [("shop", 3), ("nothing", 1)] {
        let (said, _) = run(&mesh.daemon, &["instances", "--host", name]).await;
        assert_eq!(said.lines().count(), lines, "{said}");
    }
    let (said, _) = run(&mesh.daemon, &["instances", "--app", &app, "--limit", "1"]).await;
    assert!(said.contains("and 1 more"), "{said}");

    let (said, code) = run(&mesh.daemon, &["resources"]).await;
    assert!(said.contains(Kind::ServiceEntry.collection()), "{said}");
    assert_eq!(code, Some(0));
    let (said, code) = run(&mesh.daemon, &["resources", "no/such"]).await;
    assert!(said.contains("no collection or resource"), "{said}");
    assert!(
        said.contains("there are destinationrules, gateways, "),
        "{said}"
    );
    assert_eq!(code, Some(1));
    for name in ["/ServiceEntries/", "VIRTUALSERVICES"] {
        let (said, code) = run(&mesh.daemon, &["resources", name]).await;
        assert_eq!(code, Some(0), "{name}: {said}");
    }
}

#[tokio::test]
async fn a_mesh_in_which_all_is_well_is_nothing_to_look_at() {
    let mesh = Mesh::start().await;
    says(
        &mesh.daemon,
        &["status"],
        &["READY", "SYNCED", "nothing is wrong"],
    )
    .await;
    let (page, code) = run(&mesh.daemon, &["status", "--json"]).await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!((&page["worries"], code), (&json!([]), Some(0)), "{page:#}");
}

#[tokio::test]
async fn what_is_no_hostname_is_an_error_and_no_answer() {
    let mesh = Mesh::start().await;
    let (said, code) = run(&mesh.daemon, &["explain", "no host.example.com"]).await;
    assert!(said.contains("has the character ' '"), "{said}");
    assert_eq!(code, Some(1));
    let (said, code) = run(&mesh.daemon, &["explain", ""]).await;
    assert_eq!((said.as_str(), code), ("404 Not Found\n", Some(1)));
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_named_by_its_address() {
    let (foundation, _) = foundation_of(CellPorts::default()).await;
    let daemon = Daemon::start(eager(foundation.config())).await;
    let pilot = foundation.connect_pilot(daemon.mcp, collections()).await;
    holds(&pilot.unwrap(), |state| !state.collections.is_empty()).await;
    let named = format!("http://localhost:{}/", daemon.admin.port());
    let (said, code) = run(&daemon, &["resources", "--admin", &named]).await;
    assert_eq!(code, Some(0), "{said}");
    let nobody = ["status", "--admin", "127.0.0.1:1"];
    let (said, code) = run(&daemon, &nobody).await;
    assert!(said.contains("asking the daemon at 127.0.0.1:1"), "{said}");
    assert!(said.contains("is it running"), "{said}");
    assert_eq!(code, Some(2), "gone is no better than not ready");
    let (_, code) = run(&daemon, &["routes", "--admin", "127.0.0.1:1"]).await;
    assert_eq!(code, Some(1));
}

#[tokio::test]
async fn who_stops_watching_is_told_what_was_so_last() {
    let mut watch = Command::new(env!("CARGO_BIN_EXE_copilot"));
    watch.args(["status", "--watch", "--admin", "127.0.0.1:1"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let said = lines.next().unwrap().unwrap();
    assert!(said.contains("asking the daemon"), "{said}");
    let mut interrupt = Command::new("kill");
    interrupt.args(["-INT", &watch.id().to_string()]);
    assert!(interrupt.status().unwrap().success());
    assert_eq!(watch.wait().unwrap().code(), Some(2));
}

/// A server of another sort on the port.
#[tokio::test]
async fn what_is_not_the_daemon_is_never_taken_for_it() {
    let (foundation, _) = foundation_of(CellPorts::default()).await;
    let daemon = Daemon::start(eager(foundation.config())).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let page = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi\n";
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(page.as_bytes()).await.unwrap();
            open.push(stream);
        }
    });
    for (command, expected) in [
        (&["status"][..], 2),
        (&["explain", "shop.apps.example.com"], 1),
        (&["accept", "routes"], 1),
    ] {
        let command = [command, &["--admin", &other]].concat();
        let (said, code) = run(&daemon, &command).await;
        let words = format!("something else than copilot answers at {other}");
        assert!(said.contains(&words), "{said}");
        assert_eq!(code, Some(expected), "{said}");
    }
}

/// What an event would have told is not known.
#[tokio::test]
async fn how_old_the_state_of_an_app_is_is_told_with_the_events_that_fail() {
    let (mut foundation, mut app) = foundation_of(CellPorts::default()).await;
    let hourly = [("/BBS/SyncInterval", json!("1h"))];
    let daemon = Daemon::start(with(eager(foundation.config()), &hourly)).await;
    foundation.stop(&mut app);
    concludes(&daemon, &host("shop"), &["is stopped"]).await;
    foundation.bbs.stop();
    let expected = ["is stopped", "feed bbs_events fails since 20"];
    concludes(&daemon, &host("shop"), &expected).await;
}
