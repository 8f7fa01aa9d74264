//! What routes ask for in annotations, as clients and apps see it.

use anyhow::{Context as _, Result, ensure};
use http::{Method, header};
use tokio::time::{sleep, timeout};

use super::{WEB, get};
use crate::{
    client::{Ask, Client},
    expect::{self, Answerer, SOON, spread},
    instances::Answer,
    peers::process::POLL,
    scenario::{Run, Tally},
    stage::App,
};

/// An app with so many instances, behind a route of its name that asks for this.
async fn annotated(
    run: &mut Run<'_>,
    (name, path): (&str, &str),
    instances: u32,
    texts: &[(&str, &str)],
) -> Result<App> {
    let stage = &mut run.mesh.stage;
    let app = stage.push(name, instances, WEB).await?;
    let route = stage.route(name, path, []);
    for (annotation, text) in texts {
        let annotation = format!("mesh.cloudfoundry.org/{annotation}");
        let mut controller = stage.foundation.capi.state();
        controller.annotate(&route, &annotation, text, true);
    }
    // Whoever sees where the route leads sees what it asks for.
    stage.map(&route, &app, None);
    Ok(app)
}

/// What the app says that it was asked, and the headers of its answer.
async fn asked(
    client: &Client,
    tally: &mut Tally,
    ask: &Ask,
    app: &str,
) -> Result<(Answer, http::HeaderMap)> {
    let reply = expect::ask(client, tally, ask, &app.into()).await?;
    let answer = reply.answer.context("no app has answered")?;
    Ok((answer, reply.headers))
}

const COOKIE: &str = "SHOP_ROUTE";
const CLIENTS: usize = 50;
const REQUESTS: usize = 20;

/// A new client: the cookie that it is given, and who answered.
async fn new_client(client: &Client, tally: &mut Tally) -> Result<(Ask, String)> {
    let ask = get("sticky", "/");
    let (answer, headers) = asked(client, tally, &ask, "sticky").await?;
    let given = headers.get(header::SET_COOKIE).context("no cookie")?;
    let given = given.to_str()?.split(';').next().unwrap_or_default();
    ensure!(given.starts_with(COOKIE), "the cookie is {given}");
    Ok((ask.header("Cookie", given), answer.instance))
}

pub(super) async fn affinity(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let asking = [("session-affinity", COOKIE)];
    let mut app = annotated(run, ("sticky", ""), 4, &asking).await?;
    let client = run.mesh.ingress.client();
    spread(&client, tally, &get("sticky", "/"), (4, 0)).await;
    let given = async {
        while new_client(&client, &mut Tally::default()).await.is_err() {
            sleep(POLL).await;
        }
    };
    timeout(SOON, given).await.context("no cookie is given")?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(new_client(&client, tally).await?);
    }
    for _ in 0..REQUESTS {
        for (ask, instance) in &clients {
            let (answer, _) = asked(&client, tally, ask, "sticky").await?;
            ensure!(answer.instance == *instance, "a client was sent elsewhere");
        }
    }
    run.mesh.stage.scale_up(&mut app, 5).await?;
    run.apps.push(app);
    spread(&client, tally, &get("sticky", "/"), (5, 0)).await;
    let mut moved = 0;
    for (ask, instance) in &clients {
        let (answer, _) = asked(&client, tally, ask, "sticky").await?;
        moved += usize::from(answer.instance != *instance);
    }
    let note = format!("{moved} of {CLIENTS} clients moved when a fifth instance came");
    tally.notes.push(note);
    // A third, as the ring is divided anew; of clients that are not known again four in five.
    ensure!(
        moved * 4 < CLIENTS * 3,
        "{moved} of {CLIENTS} clients moved"
    );
    Ok(())
}

