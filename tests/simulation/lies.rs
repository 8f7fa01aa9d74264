//! Answers that are well-formed and wrong.

use copilot::proto::bbs::{
    ActualLrPsResponse, DesiredLrPsResponse, DomainsResponse, ModificationTag,
};
use fastrand::Rng;
use prost::Message as _;
use serde_json::{Value, json};

/// Makes a lie of a true answer.
pub(super) fn tell(rng: &mut Rng, path: &str, body: &mut Vec<u8>) {
    match path {
        "/v3/routes" | "/v3/domains" | "/v3/processes" => json(rng, body, "resources"),
        "/networking/v1/internal/policies" => json(rng, body, "policies"),
        "/v1/actual_lrps/list" => actual(rng, body),
        "/v1/desired_lrp_routing_infos/list" => desired(rng, body),
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
    match rng.u32(0..7) {
        0 => rows.clear(),
        1 => rows.retain(|_| rng.bool()),
        2 => rows.iter_mut().for_each(|row| row.state.clear()),
        3 => rows.iter_mut().for_each(|row| row.presence = 7),
        4 => rows.iter_mut().for_each(|row| {
            if let Some(net) = &mut row.actual_lrp_net_info {
                net.ports.clear();
            }
        }),
        5 => rows.iter_mut().for_each(|row| {
            "CLAIMED".clone_into(&mut row.state);
            newer(rng, &mut row.modification_tag);
        }),
        _ => rows.truncate(3),
    }
    *body = list.encode_to_vec();
}

fn desired(rng: &mut Rng, body: &mut Vec<u8>) {
    let Ok(mut list) = DesiredLrPsResponse::decode(&**body) else {
        return;
    };
    let rows = &mut list.desired_lrps;
    match rng.u32(0..3) {
        0 => rows.clear(),
        1 => rows.retain(|_| rng.bool()),
        _ => rows.iter_mut().for_each(|row| {
            row.instances = 0;
            newer(rng, &mut row.modification_tag);
        }),
    }
    *body = list.encode_to_vec();
}

/// Now and then it is a newer state of the row.
fn newer(rng: &mut Rng, tag: &mut Option<ModificationTag>) {
    if let Some(tag) = tag.as_mut().filter(|_| rng.bool()) {
        tag.index += 1;
    }
}
