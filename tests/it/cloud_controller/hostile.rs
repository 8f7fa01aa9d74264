//! Calls with values that nobody should send: a clear status, and nothing is different.

use bytes::Bytes;
use copilot::proto::api;
use prost::Message as _;
use tonic::{Code, Request, Response, Status};

use super::rig::{Client, Rig, association, mapping, route, soon, sync};

/// What a hostile client puts where a guid, a host or a path should be.
fn texts() -> Vec<(String, &'static str)> {
    vec![
        (String::new(), "is missing"),
        ("g".repeat(100_000), "100000 bytes"),
        ("a\u{0}b".to_owned(), "character"),
        ("a\r\nb".to_owned(), "character"),
        ("\u{1b}[2J".to_owned(), "character"),
    ]
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(outcome: Result<Response<T>, Status>, says: &str) {
    let refused = outcome.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let message = refused.message();
    assert!(message.contains(says), "{message} does not say {says}");
    assert!(message.len() < 200, "{} bytes", message.len());
}

/// A rig in which something is known, and what it is.
async fn known() -> (Rig, Vec<String>) {
    let mut rig = Rig::start().await;
    rig.bulk_sync(&sync(&["a"])).await.unwrap();
    rig.next_update().await;
    let known = everything(&mut rig).await;
    (rig, known)
}

async fn everything(rig: &mut Rig) -> Vec<String> {
    let mut all = rig.routes().await;
    all.extend(rig.mappings().await);
    all.extend(rig.associations().await);
    all
}

async fn upsert(
    client: &mut Client,
    route: Option<api::Route>,
) -> Result<Response<api::UpsertRouteResponse>, Status> {
    soon(client.upsert_route(api::UpsertRouteRequest { route })).await
}

#[tokio::test]
async fn routes() {
    let (mut rig, before) = known().await;
    assert_refused(upsert(&mut rig.client, None).await, "route is missing");
    for (text, says) in texts() {
        let guid = route(&text, "a.example.com");
        assert_refused(upsert(&mut rig.client, Some(guid)).await, says);
        let host = route("r", &text);
        assert_refused(upsert(&mut rig.client, Some(host)).await, says);
        let delete = api::DeleteRouteRequest { guid: text };
        assert_refused(soon(rig.client.delete_route(delete)).await, says);
    }
    for (path, vip, says) in [
        ("no-slash", "", "slash"),
        ("/\n", "", "control character"),
        ("", "fe80::1", "IPv4"),
        ("", "127.0.0.256", "IPv4"),
        ("", &"1".repeat(100_000), "route.vip has 100000 bytes"),
    ] {
        let route = api::Route {
            path: path.to_owned(),
            vip: vip.to_owned(),
            ..route("r", "a.example.com")
        };
        assert_refused(upsert(&mut rig.client, Some(route)).await, says);
    }
    assert_eq!(everything(&mut rig).await, before);
    assert!(!rig.has_updates());
}

#[tokio::test]
async fn mappings() {
    let (mut rig, before) = known().await;
    let mut bad = vec![(None, "route_mapping is missing")];
    for (text, says) in texts() {
        bad.push((Some(mapping(&text, "p", 1)), says));
        bad.push((Some(mapping("r", &text, 1)), says));
    }
    for (route_mapping, says) in bad {
        let unmap = api::UnmapRouteRequest {
            route_mapping: route_mapping.clone(),
        };
        assert_refused(soon(rig.client.unmap_route(unmap)).await, says);
        let map = api::MapRouteRequest { route_mapping };
        assert_refused(soon(rig.client.map_route(map)).await, says);
    }
    for weight in [0, 129, u32::MAX] {
        let map = api::MapRouteRequest {
            route_mapping: Some(mapping("a", "p", weight)),
        };
        let outcome = soon(rig.client.map_route(map)).await;
        assert_refused(outcome, &format!("route_weight is {weight}"));
    }
    assert_eq!(everything(&mut rig).await, before);
    assert!(!rig.has_updates());
}

#[tokio::test]
async fn associations() {
    let (mut rig, before) = known().await;
    let mut bad = vec![
        (None, "capi_diego_process_association is missing"),
        (
            Some(association("p", &[])),
            "diego_process_guids is missing",
        ),
        (Some(association("p", &["d"; 10_000])), "10000 elements"),
    ];
    for (text, says) in texts() {
        bad.push((Some(association(&text, &["d"])), says));
        bad.push((Some(association("p", &["d", &text])), says));
        let delete = api::DeleteCapiDiegoProcessAssociationRequest {
            capi_process_guid: text,
        };
        let call = rig.client.delete_capi_diego_process_association(delete);
        assert_refused(soon(call).await, says);
    }
    for (capi_diego_process_association, says) in bad {
        let upsert = api::UpsertCapiDiegoProcessAssociationRequest {
            capi_diego_process_association,
        };
        let call = rig.client.upsert_capi_diego_process_association(upsert);
        assert_refused(soon(call).await, says);
    }
    assert_eq!(everything(&mut rig).await, before);
    assert!(!rig.has_updates());
}

#[tokio::test]
async fn a_bulk_sync_of_bytes_that_are_none_is_refused_whole() {
    let (mut rig, before) = known().await;
    let whole = sync(&["b", "c"]).encode_to_vec();
    let half = whole[..whole.len() - 3].to_vec();
    let garbage: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let bad_utf8 = vec![0x12, 3, 0x0a, 1, 0xff];
    let numbers = [&[0x08, 1][..], &[0x10, 1], &[0x18, 1, 0x10, 7]].map(<[u8]>::to_vec);
    let others = [half, garbage, bad_utf8, b"GET / HTTP/1.1\r\n".to_vec()];
    for message in others.into_iter().chain(numbers) {
        let chunks = message.chunks(65_536).map(Bytes::copy_from_slice).collect();
        let refused = rig.bulk_sync_of(chunks).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains("BulkSyncRequest"), "{refused}");
        assert_eq!(rig.problem(), Some("malformed"));
    }
    assert_eq!(everything(&mut rig).await, before);
    rig.until_under_way(0).await;
    assert!(!rig.has_updates());

    rig.bulk_sync(&sync(&["b"])).await.unwrap();
    assert_eq!(rig.problem(), None);
}

