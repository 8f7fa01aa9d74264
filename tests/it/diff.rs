//! `copilot diff` between daemons, and between a daemon and what serves in the shape of the Go Copilot.

mod original;

use std::{
    path::Path,
    process::{Command, Output},
};

use copilot::sim::{
    bbs::CellPorts,
    capi::{Destination, DomainKind, RouteSpec},
    cloud_foundry::{App, CloudFoundry},
    sink::State,
};
use serde_json::{Value, json};

use self::original::Original;
use crate::mesh::{self, Daemon, Mesh, collections, eager, foundation_of, holds, with};

/// What the command prints of two servers, with a Pilot's certificate, and its exit code.
async fn diff(foundation: &CloudFoundry, a: &str, b: &str, more: &[&str]) -> (String, i32) {
    let text = |path: &Path| path.display().to_string();
    let file = |name: &str| text(&foundation.folder().join(name));
    let mut command = Command::new(env!("CARGO_BIN_EXE_copilot"));
    command.args([
        "diff",
        a,
        b,
        "--cert",
        &file("pilot.crt"),
        "--key",
        &file("pilot.key"),
    ]);
    command.args(["--ca", &text(foundation.pki.ca()), "--settle", "0"]);
    command.args(more);
    run(command).await
}

async fn run(mut command: Command) -> (String, i32) {
    let output = tokio::task::spawn_blocking(move || command.output());
    let Output {
        status,
        stdout,
        stderr,
    } = output.await.unwrap().unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    (said, status.code().unwrap())
}

fn mcp(daemon: &Daemon) -> String {
    format!("mcp://localhost:{}", daemon.mcp.port())
}

/// A config under which instances are reached as the original reaches them.
fn in_plaintext(config: Value) -> Value {
    let mut config = eager(config);
    config.as_object_mut().unwrap().remove("BackendTLS");
    config
}

/// A foundation with a path, a hostname of two apps, and an app that may call another.
struct Shop {
    foundation: CloudFoundry,
    web: App,
    cart: App,
    database: App,
}

async fn shop() -> Shop {
    let (mut foundation, web) = foundation_of(CellPorts::Plain).await;
    let (cart, database) = (foundation.push(1), foundation.push(1));
    let route = foundation.create_route("shop", "/Cart");
    foundation.map(&route, &cart, None);
    let route = foundation.create_route("pair", "");
    foundation.map(&route, &cart, None);
    foundation.map(&route, &database, None);
    let route = foundation.create_internal_route("database");
    foundation.map(&route, &database, None);
    let (source, destination) = (web.guid.to_string(), database.guid.to_string());
    foundation.policies.allow(&source, &destination, 8080);
    Shop {
        foundation,
        web,
        cart,
        database,
    }
}

impl Shop {
    /// A daemon that serves all of it, and what a Pilot holds then.
    async fn served(&self, changes: &[(&str, Value)]) -> (Daemon, State) {
        let config = with(in_plaintext(self.foundation.config()), changes);
        let daemon = Daemon::start(config).await;
        let pilot = self
            .foundation
            .connect_pilot(daemon.mcp, collections_and_sidecars());
        let pilot = pilot.await.unwrap();
        let state = holds(&pilot, |state| {
            let has_sidecars = |names: Vec<&str>| names.len() == 2;
            mesh::endpoints(state, "shop").len() == 2
                && mesh::endpoints(state, "pair").len() == 2
                && state
                    .names(copilot::istio::Kind::Sidecar.collection())
                    .is_some_and(has_sidecars)
        });
        (daemon, state.await)
    }
}

fn collections_and_sidecars() -> Vec<String> {
    let sidecars = copilot::istio::Kind::Sidecar.collection().to_owned();
    collections().into_iter().chain([sidecars]).collect()
}

#[tokio::test]
async fn two_daemons_of_one_foundation_differ_in_nothing_by_either_protocol() {
    let shop = shop().await;
    let xds = ("/ListenAddressForXDS", json!("127.0.0.1:0"));
    let (one, _) = shop.served(&[]).await;
    let (other, _) = shop.served(&[xds]).await;
    let foundation = &shop.foundation;
    let said = diff(foundation, &mcp(&one), &mcp(&other), &[]).await;
    assert_eq!(said, ("nothing differs in effect\n".to_owned(), 0));
    let xds = format!("xds://127.0.0.1:{}", other.xds.unwrap().port());
    let said = diff(foundation, &mcp(&one), &xds, &["--plaintext-b"]).await;
    assert_eq!(said, ("nothing differs in effect\n".to_owned(), 0));
    // Nobody misses whoever has looked.
    let page = one.operator.json("/debug/peers").await.unwrap();
    let gone = page["gone"].as_array().unwrap();
    assert!(
        !gone.iter().any(|gone| gone["node"] == "copilot-diff"),
        "{page:#}"
    );
}

