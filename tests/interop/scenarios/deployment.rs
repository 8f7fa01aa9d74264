//! The files of deploy/istio: what users of the gorouter know holds with each of them, and does not without it.

use std::time::Instant;

use anyhow::{Result, ensure};
use copilot::{model::Protocol as Spoken, sim::capi::Destination};

use crate::{
    client::{Ask, Client, Failure, Over, Reply},
    deployment::Deployment,
    expect::{self, Answerer},
    instances::{ANSWER_WITH, Protocol},
    scenario::{Run, Scenario, Tally, scenario},
    stage::DOMAIN,
};

const GROUP: &str = "With deploy/istio";

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario!(GROUP, "no path is normalised", paths),
    scenario!(
        GROUP,
        "X-Forwarded-Proto of a load balancer is kept",
        forwarded_proto
    ),
    scenario!(GROUP, "HTTP/1.0 is served", http10),
    scenario!(GROUP, "many headers are taken", many_headers),
    scenario!(GROUP, "large headers are taken", large_headers),
    scenario!(GROUP, "nobody gets Envoy's headers", proxy_headers),
    scenario!(GROUP, "apps get the gorouter's headers", gorouter_headers),
    scenario!(
        GROUP,
        "what an app has answered is not tried again",
        retries
    ),
    scenario!(
        GROUP,
        "a released Envoy takes what istiod sends",
        released_envoy
    ),
];

/// Where the ingress without one of the settings is.
const WITHOUT: u8 = 2;

fn get(name: &str) -> Ask {
    Ask::get(&format!("{name}.{DOMAIN}"), "/")
}

/// An app behind a route of its name.
async fn push(run: &mut Run<'_>, name: &str, protocol: Protocol) -> Result<()> {
    let app = run.mesh.stage.push(name, 1, &[(8080, protocol)]).await?;
    let destination = Destination {
        protocol: match protocol {
            Protocol::Http1 => Spoken::Http1,
            Protocol::Http2 => Spoken::Http2,
            Protocol::Tcp => Spoken::Tcp,
        },
        ..Destination::web(&app.guid)
    };
    run.mesh.stage.route(name, "", [destination]);
    run.apps.push(app);
    Ok(())
}

/// What is seen of a request at the ingress with all of deploy/istio, and at one without something of it.
async fn differ(
    run: &Run<'_>,
    tally: &mut Tally,
    (name, ask): (&str, &Ask),
    without: Deployment,
    (expected, see): ([&str; 2], impl Fn(Result<Reply, Failure>) -> String),
) -> Result<()> {
    let other = run.mesh.ingress(WITHOUT, without).await?;
    let clients = [
        ("with", run.mesh.ingress.client()),
        ("without", other.client()),
    ];
    let mut seen = Vec::new();
    for (label, client) in clients {
        settle(&client, tally, name).await;
        let begun = Instant::now();
        let sight = see(client.ask(ask).await);
        tally.answered(&format!("{label}: {sight}"), begun.elapsed());
        seen.push(sight);
    }
    ensure!(
        seen == expected,
        "with and without it should be {expected:?}, and it is {seen:?}"
    );
    Ok(())
}

/// Waits until the app is there.
async fn settle(client: &Client, tally: &mut Tally, name: &str) {
    let wanted = [(get(name), Answerer::from(name))];
    expect::expect(client, tally, 1, &wanted).await;
}

/// Who has answered, or with what.
fn who(result: Result<Reply, Failure>) -> String {
    match result {
        Ok(reply) => match reply.answer {
            Some(answer) => answer.app,
            None => reply.status.as_u16().to_string(),
        },
        Err(failure) => failure.kind().to_owned(),
    }
}

async fn paths(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    push(run, "as-written", Protocol::Http1).await?;
    push(run, "normalised", Protocol::Http1).await?;
    let path_of = &run.apps[run.apps.len() - 1].guid;
    let stage = &mut run.mesh.stage;
    stage.route("as-written", "/p", [Destination::web(path_of)]);
    let ask = Ask::get(&format!("as-written.{DOMAIN}"), "/./p");
    let without = Deployment::read()?.without_key("pathNormalization")?;
    let expected = (["as-written", "normalised"], who);
    differ(run, tally, ("as-written", &ask), without, expected).await
}

async fn forwarded_proto(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    push(run, "forwarded-proto", Protocol::Http1).await?;
    let ask = get("forwarded-proto").header("X-Forwarded-Proto", "https");
    let without = Deployment::read()?.without_key("defaultConfig.gatewayTopology")?;
    let see = |result| app_header(result, "x-forwarded-proto");
    let expected = (["https", "http"], see);
    differ(run, tally, ("forwarded-proto", &ask), without, expected).await
}

fn app_header(result: Result<Reply, Failure>, name: &str) -> String {
    let answer = result.ok().and_then(|reply| reply.answer);
    let value = answer.and_then(|mut answer| answer.headers.remove(name));
    value.unwrap_or_else(|| "none".to_owned())
}

async fn http10(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    push(run, "http10", Protocol::Http1).await?;
    let ask = get("http10").over(Over::Http10);
    let without = Deployment::read()?.without_variable("PILOT_HTTP10")?;
    let expected = (["http10", "426"], who);
    differ(run, tally, ("http10", &ask), without, expected).await
}

