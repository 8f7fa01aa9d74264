//! Zones: an ingress asks the instances of its own, and those of others where none of its own answers.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use copilot::sim::capi::Destination;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    client::{Ask, Client},
    deployment::Deployment,
    expect::{self, Answerer, SOON},
    instances::Protocol,
    mesh::Ingress,
    peers::process::POLL,
    scenario::{Run, Scenario, Tally, scenario},
    stage::{App, DOMAIN, HERE, Lost, REGION, THERE},
};

const GROUP: &str = "Zones";

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario!(GROUP, "each ingress asks the instances of its zone", own),
    scenario!(
        GROUP,
        "where a zone has no instances, another's are asked",
        stopped
    ),
    scenario!(
        GROUP,
        "where a zone's take no connections, another's are asked",
        lost
    ),
    scenario!(GROUP, "weights hold, whichever zones apps are in", weighted),
    scenario!(
        GROUP,
        "a client that is kept is so by the ingresses of all zones",
        kept
    ),
];

/// Where the ingress of the other zone is.
const OTHER: u8 = 3;
/// How many answers in a row tell that one of two zones is asked alone: by chance once in a million.
const MANY: usize = 20;
/// How many there are from then on.
const THEN: u32 = 100;
/// How many instances an app has in each zone.
const EACH: u32 = 2;
/// How many clients ask at once when a zone is lost.
const AT_ONCE: usize = 50;
/// For how long an instance answers on that was told to stop.
const DRAIN: Duration = Duration::from_secs(2);
const WEB: &[(u16, Protocol)] = &[(8080, Protocol::Http1)];

fn get(name: &str) -> Ask {
    Ask::get(&format!("{name}.{DOMAIN}"), "/")
}

