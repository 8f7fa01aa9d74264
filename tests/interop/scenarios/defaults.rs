//! What the operator has for all routes: what is tried again, which instances are left out for a while, what goes to HTTPS.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use copilot::{model::InstanceGuid, sim::capi::Destination};
use http::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    client::{Ask, Client},
    expect::{self, Answerer, SOON},
    frontend::OWN,
    instances::Protocol,
    peers::process::POLL,
    scenario::{Run, Scenario, Tally, scenario},
    stage::DOMAIN,
};

const GROUP: &str = "With Defaults";

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario!(
        GROUP,
        "a POST that was not sent goes to another instance",
        unsent
    ),
    scenario!(
        GROUP,
        "a client that is kept at an instance goes to another one, too",
        kept
    ),
    scenario!(
        GROUP,
        "an instance that takes no connections is left out for a while",
        ejected
    ),
    scenario!(
        GROUP,
        "what comes without TLS is sent to HTTPS, but for some",
        redirected
    ),
];

/// How many requests tell whether one of two instances is asked: by chance none is once in a million.
const MANY: usize = 20;
/// For how long an instance is left out here.
const EJECTED: Duration = Duration::from_secs(4);
/// How many of those may fail where about half would.
const FEW: usize = 4;
const KEY: &str = "Defaults";
const UNAVAILABLE: u16 = 503;

fn get(name: &str) -> Ask {
    Ask::get(&format!("{name}.{DOMAIN}"), "/")
}

/// Has the daemon run with these defaults; those from before.
async fn with(run: &mut Run<'_>, defaults: Value) -> Result<Value> {
    run.mesh.daemon.reconfigure(KEY, &defaults).await
}

/// An app with two instances, of which one takes no connections any more though its row is there. Its guid.
async fn half_lost(run: &mut Run<'_>, tally: &mut Tally, name: &str) -> Result<InstanceGuid> {
    let ports = [(8080, Protocol::Http1)];
    let mut app = run.mesh.stage.push(name, 2, &ports).await?;
    run.mesh
        .stage
        .route(name, "", [Destination::web(&app.guid)]);
    let client = run.mesh.ingress.client();
    expect::spread(&client, tally, &get(name), (2, 1)).await;
    let lost = run.mesh.stage.lose(&mut app).await?.guid;
    run.apps.push(app);
    Ok(lost)
}

/// Asks until the ingress itself answers with 503, as it does where an instance takes no connection.
async fn fails(client: &Client, tally: &mut Tally, ask: &Ask) -> Result<()> {
    let unavailable = Answerer::ingress(UNAVAILABLE);
    let failed = async {
        while !unavailable.has_given(&client.ask(ask).await) {
            sleep(POLL).await;
        }
    };
    let begun = Instant::now();
    let is_seen = timeout(SOON, failed).await.is_ok();
    ensure!(is_seen, "the lost instance is not asked");
    tally.answered("503 of a lost instance", begun.elapsed());
    Ok(())
}

async fn unsent(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    const NAME: &str = "unsent";
    let lost = half_lost(run, tally, NAME).await?;
    let ask = Ask {
        method: Method::POST,
        ..get(NAME).saying("once")
    };
    let client = run.mesh.ingress.client();
    for _ in 0..MANY {
        // How it went is in the tally.
        drop(expect::ask(&client, tally, &ask, &NAME.into()).await);
    }
    let before = with(run, json!({ "RetryAttempts": 0 })).await?;
    let without = fails(&client, tally, &ask).await;
    with(run, before).await?;
    run.mesh.stage.foundation.bbs.stop_instance(&lost);
    without
}

/// Each of these has a session of its own, and about half of them at the instance that is gone. Envoy draws another place of
/// the ring five times at the most, which may all be of one of two instances: a few fail even so.
async fn kept(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let affinity = json!({ "Cookie": "MESH_ROUTE" });
    let before = with(run, json!({ "SessionAffinity": affinity })).await?;
    let result = kept_elsewhere(run, tally).await;
    with(run, before).await?;
    result
}