async fn many_headers(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    push(run, "many-headers", Protocol::Http1).await?;
    let add = |ask: Ask, n: u32| ask.header(&format!("x-{n}"), "");
    let ask = (0..120).fold(get("many-headers"), add);
    let without = Deployment::read()?.without_filter("header-limits.yml")?;
    let expected = (["many-headers", "431"], who);
    differ(run, tally, ("many-headers", &ask), without, expected).await
}

async fn large_headers(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    push(run, "large-headers", Protocol::Http1).await?;
    let ask = get("large-headers").header("x-large", &"x".repeat(70 << 10));
    let without = Deployment::read()?.without_filter("header-limits.yml")?;
    let expected = (["large-headers", "431"], who);
    differ(run, tally, ("large-headers", &ask), without, expected).await
}

async fn proxy_headers(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    push(run, "proxy-headers", Protocol::Http1).await?;
    let without = Deployment::read()?.without_key("defaultConfig.proxyHeaders")?;
    let see = |result: Result<Reply, Failure>| {
        let Ok(reply) = result else {
            return "no answer".to_owned();
        };
        let answer = reply
            .answer
            .map(|answer| answer.headers)
            .unwrap_or_default();
        let back = reply.headers.keys().map(http::HeaderName::as_str);
        let all = back.chain(answer.keys().map(String::as_str));
        let of_envoy = [
            "server",
            "x-envoy-attempt-count",
            "x-envoy-upstream-service-time",
        ];
        let mut seen: Vec<_> = all.filter(|name| of_envoy.contains(name)).collect();
        seen.sort_unstable();
        match seen.as_slice() {
            [] => "none".to_owned(),
            seen => seen.join(" "),
        }
    };
    let all = "server x-envoy-attempt-count x-envoy-upstream-service-time";
    let ask = get("proxy-headers");
    differ(
        run,
        tally,
        ("proxy-headers", &ask),
        without,
        (["none", all], see),
    )
    .await
}

async fn gorouter_headers(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    const ID: &str = "x-vcap-request-id";
    push(run, "gorouter-headers", Protocol::Http1).await?;
    let ask = get("gorouter-headers").header(ID, "a client's");
    let without = Deployment::read()?.without_filter("gorouter-headers.yml")?;
    let see = |result: Result<Reply, Failure>| {
        let Ok(reply) = result else {
            return "no answer".to_owned();
        };
        let back = reply.headers.get(ID).and_then(|id| id.to_str().ok());
        let headers = reply
            .answer
            .map(|answer| answer.headers)
            .unwrap_or_default();
        let mut seen = Vec::new();
        for name in ["x-envoy-decorator-operation", "x-envoy-external-address"] {
            seen.extend(headers.contains_key(name).then_some(name));
        }
        let started = headers.get("x-request-start");
        let is_in_milliseconds =
            |started: &String| started.len() == 13 && started.parse::<u64>().is_ok();
        seen.extend(started.is_some_and(is_in_milliseconds).then_some("started"));
        seen.push(match headers.get(ID).map(String::as_str) {
            Some("a client's") => "the client's id",
            Some(id) if Some(id) == back => "an id, told to both",
            _ => "no id, or two",
        });
        seen.join(" ")
    };
    let expected = [
        "started an id, told to both",
        "x-envoy-decorator-operation x-envoy-external-address the client's id",
    ];
    differ(
        run,
        tally,
        ("gorouter-headers", &ask),
        without,
        (expected, see),
    )
    .await
}

/// A call that the app answers with UNAVAILABLE is its answer, by what each route says and whatever is so in the mesh. The
/// counts are of what the app was asked.
async fn retries(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    push(run, "retries", Protocol::Http2).await?;
    let without = Deployment::read()?.without_key("defaultHttpRetryPolicy")?;
    let other = run.mesh.ingress(WITHOUT, without).await?;
    let record = run.apps[run.apps.len() - 1].instances[0].server.record();
    let mut counts = Vec::new();
    for client in [run.mesh.ingress.client(), other.client()] {
        let wanted = [(get("retries"), Answerer::from("retries").over("h2"))];
        expect::expect(&client, tally, 1, &wanted).await;
        let before = record.asked().requests;
        let call = get("retries").over(Over::Grpc).header(ANSWER_WITH, "14");
        let begun = Instant::now();
        let result = client.ask(&call).await;
        ensure!(
            matches!(result, Err(Failure::Call(_))),
            "the call was not refused"
        );
        tally.answered("refused", begun.elapsed());
        counts.push(record.asked().requests - before);
    }
    ensure!(counts == [1, 1], "it was asked {counts:?} times");
    Ok(())
}

/// Without the files, Envoy refuses the listener and serves nothing.
async fn released_envoy(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    push(run, "released-envoy", Protocol::Http1).await?;
    settle(&run.mesh.ingress.client(), tally, "released-envoy").await;
    let without = Deployment::read()?
        .without_filter("released-envoy.yml")?
        .without_variable("PILOT_ENABLE_METADATA_EXCHANGE")?;
    let other = run.mesh.ingress(WITHOUT, without).await?;
    let refused = other.proxy.refused().await?;
    let is_listeners = |line: &String| line.starts_with("listener_manager.lds.update_rejected");
    ensure!(
        refused.iter().any(is_listeners),
        "without the files, {refused:?} is refused"
    );
    let sight = who(other.client().ask(&get("released-envoy")).await);
    ensure!(
        sight == "connect",
        "without the files, the answer is {sight}"
    );
    Ok(())
}
