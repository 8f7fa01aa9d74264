//! Answers that are well-formed and wrong.

use copilot::proto::bbs::{ActualLrPsResponse, DomainsResponse};
use fastrand::Rng;
use prost::Message as _;
use serde_json::{Value, json};

/// Makes a lie of a true answer.
pub(super) fn tell(rng: &mut Rng, path: &str, body: &mut Vec<u8>) {
    match path {
        "/v3/routes" | "/v3/domains" | "/v3/processes" => json(rng, body, "resources"),
        "/networking/v1/internal/policies" => json(rng, body, "policies"),
        "/v1/actual_lrps/list" => actual(rng, body),
        "/v1/domains/list" => *body = DomainsResponse::default().encode_to_vec(),
        _ => {}
    }
}

fn json(rng: &mut Rng, body: &mut Vec<u8>, list: &str) {
    let Ok(mut answer) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let Some(rows) = answer[list].as_array_mut() else {
        return;
    };
    match rng.u32(0..4) {
        0 => rows.clear(),
        1 => rows.retain(|_| rng.bool()),
        2 => rows
            .iter_mut()
            .filter(|row| row.get("destinations").is_some())
            .for_each(|row| row["destinations"] = json!([])),
        _ => rows.truncate(3),
    }
    if rng.bool() {
        let count = rows.len();
        if answer.get("pagination").is_some() {
            answer["pagination"]["total_results"] = json!(count);
        } else {
            answer["total_policies"] = json!(count);
        }
    }
    *body = answer.to_string().into_bytes();
}

fn actual(rng: &mut Rng, body: &mut Vec<u8>) {
    let Ok(mut list) = ActualLrPsResponse::decode(&**body) else {
        return;
    };
    let rows = &mut list.actual_lrps;
    match rng.u32(0..6) {
        0 => rows.clear(),
        1 => rows.retain(|_| rng.bool()),
        2 => rows.iter_mut().for_each(|row| row.state.clear()),
        3 => rows.iter_mut().for_each(|row| row.presence = 7),
        4 => rows.iter_mut().for_each(|row| {
            if let Some(net) = &mut row.actual_lrp_net_info {
                net.ports.clear();
            }
        }),
        _ => rows.truncate(3),
    }
    *body = list.encode_to_vec();
}