#[tokio::test]
async fn a_bulk_sync_over_the_limit_is_refused_by_the_setting_s_name() {
    let mut rig = Rig::start_with(|settings| settings.max_bulk_sync_bytes = 1000).await;
    rig.bulk_sync(&sync(&["a"])).await.unwrap();
    let before = everything(&mut rig).await;
    // More often than there are places.
    for _ in 0..3 {
        let chunks = vec![Bytes::from(vec![0; 400]); 3];
        let refused = rig.bulk_sync_of(chunks).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains("1000 bytes"), "{refused}");
        assert!(refused.message().contains("MaxBulkSyncBytes"), "{refused}");
        assert_eq!(rig.problem(), Some("too_large"));
    }
    assert_eq!(everything(&mut rig).await, before);
    rig.until_under_way(0).await;
    rig.bulk_sync(&sync(&["b"])).await.unwrap();
}

#[tokio::test]
async fn a_message_over_the_limit_of_its_call_is_refused_by_that_limit() {
    let (mut rig, before) = known().await;
    let delete = api::DeleteRouteRequest {
        guid: "g".repeat(1 << 20),
    };
    let delete = soon(rig.client.delete_route(delete)).await.unwrap_err();
    let chunk = Bytes::from(vec![0; 9 << 20]);
    let bulk_sync = rig.bulk_sync_of(vec![chunk]).await.unwrap_err();
    for (refused, limit) in [(delete, "262144 bytes"), (bulk_sync, "8388608 bytes")] {
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains(limit), "{refused}");
    }
    assert_eq!(everything(&mut rig).await, before);
}

/// A message that is small on the wire and large when it is unpacked.
#[tokio::test]
async fn a_chunk_that_unpacks_beyond_any_message_is_refused() {
    let (mut rig, before) = known().await;
    let mut client = rig
        .client
        .clone()
        .send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let bomb = super::rig::chunk(vec![0; 32 << 20].into());
    let outcome = client.bulk_sync(Request::new(tokio_stream::iter([bomb])));
    let refused = soon(outcome).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(rig.problem(), Some("truncated"));
    assert_eq!(everything(&mut rig).await, before);
}
