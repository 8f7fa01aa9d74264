//! What the platform's own servers say when they are broken, or somebody else.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use copilot::{
    proto::bbs::{ActualLrp, ActualLrpInstanceCreatedEvent, ActualLrpInstanceKey, ActualLrpKey},
    sim::{
        bbs::Bbs,
        capi::{Capi, Endpoint, Fault},
        cloud_foundry::CloudFoundry,
        policy::{self, PolicyServer},
    },
};
use prost::Message as _;
use tokio::time::sleep;

use crate::attackers::Tally;

/// How large a page is.
const PAGE: usize = 30 << 20;
/// And a guid.
const GUID: usize = 10 << 20;
/// From one lie to the next: good answers come in between.
const EVERY: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub struct Platform {
    capi: Capi,
    bbs: Bbs,
    policies: PolicyServer,
    pages: Vec<(Fault, usize)>,
    answers: Vec<policy::Fault>,
    event: String,
}

impl Platform {
    /// Thinks up all lies, which takes longer than to tell them.
    pub fn new(foundation: &CloudFoundry) -> Self {
        Self {
            capi: foundation.capi.clone(),
            bbs: foundation.bbs.clone(),
            policies: foundation.policies.clone(),
            pages: pages(),
            answers: policies(),
            event: event(),
        }
    }

    /// One lie after the other.
    pub async fn lie(self, tally: Tally) {
        loop {
            for (page, times) in &self.pages {
                self.capi.clear();
                self.capi.inject(Endpoint::Routes, 0, *times, *page);
                sleep(EVERY).await;
                tally.count();
            }
            for answer in &self.answers {
                self.policies.fail(Some(*answer));
                sleep(EVERY).await;
                self.policies.fail(None);
                sleep(EVERY).await;
                tally.count();
            }
            self.bbs
                .send_raw_event("actual_lrp_instance_created", &self.event);
            sleep(EVERY).await;
            tally.count();
        }
    }
}

/// The simulators say it until the program ends.
fn text(text: String) -> &'static str {
    text.leak()
}

fn page(rows: &str, next: &str) -> Fault {
    Fault::Says(text(format!(
        r#"{{"pagination":{{"total_results":4000000,"next":{next}}},"resources":[{rows}]}}"#
    )))
}

/// What Cloud Controller says, and how many requests it does.
fn pages() -> Vec<(Fault, usize)> {
    let numbers = "0,".repeat(PAGE / 2) + "0";
    let padding = "x".repeat(PAGE / 5000);
    let row = |n: usize| format!(r#"{{"guid":"{n}","created_at":0,"x":"{padding}"}}"#);
    let large: Vec<_> = (0..5000).map(row).collect();
    let row = |n: usize| format!(r#"{{"guid":"{n}","created_at":"2026-01-01T00:00:00Z"}}"#);
    let same: Vec<_> = (0..5000).map(row).collect();
    let guid = "g".repeat(GUID);
    vec![
        (page(&numbers, "null"), 1),
        (page(&large.join(","), "null"), 1),
        (page(&same.join(","), r#"{"href":"/v3/routes"}"#), 10),
        (Fault::Unending, 20),
        (page(&format!(r#"{{"guid":"{guid}"}}"#), "null"), 1),
    ]
}

fn policies() -> Vec<policy::Fault> {
    let guid = "g".repeat(GUID);
    let long = format!(
        r#"{{"total_policies":1,"policies":[{{"source":{{"id":"{guid}"}},"destination":{{"id":"b"}}}}]}}"#
    );
    let numbers = "0,".repeat(PAGE / 2) + "0";
    let junk = format!(r#"{{"total_policies":1,"policies":[{numbers}]}}"#);
    vec![
        policy::Fault::Says(text(long)),
        policy::Fault::Says(text(junk)),
        policy::Fault::Endless,
    ]
}

/// An instance with a long guid.
fn event() -> String {
    let lrp = ActualLrp {
        actual_lrp_key: Some(ActualLrpKey {
            process_guid: "p".repeat(GUID / 2),
            index: 0,
            domain: "cf-apps".to_owned(),
        }),
        actual_lrp_instance_key: Some(ActualLrpInstanceKey {
            instance_guid: "g".repeat(GUID / 2),
            cell_id: "cell".to_owned(),
        }),
        state: "RUNNING".to_owned(),
        ..ActualLrp::default()
    };
    let event = ActualLrpInstanceCreatedEvent {
        actual_lrp: Some(lrp),
    };
    STANDARD.encode(event.encode_to_vec())
}