/// Runs a scenario with all that an operator sets for zones, and other defaults.
async fn zoned(
    run: &mut Run<'_>,
    tally: &mut Tally,
    others: Value,
    scenario: impl AsyncFnOnce(&mut Run<'_>, &mut Tally) -> Result<()>,
) -> Result<()> {
    let mut defaults = json!({
        "Region": REGION,
        "OutlierDetection": { "EjectionTime": "2s" },
        "RetryResets": true,
    });
    let others = others.as_object().context("defaults are an object")?;
    for (key, value) in others {
        defaults[key] = value.clone();
    }
    let before = run.mesh.daemon.reconfigure("Defaults", &defaults).await?;
    let result = scenario(run, tally).await;
    run.mesh.stage.zone = HERE;
    run.mesh.daemon.reconfigure("Defaults", &before).await?;
    result
}

/// An app with instances in both zones, the last of them here, behind a route of its name.
async fn in_both(run: &mut Run<'_>, name: &str) -> Result<App> {
    let mut app = there(run, name).await?;
    run.mesh.stage.scale_up(&mut app, 2 * EACH).await?;
    Ok(app)
}

/// An app with instances in the other zone alone, behind a route of its name.
async fn there(run: &mut Run<'_>, name: &str) -> Result<App> {
    let stage = &mut run.mesh.stage;
    stage.zone = THERE;
    let app = stage.push(name, EACH, WEB).await;
    stage.zone = HERE;
    let app = app?;
    stage.route(name, "", [Destination::web(&app.guid)]);
    Ok(app)
}

/// An ingress that is in the other zone.
async fn ingress_there(run: &Run<'_>) -> Result<Ingress> {
    let deployment = Deployment::read()?.in_zone(THERE);
    run.mesh.ingress(OTHER, deployment).await
}

/// The instances of an app in a zone, as their answers name them.
fn of_zone(app: &App, zone: &str) -> BTreeSet<String> {
    let instances = app.instances.iter();
    let instances = instances.filter(|running| running.zone == zone);
    instances.map(|running| running.guid.to_string()).collect()
}

/// The instances that are here are gone, and nobody is told of it.
async fn lose_here(run: &mut Run<'_>, app: &mut App) -> Result<Vec<Lost>> {
    let mut lost = Vec::new();
    for _ in of_zone(app, HERE) {
        lost.push(run.mesh.stage.lose(app).await?);
    }
    Ok(lost)
}

/// Waits until the app answers at all.
async fn answers(client: &Client, tally: &mut Tally, app: &App) {
    let wanted = [(get(&app.name), app.name.as_str().into())];
    expect::expect(client, tally, 1, &wanted).await;
}

/// Waits until the instances of a zone are asked alone, for which every request has to be answered, too. All of them are asked
/// from then on, and no others. How long it took.
async fn comes_to(client: &Client, tally: &mut Tally, app: &App, zone: &str) -> Result<Duration> {
    let (ask, wanted) = (get(&app.name), of_zone(app, zone));
    let begun = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < MANY {
        let reply = expect::ask(client, tally, &ask, &app.name.as_str().into()).await;
        let answer = reply.ok().and_then(|reply| reply.answer);
        let is_wanted = answer.is_some_and(|answer| wanted.contains(&answer.instance));
        in_a_row = if is_wanted { in_a_row + 1 } else { 0 };
        ensure!(begun.elapsed() < SOON, "zone {zone} is not asked alone");
        sleep(POLL).await;
    }
    let took = begun.elapsed();
    let counts = expect::spread(client, tally, &ask, (0, THEN)).await;
    let asked: BTreeSet<_> = counts.into_keys().map(|(_, instance)| instance).collect();
    ensure!(
        asked == wanted,
        "asked {asked:?}, not zone {zone}: {wanted:?}"
    );
    Ok(took)
}

async fn own(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    zoned(run, tally, json!({}), async |run, tally| {
        let app = in_both(run, "zone-own").await?;
        let there = ingress_there(run).await?;
        for (client, zone) in [(run.mesh.ingress.client(), HERE), (there.client(), THERE)] {
            answers(&client, tally, &app).await;
            comes_to(&client, tally, &app, zone).await?;
        }
        run.apps.push(app);
        Ok(())
    })
    .await
}

async fn stopped(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    zoned(run, tally, json!({}), async |run, tally| {
        let mut app = in_both(run, "zone-stopped").await?;
        let client = run.mesh.ingress.client();
        answers(&client, tally, &app).await;
        comes_to(&client, tally, &app, HERE).await?;
        run.mesh.stage.scale_down(&mut app, EACH, DRAIN);
        comes_to(&client, tally, &app, THERE).await?;
        run.mesh.stage.settled().await;
        run.mesh.stage.scale_up(&mut app, 2 * EACH).await?;
        comes_to(&client, tally, &app, HERE).await?;
        run.apps.push(app);
        Ok(())
    })
    .await
}

/// Nobody tells the ingress, which finds out by its connections. No request fails for that, since the third attempt is in another
/// zone.
async fn lost(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    zoned(run, tally, json!({}), async |run, tally| {
        let mut app = in_both(run, "zone-lost").await?;
        let client = run.mesh.ingress.client();
        answers(&client, tally, &app).await;
        comes_to(&client, tally, &app, HERE).await?;
        let lost = lose_here(run, &mut app).await?;
        let (begun, ask) = (Instant::now(), get(&app.name));
        for result in join_all((0..AT_ONCE).map(|_| client.ask(&ask))).await {
            let is_answered = Answerer::from(&*app.name).has_given(&result);
            ensure!(is_answered, "of {AT_ONCE} at once one got {result:?}");
            tally.answered(&app.name, begun.elapsed());
        }
        comes_to(&client, tally, &app, THERE).await?;
        for lost in lost {
            run.mesh.stage.find(&mut app, lost).await?;
        }
        let took = comes_to(&client, tally, &app, HERE).await?;
        tally.notes.push(format!("asked again after {took:.1?}"));
        run.apps.push(app);
        Ok(())
    })
    .await
}

async fn weighted(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    zoned(run, tally, json!({}), async |run, tally| {
        let (near, far) = (
            in_both(run, "zone-near").await?,
            there(run, "zone-far").await?,
        );
        let to = |app: &App, weight| Destination {
            weight: Some(weight),
            ..Destination::web(&app.guid)
        };
        let destinations = [to(&near, 1), to(&far, 3)];
        run.mesh.stage.route("zone-weighted", "", destinations);
        let client = run.mesh.ingress.client();
        let (ask, requests) = (get("zone-weighted"), run.cli.requests());
        let counts = expect::spread(&client, tally, &ask, (4, requests)).await;
        expect::shares(&counts, &[("zone-near", 0.25), ("zone-far", 0.75)])?;
        let asked: BTreeSet<_> = counts.into_keys().map(|(_, instance)| instance).collect();
        let wanted = &of_zone(&near, HERE) | &of_zone(&far, THERE);
        ensure!(asked == wanted, "asked {asked:?}, not {wanted:?}");
        run.apps.extend([near, far]);
        Ok(())
    })
    .await
}

/// By whichever ingress a client comes, it is at the same instance, which is of any zone.
async fn kept(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let affinity = json!({ "SessionAffinity": { "Cookie": "MESH_ROUTE" } });
    zoned(run, tally, affinity, async |run, tally| {
        let app = in_both(run, "zone-kept").await?;
        let there = ingress_there(run).await?;
        let clients = [run.mesh.ingress.client(), there.client()];
        // Both have all instances once each of them has answered.
        for client in &clients {
            let asked = app.instances.len();
            expect::spread(client, tally, &get(&app.name), (asked, 1)).await;
        }
        let mut all = BTreeSet::new();
        for n in 0..MANY {
            let ask = get(&app.name).header("Cookie", &format!("MESH_ROUTE={n}"));
            let mut asked = BTreeSet::new();
            for client in &clients {
                let counts = expect::spread(client, tally, &ask, (0, 5)).await;
                asked.extend(counts.into_keys().map(|(_, instance)| instance));
            }
            ensure!(asked.len() == 1, "one client is at {asked:?}");
            all.extend(asked);
        }
        for zone in [HERE, THERE] {
            let is_asked = !all.is_disjoint(&of_zone(&app, zone));
            ensure!(is_asked, "of zone {zone} none is asked");
        }
        run.apps.push(app);
        Ok(())
    })
    .await
}
