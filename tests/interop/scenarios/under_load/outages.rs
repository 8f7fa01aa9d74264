//! A peer is away, or comes back as another: what is served stays served.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use copilot::{sim::capi::Destination, tls};
use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{Lengths, Traffic, WEB, app, backend_tls};
use crate::{
    balancer::Balancer,
    client::Ask,
    deployment::Deployment,
    frontend::OWN,
    peers::{daemon::Daemon, process::POLL},
    scenario::{Run, Tally},
    stage::{App, DOMAIN, Stage},
};

/// Certificates are read again every ten seconds, by the daemon as by pilot-agent.
const REREAD: Duration = Duration::from_secs(30);

/// The app gets one more instance, which is asked: whatever was away works again.
async fn still_works(stage: &mut Stage, traffic: &Traffic, app: &mut App) -> Result<()> {
    let instances = app.instances.len() + 1;
    stage.scale_up(app, u32::try_from(instances)?).await?;
    traffic.reaches_all_of(app).await
}

pub(super) async fn daemon_killed(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    daemon_away(run, tally, "daemon-killed", async |daemon| daemon.kill()).await
}

pub(super) async fn daemon_terminated(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let end = async |daemon: &mut Daemon| daemon.terminate().await;
    daemon_away(run, tally, "daemon-terminated", end).await
}

async fn daemon_away(
    run: &mut Run<'_>,
    tally: &mut Tally,
    name: &str,
    end: impl AsyncFnOnce(&mut Daemon),
) -> Result<()> {
    let mut app = app(run, name, 2).await?;
    let traffic = Traffic::start(run, &[name]).await?;
    end(&mut run.mesh.daemon).await;
    // Nobody says so to the ingress before the daemon is back.
    run.mesh.stage.scale_up(&mut app, 3).await?;
    sleep(Lengths::of(run).outage).await;
    run.mesh.daemon.launch()?;
    run.mesh.daemon.ready().await?;
    let ready = Instant::now();
    traffic.reaches_all_of(&app).await?;
    let took = ready.elapsed();
    let note = format!("the new instance is asked {took:.1?} after the daemon is ready");
    tally.notes.push(note);
    run.apps.extend([app]);
    traffic.end(tally).await
}

pub(super) async fn istiod_restarted(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut app = app(run, "istiod-restarted", 2).await?;
    let traffic = Traffic::start(run, &["istiod-restarted"]).await?;
    run.mesh.ingress.istiod.terminate().await;
    sleep(Lengths::of(run).outage).await;
    run.mesh.ingress.istiod.launch()?;
    run.mesh.ingress.istiod.ready().await?;
    still_works(&mut run.mesh.stage, &traffic, &mut app).await?;
    run.apps.extend([app]);
    traffic.end(tally).await
}

pub(super) async fn both_killed(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut app = app(run, "both-killed", 2).await?;
    let traffic = Traffic::start(run, &["both-killed"]).await?;
    run.mesh.daemon.kill();
    run.mesh.ingress.istiod.kill();
    sleep(Lengths::of(run).outage).await;
    // An istiod that starts without the daemon ends at once.
    run.mesh.daemon.launch()?;
    run.mesh.daemon.ready().await?;
    run.mesh.ingress.istiod.launch()?;
    run.mesh.ingress.istiod.ready().await?;
    still_works(&mut run.mesh.stage, &traffic, &mut app).await?;
    run.apps.extend([app]);
    traffic.end(tally).await
}

