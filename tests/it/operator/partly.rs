//! What an operator is told of a hostname that is served, and not as Cloud Foundry has it.

use copilot::sim::policy;

use super::*;

#[tokio::test]
async fn of_two_destinations_the_one_that_nobody_is_behind_is_told() {
    let mut mesh = Mesh::start().await;
    let mut asleep = mesh.foundation.push(1);
    let route = mesh.foundation.create_route("half", "");
    mesh.foundation.map(&route, &mesh.app, None);
    mesh.foundation.map(&route, &asleep, None);
    mesh.foundation.stop(&mut asleep);
    let app = asleep.guid.to_string();
    partly(&mesh.daemon, &host("half"), &[&app, "is stopped"]).await;
}

#[tokio::test]
async fn of_two_destinations_the_one_with_a_port_that_nobody_has_is_told() {
    let mesh = Mesh::start().await;
    let route = mesh.foundation.create_route("halfport", "");
    let to = Destination::web(&mesh.app.guid);
    for port in [8080, 9090] {
        let to = Destination { port, ..to.clone() };
        mesh.foundation.capi.state().map(&route, to);
    }
    mesh.foundation.bbs.touch(&mesh.app.process);
    let expected = ["port 9090", "have the ports 2222, 8080"];
    partly(&mesh.daemon, &host("halfport"), &expected).await;
}

#[tokio::test]
async fn of_two_wanted_instances_the_one_that_has_crashed_is_told() {
    let mesh = Mesh::start().await;
    mesh.foundation.bbs.crash(&mesh.app.instances[0]);
    let expected = [
        "1 of 2 wanted instances of app",
        "has crashed since 20",
        "Exited with status 1",
    ];
    partly(&mesh.daemon, &host("shop"), &expected).await;
}

#[tokio::test]
async fn what_takes_the_requests_of_a_hostname_without_a_route_is_named() {
    let mesh = Mesh::start().await;
    let route = mesh.foundation.create_route("*", "");
    mesh.foundation.map(&route, &mesh.app, None);
    let deep = mesh.foundation.create_route("deep", "/cart");
    mesh.foundation.map(&deep, &mesh.app, None);
    let elsewhere = "requests go to *.apps.example.com: it is served with 2 endpoints";
    let expected = ["no route for gone.apps.example.com/", elsewhere];
    let said = says(&mesh.daemon, &["explain", &host("gone")], &expected).await;
    assert!(!said.contains("nothing here"), "{said}");
    let expected = ["it has deep.apps.example.com/cart", elsewhere];
    says(&mesh.daemon, &["explain", &host("deep")], &expected).await;
    let weird = mesh.foundation.create_route("weird", "");
    mesh.foundation.capi.state().spoil(&weird);
    let expected = ["1 row of capi_routes could not be read", elsewhere];
    says(&mesh.daemon, &["explain", &host("weird")], &expected).await;
    mesh.foundation.bbs.crash(&mesh.app.instances[0]);
    let expected = [
        "no route for gone.apps.example.com/",
        "requests go to *.apps.example.com: 1 of 2 wanted instances",
    ];
    partly(&mesh.daemon, &host("gone"), &expected).await;
}

#[tokio::test]
async fn of_a_path_below_a_route_it_is_told_what_that_route_has_not() {
    let mesh = Mesh::start().await;
    for (path, choice) in [("/Cart", "round-robin"), ("/cart", "least-connection")] {
        let route = mesh.foundation.create_route("shop", path);
        mesh.foundation.map(&route, &mesh.app, None);
        let mut state = mesh.foundation.capi.state();
        state.set_options(&route, json!({ "loadbalancing": choice }));
        state.advance(60);
    }
    let expected = ["is not served as it is, by rule options"];
    for path in ["/cart", "/cart/below"] {
        let url = host("shop") + path;
        partly(&mesh.daemon, &url, &expected).await;
    }
}

#[tokio::test]
async fn what_owners_ask_for_without_room_is_told_and_no_route_is_left_out() {
    let (foundation, app) = foundation_of(CellPorts::default()).await;
    let lines = (0..7).map(|n| format!("x-{n}: {}\n", "v".repeat(250)));
    let lines: String = lines.collect();
    for n in 0..10 {
        let route = foundation.create_route("asks", &format!("/p{n}"));
        let mut state = foundation.capi.state();
        state.map(&route, Destination::web(&app.guid));
        state.annotate(&route, "mesh.example.com/request-headers-set", &lines, true);
    }
    let changes = [
        ("/MaxHostBytes", json!(12_000)),
        ("/CAPI/AnnotationPrefix", json!("mesh.example.com/")),
    ];
    let daemon = Daemon::start(with(eager(foundation.config()), &changes)).await;
    let _pilot = foundation.connect_pilot(daemon.mcp, collections()).await;
    let expected =
        ["not served as it is, by rule settings_limit: what owners ask for beside 10 routes"];
    partly(&daemon, &format!("{}/p0", host("asks")), &expected).await;
}

#[tokio::test]
async fn who_may_reach_an_internal_hostname_is_old_while_the_policy_server_fails() {
    let mesh = Mesh::start().await;
    let route = mesh.foundation.create_internal_route("inside");
    mesh.foundation.map(&route, &mesh.app, None);
    let inside = "inside.apps.internal";
    says(&mesh.daemon, &["explain", inside], &["\nGOOD: "]).await;
    mesh.foundation
        .policies
        .fail(Some(policy::Fault::Status(500)));
    let expected = ["what was known", "feed policies fails"];
    concludes(&mesh.daemon, inside, &expected).await;
    says(&mesh.daemon, &["explain", &host("shop")], &["\nGOOD: "]).await;
}
