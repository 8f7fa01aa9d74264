//! How the ingress comes in at instances: over TLS where cells have no plain port, and as whom.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use copilot::sim::{cloud_foundry::INGRESS_NAME, pki::Pki};
use tokio::time::{sleep, timeout};

use super::{Lengths, PORT, ROUNDS, Traffic, app};
use crate::{
    client::{Ask, Client},
    expect::{Answerer, SOON, expect},
    peers::{container_proxy::ContainerProxy, process::POLL},
    scenario::{Run, Tally},
    stage::{App, DOMAIN},
    surface,
};

/// Longer than an agent takes to see that a file is another.
const REREAD: Duration = Duration::from_secs(30);

/// Nobody else gets in, so that the answers show that the ingress does by its certificate.
pub(super) async fn tls_alone(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let app = app(run, "tls-alone", 2).await?;
    let traffic = Traffic::start(run, &["tls-alone"]).await?;
    traffic.reaches_all_of(&app).await?;
    for running in &app.instances {
        let at = SocketAddr::from((running.place.cell, running.place.port));
        let ask = Ask::get(&running.guid.to_string(), "/");
        let plain = Client::new(at).ask(&ask).await;
        ensure!(plain.is_err(), "{at} answers in plaintext");
        let trusted = run.mesh.stage.foundation.identities.trusted();
        let as_nobody = Client::new(at).with_roots(trusted).ask(&ask).await;
        ensure!(as_nobody.is_err(), "{at} asks for no certificate");
    }
    run.apps.extend([app]);
    traffic.end(tally).await
}

/// The proxies in the containers are Envoys, as on a cell.
pub(super) async fn envoys(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    run.mesh.stage.own_proxies = true;
    let started = app(run, "behind-envoys", 2).await;
    run.mesh.stage.own_proxies = false;
    let mut app = started?;
    let mut proxies = Vec::new();
    for running in &app.instances {
        let place = &running.place;
        let credentials = run.mesh.stage.credentials(&app, &running.guid, place)?;
        let at = SocketAddr::from((place.cell, place.port));
        let to = SocketAddr::from((place.container, PORT));
        let folder = run.mesh.folder();
        let proxy = ContainerProxy::start(folder, &run.programs, at, to, &credentials);
        proxies.push(proxy.await?);
    }
    let traffic = Traffic::start(run, &["behind-envoys"]).await?;
    traffic.reaches_all_of(&app).await?;
    traffic.end(tally).await?;
    let drain = Lengths::of(run).drain;
    run.mesh.stage.stop(&mut app, drain);
    run.mesh.stage.settled().await;
    Ok(())
}

/// Cells go over to TLS one by one, and back; the app is on both sorts meanwhile.
pub(super) async fn change_over(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    run.mesh.stage.plain_cells = true;
    let started = app(run, "changing-over", 3).await;
    run.mesh.stage.plain_cells = false;
    let mut app = started?;
    let traffic = Traffic::start(run, &["changing-over"]).await?;
    for to_plain in [false, true] {
        for at in 0..app.instances.len() {
            replace(run, &mut app, at, to_plain).await?;
            traffic.reaches_all_of(&app).await?;
        }
    }
    traffic.left_alone(run).await?;
    run.apps.extend([app]);
    traffic.end(tally).await
}

async fn replace(run: &mut Run<'_>, app: &mut App, at: usize, to_plain: bool) -> Result<()> {
    let drain = Lengths::of(run).drain;
    let stage = &mut run.mesh.stage;
    stage.plain_cells = to_plain;
    let replaced = stage.evacuate(app, at, drain).await;
    stage.plain_cells = false;
    replaced
}

/// What the ingress presents is of another authority, is over, or has another name: its cells let it in nowhere. With a
/// good one again, all of them do.
pub(super) async fn refused(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    for (name, bad) in [
        ("untrusted-client", Bad::Untrusted),
        ("ended-client", Bad::Ended),
        ("misnamed-client", Bad::Misnamed),
    ] {
        let refused = refuses(run, tally, name, bad).await;
        // The next scenarios have the ingress as it was.
        rotate_client(run).await?;
        refused?;
        let wanted = [(ask(name), name.into())];
        expect(&run.mesh.ingress.client(), tally, ROUNDS, &wanted).await;
    }
    Ok(())
}

/// The ingress answers for an app to which it has no connection yet, and does not get in.
async fn refuses(run: &mut Run<'_>, tally: &mut Tally, name: &str, bad: Bad) -> Result<()> {
    let before = certificates(run).await?;
    present(run, bad)?;
    reread(run, &before).await?;
    let app = app(run, name, 1).await?;
    let wanted = [(ask(name), Answerer::ingress(503))];
    expect(&run.mesh.ingress.client(), tally, ROUNDS, &wanted).await;
    let record = app.instances[0].server.record();
    // Before it tries, the ingress answers 503 for a route whose cluster it does not have yet.
    let client = run.mesh.ingress.client();
    let tried = async {
        while record.asked().refused == 0 {
            drop(client.ask(&ask(name)).await);
            sleep(POLL).await;
        }
    };
    let tried = timeout(SOON, tried).await;
    run.apps.push(app);
    ensure!(tried.is_ok(), "{name} did not try");
    ensure!(record.asked().requests == 0, "{name} was let in");
    Ok(())
}

fn ask(name: &str) -> Ask {
    Ask::get(&format!("{name}.{DOMAIN}"), "/")
}

#[derive(Debug, Clone, Copy)]
enum Bad {
    Untrusted,
    Ended,
    Misnamed,
}

/// Gives the ingress another client certificate.
fn present(run: &Run<'_>, bad: Bad) -> Result<()> {
    let foundation = &run.mesh.stage.foundation;
    let pki = &foundation.ingress;
    match bad {
        Bad::Untrusted => {
            Pki::new(foundation.folder(), "stranger")?.issue("ingress", &[INGRESS_NAME])?
        }
        Bad::Ended => pki.issue_ended("ingress", &[INGRESS_NAME])?,
        Bad::Misnamed => pki.issue("ingress", &["stranger.service.cf.internal"])?,
    };
    Ok(())
}

/// The ingress gets a new client certificate, and has read it.
pub(super) async fn rotate_client(run: &Run<'_>) -> Result<()> {
    let before = certificates(run).await?;
    let pki = &run.mesh.stage.foundation.ingress;
    pki.issue("ingress", &[INGRESS_NAME])?;
    reread(run, &before).await
}

/// What the ingress's Envoy has read of certificates.
pub(super) async fn certificates(run: &Run<'_>) -> Result<String> {
    let page = surface::page(run.mesh.ingress.proxy.admin(), "/certs").await;
    let (_, page) = page.context("Envoy does not answer")?;
    Ok(page)
}

/// Waits until that is something else.
pub(super) async fn reread(run: &Run<'_>, before: &str) -> Result<()> {
    let changed = async {
        while certificates(run).await? == before {
            sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    let changed = timeout(REREAD, changed).await;
    changed.context("the ingress has its old certificates still")?
}
