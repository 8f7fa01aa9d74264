//! Where the ingress sends a request: to the app that the foundation says, over what its port speaks.

use anyhow::Result;
use copilot::sim::capi::Destination;

use crate::{
    client::Ask,
    expect::{Answerer, expect},
    instances::Protocol,
    scenario::{Run, Scenario, Tally, scenario},
    stage::DOMAIN,
};

const GROUP: &str = "Where it goes";

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario!(GROUP, "host", host),
    scenario!(GROUP, "longest path first", longest_path),
    scenario!(GROUP, "unknown host", unknown_host),
];

/// What an app speaks that says nothing of it.
const WEB: &[(u16, Protocol)] = &[(8080, Protocol::Http1)];
/// How often each request of a scenario is sent that counts no shares.
const ROUNDS: usize = 5;

fn get(host: &str, path: &str) -> Ask {
    Ask::get(&format!("{host}.{DOMAIN}"), path)
}

async fn host(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let stage = &mut run.mesh.stage;
    let one = stage.push("one", 2, WEB).await?;
    let two = stage.push("two", 1, WEB).await?;
    stage.route("host-one", "", [Destination::web(&one.guid)]);
    stage.route("host-two", "", [Destination::web(&two.guid)]);
    let wanted = [
        (get("host-one", "/"), "one".into()),
        (get("host-two", "/"), "two".into()),
    ];
    expect(&run.mesh.ingress.client(), tally, ROUNDS, &wanted).await;
    Ok(())
}

async fn longest_path(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let stage = &mut run.mesh.stage;
    let mut apps = Vec::new();
    for (name, path) in [("root", ""), ("sub", "/sub"), ("sub-sub", "/sub/sub")] {
        let app = stage.push(name, 1, WEB).await?;
        stage.route("path", path, [Destination::web(&app.guid)]);
        apps.push(app);
    }
    let wanted = [
        ("/", "root"),
        ("/subway", "root"),
        ("/sub", "sub"),
        ("/sub/", "sub"),
        ("/sub?x=/sub/sub", "sub"),
        ("/sub/subway", "sub"),
        ("/sub/sub", "sub-sub"),
        ("/sub/sub/x", "sub-sub"),
    ];
    let wanted = wanted.map(|(path, app)| (get("path", path), app.into()));
    expect(&run.mesh.ingress.client(), tally, ROUNDS, &wanted).await;
    Ok(())
}

async fn unknown_host(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let wanted = [(get("nobody-has-mapped-this", "/"), Answerer::Ingress(404))];
    expect(&run.mesh.ingress.client(), tally, ROUNDS, &wanted).await;
    Ok(())
}
