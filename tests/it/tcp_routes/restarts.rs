//! What a start beside a state file makes of the TCP routes in it.

use std::path::Path;

use tempfile::TempDir;

use super::*;

const OTHER: &str = "tcp.example.org";

/// The config of the first start, with a state file that stands in at once.
fn remembering(foundation: &CloudFoundry, folder: &Path) -> Value {
    let changes = [
        ("/StateFile", json!(folder.join("state"))),
        ("/StateFileAfter", json!("50ms")),
    ];
    with(config(foundation), &changes)
}

/// A mesh with a route at each of three ports, the last of another domain, that has ended in order; and its state file.
async fn ended() -> (CloudFoundry, App, TempDir) {
    let folder = TempDir::new().unwrap();
    let (foundation, app) = foundation().await;
    let (com, org) = (domain(&foundation, DOMAIN), domain(&foundation, OTHER));
    for (domain, port) in [(&com, FIRST), (&com, FIRST + 1), (&org, FIRST + 2)] {
        map(&foundation, domain, port, &app);
    }
    let daemon = Daemon::start(remembering(&foundation, folder.path())).await;
    let pilot = foundation.connect_pilot(daemon.mcp, collections());
    let pilot = pilot.await.unwrap();
    let all = [Some(2); 3];
    crate::mesh::holds(&pilot, |state| served(state) == all).await;
    drop(pilot);
    daemon.end().await;
    (foundation, app, folder)
}

fn served(state: &State) -> [Option<usize>; 3] {
    [
        behind(state, DOMAIN, FIRST),
        behind(state, DOMAIN, FIRST + 1),
        behind(state, OTHER, FIRST + 2),
    ]
}

/// The next start, once the HTTP route is served.
async fn begun(foundation: CloudFoundry, app: App, config: Value) -> (Mesh, State) {
    let daemon = Daemon::start(config).await;
    let pilot = foundation.connect_pilot(daemon.mcp, collections());
    let mesh = Mesh {
        pilot: pilot.await.unwrap(),
        foundation,
        app,
        daemon,
    };
    let has_route = |state: &State| endpoints(state, "shop").len() == 2;
    let held = mesh.holds(has_route).await;
    (mesh, held)
}

#[tokio::test]
async fn without_the_routing_api_they_are_served_from_the_file() {
    let (foundation, app, folder) = ended().await;
    foundation.capi.state().has_routing_api = false;
    let config = remembering(&foundation, folder.path());
    let (mesh, held) = begun(foundation, app, config).await;
    assert_eq!(served(&held), [Some(2); 3]);
    mesh.daemon.reports("tcp_routes", "server_error").await;
    mesh.foundation.capi.state().has_routing_api = true;
    mesh.daemon.recovers("tcp_routes").await;
    assert_eq!(served(&mesh.pilot.state().borrow()), [Some(2); 3]);
}

#[tokio::test]
async fn where_none_are_wanted_any_more_none_is_served_and_all_else_of_the_file_is() {
    let (foundation, app, folder) = ended().await;
    foundation.capi.stop().await;
    let mut config = remembering(&foundation, folder.path());
    config.as_object_mut().unwrap().remove("TCPRoutes");
    let (_mesh, held) = begun(foundation, app, config).await;
    assert_eq!(served(&held), [None; 3]);
    let gateway: Option<Gateway> = decode(&held, Kind::Gateway, TCP_GATEWAY);
    assert!(gateway.is_none());
}

#[tokio::test]
async fn a_port_or_a_domain_that_is_wanted_no_more_is_not_served_from_the_file() {
    let (foundation, app, folder) = ended().await;
    foundation.capi.state().has_routing_api = false;
    let changes = [
        ("/TCPRoutes/Domains", json!([DOMAIN])),
        ("/TCPRoutes/Ports", json!(["1025-1033"])),
    ];
    let config = with(remembering(&foundation, folder.path()), &changes);
    let (_mesh, held) = begun(foundation, app, config).await;
    assert_eq!(served(&held), [None, Some(2), None]);
}

#[tokio::test]
async fn the_routes_of_a_domain_that_is_made_anew_go_on() {
    let (foundation, app) = foundation().await;
    let tcp = domain(&foundation, DOMAIN);
    map(&foundation, &tcp, FIRST, &app);
    let mut mesh = serve(foundation, app).await;
    mesh.holds(|state| behind(state, DOMAIN, FIRST) == Some(2))
        .await;
    let other = mesh.foundation.push(1);
    {
        let mut state = mesh.foundation.capi.state();
        state.delete_domain(&tcp);
        let again = state.add_domain(DOMAIN, DomainKind::Tcp);
        let spec = RouteSpec::new(&again, "").port(FIRST);
        state.create_route(spec.to(Destination::web(&other.guid)));
    }
    mesh.holds(|state| {
        let behind = behind(state, DOMAIN, FIRST);
        assert!(behind.is_some(), "the port is open all the time");
        behind == Some(1)
    })
    .await;
}
