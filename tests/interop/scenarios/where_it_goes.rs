//! Where the ingress sends a request: to the app that the foundation says, at the share that it says, over what the
//! port speaks.

mod asked;
mod balancing;
mod gorouter;
mod hosts;
mod protocols;
mod tls;

use anyhow::Result;
use copilot::{
    model::{AppGuid, DomainGuid, Protocol as Spoken, RouteGuid},
    sim::capi::{Destination, DomainKind, RouteSpec},
};

use crate::{
    client::Ask,
    expect::Answerer,
    instances::Protocol,
    scenario::{Run, Scenario, Tally, scenario},
    stage::{DOMAIN, Stage},
};

const GROUP: &str = "Where it goes";

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario!(GROUP, "host", hosts::host),
    scenario!(GROUP, "longest path first", hosts::longest_path),
    scenario!(GROUP, "a wildcard beside a specific host", hosts::wildcard),
    scenario!(GROUP, "hostnames that Istio refuses", hosts::under_scores),
    scenario!(GROUP, "bare domain", hosts::bare_domain),
    scenario!(GROUP, "upper case in the host", hosts::upper_case),
    scenario!(GROUP, "upper case in the path", hosts::upper_case_path),
    scenario!(GROUP, "a port in Host", hosts::port_in_host),
    scenario!(GROUP, "encoded path", hosts::encoded_path),
    scenario!(GROUP, "unknown host", hosts::unknown),
    scenario!(GROUP, "as a real gorouter answered", gorouter::as_recorded),
    scenario!(GROUP, "weighted", balancing::weighted),
    scenario!(GROUP, "two apps without weights", balancing::unweighted),
    scenario!(GROUP, "hash by header", balancing::hash),
    scenario!(GROUP, "least-connection", balancing::least_connection),
    scenario!(GROUP, "session affinity", asked::affinity),
    scenario!(GROUP, "a route's timeout", asked::time),
    scenario!(GROUP, "a route's retries", asked::tries),
    scenario!(GROUP, "another path", asked::path),
    scenario!(GROUP, "headers set and removed", asked::headers),
    scenario!(GROUP, "several ports", protocols::several_ports),
    scenario!(GROUP, "http2", protocols::http2),
    scenario!(GROUP, "gRPC", protocols::grpc),
    scenario!(GROUP, "WebSocket", protocols::websocket),
    scenario!(
        GROUP,
        "http2 beside http1 on one port",
        protocols::http2_beside_http1
    ),
    scenario!(GROUP, "HTTPS by SNI", tls::by_sni),
    scenario!(GROUP, "HTTPS by a wildcard certificate", tls::by_wildcard),
    scenario!(GROUP, "HTTPS without SNI", tls::without_sni),
    scenario!(
        GROUP,
        "HTTPS after the certificates were rotated",
        tls::rotated
    ),
];

/// What an app listens on that says nothing of it.
const WEB: &[(u16, Protocol)] = &[(8080, Protocol::Http1)];
/// How often each request of a scenario is sent that counts no shares.
const ROUNDS: usize = 5;

fn host(name: &str) -> String {
    format!("{name}.{DOMAIN}")
}

fn get(name: &str, path: &str) -> Ask {
    Ask::get(&host(name), path)
}

/// An http2 destination, on port 8080.
fn http2(app: &AppGuid) -> Destination {
    Destination {
        protocol: Spoken::Http2,
        ..Destination::web(app)
    }
}

/// A domain below that of the other routes.
fn domain(stage: &Stage, name: &str) -> DomainGuid {
    let mut controller = stage.foundation.capi.state();
    controller.add_domain(&host(name), DomainKind::Http)
}

/// A route to the one app, in such a domain.
fn route_in(stage: &Stage, domain: &DomainGuid, host: &str, app: &AppGuid) -> RouteGuid {
    let spec = RouteSpec::new(domain, host).to(Destination::web(app));
    stage.foundation.capi.state().create_route(spec)
}

/// Pushes an app that runs to the end.
async fn push(
    run: &mut Run<'_>,
    name: &str,
    instances: u32,
    ports: &[(u16, Protocol)],
) -> Result<AppGuid> {
    let app = run.mesh.stage.push(name, instances, ports).await?;
    let guid = app.guid.clone();
    run.apps.push(app);
    Ok(guid)
}

/// Pushes an app with one instance, and maps a route of its own name to it.
async fn app_with_route(run: &mut Run<'_>, name: &str) -> Result<()> {
    let app = push(run, name, 1, WEB).await?;
    run.mesh.stage.route(name, "", [Destination::web(&app)]);
    Ok(())
}

/// Asks the ingress over HTTP.
async fn expect(run: &Run<'_>, tally: &mut Tally, wanted: &[(Ask, Answerer)]) {
    let client = run.mesh.ingress.client();
    crate::expect::expect(&client, tally, ROUNDS, wanted).await;
}
