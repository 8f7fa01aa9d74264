//! What changes under a constant load: never an answer of the wrong app, and no failure where the change is graceful.

mod backend_tls;
mod churn;
mod outages;
mod owners;
mod traffic;

use anyhow::{Result, ensure};
use copilot::sim::capi::Destination;

use self::traffic::{Lengths, Traffic, is_share};
use crate::{
    client::Ask,
    expect::{Answerer, expect},
    instances::Protocol,
    scenario::{Run, Scenario, Tally, scenario},
    stage::{App, DOMAIN},
};

const GROUP: &str = "Under a constant load";

/// Where an app listens that says nothing of it.
const PORT: u16 = 8080;
/// What it speaks.
const WEB: &[(u16, Protocol)] = &[(PORT, Protocol::Http1)];

/// How often an app is mapped and unmapped: what goes wrong in one push of many shows.
const MAPPINGS: usize = 10;

/// How often a request is sent whose answer does not change meanwhile.
const ROUNDS: usize = 5;

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario!(GROUP, "scale up", scale_up),
    scenario!(GROUP, "scale down with draining", scale_down),
    scenario!(GROUP, "crash", crash),
    scenario!(GROUP, "map and unmap", map_and_unmap),
    scenario!(GROUP, "blue-green by mapping", blue_green),
    scenario!(GROUP, "rolling deployment", rolling_deployment),
    scenario!(GROUP, "canary deployment", canary_deployment),
    scenario!(GROUP, "route deleted and made anew", route_made_anew),
    scenario!(GROUP, "evacuation of a cell", evacuation),
    scenario!(GROUP, "route bound to a route service", bound),
    scenario!(
        GROUP,
        "instances that take nothing but TLS",
        backend_tls::tls_alone
    ),
    scenario!(
        GROUP,
        "instances behind Envoys of their own",
        backend_tls::envoys
    ),
    scenario!(
        GROUP,
        "cells that go over to TLS, and back",
        backend_tls::change_over
    ),
    scenario!(
        GROUP,
        "client certificates that cells refuse",
        backend_tls::refused
    ),
    scenario!(GROUP, "daemon killed", outages::daemon_killed),
    scenario!(GROUP, "daemon terminated", outages::daemon_terminated),
    scenario!(GROUP, "istiod restarted", outages::istiod_restarted),
    scenario!(GROUP, "daemon and istiod killed", outages::both_killed),
    scenario!(
        GROUP,
        "two daemons behind one address",
        outages::two_daemons
    ),
    scenario!(
        GROUP,
        "a rolling upgrade, and back",
        outages::rolling_upgrade
    ),
    scenario!(
        GROUP,
        "Cloud Controller down",
        outages::cloud_controller_down
    ),
    scenario!(GROUP, "BBS down", outages::bbs_down),
    scenario!(GROUP, "rotation of every certificate", outages::rotation),
    scenario!(GROUP, "20 changes a second", churn::at_a_distance),
    scenario!(
        GROUP,
        "addresses that other apps get at once",
        churn::reused_addresses
    ),
    scenario!(
        GROUP,
        "an address whose former owner is still listed",
        owners::still_listed
    ),
];

/// An app behind a route of its own, by that name.
async fn app(run: &mut Run<'_>, name: &str, instances: u32) -> Result<App> {
    let stage = &mut run.mesh.stage;
    let app = stage.push(name, instances, WEB).await?;
    stage.route(name, "", [Destination::web(&app.guid)]);
    Ok(app)
}

async fn scale_up(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut app = app(run, "scale-up", 1).await?;
    let traffic = Traffic::start(run, &["scale-up"]).await?;
    run.mesh.stage.scale_up(&mut app, 4).await?;
    traffic.reaches_all_of(&app).await?;
    run.apps.extend([app]);
    traffic.end(tally).await
}

async fn scale_down(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut app = app(run, "scale-down", 4).await?;
    let traffic = Traffic::start(run, &["scale-down"]).await?;
    traffic.reaches_all_of(&app).await?;
    let drain = Lengths::of(run).drain;
    run.mesh.stage.scale_down(&mut app, 1, drain);
    traffic.left_alone(run).await?;
    run.apps.extend([app]);
    traffic.end(tally).await
}

async fn crash(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut app = app(run, "crash", 3).await?;
    let traffic = Traffic::start(run, &["crash"]).await?;
    traffic.reaches_all_of(&app).await?;
    run.mesh.stage.crash(&mut app).await?;
    traffic.goes_on().await?;
    traffic.goes_on().await?;
    // What the instance was asked is lost with it; what comes after that is answered by the others.
    let lost = traffic.so_far().failures();
    run.mesh.stage.fill(&mut app, 3).await?;
    traffic.reaches_all_of(&app).await?;
    run.apps.extend([app]);
    traffic.end_with_losses(tally, "the crash's", lost).await
}

async fn map_and_unmap(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let stage = &mut run.mesh.stage;
    let one = stage.push("map-one", 2, WEB).await?;
    let two = stage.push("map-two", 2, WEB).await?;
    let route = stage.route("map", "", [Destination::web(&one.guid)]);
    let traffic = Traffic::start(run, &["map"]).await?;
    for _ in 0..MAPPINGS {
        run.mesh.stage.map(&route, &two, None);
        traffic.reaches_all_of(&two).await?;
        run.mesh.stage.unmap(&route, &two);
        traffic.leaves("map-two").await?;
    }
    run.apps.extend([one, two]);
    traffic.end(tally).await
}

