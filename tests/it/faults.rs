//! What breaks around the daemon: nothing is lost, nothing is emptied, and the admin surface says what is wrong.

use copilot::{
    istio::Kind,
    sim::{
        bbs::{Bbs, ListFault},
        capi::{Endpoint, Fault},
        pki::Pki,
        sink::{self, Answer, Options, Sink},
    },
    tls,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::mesh::{Daemon, LONG, Mesh, collections, eager, endpoints, foundation, holds};

#[tokio::test]
async fn cloud_controller_is_down_at_start() {
    let (foundation, _) = foundation().await;
    foundation.capi.stop().await;
    let daemon = Daemon::start(eager(foundation.config())).await;
    daemon.reports("capi_routes", "connect").await;
    let waiting = json!(["first snapshot", "routes from Cloud Controller"]);
    daemon
        .shows("/readyz", |page| page["waiting_for"] == waiting)
        .await;
    let pilot = foundation
        .connect_pilot(daemon.mcp, collections())
        .await
        .unwrap();

    foundation.capi.resume().await.unwrap();
    let state = holds(&pilot, |state| state.collections.len() == 4).await;
    assert_eq!(
        endpoints(&state, "shop").len(),
        2,
        "silence, and then everything"
    );
    assert!(
        state
            .collections
            .values()
            .all(|collection| collection.applied == 1)
    );
    daemon.ready().await;
}

#[tokio::test]
async fn cloud_controller_goes_down_and_comes_back() {
    let mut mesh = Mesh::start().await;
    let before = mesh.held();
    mesh.foundation.capi.stop().await;
    let problem = mesh.daemon.reports("capi_routes", "connect").await;
    assert!(
        problem["error"].as_str().unwrap().contains("127.0.0.1"),
        "{problem}"
    );
    mesh.daemon.ready().await;
    assert_eq!(versions(&mesh.held()), versions(&before));

    mesh.foundation.capi.resume().await.unwrap();
    mesh.daemon.recovers("capi_routes").await;
    mesh.still_works().await;
}

fn versions(
    held: &std::collections::BTreeMap<String, sink::Replica>,
) -> Vec<(&String, &String, u64)> {
    held.iter()
        .map(|(name, replica)| (name, &replica.version, replica.applied))
        .collect()
}

/// Cloud Controller answers every list of routes with a fault for a while.
async fn routes_fail_with(fault: Fault, kind: &str) {
    let mut mesh = Mesh::start().await;
    let before = mesh.held();
    mesh.foundation
        .capi
        .inject(Endpoint::Routes, 0, usize::MAX, fault);
    mesh.daemon.reports("capi_routes", kind).await;
    mesh.daemon.ready().await;
    assert_eq!(versions(&mesh.held()), versions(&before), "{fault:?}");

    mesh.foundation.capi.clear();
    mesh.daemon.recovers("capi_routes").await;
    mesh.still_works().await;
}

#[tokio::test]
async fn cloud_controller_fails() {
    routes_fail_with(Fault::UnknownError, "server_error").await;
}

#[tokio::test]
async fn the_router_answers_in_html() {
    routes_fail_with(Fault::BadGateway, "server_error").await;
}

#[tokio::test]
async fn cloud_controller_is_being_backed_up() {
    routes_fail_with(Fault::Maintenance, "maintenance").await;
}

#[tokio::test]
async fn answers_are_cut_short() {
    routes_fail_with(Fault::Truncated, "truncated").await;
}

#[tokio::test]
async fn the_client_lacks_the_scope() {
    routes_fail_with(Fault::Forbidden, "forbidden").await;
}

#[tokio::test]
async fn too_many_requests() {
    routes_fail_with(Fault::RateLimited(1), "rate_limited").await;
}

#[tokio::test]
async fn a_page_shrinks_to_nothing() {
    let mut mesh = Mesh::start().await;
    let before = mesh.held();
    // What was looked at again because of how the foundation was made is over.
    let looks = mesh.foundation.capi.count(Endpoint::AuditEvents);
    let looked = mesh
        .foundation
        .capi
        .requested(Endpoint::AuditEvents, looks + 3);
    timeout(LONG, looked).await.unwrap();
    mesh.foundation
        .capi
        .inject(Endpoint::Routes, 0, usize::MAX, Fault::Empty);
    // The second read that begins from now on is empty, and after it comes another.
    let reads = mesh.foundation.capi.count(Endpoint::Domains);
    let read = mesh.foundation.capi.requested(Endpoint::Domains, reads + 3);
    timeout(LONG, read).await.unwrap();
    mesh.foundation.capi.clear();
    assert_eq!(versions(&mesh.held()), versions(&before));
    mesh.still_works().await;
}

#[tokio::test]
async fn tokens_are_revoked_in_the_middle_of_everything() {
    let mut mesh = Mesh::start().await;
    let tokens = mesh.foundation.capi.count(Endpoint::Token);
    mesh.foundation
        .capi
        .inject(Endpoint::Routes, 0, 3, Fault::Revoked);
    // A token that is refused at once is not replaced again: that would go on for ever.
    let renewed = mesh.foundation.capi.requested(Endpoint::Token, tokens + 2);
    timeout(LONG, renewed).await.unwrap();
    mesh.still_works().await;
}

#[tokio::test]
async fn the_bbs_is_down_at_start() {
    let (foundation, _) = foundation().await;
    foundation.bbs.refuse(true);
    let daemon = Daemon::start(eager(foundation.config())).await;
    daemon.reports("bbs_lists", "connect").await;
    let waiting = json!([
        "first snapshot",
        "instances from the BBS",
        "processes from Cloud Controller"
    ]);
    daemon
        .shows("/readyz", |page| page["waiting_for"] == waiting)
        .await;
    let pilot = foundation
        .connect_pilot(daemon.mcp, collections())
        .await
        .unwrap();

    foundation.bbs.refuse(false);
    let state = holds(&pilot, |state| state.collections.len() == 4).await;
    assert_eq!(
        endpoints(&state, "shop").len(),
        2,
        "silence, and then everything"
    );
    assert!(
        state
            .collections
            .values()
            .all(|collection| collection.applied == 1)
    );
}

#[tokio::test]
async fn lists_of_the_bbs_fail() {
    let mut mesh = Mesh::start().await;
    let before = mesh.held();
    for (fault, kind) in [
        (ListFault::Status(503), "server_error"),
        (ListFault::Reported(29), "server_error"),
        (ListFault::Garbage, "malformed"),
        (ListFault::Short, "truncated"),
    ] {
        mesh.foundation.bbs.fail_lists(fault);
        mesh.daemon.reports("bbs_lists", kind).await;
        assert_eq!(versions(&mesh.held()), versions(&before), "{fault:?}");
    }
    mesh.foundation.bbs.fail_lists(ListFault::None);
    mesh.daemon.recovers("bbs_lists").await;
    mesh.still_works().await;
}

/// The event stream breaks: it is counted by its kind and begun anew, and nothing is lost.
async fn event_stream_fails(breaks: impl FnOnce(&Bbs), kind: &str) {
    let mut mesh = Mesh::start().await;
    let before = mesh.held();
    let errors = format!(r#"copilot_feed_errors_total{{feed="bbs_events",kind="{kind}"}}"#);
    let counted = mesh.daemon.counter(&errors).await;
    let mut subscriptions = mesh.foundation.bbs.subscriptions();
    let subscribed = *subscriptions.borrow();
    breaks(&mesh.foundation.bbs);
    timeout(LONG, subscriptions.wait_for(|count| *count > subscribed))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(mesh.daemon.counter(&errors).await, counted + 1);
    assert_eq!(versions(&mesh.held()), versions(&before));
    mesh.still_works().await;
}

#[tokio::test]
async fn the_event_stream_is_cut_in_the_middle_of_an_event() {
    event_stream_fails(Bbs::cut_streams_mid_event, "truncated").await;
}

#[tokio::test]
async fn an_event_is_garbage() {
    let garbage = |bbs: &Bbs| bbs.send_raw_event("actual_lrp_instance_created", "%%%%");
    event_stream_fails(garbage, "malformed").await;
}

#[tokio::test]
async fn events_arrive_before_the_first_list_is_answered() {
    let (mut foundation, mut app) = foundation().await;
    foundation.bbs.hold_lists();
    let daemon = Daemon::start(eager(foundation.config())).await;
    timeout(LONG, foundation.bbs.subscribed()).await.unwrap();
    let pilot = foundation
        .connect_pilot(daemon.mcp, collections())
        .await
        .unwrap();
    foundation.scale(&mut app, 4);
    foundation.bbs.release_lists();
    holds(&pilot, |state| endpoints(state, "shop").len() == 4).await;
}

#[tokio::test]
async fn a_sink_never_acknowledges_and_the_others_notice_nothing() {
    let mut mesh = Mesh::start().await;
    let client = mesh.foundation.pki.issue("mute", &["mute"]).unwrap();
    let config = tls::client(mesh.foundation.pki.ca(), Some(&client)).unwrap();
    let channel = sink::connect(mesh.daemon.mcp, config).await.unwrap();
    let options = Options {
        collections: collections(),
        ..Options::default()
    };
    let mute = Sink::open(&channel, options, |_| Answer::Silence)
        .await
        .unwrap();
    holds(&mute, |state| state.collections.len() == 4).await;
    mesh.still_works().await;

    let applied = mute.state().borrow().collections[Kind::ServiceEntry.collection()].applied;
    assert_eq!(applied, 1, "one response is outstanding, never two");
    mesh.daemon
        .shows("/debug/sinks", |sinks| {
            let sinks = sinks.as_array().unwrap();
            let pending = |sink: &&serde_json::Value| {
                !sink["collections"][Kind::ServiceEntry.collection()]["pending"].is_null()
                    && sink["names"] == json!(["mute"])
            };
            sinks.iter().any(|sink| pending(&sink))
        })
        .await;
}

#[tokio::test]
async fn a_sink_rejects_everything_and_the_operator_is_told() {
    let mut mesh = Mesh::start().await;
    let client = mesh.foundation.pki.issue("picky", &["picky"]).unwrap();
    let config = tls::client(mesh.foundation.pki.ca(), Some(&client)).unwrap();
    let channel = sink::connect(mesh.daemon.mcp, config).await.unwrap();
    let options = Options {
        collections: collections(),
        ..Options::default()
    };
    let reject = |_: &_| Answer::Nack {
        code: 2,
        message: "not linked in".to_owned(),
    };
    let _picky = Sink::open(&channel, options, reject).await.unwrap();
    mesh.daemon
        .shows("/debug/sinks", |sinks| {
            let is_told = |sink: &serde_json::Value| {
                let nack = &sink["collections"][Kind::VirtualService.collection()]["nack"];
                nack["code"] == 2 && nack["message"] == "not linked in"
            };
            sinks.as_array().unwrap().iter().any(is_told)
        })
        .await;
    mesh.still_works().await;
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused() {
    let mesh = Mesh::start().await;
    let stranger = Pki::new(mesh.foundation.folder(), "stranger").unwrap();
    let identity = stranger.issue("eve", &["pilot"]).unwrap();
    let config = tls::client(mesh.foundation.pki.ca(), Some(&identity)).unwrap();
    // With TLS 1.3 the refusal arrives with the first read.
    let refused = match sink::connect(mesh.daemon.mcp, config).await {
        Err(_) => true,
        Ok(channel) => sink::Stream::open(&channel).await.is_err(),
    };
    assert!(refused);
}

#[tokio::test]
async fn garbage_on_every_port_disturbs_nobody() {
    let mut mesh = Mesh::start().await;
    for address in [mesh.daemon.mcp, mesh.daemon.admin] {
        for garbage in [
            b"\0\0\0\0".as_slice(),
            b"GET / HTTP/9.9\r\n\r\n",
            &vec![0xff; 100_000],
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The peer may have hung up by now, which is an answer too.
            if stream.write_all(garbage).await.is_ok() && stream.shutdown().await.is_ok() {
                let mut answer = Vec::new();
                let read = timeout(LONG, stream.read_to_end(&mut answer))
                    .await
                    .expect("an end of the connection");
                assert!(read.is_err() || answer.len() < 1000);
            }
        }
    }
    mesh.still_works().await;
    mesh.daemon.end().await;
}