/// An app that takes longer than its route has it is given up, and one of a route that says nothing is not.
pub(super) async fn time(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let short = annotated(run, ("timed", ""), 1, &[("timeout", "500ms")]).await?;
    let long = annotated(run, ("untimed", ""), 1, &[]).await?;
    run.apps.extend([short, long]);
    let wanted = [
        (get("timed", "/"), Answerer::from("timed")),
        (get("timed", "/?wait=2000"), Answerer::ingress(504)),
        (get("untimed", "/?wait=2000"), "untimed".into()),
    ];
    expect::expect(&run.mesh.ingress.client(), tally, 2, &wanted).await;
    Ok(())
}

/// What an app has refused is not said again, unless its route asks for that.
pub(super) async fn tries(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let three = ("retry-attempts", "3");
    let client = run.mesh.ingress.client();
    for (name, texts, times) in [
        ("tried-once", &[three][..], 1),
        ("tried-again", &[three, ("retry-on", "5xx")], 4),
    ] {
        let app = annotated(run, (name, ""), 1, texts).await?;
        let record = app.instances[0].server.record();
        run.apps.push(app);
        let wanted = [(get(name, "/"), name.into())];
        expect::expect(&client, tally, 1, &wanted).await;
        let before = record.asked().requests;
        let mut post = get(name, "/?status=503").saying("once");
        post.method = Method::POST;
        asked(&client, tally, &post, name).await?;
        let asked = record.asked().requests - before;
        ensure!(asked == times, "{name} was asked {asked} times");
    }
    Ok(())
}

pub(super) async fn path(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let client = run.mesh.ingress.client();
    for (name, replaced, wanted) in [
        (
            "replaced",
            "/v2",
            [
                ("/api", "/v2"),
                ("/api/x?y=/api", "/v2/x?y=/api"),
                ("/API/X", "/v2/X"),
            ],
        ),
        (
            "taken-off",
            "/",
            [
                ("/api", "/"),
                ("/api/x?y=/api", "/x?y=/api"),
                ("/api/", "/"),
            ],
        ),
    ] {
        let app = annotated(run, (name, "/api"), 1, &[("path-rewrite", replaced)]).await?;
        run.apps.push(app);
        let settled = [
            (get(name, "/api"), name.into()),
            (get(name, "/apis"), Answerer::ingress(404)),
        ];
        expect::expect(&client, tally, 1, &settled).await;
        for (path, seen) in wanted {
            let (answer, _) = asked(&client, tally, &get(name, path), name).await?;
            ensure!(
                answer.path == seen,
                "of {path} the app sees {}",
                answer.path
            );
        }
    }
    Ok(())
}

pub(super) async fn headers(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let texts = [
        ("request-headers-set", "X-Tenant: 7\nX-Plan: gold, or more"),
        ("request-headers-remove", "X-Debug"),
        ("response-headers-set", "X-Frame-Options: DENY"),
        ("response-headers-remove", "Content-Type"),
    ];
    let client = run.mesh.ingress.client();
    for (name, texts) in [("headers", &texts[..]), ("no-headers", &[])] {
        let app = annotated(run, (name, ""), 1, texts).await?;
        run.apps.push(app);
        let ask = get(name, "/")
            .header("X-Tenant", "1")
            .header("X-Debug", "on");
        expect::expect(&client, tally, 1, &[(ask.clone(), name.into())]).await;
        let (answer, response) = asked(&client, tally, &ask, name).await?;
        let request =
            ["x-tenant", "x-plan", "x-debug"].map(|it| answer.headers.get(it).map(String::as_str));
        let response = ["x-frame-options", "content-type"]
            .map(|it| response.get(it).and_then(|it| it.to_str().ok()));
        let wanted = if texts.is_empty() {
            (
                [Some("1"), None, Some("on")],
                [None, Some("application/json")],
            )
        } else {
            (
                [Some("7"), Some("gold, or more"), None],
                [Some("DENY"), None],
            )
        };
        ensure!(
            (request, response) == wanted,
            "{name}: {request:?}, {response:?}"
        );
    }
    Ok(())
}