/// What Cloud Foundry's own router would send to the route service, the ingress answers itself; the route beside it is not
/// concerned.
async fn bound(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let stage = &mut run.mesh.stage;
    let withheld = stage.push("bound", 1, WEB).await?;
    let route = stage.route("bound", "", [Destination::web(&withheld.guid)]);
    let beside = app(run, "beside-bound", 1).await?;
    let traffic = Traffic::start(run, &["beside-bound"]).await?;
    let client = run.mesh.ingress.client();
    let ask = Ask::get(&format!("bound.{DOMAIN}"), "/");
    let by_app = [(ask.clone(), "bound".into())];
    let by_nobody = [(ask, Answerer::ingress(502))];
    expect(&client, tally, ROUNDS, &by_app).await;
    let controller = &run.mesh.stage.foundation.capi;
    controller.state().bind(&route);
    expect(&client, tally, ROUNDS, &by_nobody).await;
    // Events of one second have no order.
    controller.state().advance(2);
    controller.state().unbind(&route);
    expect(&client, tally, ROUNDS, &by_app).await;
    run.apps.extend([withheld, beside]);
    traffic.end(tally).await
}

async fn blue_green(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let drain = Lengths::of(run).drain;
    let stage = &mut run.mesh.stage;
    let mut old = stage.push("blue", 2, WEB).await?;
    let route = stage.route("blue-green", "", [Destination::web(&old.guid)]);
    let traffic = Traffic::start(run, &["blue-green"]).await?;
    for name in ["green", "blue"].into_iter().cycle().take(MAPPINGS) {
        let new = run.mesh.stage.push(name, 2, WEB).await?;
        run.mesh.stage.map(&route, &new, None);
        traffic.reaches_all_of(&new).await?;
        run.mesh.stage.unmap(&route, &old);
        traffic.leaves(&old.name).await?;
        run.mesh.stage.stop(&mut old, drain);
        old = new;
    }
    traffic.left_alone(run).await?;
    run.apps.extend([old]);
    traffic.end(tally).await
}

/// Replaces `from` by `to`, one instance after the other, as Cloud Controller does.
async fn roll(
    run: &mut Run<'_>,
    traffic: &Traffic,
    from: &mut App,
    to: &mut App,
    instances: u32,
) -> Result<()> {
    let drain = Lengths::of(run).drain;
    for new in 1..=instances {
        run.mesh.stage.scale_up(to, new).await?;
        traffic.reaches_all_of(to).await?;
        if new < instances {
            run.mesh.stage.scale_down(from, instances - new, drain);
        } else {
            run.mesh.stage.stop(from, drain);
        }
    }
    traffic.left_alone(run).await
}

async fn rolling_deployment(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut old = app(run, "rolling", 3).await?;
    let traffic = Traffic::start(run, &["rolling"]).await?;
    let mut new = run.mesh.stage.deploy(&old, "rolling-new", 0).await?;
    roll(run, &traffic, &mut old, &mut new, 3).await?;
    run.apps.extend([new]);
    traffic.end(tally).await
}

async fn canary_deployment(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut old = app(run, "canary", 3).await?;
    let traffic = Traffic::start(run, &["canary"]).await?;
    let mut new = run.mesh.stage.deploy(&old, "canary-new", 1).await?;
    traffic.reaches_all_of(&new).await?;
    let (all, canary) = traffic
        .share_of("canary-new", Lengths::of(run).share)
        .await?;
    ensure!(
        is_share(canary, all, 0.25),
        "one instance of four got {canary} of {all} requests"
    );
    roll(run, &traffic, &mut old, &mut new, 3).await?;
    run.apps.extend([new]);
    traffic.end(tally).await
}

async fn route_made_anew(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let stage = &mut run.mesh.stage;
    let app = stage.push("anew", 2, WEB).await?;
    let route = stage.route("anew", "", [Destination::web(&app.guid)]);
    let traffic = Traffic::start(run, &["anew"]).await?;
    run.mesh.stage.delete_route(&route);
    traffic.is_refused().await?;
    run.mesh
        .stage
        .route("anew", "", [Destination::web(&app.guid)]);
    traffic.answers_more("anew").await?;
    run.apps.extend([app]);
    traffic.end(tally).await
}

async fn evacuation(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let mut one = app(run, "evacuated-one", 1).await?;
    let mut three = app(run, "evacuated-three", 3).await?;
    let traffic = Traffic::start(run, &["evacuated-one", "evacuated-three"]).await?;
    let drain = Lengths::of(run).drain;
    for app in [&mut one, &mut three] {
        for at in 0..app.instances.len() {
            run.mesh.stage.evacuate(app, at, drain).await?;
        }
    }
    traffic.reaches_all_of(&one).await?;
    traffic.reaches_all_of(&three).await?;
    traffic.left_alone(run).await?;
    run.apps.extend([one, three]);
    traffic.end(tally).await
}
