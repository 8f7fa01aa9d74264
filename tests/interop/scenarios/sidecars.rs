//! What an app's own Envoy leads to: the internal routes that policies open to it, and no other.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use copilot::{
    model::PortMapping,
    sim::{capi::Destination, cloud_foundry::INTERNAL_DOMAIN},
};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{
    client::{Ask, Client},
    expect::{Answerer, SOON, expect, shares, spread},
    instances::Protocol,
    mesh,
    peers::{
        process::POLL,
        proxy::{Identity, Proxy},
    },
    redirect,
    scenario::{Run, Scenario, Tally, scenario},
    stage::App,
};

const GROUP: &str = "Sidecars";

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario!(GROUP, "an allowed app, and one that is not", allowed),
    scenario!(GROUP, "a policy that comes and goes", policy_comes_and_goes),
    scenario!(GROUP, "a weighted internal route", weighted),
    scenario!(GROUP, "an app without any policy", without_policy),
    scenario!(GROUP, "a proxy of another namespace", of_another_namespace),
    scenario!(GROUP, "through the virtual address", virtual_address),
    scenario!(GROUP, "over TLS, verified by the hostname", over_tls),
];

/// Where every app here listens, in its container, and so its neighbours' sidecars on loopback.
const PORT: u16 = 8080;
/// The daemon's key for TLS between apps.
const INTERNAL_TLS: &str = "InternalTLS";
/// How often each request is sent that counts no shares.
const ROUNDS: usize = 5;

async fn allowed(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let source = push(run, "sidecar-allowed", 1).await?;
    let open = push_with_route(run, "sidecar-open").await?;
    let shut = push_with_route(run, "sidecar-shut").await?;
    allow(run, &source, &open);
    let _sidecar = sidecar(run, &source).await?;
    let client = on_loopback();
    let wanted = [(to("sidecar-open"), "sidecar-open".into())];
    expect(&client, tally, ROUNDS, &wanted).await;
    nobody_answers(&client, tally, &shut).await
}

async fn policy_comes_and_goes(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let source = push(run, "sidecar-changing", 1).await?;
    let always = push_with_route(run, "sidecar-always").await?;
    let sometimes = push_with_route(run, "sidecar-sometimes").await?;
    allow(run, &source, &always);
    let _sidecar = sidecar(run, &source).await?;
    let client = on_loopback();
    let both = [
        (to("sidecar-always"), "sidecar-always".into()),
        (to("sidecar-sometimes"), "sidecar-sometimes".into()),
    ];
    expect(&client, tally, ROUNDS, &both[..1]).await;
    nobody_answers(&client, tally, &sometimes).await?;
    allow(run, &source, &sometimes);
    expect(&client, tally, ROUNDS, &both).await;
    let policies = &run.mesh.stage.foundation.policies;
    policies.forbid(&source.guid.to_string(), &sometimes.guid.to_string());
    nobody_answers(&client, tally, &sometimes).await?;
    expect(&client, tally, ROUNDS, &both[..1]).await;
    Ok(())
}

async fn weighted(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let source = push(run, "sidecar-weighing", 1).await?;
    let light = push(run, "sidecar-light", 1).await?;
    let heavy = push(run, "sidecar-heavy", 1).await?;
    map(
        run,
        "sidecar-weighted",
        &[(&light, Some(20)), (&heavy, Some(80))],
    );
    allow(run, &source, &light);
    allow(run, &source, &heavy);
    let _sidecar = sidecar(run, &source).await?;
    let asked = (2, run.cli.requests());
    let counts = spread(&on_loopback(), tally, &to("sidecar-weighted"), asked).await;
    shares(&counts, &[("sidecar-light", 0.2), ("sidecar-heavy", 0.8)])
}

async fn without_policy(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let source = push(run, "sidecar-alone", 1).await?;
    let unheard = push_with_route(run, "sidecar-unheard").await?;
    let _sidecar = sidecar(run, &source).await?;
    nobody_answers(&on_loopback(), tally, &unheard).await
}

