//! What an operator is told of a hostname that Cloud Controller has no route for, or seems not to have.

use copilot::sim::capi::{DomainKind, RouteSpec};

use super::*;

#[tokio::test]
async fn a_hostname_that_has_other_paths_alone_is_told_with_these() {
    let mesh = Mesh::start().await;
    let route = mesh.foundation.create_route("deep", "/cart");
    mesh.foundation.map(&route, &mesh.app, None);
    let expected = [
        "Cloud Controller has no route for deep.apps.example.com/ as of",
        "it has deep.apps.example.com/cart",
    ];
    concludes(&mesh.daemon, &host("deep"), &expected).await;
    let expected = ["no route for deep.apps.example.com/Other as of"];
    let url = format!("{}/Other", host("deep"));
    concludes(&mesh.daemon, &url, &expected).await;
}

#[tokio::test]
async fn a_row_that_could_not_be_read_may_be_the_route_that_is_asked_for() {
    let mesh = Mesh::start().await;
    let route = mesh.foundation.create_route("weird", "");
    mesh.foundation.capi.state().spoil(&route);
    let expected = ["1 row of capi_routes could not be read", "copilot rejected"];
    concludes(&mesh.daemon, &host("weird"), &expected).await;
}

#[tokio::test]
async fn a_route_that_waits_for_its_bindings_is_told_with_the_feed_that_fails() {
    let mesh = Mesh::start().await;
    let capi = &mesh.foundation.capi;
    capi.inject(Endpoint::Bindings, 0, usize::MAX, Fault::UnknownError);
    let route = mesh.foundation.create_route("fresh", "");
    mesh.foundation.map(&route, &mesh.app, None);
    let expected = [
        "no route for fresh.apps.example.com/",
        "feed capi_access fails since 20",
    ];
    concludes(&mesh.daemon, &host("fresh"), &expected).await;
    // What is served is known well enough.
    let (said, _) = run(&mesh.daemon, &["explain", &host("shop")]).await;
    assert!(said.contains("\nGOOD: "), "{said}");
}

#[tokio::test]
async fn a_route_that_is_one_too_many_is_told_with_the_rule() {
    let (foundation, app) = foundation_of(CellPorts::default()).await;
    for n in 0..101 {
        let route = foundation.create_route("many", &format!("/p{n}"));
        let mut state = foundation.capi.state();
        state.map(&route, Destination::web(&app.guid));
        state.advance(60);
    }
    let config = with(
        eager(foundation.config()),
        &[("/MaxHostRoutes", json!(100))],
    );
    let daemon = Daemon::start(config).await;
    let _pilot = foundation.connect_pilot(daemon.mcp, collections()).await;
    let url = format!("{}/p100", host("many"));
    let expected = ["/p100 is left out by rule limit: 100 routes are served and the 1 newest"];
    concludes(&daemon, &url, &expected).await;
    concludes(&daemon, &format!("{url}/below"), &expected).await;
    let other = format!("{}/other", host("many"));
    concludes(&daemon, &other, &["no route for many."]).await;
    // Another takes its requests.
    let route = foundation.create_route("*", "");
    foundation.map(&route, &app, None);
    let expected = ["rule limit", "requests go to *.apps.example.com instead"];
    partly(&daemon, &url, &expected).await;
    let first = format!("{}/p0", host("many"));
    for served in [first.clone(), format!("{first}/below")] {
        says(&daemon, &["explain", &served], &["\nGOOD: "]).await;
    }
}

#[tokio::test]
async fn a_path_that_may_be_of_a_route_that_is_not_read_is_told_with_the_path_that_answers() {
    let mesh = Mesh::start().await;
    let any = format!("{}/any", host("shop"));
    let expected = ["\nGOOD: it is served by shop.apps.example.com with 2 endpoints"];
    says(&mesh.daemon, &["explain", &any], &expected).await;
    let capi = &mesh.foundation.capi;
    capi.inject(Endpoint::Bindings, 0, usize::MAX, Fault::UnknownError);
    let cart = mesh.foundation.create_route("shop", "/cart");
    mesh.foundation.map(&cart, &mesh.app, None);
    let expected = [
        "\nGOOD: requests go to shop.apps.example.com (feed capi_access fails since 20",
        "if it should have a route of its own: repair what feed capi_access reads",
    ];
    let url = format!("{}/cart", host("shop"));
    let said = says(&mesh.daemon, &["explain", &url], &expected).await;
    assert!(!said.contains("nothing here"), "{said}");
    capi.clear();
    says(
        &mesh.daemon,
        &["explain", &url],
        &["\nGOOD: it is served with 2 endpoints"],
    )
    .await;
    let weird = mesh.foundation.create_route("shop", "/weird");
    capi.state().spoil(&weird);
    let url = format!("{}/weird", host("shop"));
    let expected = [
        "\nGOOD: requests go to shop.apps.example.com; 1 row of capi_routes could not be read: it",
        "`copilot rejected`",
    ];
    says(&mesh.daemon, &["explain", &url], &expected).await;
}

/// With TCP domains, one of which Cloud Controller does not have.
async fn with_tcp() -> (copilot::sim::cloud_foundry::CloudFoundry, Daemon) {
    let (foundation, app) = foundation_of(CellPorts::default()).await;
    let domain = {
        let mut state = foundation.capi.state();
        state.add_domain("tcp.example.com", DomainKind::Tcp)
    };
    let spec = RouteSpec::new(&domain, "").port(1024);
    let spec = spec.to(Destination::web(&app.guid));
    foundation.capi.state().create_route(spec);
    let tcp = json!({
        "Domains": ["tcp.example.com", "tcp.example.org"],
        "Ports": ["1024-1033"],
        "PollInterval": "50ms",
    });
    let config = with(eager(foundation.config()), &[("/TCPRoutes", tcp)]);
    let daemon = Daemon::start(config).await;
    (foundation, daemon)
}

#[tokio::test]
async fn a_tcp_domain_is_to_be_asked_for_with_a_port_and_is_never_a_domain_of_hostnames() {
    let (_foundation, daemon) = with_tcp().await;
    let expected = [
        "tcp.example.com is a TCP domain",
        "ask for tcp.example.com:PORT",
    ];
    concludes(&daemon, "tcp.example.com", &expected).await;
    let expected = [
        "x.example.com is of no domain of the mesh",
        "MeshDomains (mesh_domains)",
        "TCPRoutes.Domains (tcp_routes.domains) for port 1024",
    ];
    concludes(&daemon, "x.example.com:1024", &expected).await;
    let expected = ["correct TCPRoutes.Domains (tcp_routes.domains)"];
    concludes(&daemon, "tcp.example.org:1024", &expected).await;
    let (said, _) = run(&daemon, &["explain", "x.example.com:443"]).await;
    assert!(!said.contains("TCPRoutes"), "{said}");
}
