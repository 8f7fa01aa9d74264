//! Real BBSs of three generations against what their own client decoded from the same rows.

use bytes::Bytes;
use prost::Message as _;

use super::{
    events::{Decoder, StreamEvent},
    merge::Merge,
    observation::List,
    parse,
};
use crate::{
    feed::Drops,
    proto::{
        bbs::{ActualLrp, Presence},
        fields::Fields,
    },
};

const GENERATIONS: [&str; 3] = ["new", "old", "pb"];

fn fixture(generation: &str, file: &str) -> Vec<u8> {
    let path = format!(
        "{}/tests/fixtures/bbs/{generation}/{file}",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read(path).unwrap()
}

fn body(response: &[u8]) -> &[u8] {
    let head = response
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .unwrap();
    &response[head + 4..]
}

/// The content of chunks; a capture may end without the last one.
fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some(end) = body.windows(3).position(|bytes| bytes == b";\r\n") {
        let length = std::str::from_utf8(&body[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        content.extend_from_slice(&body[end + 3..end + 3 + length]);
        body = &body[end + 3 + length + 2..];
    }
    content
}

fn events(generation: &str, pieces: usize) -> Vec<StreamEvent> {
    let stream = dechunked(body(&fixture(generation, "events-lrp_instances.r1.http")));
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    for piece in stream.chunks(pieces) {
        decoder.push(piece, &mut events).unwrap();
    }
    events
}

fn rows(generation: &str) -> Vec<ActualLrp> {
    let response = fixture(generation, "actual_lrps-list.http");
    let mut fields = Fields::default();
    let mut rows = Vec::new();
    for piece in body(&response).chunks(100) {
        fields.push(piece);
        while let Some((number, row)) = fields.next().unwrap() {
            assert_eq!(number, 2);
            rows.push(ActualLrp::decode(row).unwrap());
        }
    }
    fields.finish().unwrap();
    rows
}

/// A row as the captures' log writes it, as far as we decode it.
fn line(row: &ActualLrp) -> String {
    let key = row.actual_lrp_key.clone().unwrap_or_default();
    let instance = row.actual_lrp_instance_key.clone().unwrap_or_default();
    let net = row.actual_lrp_net_info.clone().unwrap_or_default();
    let tag = row.modification_tag.clone().unwrap_or_default();
    let ports: Vec<_> = net
        .ports
        .iter()
        .map(|port| {
            format!(
                "{}->{}/tls {}->{}",
                port.host_port,
                port.container_port,
                port.host_tls_proxy_port,
                port.container_tls_proxy_port
            )
        })
        .collect();
    format!(
        "{}/{} inst={} cell={} {} presence={} routable={} az={} addr={}[{}] cip={} pref={} tag={}:{} since={} tags={}",
        key.process_guid,
        key.index,
        instance.instance_guid,
        instance.cell_id,
        row.state,
        Presence::try_from(row.presence).unwrap().as_str_name(),
        row.routable.unwrap(),
        row.availability_zone,
        net.address,
        ports.join(","),
        net.instance_address,
        net.preferred_address().as_str_name(),
        tag.epoch.get(..8).unwrap_or_default(),
        tag.index,
        row.since,
        row.metric_tags.len(),
    )
}

/// A line of the log without what we do not decode.
fn expected(line: &str) -> String {
    let kept = line.split(' ').filter(|word| !word.starts_with("crash="));
    kept.collect::<Vec<_>>().join(" ").trim().to_owned()
}

#[test]
fn lists_decode_to_what_the_bbs_logged() {
    for generation in GENERATIONS {
        let log = fixture(generation, "actual_lrps-list.decoded.txt");
        let mut logged: Vec<_> = std::str::from_utf8(&log)
            .unwrap()
            .lines()
            .filter(|line| line.contains(" inst="))
            .map(expected)
            .collect();
        let mut decoded: Vec<_> = rows(generation).iter().map(line).collect();
        logged.sort();
        decoded.sort();
        assert_eq!(decoded, logged, "{generation}");
    }
}

#[test]
fn events_decode_to_what_the_bbs_logged() {
    for generation in GENERATIONS {
        let log = fixture(generation, "events-lrp_instances.decoded.txt");
        let mut logged: Vec<_> = std::str::from_utf8(&log)
            .unwrap()
            .lines()
            // "time name row", or on a line of its own "after: row".
            .filter_map(|line| {
                let line = line.trim();
                let row = line.strip_prefix("after:").or_else(|| {
                    ["created ", "removed "]
                        .iter()
                        .find_map(|end| line.split_once(&format!("instance_{end}")))
                        .map(|(_, row)| row)
                })?;
                Some(expected(row.trim()))
            })
            .collect();
        let mut decoded: Vec<_> = events(generation, 1000)
            .iter()
            .filter_map(logged_as)
            .collect();
        assert!(decoded.len() > 40, "{generation}");
        // A second subscriber wrote the log: events of two hubs may have come to it in another order.
        logged.sort();
        decoded.sort();
        assert_eq!(decoded, logged, "{generation}");
    }
}

fn logged_as(event: &StreamEvent) -> Option<String> {
    match event {
        StreamEvent::Created(row) | StreamEvent::Removed(row) => Some(line(row)),
        StreamEvent::Changed(event) => parse::changed((**event).clone()).map(|row| line(&row)),
        StreamEvent::Desired(_) | StreamEvent::DesiredRemoved(_) => None,
    }
}

#[test]
fn any_pieces_of_a_captured_stream_give_the_same_events() {
    let whole = events("new", usize::MAX);
    assert_eq!(whole.len(), 55, "58 events, of which three are crashes");
    for pieces in [1, 2, 7, 61, 4096] {
        assert_eq!(events("new", pieces), whole);
    }
}

#[test]
fn a_captured_minute_serves_what_ran_at_each_moment() {
    for generation in GENERATIONS {
        let mut merge = Merge::default();
        let now = tokio::time::Instant::now();
        let mut most = 0;
        for event in events(generation, usize::MAX) {
            if let Some(event) = parse::event(event, &mut Drops::default()).unwrap() {
                merge.event(event, now);
            }
            most = most.max(merge.served());
        }
        // Two apps with three instances and one, of which two were replaced while they still served.
        assert_eq!((most, merge.served()), (4, 0), "{generation}");
        merge.list(List::default(), merge.mark(), now);
        assert_eq!(merge.served(), 0);
    }
}

#[test]
fn rows_of_real_lists_are_valid_and_give_what_runs() {
    for generation in GENERATIONS {
        let mut parts = Drops::default();
        let observed: Vec<_> = rows(generation)
            .into_iter()
            .filter_map(|row| parse::actual_lrp(row, &mut parts).unwrap())
            .collect();
        assert!(parts.is_empty());
        let serving = observed.iter().filter(|one| one.routable);
        let workloads: Vec<_> = serving.map(|one| one.workload.clone().unwrap()).collect();
        let mut apps: Vec<_> = workloads.iter().map(|one| one.app.to_string()).collect();
        apps.sort();
        let of = |n| format!("6{n}000000-aaaa-4aaa-8aaa-000000000000");
        assert_eq!(apps, [of(1), of(1), of(3)], "{generation}");
        assert!(workloads.iter().all(|one| one.process_type == "web".into()));
    }
}

#[test]
fn errors_inside_good_answers_decode() {
    for generation in GENERATIONS {
        let response = fixture(generation, "error-bad-request-body.http");
        let mut fields = Fields::default();
        fields.push(body(&response));
        let (number, content): (u64, Bytes) = fields.next().unwrap().unwrap();
        let error = crate::proto::bbs::Error::decode(content).unwrap();
        assert_eq!((number, error.r#type), (1, 4), "{generation}");
    }
}