/// Sidecars select proxies of their own namespace: docs/istio.md says to have all of them in `cloudfoundry`, and this is
/// why.
async fn of_another_namespace(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let source = push(run, "sidecar-elsewhere", 1).await?;
    let _seen = push_with_route(run, "sidecar-seen").await?;
    let mut identity = identity(&source)?;
    "elsewhere".clone_into(&mut identity.namespace);
    let _sidecar = run.mesh.proxy(&identity).await?;
    let wanted = [(to("sidecar-seen"), "sidecar-seen".into())];
    expect(&on_loopback(), tally, ROUNDS, &wanted).await;
    Ok(())
}

/// As an app sees it: it resolves the hostname to its virtual address and connects there, and what it sends is redirected
/// to its sidecar.
async fn virtual_address(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let source = push(run, "sidecar-redirected", 1).await?;
    let open = push_with_route(run, "sidecar-resolved").await?;
    let shut = push_with_route(run, "sidecar-unresolved").await?;
    allow(run, &source, &open);
    let mut identity = identity(&source)?;
    identity.metadata = vec![("INTERCEPTION_MODE".to_owned(), "REDIRECT".to_owned())];
    let _sidecar = run.mesh.proxy(&identity).await?;
    let Some(_redirected) = redirect::to_sidecar(mesh::VIPS)? else {
        tally.skipped(
            "connections are redirected in a network of its own only: run as root, with iptables",
        );
        return Ok(());
    };
    let at_vip = async |app: &App| {
        let client = Client::new((vip(run, app).await?, PORT).into());
        Ok::<_, anyhow::Error>(client.coming_from(redirect::APP))
    };
    let wanted = [(to(&open.name), open.name.as_str().into())];
    expect(&at_vip(&open).await?, tally, ROUNDS, &wanted).await;
    let client = at_vip(&shut).await?;
    nobody_answers(&client, tally, &shut).await
}

/// The proxies of two apps take TLS from other apps; only one of them presents a certificate for its hostname.
async fn over_tls(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let trusted = run.mesh.stage.foundation.identities.trusted();
    let tls = json!({ "CACertPath": trusted });
    let daemon = &mut run.mesh.daemon;
    let before = daemon.reconfigure(INTERNAL_TLS, &tls).await?;
    let verified = verified_by_the_hostname(run, tally).await;
    run.mesh.stage.for_apps.clear();
    // The next scenarios have the daemon as it was.
    run.mesh.daemon.reconfigure(INTERNAL_TLS, &before).await?;
    verified
}

async fn verified_by_the_hostname(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let source = push(run, "sidecar-verifying", 1).await?;
    run.mesh.stage.for_apps = vec![to("sidecar-named").host];
    let named = push_with_route(run, "sidecar-named").await?;
    run.mesh.stage.for_apps = vec![to("sidecar-other").host];
    let misnamed = push_with_route(run, "sidecar-misnamed").await?;
    for app in [&named, &misnamed] {
        allow_at(run, &source, app, PortMapping::INTERNAL_TLS);
    }
    let _sidecar = sidecar(run, &source).await?;
    let client = on_loopback();
    let answered = Answerer::from("sidecar-named").over_tls();
    let refused = [(to("sidecar-misnamed"), Answerer::ingress(503))];
    expect(&client, tally, ROUNDS, &[(to("sidecar-named"), answered)]).await;
    expect(&client, tally, ROUNDS, &refused).await;
    let record = misnamed.instances[0].server.record();
    // Until the sidecar has the cluster, it answers 503 without having tried.
    let tried = async {
        while record.asked().refused == 0 {
            drop(client.ask(&to("sidecar-misnamed")).await);
            sleep(POLL).await;
        }
    };
    let tried = timeout(SOON, tried).await;
    ensure!(tried.is_ok(), "the sidecar did not try sidecar-misnamed");
    ensure!(record.asked().requests == 0, "sidecar-misnamed was asked");
    Ok(())
}

