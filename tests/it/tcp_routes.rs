//! TCP routes through the whole daemon: a list of their own, and a port of the ingress each.

mod restarts;

use std::collections::BTreeSet;

use copilot::{
    istio::{Kind, TCP_GATEWAY},
    model::{DomainGuid, RouteGuid},
    proto::istio::networking::v1alpha3::{Gateway, ServiceEntry, VirtualService},
    sim::{
        capi::{Destination, DomainKind, RouteSpec},
        cloud_foundry::{App, CloudFoundry},
        sink::State,
    },
};
use serde_json::{Value, json};

use crate::mesh::{Daemon, Mesh, collections, eager, endpoints, foundation, with};

const DOMAIN: &str = "tcp.example.com";
const FIRST: u16 = 1024;

/// Of ten ports.
fn config(foundation: &CloudFoundry) -> Value {
    let tcp = json!({
        "Domains": [DOMAIN, "tcp.example.org"],
        "Ports": ["1024-1033"],
        "PollInterval": "50ms",
    });
    with(eager(foundation.config()), &[("/TCPRoutes", tcp)])
}

async fn serve(foundation: CloudFoundry, app: App) -> Mesh {
    let daemon = Daemon::start(config(&foundation)).await;
    let pilot = foundation.connect_pilot(daemon.mcp, collections());
    Mesh {
        pilot: pilot.await.unwrap(),
        foundation,
        app,
        daemon,
    }
}

fn domain(foundation: &CloudFoundry, name: &str) -> DomainGuid {
    let mut state = foundation.capi.state();
    state.add_domain(name, DomainKind::Tcp)
}

fn map(foundation: &CloudFoundry, domain: &DomainGuid, port: u16, app: &App) -> RouteGuid {
    let spec = RouteSpec::new(domain, "").port(port);
    let route = foundation
        .capi
        .state()
        .create_route(spec.to(Destination::web(&app.guid)));
    foundation.bbs.touch(&app.process);
    route
}

fn decode<M: prost::Message + Default>(state: &State, kind: Kind, name: &str) -> Option<M> {
    let held = state.collections.get(kind.collection())?;
    let resource = held.resources.get(name)?;
    let body = resource.body.as_ref()?;
    Some(M::decode(&*body.value).unwrap())
}

