//! Addresses: which one an instance is reached at, and whose it is when rows disagree.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use copilot::{
    proto::bbs::{
        ActualLrp, ActualLrpInstanceCreatedEvent, ActualLrpInstanceKey, ActualLrpKey,
        ActualLrpNetInfo, ModificationTag, PortMapping,
    },
    sim::bbs::{InstanceSpec, ProcessSpec},
};
use prost::Message as _;

use super::*;

/// An app whose one instance is at a place.
fn placed(foundation: &CloudFoundry, name: &str, spec: &InstanceSpec) -> App {
    let app = foundation.capi.state().new_guid();
    let (process, version) = {
        let mut state = foundation.capi.state();
        (
            state.add_process(&app.as_str().into(), "web"),
            state.new_guid(),
        )
    };
    let process = format!("{process}-{version}");
    foundation.bbs.desire(ProcessSpec {
        process_guid: process.clone(),
        app_guid: app.clone(),
        process_type: "web".to_owned(),
        instances: 1,
        metric_tags: true,
    });
    let instance = foundation.bbs.start_instance(&process, 0, spec);
    let app = App {
        guid: app.as_str().into(),
        process,
        instances: vec![instance],
    };
    map(foundation, name, &app);
    app
}

fn spec(port: u16, cell_ports: CellPorts) -> InstanceSpec {
    InstanceSpec {
        cell_ports,
        ..InstanceSpec::new(
            [10, 0, 9, 1].into(),
            [10, 32, 4, 8].into(),
            vec![(8080, port)],
        )
    }
}

#[tokio::test]
async fn a_place_that_another_app_has_got_is_its_own_over_tls_as_in_plaintext() {
    for cell_ports in [CellPorts::Tls, CellPorts::Plain, CellPorts::Both] {
        let foundation = CloudFoundry::start().await.unwrap();
        let place = spec(61_009, cell_ports);
        let old = placed(&foundation, "old", &place);
        let mesh = Mesh::start(foundation, &[]).await;
        let before = mesh.holds(|state| endpoints(state, "old").len() == 1).await;
        mesh.foundation.bbs.suspect(&old.instances[0]);
        let new = placed(&mesh.foundation, "new", &place);
        let after = mesh
            .holds(|state| endpoints(state, "new").len() == 1 && endpoints(state, "old").is_empty())
            .await;
        assert_eq!(endpoints(&after, "new"), endpoints(&before, "old"));

        let named = |page: &Value| page["resources"][0]["rule"] == "taken";
        let page = mesh.daemon.shows("/debug/rejected", named).await;
        let detail = page["resources"][0]["detail"].as_str().unwrap();
        for instance in [&old.instances[0], &new.instances[0]] {
            assert!(detail.contains(&instance.to_string()), "{detail}");
        }
        let series = r#"copilot_table_items{item="displaced_instances"}"#;
        assert_eq!(mesh.daemon.counter(series).await, 1);

        mesh.foundation.bbs.stop_instance(&new.instances[0]);
        mesh.holds(|state| endpoints(state, "old").len() == 1).await;
    }
}

#[tokio::test]
async fn a_row_that_prefers_its_container_is_reached_there_whatever_its_host_port_is() {
    for cell_ports in [CellPorts::Plain, CellPorts::Tls] {
        let foundation = CloudFoundry::start().await.unwrap();
        let place = InstanceSpec {
            prefers_container: true,
            ..spec(61_009, cell_ports)
        };
        placed(&foundation, "preferred", &place);
        let mesh = Mesh::start(foundation, &[("/BackendTLS", Value::Null)]).await;
        let state = mesh
            .holds(|state| endpoints(state, "preferred").len() == 1)
            .await;
        assert_eq!(
            endpoints(&state, "preferred"),
            [r#"10.32.4.8:{"http": 8080}"#]
        );
    }
}

#[tokio::test]
async fn a_mapping_that_cannot_be_is_named_and_the_instance_keeps_the_others() {
    let mut foundation = CloudFoundry::start().await.unwrap();
    let app = foundation.push(1);
    map(&foundation, "shop", &app);
    // A later list, even one that was asked for before, would remove the row again.
    let mesh = Mesh::start(foundation, &[("/BBS/SyncInterval", json!("1h"))]).await;
    mesh.holds(|state| endpoints(state, "shop").len() == 1)
        .await;
    let mapping = |container_port, host_tls_proxy_port| PortMapping {
        container_port,
        container_tls_proxy_port: 61_001,
        host_tls_proxy_port,
        ..PortMapping::default()
    };
    let row = ActualLrp {
        actual_lrp_key: Some(ActualLrpKey {
            process_guid: app.process.clone(),
            index: 0,
            domain: "cf-apps".to_owned(),
        }),
        actual_lrp_instance_key: Some(ActualLrpInstanceKey {
            instance_guid: "by hand".to_owned(),
            cell_id: "cell".to_owned(),
        }),
        actual_lrp_net_info: Some(ActualLrpNetInfo {
            address: "10.0.9.9".to_owned(),
            ports: vec![
                mapping(0, 61_500),
                mapping(8080, 70_000),
                mapping(8080, 61_501),
                mapping(8080, 61_502),
            ],
            ..ActualLrpNetInfo::default()
        }),
        state: "RUNNING".to_owned(),
        since: 1,
        modification_tag: Some(ModificationTag {
            epoch: "by hand".to_owned(),
            index: 0,
        }),
        metric_tags: [
            ("app_id".to_owned(), app.guid.to_string()),
            ("process_type".to_owned(), "web".to_owned()),
        ]
        .into(),
        ..ActualLrp::default()
    };
    let event = ActualLrpInstanceCreatedEvent {
        actual_lrp: Some(row),
    };
    let data = STANDARD.encode(event.encode_to_vec());
    mesh.foundation
        .bbs
        .send_raw_event("actual_lrp_instance_created", &data);
    let reached = |state: &State| {
        let endpoints = endpoints(state, "shop");
        endpoints.contains(&r#"10.0.9.9:{"http": 61501}"#.to_owned())
    };
    mesh.holds(reached).await;
    let all = |page: &Value| page["items"].as_array().unwrap().len() == 3;
    let page = mesh.daemon.shows("/debug/rejected", all).await;
    let items = page["items"].as_array().unwrap().iter();
    let mut named: Vec<_> = items
        .map(|item| {
            let name = item["item"].as_str().unwrap();
            let (_, place) = name.split_once("by hand ").unwrap();
            (
                place.to_owned(),
                item["reason"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    named.sort();
    let expected = [
        ("mapping 0", "mapping"),
        ("mapping 1", "port"),
        ("mapping 3", "mapping"),
    ];
    let expected = expected.map(|(place, reason)| (place.to_owned(), reason.to_owned()));
    assert_eq!(named, expected);
}
