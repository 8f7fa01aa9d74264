//! The original's config file, in the hands of the binary.

use std::{fs, process::Command};

use copilot::{proto::api::HealthRequest, sim::operator::Operator};

use super::*;
use crate::{mesh::LONG, process::Process};

/// Each listener answers a peer of its own kind.
async fn answers(process: &Process, foundation: &CloudFoundry) {
    let healthy = connect_to(foundation, process.address("cloud_controller_address")).await;
    let healthy = healthy.client().health(HealthRequest {}).await.unwrap();
    assert!(healthy.into_inner().healthy);
    let mut resolver = resolver(process.address("vip_resolver_address")).await;
    resolver.health(HealthRequest {}).await.unwrap();
    let pilot = foundation
        .connect_pilot(process.address("mcp_address"), collections())
        .await;
    pilot.unwrap();
}

#[tokio::test]
async fn the_originals_config_starts_it_and_every_listener_answers() {
    let (foundation, _) = foundation().await;
    let mut config = original_config(&foundation);
    // Not in the original's file, for tests that run at the same time.
    config["AdminListenAddress"] = json!("127.0.0.1:0");
    let process = Process::serve(&foundation, "enabled.json", &config);
    answers(&process, &foundation).await;
    let ignored: Vec<_> = process
        .started
        .iter()
        .filter(|line| line["message"] == "this key has no effect")
        .map(|line| line["key"].clone())
        .collect();
    assert_eq!(
        ignored,
        ["BBS.ClientSessionCacheSize", "BBS.MaxIdleConnsPerHost"]
    );

    config["BBS"] = json!({ "Disable": true });
    config["PolicyServerDisabled"] = json!(true);
    let process = Process::serve(&foundation, "disabled.json", &config);
    answers(&process, &foundation).await;
}

/// Fault 11: the original exits.
#[tokio::test]
async fn a_bbs_and_a_policy_server_that_cannot_be_reached_are_not_fatal() {
    let (foundation, _) = foundation().await;
    foundation.bbs.stop();
    foundation.policies.stop().await;
    let mut config = original_config(&foundation);
    config["AdminListenAddress"] = json!("127.0.0.1:0");
    let process = Process::serve(&foundation, "alone.json", &config);
    answers(&process, &foundation).await;
    let operator = Operator::new(process.address("admin_address")).unwrap();
    let is_tried_again = |page: &Value, name: &str| {
        let mut feeds = page["feeds"].as_array().unwrap().iter();
        let feed = feeds.find(|feed| feed["feed"] == name).unwrap();
        feed["problem"]["kind"] == "connect" && feed["problem"]["failures"].as_u64() > Some(1)
    };
    let reported = async {
        loop {
            let page = operator.json("/readyz").await.unwrap();
            if ["bbs_lists", "policies"]
                .iter()
                .all(|feed| is_tried_again(&page, feed))
            {
                break;
            }
        }
    };
    tokio::time::timeout(LONG, reported)
        .await
        .expect("a report of both");
}

/// The same, with all keys in lower case.
fn lower(value: Value) -> Value {
    match value {
        Value::Object(object) => object
            .into_iter()
            .map(|(key, value)| (key.to_lowercase(), lower(value)))
            .collect(),
        Value::Array(values) => values.into_iter().map(lower).collect(),
        other => other,
    }
}

#[test]
fn any_spelling_of_the_originals_keys_will_do() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (foundation, _) = runtime.block_on(foundation());
    let config = lower(original_config(&foundation));
    let path = foundation.folder().join("lower.json");
    fs::write(&path, config.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_copilot"))
        .args(["check", "--config"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Pilot is ready once each of its collections was answered, and where nobody has policies the Sidecars wait for the
/// answer to be confirmed.
#[tokio::test]
async fn a_cold_start_without_policies_takes_one_read_more_and_no_poll() {
    let (foundation, app) = foundation().await;
    let mut config = config(&foundation);
    config["PolicyServerPollInterval"] = json!("1h");
    let policies = foundation.policies.clone();
    let push = Push::start_with(foundation, config).await;
    push.sync(BulkSyncRequest {
        routes: vec![route("r-shop", "shop.apps.example.com")],
        route_mappings: vec![mapping("r-shop", &app, 1)],
        capi_diego_process_associations: vec![association(&app)],
    })
    .await;
    push.holds(|state| state.collections.len() == 5).await;
    assert_eq!(policies.requests(), 2);
    push.daemon.end().await;
}