async fn kept_elsewhere(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    const NAME: &str = "kept";
    let ports = [(8080, Protocol::Http1)];
    let mut app = run.mesh.stage.push(NAME, 2, &ports).await?;
    run.mesh
        .stage
        .route(NAME, "", [Destination::web(&app.guid)]);
    let client = run.mesh.ingress.client();
    // By chance two instances answer one client alike once in a million.
    let one = get(NAME).header("Cookie", "MESH_ROUTE=one");
    let settled = [(one.clone(), Answerer::from(NAME))];
    expect::expect(&client, tally, 1, &settled).await;
    let counts = expect::spread(&client, tally, &one, (1, 20)).await;
    ensure!(counts.len() == 1, "one client is at {counts:?}");
    let reply = expect::ask(&client, tally, &get(NAME), &NAME.into()).await?;
    let given = reply.headers.get("set-cookie");
    let given = given.and_then(|cookie| cookie.to_str().ok()).unwrap_or("");
    ensure!(
        given.starts_with("MESH_ROUTE="),
        "a client is given {given:?}"
    );
    let lost = run.mesh.stage.lose(&mut app).await?.guid;
    run.apps.push(app);
    let mut failed = 0;
    for n in 0..MANY {
        let ask = get(NAME).header("Cookie", &format!("MESH_ROUTE={n}"));
        let begun = Instant::now();
        let is_answered = Answerer::from(NAME).has_given(&client.ask(&ask).await);
        failed += usize::from(!is_answered);
        let word = if is_answered { NAME } else { "none" };
        tally.answered(word, begun.elapsed());
    }
    run.mesh.stage.foundation.bbs.stop_instance(&lost);
    ensure!(failed <= FEW, "{failed} of {MANY} are not answered");
    Ok(())
}

async fn ejected(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let ejection =
        json!({ "ConnectionFailures": 1, "EjectionTime": format!("{}s", EJECTED.as_secs()) });
    let defaults = json!({ "RetryAttempts": 0, "OutlierDetection": ejection });
    let before = with(run, defaults).await?;
    let result = left_out(run, tally).await;
    with(run, before).await?;
    result
}

async fn left_out(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    const NAME: &str = "ejected";
    let lost = half_lost(run, tally, NAME).await?;
    let (client, ask) = (run.mesh.ingress.client(), get(NAME));
    fails(&client, tally, &ask).await?;
    let begun = Instant::now();
    // Envoy's threads learn of it at once, or within a second after another change.
    let mut in_a_row = 0;
    while in_a_row < MANY {
        ensure!(
            begun.elapsed() < EJECTED,
            "the lost instance is still asked"
        );
        let asked = Instant::now();
        let is_answered = Answerer::from(NAME).has_given(&client.ask(&ask).await);
        in_a_row = if is_answered { in_a_row + 1 } else { 0 };
        let word = if is_answered {
            NAME
        } else {
            "503 until it is left out"
        };
        tally.answered(word, asked.elapsed());
    }
    // It comes back, and is asked again, and left out once more.
    fails(&client, tally, &ask).await?;
    tally
        .notes
        .push(format!("asked again after {:.1?}", begun.elapsed()));
    run.mesh.stage.foundation.bbs.stop_instance(&lost);
    Ok(())
}

async fn redirected(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    for name in ["redirected", "spared", OWN] {
        if run.mesh.stage.foundation.capi.state().route(name).is_none() {
            let ports = [(8080, Protocol::Http1)];
            let app = run.mesh.stage.push(name, 1, &ports).await?;
            run.mesh
                .stage
                .route(name, "", [Destination::web(&app.guid)]);
            run.apps.push(app);
        }
    }
    let spared = format!("spared.{DOMAIN}");
    let some = json!({ "HTTPSRedirect": true, "HTTPSRedirectExcept": [spared] });
    let before = with(run, some).await?;
    let mut result = sent_on(run, tally, "redirected").await;
    let wanted = [(get("spared"), Answerer::from("spared"))];
    expect::expect(&run.mesh.ingress.client(), tally, MANY, &wanted).await;
    let over_tls = run.mesh.ingress.tls_client(run.mesh.frontend.ca());
    let both = ["redirected", "spared", OWN].map(|name| (get(name), name.into()));
    expect::expect(&over_tls, tally, 1, &both).await;
    if result.is_ok() {
        with(run, json!({ "HTTPSRedirect": true })).await?;
        result = sent_on(run, tally, "spared").await;
    }
    with(run, before).await?;
    // As before, for the scenarios that follow.
    let wanted = [(get("redirected"), Answerer::from("redirected"))];
    expect::expect(&run.mesh.ingress.client(), tally, 1, &wanted).await;
    result
}

/// Waits until a hostname's requests are sent to HTTPS.
async fn sent_on(run: &Run<'_>, tally: &mut Tally, name: &str) -> Result<()> {
    let (client, ask) = (run.mesh.ingress.client(), get(name));
    let wanted = [(ask.clone(), Answerer::ingress(301))];
    expect::expect(&client, tally, 1, &wanted).await;
    let reply = expect::ask(&client, tally, &ask, &wanted[0].1).await?;
    let location = reply.headers.get("location");
    let location = location.and_then(|location| location.to_str().ok());
    let expected = format!("https://{name}.{DOMAIN}/");
    ensure!(
        location == Some(&*expected),
        "it is sent to {location:?}, not to {expected}"
    );
    Ok(())
}
