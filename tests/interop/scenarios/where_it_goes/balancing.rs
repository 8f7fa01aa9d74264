//! Which app, and which of its instances.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use copilot::sim::capi::Destination;
use futures_util::future::join;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{WEB, get, push};
use crate::{
    client::Client,
    expect::{shares, spread},
    peers::process::POLL,
    scenario::{Run, Tally},
    stage::App,
};

fn keeping(run: &Run<'_>) -> Client {
    run.mesh.ingress.client().keeping(2)
}

pub(super) async fn weighted(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let wanted = [("tenth", 10), ("third", 30), ("rest", 60)];
    let mut destinations = Vec::new();
    for (name, weight) in wanted {
        // As many instances of each: the share is the weight's, not theirs.
        let app = push(run, name, 2, WEB).await?;
        destinations.push(Destination {
            weight: Some(weight),
            ..Destination::web(&app)
        });
    }
    run.mesh.stage.route("weighted", "", destinations);
    let asked = (6, run.cli.requests());
    let counts = spread(&keeping(run), tally, &get("weighted", "/"), asked).await;
    shares(
        &counts,
        &wanted.map(|(app, weight)| (app, f64::from(weight) / 100.0)),
    )
}

pub(super) async fn unweighted(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let wanted = [("quarter", 1), ("three-quarters", 3)];
    let mut destinations = Vec::new();
    for (name, instances) in wanted {
        let app = push(run, name, instances, WEB).await?;
        destinations.push(Destination::web(&app));
    }
    run.mesh.stage.route("unweighted", "", destinations);
    let asked = (4, run.cli.requests());
    let counts = spread(&keeping(run), tally, &get("unweighted", "/"), asked).await;
    shares(
        &counts,
        &wanted.map(|(app, instances)| (app, f64::from(instances) / 4.0)),
    )
}

/// A route with a load-balancing option, to an app of the same name with so many instances.
async fn balanced(run: &mut Run<'_>, name: &str, instances: u32, options: Value) -> Result<()> {
    let stage = &mut run.mesh.stage;
    let app = stage.push(name, instances, WEB).await?;
    let route = stage.route(name, "", []);
    stage.foundation.capi.state().set_options(&route, options);
    stage.map(&route, &app, None);
    run.apps.push(app);
    Ok(())
}

pub(super) async fn hash(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let options = json!({ "loadbalancing": "hash", "hash_header": "X-Tenant" });
    balanced(run, "hash", 4, options).await?;
    let client = keeping(run);
    let of_tenant = |tenant: u32| get("hash", "/").header("X-Tenant", &tenant.to_string());
    // Without the header, any instance will do: this waits until all are there.
    spread(&client, tally, &get("hash", "/"), (4, 0)).await;
    let mut used = BTreeSet::new();
    for tenant in 0..20 {
        let counts = spread(&client, tally, &of_tenant(tenant), (1, 10)).await;
        ensure!(
            counts.len() == 1,
            "tenant {tenant} was spread over {counts:?}"
        );
        used.extend(counts.into_keys());
    }
    ensure!(used.len() > 1, "20 tenants are all at {used:?}");
    Ok(())
}

/// While one of two instances is busy with a long request, the other gets more than half of the next: three quarters
/// or all, as Envoy looks at two choices or at both instances. Turn by turn it is half.
pub(super) async fn least_connection(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let least = share_of_the_busy_one(run, tally, "least-connection").await?;
    let robin = share_of_the_busy_one(run, tally, "round-robin").await?;
    ensure!(
        least < 0.375 && robin > 0.45,
        "the busy one had {least:.2} with least-connection, {robin:.2} with round-robin"
    );
    Ok(())
}

async fn share_of_the_busy_one(
    run: &mut Run<'_>,
    tally: &mut Tally,
    algorithm: &str,
) -> Result<f64> {
    const QUICK: u32 = 400;
    let options = json!({ "loadbalancing": algorithm });
    balanced(run, algorithm, 2, options).await?;
    let app = run.apps.last().context("it was just pushed")?;
    let client = keeping(run);
    let ask = get(algorithm, "/");
    spread(&client, tally, &ask, (2, 10)).await;
    let long = get(algorithm, "/?wait=8000");
    let before = requests(app);
    let quick = async {
        while requests(app) == before {
            sleep(POLL).await;
        }
        spread(&client, tally, &ask, (0, QUICK)).await
    };
    let (long, counts) = join(client.ask(&long), quick).await;
    let busy = long?.answer.context("the long request got no answer")?;
    let count = counts.get(&(busy.app, busy.instance)).copied();
    Ok(f64::from(count.unwrap_or_default()) / f64::from(QUICK))
}

fn requests(app: &App) -> u64 {
    let asked = app
        .instances
        .iter()
        .map(|running| running.server.record().asked());
    asked.map(|asked| asked.requests).sum()
}