pub(super) async fn two_daemons(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut app = app(run, "two-daemons", 2).await?;
    let mut first = run.mesh.another_daemon("first").await?;
    let balancer = Balancer::start(vec![first.xds(), run.mesh.daemon.xds()]).await?;
    let deployment = Deployment::read()?;
    let ingress = run
        .mesh
        .ingress_of(balancer.address(), 20, deployment)
        .await?;
    let traffic = Traffic::through(ingress.client(), run, &["two-daemons"]).await?;
    let sinks = first.operator().json("/debug/sinks").await?;
    let sinks = sinks.as_array().map_or(0, Vec::len);
    ensure!(sinks > 0, "istiod is served by the other daemon");
    first.kill();
    still_works(&mut run.mesh.stage, &traffic, &mut app).await?;
    sleep(Lengths::of(run).outage).await;
    run.apps.extend([app]);
    traffic.end(tally).await
}

/// Two daemons of the build before this one, without a state file, become two of this one, one after the other, and again
/// what they were. Meanwhile one of each serves. In between each finds a state file of another version.
pub(super) async fn rolling_upgrade(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let Some(before) = &run.cli.before else {
        tally.skipped("there is no build from before");
        return Ok(());
    };
    let mut app = app(run, "rolling-upgrade", 2).await?;
    let mut daemons = Vec::new();
    for name in ["upgraded-first", "upgraded-second"] {
        let mut daemon = run.mesh.another_daemon(name).await?;
        daemon.replace(before, None).await?;
        daemons.push(daemon);
    }
    let addresses = daemons.iter().map(Daemon::xds).collect();
    let balancer = Balancer::start(addresses).await?;
    let deployment = Deployment::read()?;
    let ingress = run.mesh.ingress_of(balancer.address(), 21, deployment);
    let ingress = ingress.await?;
    let traffic = Traffic::through(ingress.client(), run, &["rolling-upgrade"]).await?;
    let files = [0, 1].map(|n| run.mesh.folder().join(format!("state-{n}")));
    for is_upgrade in [true, false] {
        for (daemon, file) in daemons.iter_mut().zip(&files) {
            let (program, file) = if is_upgrade {
                (&run.programs.copilot, Some(file.as_path()))
            } else {
                (before, None)
            };
            daemon.replace(program, file).await?;
            still_works(&mut run.mesh.stage, &traffic, &mut app).await?;
        }
        if is_upgrade {
            for (daemon, file) in daemons.iter_mut().zip(&files) {
                let other = of_another_version(file).await?;
                daemon.replace(&run.programs.copilot, Some(&other)).await?;
                ensure!(
                    other.with_extension("version.version").exists(),
                    "a file of another version is not set aside"
                );
                still_works(&mut run.mesh.stage, &traffic, &mut app).await?;
                let held = daemon.operator().json("/debug/held").await?;
                ensure!(held == serde_json::json!([]), "held: {held}");
            }
        }
    }
    run.apps.extend([app]);
    traffic.end(tally).await
}

/// What a build of another format would have written.
async fn of_another_version(file: &Path) -> Result<PathBuf> {
    let written = async {
        while !file.exists() {
            sleep(POLL).await;
        }
    };
    timeout(REREAD, written)
        .await
        .context("no state file is written")?;
    let mut bytes = fs::read(file)?;
    // After the first eight bytes.
    bytes[8..12].copy_from_slice(&2_u32.to_be_bytes());
    let other = file.with_extension("version");
    fs::write(&other, bytes)?;
    Ok(other)
}

pub(super) async fn cloud_controller_down(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut app = app(run, "cloud-controller", 2).await?;
    let traffic = Traffic::start(run, &["cloud-controller"]).await?;
    run.mesh.stage.foundation.capi.stop().await;
    let meanwhile = still_works(&mut run.mesh.stage, &traffic, &mut app).await;
    sleep(Lengths::of(run).outage).await;
    run.mesh.stage.foundation.capi.resume().await?;
    meanwhile?;
    let stage = &mut run.mesh.stage;
    let back = stage.push("cloud-controller-back", 1, WEB).await?;
    stage.route("cloud-controller-back", "", [Destination::web(&back.guid)]);
    // It waits until the new route is answered.
    let new = Traffic::start(run, &["cloud-controller-back"]).await?;
    new.end(tally).await?;
    run.apps.extend([app, back]);
    traffic.end(tally).await
}