#[tokio::test]
async fn a_route_that_only_one_of_them_has_is_named_with_the_side_that_has_it() {
    let mesh = Mesh::start().await;
    {
        let mut state = mesh.foundation.capi.state();
        let domain = state.add_domain("other.example.com", DomainKind::Http);
        let route = RouteSpec::new(&domain, "extra").to(Destination::web(&mesh.app.guid));
        state.create_route(route);
    }
    let domains = json!(["apps.example.com", "apps.internal", "other.example.com"]);
    let config = eager(mesh.foundation.config());
    let more = Daemon::start(with(config, &[("/MeshDomains", domains)])).await;
    let pilot = mesh.foundation.connect_pilot(more.mcp, collections());
    let name = "copilot-service-for-extra.other.example.com";
    let virtual_services = copilot::istio::Kind::VirtualService.collection();
    let has = |names: Vec<&str>| names.contains(&name);
    holds(&pilot.await.unwrap(), |state| {
        state.names(virtual_services).is_some_and(has)
    })
    .await;
    let foundation = &mesh.foundation;
    let (said, code) = diff(foundation, &mcp(&mesh.daemon), &mcp(&more), &[]).await;
    assert_eq!(said, "extra.other.example.com: only in B\n1 difference\n");
    assert_eq!(code, 1);
    let (said, code) = diff(foundation, &mcp(&more), &mcp(&mesh.daemon), &["--json"]).await;
    let page: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(page["differences"][0]["what"], "only in A");
    assert_eq!((&page["of"], code), (&json!(1), 1));
}

#[tokio::test]
async fn which_hostnames_are_spared_from_a_redirect_is_told_where_both_redirect() {
    let shop = shop().await;
    let router = shop
        .foundation
        .pki
        .issue("router", &["*.apps.example.com"])
        .unwrap();
    let text = |path| std::fs::read_to_string(path).unwrap();
    let pair = json!({ "CertChain": text(&router.cert), "PrivateKey": text(&router.key) });
    let pems = ("/TLSPems", json!([pair]));
    let spared = |hosts: &[&str]| {
        (
            "/Defaults",
            json!({ "HTTPSRedirect": true, "HTTPSRedirectExcept": hosts }),
        )
    };
    let (one, _) = shop
        .served(&[pems.clone(), spared(&["shop.apps.example.com"])])
        .await;
    let (other, _) = shop
        .served(&[pems, spared(&["pair.apps.example.com"])])
        .await;
    let (said, code) = diff(&shop.foundation, &mcp(&one), &mcp(&other), &[]).await;
    let expected = [
        "pair.apps.example.com: only in A: port 80 HTTP, redirected to HTTPS",
        "pair.apps.example.com: only in B: port 80 HTTP",
        "shop.apps.example.com: only in A: port 80 HTTP",
        "shop.apps.example.com: only in B: port 80 HTTP, redirected to HTTPS",
        "4 differences\n",
    ];
    assert_eq!((said, code), (expected.join("\n"), 1));
}

#[tokio::test]
async fn from_the_original_only_its_known_faults_differ() {
    let shop = shop().await;
    let (daemon, state) = shop.served(&[]).await;
    let original = Original::of(&shop, &state).await;
    let (said, code) = original.diff(&shop, &daemon).await;
    let paths = "shop.apps.example.com/cart: matches all that begins so, as it is written in A; \
         it and what is below it, in any case in B\n";
    assert_eq!((said, code), (format!("{paths}1 difference\n"), 1));
}

#[tokio::test]
async fn of_the_original_it_is_told_what_its_readers_discard_and_who_may_call_whom() {
    let shop = shop().await;
    let (daemon, state) = shop.served(&[]).await;
    let mut original = Original::of(&shop, &state).await;
    original.weigh_one_of_three_that_is_stopped();
    original.alias_the_hosts_of_sidecars();
    let (said, code) = original.diff(&shop, &daemon).await;
    assert_eq!(code, 1);
    for expected in [
        "VirtualService copilot-service-for-pair.apps.example.com: readers of A discard it: weights [34, 34] do not sum to 100",
        "pair.apps.example.com: only in B",
        "readers of A discard it: ",
        "which may call: only in B: internal/database.apps.internal",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
}

#[tokio::test]
async fn who_cannot_be_asked_is_named_and_is_no_difference() {
    let mesh = Mesh::start().await;
    let foundation = &mesh.foundation;
    let (said, code) = diff(foundation, &mcp(&mesh.daemon), "mcp://localhost:1", &[]).await;
    assert!(said.starts_with("not compared: asking B: "), "{said}");
    assert_eq!(code, 2);
    let mut command = Command::new(env!("CARGO_BIN_EXE_copilot"));
    command.args(["diff", "198.51.100.1:9009", "xds://198.51.100.1:15010"]);
    let (said, code) = run(command).await;
    assert!(said.contains("plaintext is for loopback"), "{said}");
    assert_eq!(code, 2);
}

#[tokio::test]
async fn who_asks_in_the_wrong_way_is_told_what_is_probably_missing() {
    let mesh = Mesh::start().await;
    let (ours, port) = (mcp(&mesh.daemon), mesh.daemon.mcp.port());
    let ca = mesh.foundation.pki.ca().display().to_string();
    let other = format!("xds://localhost:{port}");
    for (args, expected) in [
        (&[&*ours, &ours][..], "is --ca missing"),
        (&[&ours, &ours, "--ca", &ca], "are --cert and --key missing"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_copilot"));
        command.arg("diff").args(args);
        let (said, code) = run(command).await;
        assert!(said.contains(expected), "{expected:?} is not in {said}");
        assert_eq!(code, 2);
    }
    let (said, code) = diff(&mesh.foundation, &ours, &other, &[]).await;
    assert!(said.contains("is it mcp:// and not xds://"), "{said}");
    assert_eq!(code, 2);
    let pasted = format!("{ours}/");
    let (said, code) = diff(&mesh.foundation, &ours, &pasted, &[]).await;
    assert_eq!(code, 0, "{said}");
}
