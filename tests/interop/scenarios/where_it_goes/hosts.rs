//! By host and path.

use anyhow::{Result, ensure};
use copilot::sim::capi::Destination;

use super::{WEB, app_with_route, domain, expect, get, host as full, push, route_in};
use crate::{
    client::Ask,
    expect::Answerer,
    scenario::{Run, Tally},
};

pub(super) async fn host(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    app_with_route(run, "host-one").await?;
    app_with_route(run, "host-two").await?;
    let wanted = [
        (get("host-one", "/"), "host-one".into()),
        (get("host-two", "/any/path"), "host-two".into()),
    ];
    expect(run, tally, &wanted).await;
    Ok(())
}

pub(super) async fn longest_path(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    for (name, path) in [("root", ""), ("sub", "/sub"), ("sub-sub", "/sub/sub")] {
        let app = push(run, name, 1, WEB).await?;
        let stage = &mut run.mesh.stage;
        stage.route("path", path, [Destination::web(&app)]);
    }
    let wanted = [
        ("/", "root"),
        ("/subway", "root"),
        ("/su", "root"),
        ("/sub", "sub"),
        ("/sub/", "sub"),
        ("/sub?x=/sub/sub", "sub"),
        ("/sub/subway", "sub"),
        ("/sub/sub", "sub-sub"),
        ("/sub/sub/x", "sub-sub"),
    ];
    let wanted = wanted.map(|(path, app)| (get("path", path), app.into()));
    expect(run, tally, &wanted).await;
    Ok(())
}

pub(super) async fn wildcard(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let any = push(run, "wildcard", 1, WEB).await?;
    let one = push(run, "specific", 1, WEB).await?;
    let stage = &run.mesh.stage;
    let wild = domain(stage, "wild");
    route_in(stage, &wild, "*", &any);
    route_in(stage, &wild, "one", &one);
    let wanted = [
        (get("one.wild", "/"), "specific".into()),
        (get("two.wild", "/"), "wildcard".into()),
        (get("below.two.wild", "/"), "wildcard".into()),
        (get("below.one.wild", "/"), "wildcard".into()),
        // The domain itself is no host below it.
        (get("wild", "/"), Answerer::ingress(404)),
    ];
    expect(run, tally, &wanted).await;
    Ok(())
}

pub(super) async fn bare_domain(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let app = push(run, "bare", 1, WEB).await?;
    let stage = &run.mesh.stage;
    route_in(stage, &domain(stage, "bare"), "", &app);
    let wanted = [
        (get("bare", "/"), "bare".into()),
        (get("below.bare", "/"), Answerer::ingress(404)),
    ];
    expect(run, tally, &wanted).await;
    Ok(())
}

pub(super) async fn upper_case(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    app_with_route(run, "case").await?;
    let upper = Ask::get(&full("case").to_uppercase(), "/");
    let wanted = [(get("case", "/"), "case".into()), (upper, "case".into())];
    expect(run, tally, &wanted).await;
    Ok(())
}

pub(super) async fn upper_case_path(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    for (name, path) in [("lower-root", ""), ("lower-path", "/lower")] {
        let app = push(run, name, 1, WEB).await?;
        let stage = &mut run.mesh.stage;
        stage.route("case-of-path", path, [Destination::web(&app)]);
    }
    let wanted = ["/lower", "/Lower", "/LOWER/x"];
    let wanted = wanted.map(|path| (get("case-of-path", path), "lower-path".into()));
    expect(run, tally, &wanted).await;
    Ok(())
}

pub(super) async fn port_in_host(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    app_with_route(run, "port-in-host").await?;
    let with_port = |port: u16| Ask::get(&format!("{}:{port}", full("port-in-host")), "/");
    let wanted = [80, 443, 8080].map(|port| (with_port(port), "port-in-host".into()));
    expect(run, tally, &wanted).await;
    Ok(())
}

/// Hostnames with an underscore, which Istio refuses: one that is open and one that is bound to a route service, under a
/// wildcard that is open.
pub(super) async fn under_scores(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let any = push(run, "any-score", 1, WEB).await?;
    let one = push(run, "one-score", 1, WEB).await?;
    let stage = &run.mesh.stage;
    let scores = domain(stage, "scores");
    route_in(stage, &scores, "*", &any);
    route_in(stage, &scores, "open_one", &one);
    let bound = route_in(stage, &scores, "bound_one", &one);
    stage.foundation.capi.state().bind(&bound);
    let mut wanted = Vec::new();
    for (name, by) in [
        ("open_one", Answerer::from("one-score")),
        ("bound_one", Answerer::ingress(502)),
        ("other_one", "any-score".into()),
        ("x.open_one", "any-score".into()),
        ("plain", "any-score".into()),
    ] {
        let host = full(&format!("{name}.scores"));
        for host in [format!("{host}:8080"), host.to_uppercase(), host] {
            wanted.push((Ask::get(&host, "/any/path"), by.clone()));
        }
    }
    expect(run, tally, &wanted).await;
    // The last scenario holds that nothing is withheld.
    run.mesh.stage.foundation.capi.state().unbind(&bound);
    Ok(())
}

/// The gorouter compares the path as it was written, and passes it on like that.
pub(super) async fn encoded_path(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    for (name, path) in [("plain-root", ""), ("plain-path", "/p")] {
        let app = push(run, name, 1, WEB).await?;
        let stage = &mut run.mesh.stage;
        stage.route("encoded", path, [Destination::web(&app)]);
    }
    let wanted = [
        ("/p", "plain-path"),
        ("/p/%2Fx", "plain-path"),
        ("/p/a%20b", "plain-path"),
        ("/%70", "plain-root"),
        ("/./p", "plain-root"),
        ("//p", "plain-root"),
        ("/p/../x", "plain-path"),
    ];
    let wanted = wanted.map(|(path, app)| (get("encoded", path), app.into()));
    expect(run, tally, &wanted).await;
    let client = run.mesh.ingress.client();
    for (ask, _) in &wanted {
        let answer = client.ask(ask).await?.answer;
        let came = answer.map(|answer| answer.path).unwrap_or_default();
        ensure!(came == ask.path, "{} came as {came}", ask.path);
    }
    Ok(())
}

pub(super) async fn unknown(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let wanted = [(get("nobody-has-this", "/"), Answerer::ingress(404))];
    expect(run, tally, &wanted).await;
    Ok(())
}