pub(super) async fn bbs_down(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut one = app(run, "bbs-one", 2).await?;
    let two = run.mesh.stage.push("bbs-two", 2, WEB).await?;
    let route = run
        .mesh
        .stage
        .route("bbs", "", [Destination::web(&one.guid)]);
    let traffic = Traffic::start(run, &["bbs-one", "bbs"]).await?;
    let bbs = run.mesh.stage.foundation.bbs.clone();
    bbs.refuse(true);
    bbs.end_streams();
    // What runs is known, so that routes can change.
    run.mesh.stage.map(&route, &two, None);
    let meanwhile = traffic.answers_more("bbs-two").await;
    sleep(Lengths::of(run).outage).await;
    bbs.refuse(false);
    meanwhile?;
    still_works(&mut run.mesh.stage, &traffic, &mut one).await?;
    run.apps.extend([one, two]);
    traffic.end(tally).await
}

pub(super) async fn rotation(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut app = app(run, "rotation", 2).await?;
    let traffic = Traffic::start(run, &["rotation"]).await?;
    let before = (served_by_ingress(run).await?, served_by_daemon(run).await?);
    rotate_backend_tls(run, &app).await?;
    run.mesh.frontend.rotate()?;
    let pki = &run.mesh.stage.foundation.pki;
    pki.issue("copilot", &["localhost", "127.0.0.1"])?;
    let rotated = async {
        while served_by_ingress(run).await? == before.0 || served_by_daemon(run).await? == before.1
        {
            sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    let rotated = timeout(REREAD, rotated).await;
    rotated.context("the old certificates are still served")??;
    // The next connections of the daemon and of istiod are made with the new ones.
    run.mesh.stage.foundation.bbs.end_streams();
    run.mesh.ingress.istiod.terminate().await;
    run.mesh.ingress.istiod.launch()?;
    run.mesh.ingress.istiod.ready().await?;
    still_works(&mut run.mesh.stage, &traffic, &mut app).await?;
    run.apps.extend([app]);
    traffic.end(tally).await
}

/// Both authorities between the ingress and instances go on to new certificates: what the ingress presents, and what it
/// trusts before instances present it.
async fn rotate_backend_tls(run: &mut Run<'_>, app: &App) -> Result<()> {
    backend_tls::rotate_client(run).await?;
    let before = backend_tls::certificates(run).await?;
    run.mesh.stage.foundation.identities.rotate()?;
    backend_tls::reread(run, &before).await?;
    for app in run.apps.iter().chain([app]) {
        run.mesh.stage.rotate_identities(app)?;
    }
    let before = backend_tls::certificates(run).await?;
    run.mesh.stage.foundation.identities.trust_present_alone()?;
    backend_tls::reread(run, &before).await
}

/// The certificate with which the ingress greets a host that has one of its own.
async fn served_by_ingress(run: &Run<'_>) -> Result<Vec<u8>> {
    let client = run.mesh.ingress.tls_client(run.mesh.frontend.ca());
    let host = format!("{OWN}.{DOMAIN}");
    let reply = client.ask(&Ask::get(&host, "/")).await?;
    Ok(reply.certificate.context("TLS")?.to_vec())
}

/// The certificate with which the daemon greets istiods.
async fn served_by_daemon(run: &Run<'_>) -> Result<Vec<u8>> {
    let config = tls::client(run.mesh.stage.foundation.pki.ca(), None)?;
    let tcp = TcpStream::connect(run.mesh.daemon.xds()).await?;
    let name = ServerName::try_from("localhost")?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await?;
    let certificates = stream.get_ref().1.peer_certificates();
    let leaf = certificates
        .and_then(<[_]>::first)
        .context("a certificate")?;
    ensure!(!leaf.is_empty(), "the daemon's certificate is empty");
    Ok(leaf.to_vec())
}