/// To how many endpoints a port leads; `None` where the ingress does not listen there.
fn behind(state: &State, domain: &str, port: u16) -> Option<usize> {
    let name = format!("copilot-tcp-service-for-{domain}-{port}");
    let service: VirtualService = decode(state, Kind::VirtualService, &name)?;
    assert_eq!(service.tcp[0].r#match[0].port, u32::from(port));
    let to = service.tcp[0].route.iter().map(|to| {
        let host = &to.destination.as_ref().unwrap().host;
        let entry: Option<ServiceEntry> = decode(state, Kind::ServiceEntry, host);
        entry.map_or(0, |entry| entry.endpoints.len())
    });
    Some(to.sum())
}

#[tokio::test]
async fn a_route_is_led_from_its_port_to_its_instances_and_follows_them() {
    let (foundation, mut app) = foundation().await;
    let tcp = domain(&foundation, DOMAIN);
    let route = map(&foundation, &tcp, FIRST, &app);
    let mut mesh = serve(foundation, app.clone()).await;
    mesh.holds(|state| behind(state, DOMAIN, FIRST) == Some(2))
        .await;
    let held = mesh.pilot.state();
    let gateway: Gateway = decode(&held.borrow(), Kind::Gateway, TCP_GATEWAY).unwrap();
    assert_eq!(gateway.servers.len(), 10);

    mesh.foundation.scale(&mut app, 3);
    mesh.holds(|state| behind(state, DOMAIN, FIRST) == Some(3))
        .await;
    let mut other = mesh.foundation.push(1);
    let second = Destination::web(&other.guid);
    mesh.foundation.capi.state().map(&route, second);
    mesh.holds(|state| behind(state, DOMAIN, FIRST) == Some(4))
        .await;
    mesh.foundation.stop(&mut other);
    mesh.holds(|state| behind(state, DOMAIN, FIRST) == Some(3))
        .await;
    mesh.foundation.capi.state().delete_route(&route);
    mesh.holds(|state| behind(state, DOMAIN, FIRST).is_none())
        .await;
}

#[tokio::test]
async fn without_the_routing_api_they_stay_and_http_routes_change_as_ever() {
    let (foundation, app) = foundation().await;
    let tcp = domain(&foundation, DOMAIN);
    map(&foundation, &tcp, FIRST, &app);
    let mesh = serve(foundation, app).await;
    mesh.holds(|state| behind(state, DOMAIN, FIRST) == Some(2))
        .await;
    mesh.foundation.capi.state().has_routing_api = false;
    mesh.daemon.reports("tcp_routes", "server_error").await;
    let route = mesh.foundation.create_route("cart", "");
    mesh.foundation.map(&route, &mesh.app, None);
    mesh.holds(|state| {
        endpoints(state, "cart").len() == 2 && behind(state, DOMAIN, FIRST) == Some(2)
    })
    .await;
    mesh.foundation.capi.state().has_routing_api = true;
    mesh.daemon.recovers("tcp_routes").await;
}

#[tokio::test]
async fn a_read_that_lacks_them_all_is_held_and_an_operator_may_believe_it() {
    let (foundation, app) = foundation().await;
    let tcp = domain(&foundation, DOMAIN);
    let routes: Vec<_> = (FIRST..FIRST + 10)
        .map(|port| map(&foundation, &tcp, port, &app))
        .collect();
    let mesh = serve(foundation, app).await;
    let is_whole =
        |state: &State| (FIRST..FIRST + 10).all(|port| behind(state, DOMAIN, port) == Some(2));
    mesh.holds(is_whole).await;
    for route in &routes {
        mesh.foundation.capi.state().delete_route_silently(route);
    }
    let held = |page: &Value| {
        let mut held = page.as_array().into_iter().flatten();
        held.any(|held| held["feed"] == "tcp_routes" && held["routes"] == 10)
    };
    mesh.daemon.shows("/debug/held", held).await;
    assert!(is_whole(&mesh.pilot.state().borrow()));
    mesh.daemon.accept("tcp_routes").await;
    mesh.holds(|state| (FIRST..FIRST + 10).all(|port| behind(state, DOMAIN, port).is_none()))
        .await;
}

/// Few of all that is served, and all of their kind.
#[tokio::test]
async fn a_list_of_nothing_is_held_however_many_http_routes_there_are() {
    let (mut foundation, app) = foundation().await;
    foundation.load(200, 200);
    let tcp = domain(&foundation, DOMAIN);
    let routes: Vec<_> = (FIRST..FIRST + 2)
        .map(|port| map(&foundation, &tcp, port, &app))
        .collect();
    let mesh = serve(foundation, app).await;
    let is_whole =
        |state: &State| (FIRST..FIRST + 2).all(|port| behind(state, DOMAIN, port) == Some(2));
    mesh.holds(is_whole).await;
    for route in &routes {
        mesh.foundation.capi.state().delete_route_silently(route);
    }
    let held = |page: &Value| {
        let mut held = page.as_array().into_iter().flatten();
        held.any(|held| held["feed"] == "tcp_routes" && held["routes"] == 2)
    };
    let page = mesh.daemon.shows("/debug/held", held).await;
    assert!(is_whole(&mesh.pilot.state().borrow()));
    // One of two may well have been all that there was: it is no matter of ten minutes.
    let remaining = page[0]["remaining_seconds"].as_u64();
    assert!(remaining.is_some_and(|seconds| seconds <= 20), "{page:#}");
}

#[tokio::test]
async fn a_port_that_another_has_or_the_ingress_has_not_is_named_with_what_to_do() {
    let (foundation, app) = foundation().await;
    let (com, org) = (
        domain(&foundation, DOMAIN),
        domain(&foundation, "tcp.example.org"),
    );
    map(&foundation, &com, FIRST, &app);
    foundation.capi.state().advance(1);
    map(&foundation, &org, FIRST, &app);
    map(&foundation, &com, 5000, &app);
    let mesh = serve(foundation, app).await;
    mesh.holds(|state| behind(state, DOMAIN, FIRST) == Some(2))
        .await;
    let expected: BTreeSet<_> = ["tcp.example.com:5000", "tcp.example.org:1024"].into();
    mesh.daemon
        .shows("/debug/rejected", |page| {
            let entries = page["resources"].as_array().into_iter().flatten();
            let ports = entries.filter(|entry| entry["rule"] == "port");
            let hosts: BTreeSet<_> = ports.filter_map(|entry| entry["host"].as_str()).collect();
            hosts == expected
        })
        .await;
}

#[tokio::test]
async fn it_is_explained_by_its_port_and_so_is_one_that_is_not_there() {
    let (foundation, app) = foundation().await;
    let tcp = domain(&foundation, DOMAIN);
    map(&foundation, &tcp, FIRST, &app);
    map(&foundation, &tcp, 5000, &app);
    let mesh = serve(foundation, app).await;
    mesh.holds(|state| behind(state, DOMAIN, FIRST) == Some(2))
        .await;
    for (port, cause, words) in [
        (FIRST, "good", "2 endpoints"),
        (FIRST + 1, "no_route", "/v3/routes?ports=1025"),
        (5000, "withheld", "TCPRoutes.Ports"),
    ] {
        let path = format!("/debug/explain/{DOMAIN}:{port}");
        let page = mesh
            .daemon
            .shows(&path, |page| page["verdict"]["cause"] == cause);
        assert!(page.await["verdict"].to_string().contains(words), "{path}");
    }
    let page = mesh
        .daemon
        .shows("/debug/explain/shop.apps.example.com:443", |page| {
            page["verdict"]["cause"] == "good"
        });
    assert_eq!(page.await["host"], "shop.apps.example.com");
}
