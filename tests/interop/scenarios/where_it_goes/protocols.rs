//! Over what the port of the app speaks.

use anyhow::Result;
use copilot::sim::capi::Destination;

use super::{WEB, app_with_route, expect, get, http2 as http2_destination, push};
use crate::{
    client::Over,
    expect::Answerer,
    instances::Protocol,
    scenario::{Run, Tally},
};

/// An app that speaks HTTP/2 only.
const HTTP2: &[(u16, Protocol)] = &[(8080, Protocol::Http2)];

pub(super) async fn several_ports(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let ports = [8080, 9090, 9191].map(|port| (port, Protocol::Http1));
    let app = push(run, "ports", 2, &ports).await?;
    let stage = &mut run.mesh.stage;
    let mut wanted = Vec::new();
    for (port, _) in ports {
        let name = format!("port-{port}");
        let destination = Destination {
            port,
            ..Destination::web(&app)
        };
        stage.route(&name, "", [destination.clone()]);
        // And by path, on one host.
        stage.route("ports", &format!("/{port}"), [destination]);
        let answerer = Answerer::from("ports").on_port(port);
        wanted.push((get(&name, "/"), answerer.clone()));
        wanted.push((get("ports", &format!("/{port}")), answerer));
    }
    expect(run, tally, &wanted).await;
    Ok(())
}

pub(super) async fn http2(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let app = push(run, "http2", 2, HTTP2).await?;
    let stage = &mut run.mesh.stage;
    stage.route("http2", "", [http2_destination(&app)]);
    let ask = get("http2", "/");
    let wanted = [Over::Http11, Over::Http2];
    let wanted = wanted.map(|over| (ask.clone().over(over), Answerer::from("http2").over("h2")));
    expect(run, tally, &wanted).await;
    Ok(())
}

pub(super) async fn grpc(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let app = push(run, "grpc", 2, HTTP2).await?;
    let stage = &mut run.mesh.stage;
    stage.route("grpc", "", [http2_destination(&app)]);
    let ask = get("grpc", "/").over(Over::Grpc).saying("hello");
    expect(run, tally, &[(ask, Answerer::from("grpc").over("grpc"))]).await;
    Ok(())
}

pub(super) async fn websocket(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    app_with_route(run, "websocket").await?;
    let ask = get("websocket", "/").over(Over::WebSocket).saying("hello");
    let answerer = Answerer::from("websocket").over("websocket");
    expect(run, tally, &[(ask, answerer)]).await;
    Ok(())
}

/// Two destinations on one port of one hostname, each spoken to as it wants it.
pub(super) async fn http2_beside_http1(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let old = push(run, "speaks-http1", 1, WEB).await?;
    let new = push(run, "speaks-http2", 1, HTTP2).await?;
    let stage = &mut run.mesh.stage;
    stage.route("mixed", "/old", [Destination::web(&old)]);
    stage.route("mixed", "/new", [http2_destination(&new)]);
    let wanted = [
        (get("mixed", "/old"), "speaks-http1".into()),
        (
            get("mixed", "/new"),
            Answerer::from("speaks-http2").over("h2"),
        ),
    ];
    expect(run, tally, &wanted).await;
    Ok(())
}