/// The virtual address of an app's hostname, once the daemon has published it.
async fn vip(run: &Run<'_>, app: &App) -> Result<Ipv4Addr> {
    let host = to(&app.name).host;
    let name = format!("internal/copilot-service-entry-for-{host}");
    let path = format!("/debug/resources/istio/networking/v1alpha3/serviceentries/{name}");
    let published = async {
        loop {
            if let Ok(entry) = run.mesh.daemon.operator().json(&path).await
                && let Some(address) = entry.pointer("/body/addresses/0")
            {
                break address.as_str().and_then(|address| address.parse().ok());
            }
            sleep(POLL).await;
        }
    };
    let address = timeout(SOON, published).await.context("no service entry")?;
    address.with_context(|| format!("{host} has no virtual address"))
}

/// Where a sidecar takes requests that nothing redirects to it.
fn on_loopback() -> Client {
    Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))
}

fn to(host: &str) -> Ask {
    Ask::get(&format!("{host}.{INTERNAL_DOMAIN}"), "/")
}

async fn push(run: &mut Run<'_>, name: &str, instances: u32) -> Result<App> {
    let listening = [(PORT, Protocol::Http1)];
    run.mesh.stage.push(name, instances, &listening).await
}

/// Pushes an app with an internal route of its own name.
async fn push_with_route(run: &mut Run<'_>, name: &str) -> Result<App> {
    let app = push(run, name, 1).await?;
    map(run, name, &[(&app, None)]);
    Ok(app)
}

/// Creates an internal route that leads to these apps.
fn map(run: &Run<'_>, host: &str, apps: &[(&App, Option<u32>)]) {
    let foundation = &run.mesh.stage.foundation;
    let route = foundation.create_internal_route(host);
    for (app, weight) in apps {
        let destination = Destination {
            weight: *weight,
            ..Destination::web(&app.guid)
        };
        foundation.capi.state().map(&route, destination);
        foundation.bbs.touch(&app.process);
    }
}

fn allow(run: &Run<'_>, source: &App, destination: &App) {
    allow_at(run, source, destination, PORT);
}

fn allow_at(run: &Run<'_>, source: &App, destination: &App, port: u16) {
    let policies = &run.mesh.stage.foundation.policies;
    policies.allow(
        &source.guid.to_string(),
        &destination.guid.to_string(),
        port,
    );
}

fn identity(app: &App) -> Result<Identity> {
    Ok(Identity::sidecar(
        &app.name,
        &app.guid.to_string(),
        container(app)?,
    ))
}

async fn sidecar(run: &Run<'_>, app: &App) -> Result<Proxy> {
    run.mesh.proxy(&identity(app)?).await
}

/// Waits until the app does not answer, and then sees that it does not for a while, although it answers to who may
/// connect.
async fn nobody_answers(client: &Client, tally: &mut Tally, app: &App) -> Result<()> {
    let ask = to(&app.name);
    let answered = async |client: &Client| {
        let reply = client.ask(&ask).await;
        reply.is_ok_and(|reply| reply.answer.is_some())
    };
    let shut = async {
        while answered(client).await {
            sleep(POLL).await;
        }
    };
    timeout(SOON, shut)
        .await
        .with_context(|| format!("{} is answered although no policy says so", ask.host))?;
    for _ in 0..ROUNDS {
        ensure!(!answered(client).await, "{} is answered again", ask.host);
        tally.answered("nobody", Duration::ZERO);
    }
    let itself = Client::new((container(app)?, PORT).into());
    ensure!(answered(&itself).await, "{} does not run", app.name);
    Ok(())
}

fn container(app: &App) -> Result<IpAddr> {
    let instance = app.instances.first().context("nothing runs")?;
    Ok(instance.place.container)
}
