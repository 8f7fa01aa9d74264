//! HTTPS, with the files that `copilot librarian` wrote.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::{ROUNDS, app_with_route, get};
use crate::{
    client::{Ask, Client, Sni},
    expect::{self, SOON},
    frontend::OWN,
    peers::process::POLL,
    scenario::{Run, Tally},
};

fn client(run: &Run<'_>) -> Client {
    run.mesh.ingress.tls_client(run.mesh.frontend.ca())
}

/// The app answers, behind this certificate.
async fn holds(
    run: &Run<'_>,
    tally: &mut Tally,
    (ask, app): (&Ask, &str),
    certificate: &Bytes,
) -> Result<()> {
    let client = client(run);
    expect::expect(&client, tally, 1, &[(ask.clone(), app.into())]).await;
    for _ in 0..ROUNDS {
        let reply = expect::ask(&client, tally, ask, &app.into()).await?;
        let shown = reply.certificate.context("there was no certificate")?;
        ensure!(shown == certificate, "{} has another certificate", ask.host);
    }
    Ok(())
}

/// The app behind the host that has a certificate of its own.
async fn own(run: &mut Run<'_>) -> Result<()> {
    let route = run.mesh.stage.foundation.capi.state().route(OWN);
    if route.is_none() {
        app_with_route(run, OWN).await?;
    }
    Ok(())
}

pub(super) async fn by_sni(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    own(run).await?;
    let certificate = run.mesh.frontend.own()?;
    holds(run, tally, (&get(OWN, "/"), OWN), &certificate).await
}

pub(super) async fn by_wildcard(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    app_with_route(run, "shared-certificate").await?;
    let certificate = run.mesh.frontend.wildcard()?;
    let wanted = (&get("shared-certificate", "/"), "shared-certificate");
    holds(run, tally, wanted, &certificate).await
}

/// The gorouter presents its first certificate.
pub(super) async fn without_sni(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    own(run).await?;
    let certificate = run.mesh.frontend.own()?;
    let ask = get(OWN, "/").sni(Sni::None);
    holds(run, tally, (&ask, OWN), &certificate).await
}

/// New ones are presented without any restart, and no request fails meanwhile.
pub(super) async fn rotated(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let app = "rotated-certificate";
    app_with_route(run, app).await?;
    let ask = get(app, "/");
    let before = run.mesh.frontend.wildcard()?;
    holds(run, tally, (&ask, app), &before).await?;
    run.mesh.frontend.rotate()?;
    let after = run.mesh.frontend.wildcard()?;
    let client = client(run);
    let is_shown = async {
        loop {
            let result = expect::ask(&client, tally, &ask, &app.into()).await;
            if result.is_ok_and(|reply| reply.certificate.as_ref() == Some(&after)) {
                break;
            }
            sleep(POLL).await;
        }
    };
    let is_shown = timeout(SOON, is_shown).await;
    is_shown.context("the certificate is still the old one")?;
    holds(run, tally, (&ask, app), &after).await
}
