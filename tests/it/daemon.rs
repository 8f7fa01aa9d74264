//! The daemon as its supervisor, its operator and its Pilots know it.

use std::{net::Ipv4Addr, time::Duration};

use copilot::{
    admin,
    feed::Feeds,
    istio::Kind,
    metrics,
    sim::{
        capi::{DomainKind, RouteSpec},
        operator::Operator,
        sink::Sink,
    },
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::sources,
    mesh::{Daemon, LONG, Mesh, collections, content, eager, endpoints, foundation, holds, with},
    process::Process,
};

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_serve_the_same_bytes_and_end_on_sigterm_with_open_streams() {
    let (foundation, _) = foundation().await;
    let mut one = Process::serve(&foundation, "one.json", &eager(foundation.config()));
    let mut two = Process::serve(&foundation, "two.json", &eager(foundation.config()));
    let complete = async |process: &Process| {
        let pilot = foundation
            .connect_pilot(process.address("mcp_address"), collections())
            .await
            .unwrap();
        let state = holds(&pilot, |state| state.collections.len() == 4).await;
        (pilot, content(&state))
    };
    let ((pilot_one, held_one), (pilot_two, held_two)) =
        (complete(&one).await, complete(&two).await);
    assert_eq!(held_one, held_two);

    for (process, pilot) in [(&mut one, pilot_one), (&mut two, pilot_two)] {
        let (status, took) = tokio::task::block_in_place(|| process.terminate());
        assert!(status.success(), "{status}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        let ended = holds(&pilot, |state| state.ended.is_some())
            .await
            .ended
            .unwrap();
        assert_eq!(ended.code(), tonic::Code::Unavailable, "{ended:?}");
    }

    // A restart, too.
    let again = Process::serve(&foundation, "again.json", &eager(foundation.config()));
    assert_eq!(complete(&again).await.1, held_one);
}

#[tokio::test]
async fn the_admin_surface_shows_what_is_served_to_whom_and_what_is_not() {
    let mut mesh = Mesh::start().await;
    let bad = mesh.foundation.create_route("under_score", "");
    mesh.foundation.map(&bad, &mesh.app, None);
    let rejected = mesh
        .daemon
        .shows("/debug/rejected", |page| {
            page["resources"]
                .as_array()
                .is_some_and(|all| all.len() == 1)
        })
        .await;
    assert_eq!(
        rejected["resources"][0]["host"],
        "under_score.apps.example.com"
    );
    mesh.still_works().await;

    let collection = Kind::ServiceEntry.collection();
    let snapshot = mesh.daemon.operator.json("/debug/snapshot").await.unwrap();
    assert_eq!(snapshot["collections"][collection]["resources"], 2);
    let version = mesh.held()[collection].version.clone();
    assert_eq!(
        snapshot["collections"][collection]["version"],
        json!(version)
    );
    let names = mesh
        .daemon
        .operator
        .json(&format!("/debug/resources/{collection}"))
        .await
        .unwrap();
    assert_eq!(names.as_object().unwrap().len(), 2);
    let name = "cf--tls.shop.apps.example.com.routes.cloudfoundry";
    let entry = mesh
        .daemon
        .operator
        .json(&format!("/debug/resources/{collection}/{name}"))
        .await
        .unwrap();
    assert_eq!(entry["body"]["endpoints"].as_array().unwrap().len(), 3);
    let (status, text) = mesh
        .daemon
        .operator
        .get("/debug/resources/nothing")
        .await
        .unwrap();
    assert_eq!(
        (status.as_u16(), text.as_str()),
        (
            404,
            "no collection or resource \"nothing\": there are destinationrules, gateways, serviceentries, sidecars, virtualservices\n"
        )
    );

    let acked =
        |sinks: &Value| sinks[0]["collections"][collection]["acked_version"] == json!(version);
    let sinks = mesh.daemon.shows("/debug/sinks", acked).await;
    assert_eq!(sinks[0]["names"], json!(["pilot"]));
}

#[tokio::test]
async fn of_two_routes_with_one_hostname_and_path_the_newer_is_named_until_the_older_is_gone() {
    let (mut foundation, app) = foundation().await;
    let other = foundation.push(1);
    let older = {
        let mut state = foundation.capi.state();
        let deep = state.add_domain("deep.apps.example.com", DomainKind::Http);
        let older = state.create_route(RouteSpec::new(&deep, "a").path("/Api"));
        state.advance(10);
        older
    };
    let newer = foundation.create_route("a.deep", "/Api");
    foundation.map(&newer, &other, None);
    foundation.map(&older, &app, None);
    let domains = json!(["*.example.com"]);
    let config = with(foundation.config(), &[("/MeshDomains", domains)]);
    let daemon = Daemon::start(eager(config)).await;
    let host = "a.deep.apps.example.com";
    let page = daemon
        .shows("/debug/rejected", |page| {
            page["resources"][0]["host"] == host
        })
        .await;
    let rejected = &page["resources"][0];
    assert_eq!(rejected["rule"], "shadowed", "{page:#}");
    let named = format!("route {newer} has the path \"/Api\" of route {older}");
    let detail = rejected["detail"].as_str().unwrap();
    assert!(detail.starts_with(&named), "{detail}");

    foundation.capi.state().delete_route(&older);
    daemon
        .shows("/debug/rejected", |page| page["resources"] == json!([]))
        .await;
    daemon.end().await;
}

#[tokio::test]
async fn health_and_metrics_follow_the_feeds() {
    let mesh = Mesh::start().await;
    let (status, _) = mesh.daemon.operator.get("/healthz").await.unwrap();
    assert_eq!(status.as_u16(), 200);
    let (_, page) = mesh.daemon.operator.get("/metrics").await.unwrap();
    for line in [
        "copilot_feed_last_success_timestamp_seconds{feed=\"capi_routes\"} ",
        "copilot_feed_duration_seconds_count{feed=\"bbs_lists\"} ",
        "copilot_feed_failing{feed=\"bbs_events\"} 0",
        "copilot_feed_items{feed=\"capi_routes\",kind=\"routes\"} 1",
        "copilot_table_items{item=\"instances\"} 2",
        "copilot_collection_resources{collection=\"istio/networking/v1alpha3/virtualservices\"} 1",
        "copilot_collection_size_bytes{",
        "copilot_generation_seconds_count ",
        "istio_mcp_clients_total 1",
        "istio_mcp_request_acks_total{",
        "process_resident_memory_bytes ",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

#[tokio::test]
async fn a_domain_with_capitals_and_the_dot_of_the_root_is_the_one_of_cloud_controller() {
    let (foundation, _) = foundation().await;
    let domains = ["Apps.Example.COM.", "*.Internal."];
    let config = with(foundation.config(), &[("/MeshDomains", json!(domains))]);
    let daemon = Daemon::start(eager(config)).await;
    let pilot = foundation.connect_pilot(daemon.mcp, collections()).await;
    holds(&pilot.unwrap(), |state| endpoints(state, "shop").len() == 2).await;
    daemon.end().await;
}

#[tokio::test]
async fn what_is_left_of_the_rate_limit_shows_in_the_detail() {
    let mesh = Mesh::start().await;
    mesh.foundation.capi.state().rate_limit = Some((2000, 100));
    mesh.daemon
        .shows("/readyz", |page| {
            let feeds = page["feeds"].as_array().unwrap();
            feeds.iter().any(|feed| {
                feed["feed"] == "capi_routes" && feed["holds"]["remaining_requests"] == 100
            })
        })
        .await;
}

#[tokio::test]
async fn the_log_level_is_fixed_where_the_logs_are_not_ours_and_a_bad_one_is_refused() {
    let (foundation, _) = foundation().await;
    let daemon = Daemon::start(foundation.config()).await;
    assert_eq!(
        daemon
            .operator
            .set_log_level("loud")
            .await
            .unwrap()
            .as_u16(),
        400
    );
    assert_eq!(
        daemon
            .operator
            .set_log_level("debug")
            .await
            .unwrap()
            .as_u16(),
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_level_changes_while_the_process_runs() {
    let is_debug = |line: &Value| line["level"] == "DEBUG";
    let (foundation, _) = foundation().await;
    let mut process = Process::serve(&foundation, "log.json", &eager(foundation.config()));
    let operator = Operator::new(process.address("admin_address")).unwrap();
    let lines = process.logs_until("first snapshot").await;
    assert!(!lines.iter().any(is_debug), "{lines:#?}");

    let set = operator.set_log_level("debug").await.unwrap();
    assert_eq!(set.as_u16(), 200);
    // Cloud Controller is read all the time.
    let lines = process.logs_until("request").await;
    assert!(is_debug(lines.last().unwrap()), "{lines:#?}");

    let set = operator.set_log_level("info").await.unwrap();
    assert_eq!(set.as_u16(), 200);
    foundation.capi.stop().await;
    process
        .logs_until("feed failing; the last good state stays")
        .await;
    // Requests lie between the two, without a word.
    foundation.capi.resume().await.unwrap();
    let lines = process.logs_until("feed recovered").await;
    assert!(!lines.iter().any(is_debug), "{lines:#?}");
}

#[tokio::test]
async fn at_a_hangup_certificates_are_read_again_and_what_became_of_them_is_told() {
    let (foundation, _) = foundation().await;
    let config = foundation.config();
    let config = with(config, &[("/CertificateReloadInterval", json!("24h"))]);
    let mut process = Process::serve(&foundation, "hangup.json", &config);
    process.hang_up();
    process.logs_until("certificates are as before").await;
    let cert = config.pointer("/ServerCertPath").unwrap();
    std::fs::write(cert.as_str().unwrap(), "broken").unwrap();
    process.hang_up();
    let failing = "feed failing; the last good state stays";
    // Others may fail too: there is one BBS, which is asked once more.
    while process.logs_until(failing).await.last().unwrap()["feed"] != "mcp_certificates" {}
    process.terminate();
}

#[tokio::test]
async fn a_feed_whose_loop_is_stuck_makes_the_process_unhealthy() {
    let mut registry = metrics::registry();
    let mut feeds = Feeds::new(&mut registry);
    let _stuck = feeds.register("stuck", Duration::ZERO);
    let _turning = feeds.register("turning", LONG);
    let shutdown = CancellationToken::new();
    let sources = sources(feeds, registry, shutdown.clone());
    let settings = admin::Settings {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        names: admin::Names::new(),
    };
    let server = admin::Server::bind(settings, sources).await.unwrap();
    let operator = Operator::new(server.local_addr().unwrap()).unwrap();
    let _stop = shutdown.clone().drop_guard();
    tokio::spawn(server.run(shutdown));

    let (status, page) = operator.get("/healthz").await.unwrap();
    assert_eq!(status.as_u16(), 503);
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page, json!({"healthy": false, "stalled": ["stuck"]}));
}

#[tokio::test]
async fn an_instance_that_changes_sends_its_service_with_its_rule_and_no_other() {
    let mut mesh = Mesh::start().await;
    let before = mesh.held();
    mesh.foundation.crash(&mut mesh.app);
    let crashed = endpoints(&mesh.pilot.state().borrow(), "shop");
    let after = mesh.holds(|state| {
        let now = endpoints(state, "shop");
        now.len() == 2 && now != crashed
    });
    let after = after.await;
    // Its endpoint, and its name in the rule of its service.
    let expected = [Kind::ServiceEntry, Kind::DestinationRule].map(Kind::collection);
    for (name, replica) in &after.collections {
        let changed = replica.version != before[name].version;
        assert_eq!(changed, expected.contains(&name.as_str()), "{name}");
        assert!(
            changed || replica.applied == before[name].applied,
            "{name} was sent again"
        );
    }
}

#[tokio::test]
async fn every_pilot_is_answered_for_every_collection_that_it_asks_for() {
    let mesh = Mesh::start().await;
    for (version, collections) in copilot::sim::sink::pilots() {
        let pilot: Sink = mesh
            .foundation
            .connect_pilot(
                mesh.daemon.mcp,
                collections.iter().map(|name| (*name).to_owned()).collect(),
            )
            .await
            .unwrap();
        let state = timeout(
            LONG,
            holds(&pilot, |state| state.collections.len() == collections.len()),
        );
        assert!(state.await.is_ok(), "Pilot {version}");
    }
}
