//! Answers that are well-formed and wrong.

use copilot::proto::bbs::{
    ActualLrPsResponse, ActualLrp, DesiredLrPsResponse, DomainsResponse, ModificationTag,
};
use fastrand::Rng;
use prost::Message as _;
use serde_json::{Value, json};

/// What the hosts of routes that never were begin with.
pub(super) const GHOST: &str = "ghost-";
/// Where instances are that never were.
pub(super) const GHOSTS: [&str; 2] = ["198.51.100.", "203.0.113."];

/// Makes a lie of a true answer. One to who knows nothing yet can be seen to be one, by itself or by others.
pub(super) fn tell(rng: &mut Rng, path: &str, body: &mut Vec<u8>, knows_nothing: bool) {
    match path {
        "/v1/actual_lrps/list" => actual(rng, body, knows_nothing),
        "/v1/desired_lrp_routing_infos/list" => desired(rng, body, knows_nothing),
        "/v1/domains/list" => *body = DomainsResponse::default().encode_to_vec(),
        "/networking/v1/internal/policies" => json(rng, path, body, "policies", knows_nothing),
        _ if path.starts_with("/v3/") => json(rng, path, body, "resources", knows_nothing),
        _ => {}
    }
}

fn json(rng: &mut Rng, path: &str, body: &mut Vec<u8>, list: &str, knows_nothing: bool) {
    let Ok(mut answer) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let Some(rows) = answer[list].as_array_mut() else {
        return;
    };
    let before = rows.len();
    match rng.u32(0..5) {
        0 => rows.clear(),
        1 => rows.retain(|_| rng.bool()),
        2 => rows.truncate(3),
        _ => match path {
            "/v3/routes" => routes(rng, rows, knows_nothing),
            "/v3/domains" if !knows_nothing => domains(rng, rows),
            _ => {}
        },
    }
    let is_of_other_rows = rows.len() != before;
    if is_of_other_rows && !knows_nothing && rng.bool() {
        let count = rows.len();
        if answer.get("pagination").is_some() {
            answer["pagination"]["total_results"] = json!(count);
        } else {
            answer["total_policies"] = json!(count);
        }
    }
    *body = answer.to_string().into_bytes();
}

fn routes(rng: &mut Rng, rows: &mut Vec<Value>, knows_nothing: bool) {
    let each = rows.iter_mut();
    match rng.u32(0..if knows_nothing { 3 } else { 5 }) {
        // That those of TCP lead nowhere is no sign: there may be one.
        0 => each
            .filter(|row| !knows_nothing || row["port"].is_null())
            .for_each(|row| row["destinations"] = json!([])),
        1 => each.for_each(|row| row["host"] = "a b".into()),
        2 => each.for_each(|row| row["protocol"] = "carrier pigeon".into()),
        3 => each
            .filter(|_| rng.bool())
            .for_each(|row| row["destinations"] = json!([])),
        _ => {
            let mut ghosts: Vec<_> = rows.iter().filter(|_| rng.bool()).cloned().collect();
            for ghost in ghosts.iter_mut().filter(|ghost| ghost["port"].is_null()) {
                let name = format!("{GHOST}{}", rng.u16(..));
                ghost["url"] = ghost["url"].as_str().map_or(Value::Null, |url| {
                    let domain = url.split_once('.').map_or("", |(_, domain)| domain);
                    format!("{name}.{domain}").into()
                });
                ghost["guid"] = name.as_str().into();
                ghost["host"] = name.into();
                rows.push(ghost.clone());
            }
        }
    }
}

/// All of them, or one.
fn domains(rng: &mut Rng, rows: &mut [Value]) {
    let one = rng.bool().then(|| rng.usize(..rows.len().max(1)));
    let is_about = |at: usize| one.is_none_or(|one| one == at);
    let rows = rows.iter_mut().enumerate();
    let rows = rows.filter_map(|(at, row)| is_about(at).then_some(row));
    match rng.u32(0..4) {
        0 => rows.for_each(|row| row["internal"] = json!(row["internal"] != json!(true))),
        1 => rows.for_each(|row| row["router_group"] = Value::Null),
        2 => rows.for_each(|row| row["name"] = "elsewhere.example.com".into()),
        _ => rows.for_each(|row| row["supported_protocols"] = json!(["tcp"])),
    }
}

fn actual(rng: &mut Rng, body: &mut Vec<u8>, knows_nothing: bool) {
    let Ok(mut list) = ActualLrPsResponse::decode(&**body) else {
        return;
    };
    let rows = &mut list.actual_lrps;
    let each = rows.iter_mut();
    match rng.u32(0..if knows_nothing { 9 } else { 12 }) {
        0 => rows.clear(),
        1 => rows.truncate(3),
        2 => each.for_each(|row| row.state.clear()),
        3 => each.for_each(|row| row.presence = 7),
        4 => each.for_each(|row| {
            if let Some(net) = &mut row.actual_lrp_net_info {
                net.ports.clear();
            }
        }),
        5 => each.for_each(|row| {
            "CLAIMED".clone_into(&mut row.state);
            newer(rng, &mut row.modification_tag);
        }),
        6 => each.for_each(|row| {
            if let Some(net) = &mut row.actual_lrp_net_info {
                net.address.clear();
            }
        }),
        7 => each.for_each(|row| {
            let ports = row.actual_lrp_net_info.iter_mut();
            ports
                .flat_map(|net| &mut net.ports)
                .for_each(|port| port.host_port = 70_000);
        }),
        8 => each.for_each(|row| {
            if let Some(key) = &mut row.actual_lrp_key {
                "tasks".clone_into(&mut key.domain);
            }
        }),
        9 => rows.retain(|_| rng.bool()),
        10 => each
            .filter(|_| rng.bool())
            .for_each(|row| "UNCLAIMED".clone_into(&mut row.state)),
        _ => {
            for row in rows.clone() {
                if rng.bool() {
                    rows.push(ghost(rng, row));
                }
            }
        }
    }
    *body = list.encode_to_vec();
}

/// An instance that never was, of the same process.
fn ghost(rng: &mut Rng, mut row: ActualLrp) -> ActualLrp {
    let at = rng.u8(..);
    if let Some(net) = &mut row.actual_lrp_net_info {
        net.address = format!("{}{at}", GHOSTS[0]);
        net.instance_address = format!("{}{at}", GHOSTS[1]);
    }
    if let Some(key) = &mut row.actual_lrp_instance_key {
        key.instance_guid = format!("{GHOST}{at}");
    }
    if rng.bool()
        && let Some(key) = &mut row.actual_lrp_key
    {
        key.index += 1;
    }
    newer(rng, &mut row.modification_tag);
    row
}

fn desired(rng: &mut Rng, body: &mut Vec<u8>, knows_nothing: bool) {
    let Ok(mut list) = DesiredLrPsResponse::decode(&**body) else {
        return;
    };
    let rows = &mut list.desired_lrps;
    match rng.u32(0..if knows_nothing { 2 } else { 4 }) {
        0 => rows.clear(),
        1 => rows.iter_mut().for_each(|row| {
            row.instances = 0;
            newer(rng, &mut row.modification_tag);
        }),
        2 => rows.retain(|_| rng.bool()),
        _ => rows
            .iter_mut()
            .filter(|_| rng.bool())
            .for_each(|row| row.instances += 1),
    }
    *body = list.encode_to_vec();
}

/// Now and then it is a newer state of the row.
fn newer(rng: &mut Rng, tag: &mut Option<ModificationTag>) {
    if let Some(tag) = tag.as_mut().filter(|_| rng.bool()) {
        tag.index += 1;
    }
}
