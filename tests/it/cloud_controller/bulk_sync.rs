//! BulkSyncs as Cloud Controller's client sends them, and what becomes of them.

use std::io::Write as _;

use bytes::Bytes;
use copilot::{
    model::{Basis, Update},
    proto::api,
};
use flate2::{Compression, write::GzEncoder};
use http::Request;
use http_body_util::BodyExt as _;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, body::Body};
use tower::{Service as _, ServiceExt as _};

use super::rig::{self, Rig, chunk, route, soon, sync};

/// The guids of a BulkSync as the publisher is told.
async fn told(rig: &mut Rig) -> Vec<String> {
    match rig.next_update().await {
        Update::AllPushed { routes, .. } => {
            routes.iter().map(|route| route.guid.to_string()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn replaces_everything_in_one_update_and_answers_its_size() {
    let mut rig = Rig::start().await;
    assert_eq!(rig.readiness.pending(), ["routes"]);
    rig.bulk_sync(&sync(&["old"])).await.unwrap();
    assert_eq!(told(&mut rig).await, ["old"]);
    assert_eq!(rig.readiness.pending(), [""; 0]);

    let request = sync(&["a", "b"]);
    let size = rig.bulk_sync(&request).await.unwrap();
    assert_eq!(usize::try_from(size).unwrap(), request.encoded_len());
    assert_eq!(told(&mut rig).await, ["a", "b"]);
    assert_eq!(rig.routes().await, ["a=a.example.com", "b=b.example.com"]);
    // Sent as 0, which Cloud Controller means as 1.
    assert_eq!(rig.mappings().await, ["a-a-process=1", "b-b-process=1"]);
    assert_eq!(
        rig.associations().await,
        ["a-process=a-diego", "b-process=b-diego"]
    );

    rig.bulk_sync(&request).await.unwrap();
    assert!(!rig.has_updates(), "the same again is no news");
}

/// Cloud Controller's client: chunks of 64 KiB with the compressed flag, and an empty one at the end without it.
#[tokio::test]
async fn takes_compressed_and_plain_chunks_in_one_stream() {
    let mut rig = Rig::start().await;
    let guids: Vec<_> = (0..1000).map(|n| format!("route-{n}")).collect();
    let guids: Vec<_> = guids.iter().map(String::as_str).collect();
    let message = sync(&guids).encode_to_vec();
    let mut body = Vec::new();
    for piece in message.chunks(65_536) {
        let piece = chunk(Bytes::copy_from_slice(piece)).encode_to_vec();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&piece).unwrap();
        body.extend(frame(1, &gzip.finish().unwrap()));
    }
    body.extend(frame(0, &[]));

    let mut channel = rig::channel(rig.address).await;
    let request = Request::post("http://localhost/api.CloudControllerCopilot/BulkSync")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", "gzip")
        .header("grpc-accept-encoding", "identity, deflate, gzip")
        .body(Body::new(
            http_body_util::Full::from(body).map_err(|never| match never {}),
        ))
        .unwrap();
    let response = soon(channel.ready().await.unwrap().call(request))
        .await
        .unwrap();
    let answer = soon(response.into_body().collect()).await.unwrap();
    let trailers = answer.trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    let answer = answer.to_bytes();
    assert_eq!(answer[0], 0, "an answer is not compressed");
    let answer = api::BulkSyncResponse::decode(&answer[5..]).unwrap();
    assert_eq!(
        usize::try_from(answer.total_bytes_received).unwrap(),
        message.len()
    );
    assert_eq!(told(&mut rig).await.len(), 1000);
}

/// A gRPC message with its prefix.
fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &len[..], message].concat()
}

/// Fault 44 of the Go Copilot: it refused a chunk of more than 4 MiB, and collected smaller ones without end.
#[tokio::test]
async fn takes_a_chunk_of_five_megabytes() {
    let mut rig = Rig::start().await;
    let mut request = sync(&["a"]);
    // Together they are large; only the last one counts.
    let path = format!("/{}", "p".repeat(200));
    for _ in 0..25_000 {
        request.routes.push(api::Route {
            path: path.clone(),
            ..route("b", "b.example.com")
        });
    }
    let message = request.encode_to_vec();
    assert!(message.len() > 5_000_000);
    let size = rig.bulk_sync_of(vec![message.into()]).await.unwrap();
    assert!(size > 5_000_000);
    assert_eq!(told(&mut rig).await, ["a", "b"]);
}

/// Fault 42 of the Go Copilot: a stream without chunks wiped everything at once.
#[tokio::test]
async fn q1_an_empty_one_is_answered_and_told_as_what_was_read() {
    for chunks in [vec![], vec![Bytes::new()], vec![Bytes::new(), Bytes::new()]] {
        let mut rig = Rig::start().await;
        rig.bulk_sync(&sync(&["a"])).await.unwrap();
        told(&mut rig).await;
        assert_eq!(rig.bulk_sync_of(chunks).await.unwrap(), 0);
        let report = soon(rig.updates.recv()).await.unwrap();
        assert!(matches!(report.basis, Basis::Read(_)), "{report:?}");
        let is_empty =
            |update| matches!(update, Update::AllPushed { routes, .. } if routes.is_empty());
        assert!(is_empty(report.update));
    }
}

#[tokio::test]
async fn a_first_one_without_routes_is_held_too_whatever_else_it_has() {
    let mut rig = Rig::start().await;
    let mut request = sync(&["a"]);
    request.routes.clear();
    rig.bulk_sync(&request).await.unwrap();
    assert_eq!(rig.readiness.pending(), ["routes"]);
    assert_eq!(rig.mappings().await, [""; 0]);
    rig.bulk_sync(&request).await.unwrap();
    assert_eq!(told(&mut rig).await, [""; 0]);
    assert_eq!(rig.readiness.pending(), [""; 0]);
    assert_eq!(rig.mappings().await, ["a-a-process=1"]);
}

/// A BulkSync whose chunks the test sends one by one, and its outcome.
struct Open {
    chunks: mpsc::Sender<api::BulkSyncRequestChunk>,
    outcome: tokio::task::JoinHandle<Result<i32, Status>>,
}

impl Open {
    /// The server has begun to receive it when this returns.
    async fn begin(rig: &mut Rig) -> Self {
        let before = rig.under_way();
        let (chunks, stream) = mpsc::channel(4);
        let mut client = rig.client.clone();
        let outcome = tokio::spawn(async move {
            let response = client.bulk_sync(ReceiverStream::new(stream)).await?;
            Ok(response.into_inner().total_bytes_received)
        });
        rig.until_under_way(before + 1).await;
        Self { chunks, outcome }
    }

    async fn send(&self, bytes: Bytes) {
        soon(self.chunks.send(chunk(bytes))).await.unwrap();
    }

    async fn end(self) -> Result<i32, Status> {
        drop(self.chunks);
        soon(self.outcome).await.unwrap()
    }
}

/// Fault 43 of the Go Copilot: the BulkSync, read from the database before, undid the call.
#[tokio::test]
async fn what_is_pushed_while_it_is_under_way_outlives_it() {
    let mut rig = Rig::start().await;
    rig.bulk_sync(&sync(&["a", "b"])).await.unwrap();
    let open = Open::begin(&mut rig).await;
    rig.upsert("c", "new.example.com").await;
    let delete = api::DeleteRouteRequest {
        guid: "a".to_owned(),
    };
    soon(rig.client.delete_route(delete)).await.unwrap();
    open.send(sync(&["a", "b"]).encode_to_vec().into()).await;
    open.end().await.unwrap();
    assert_eq!(rig.routes().await, ["b=b.example.com", "c=new.example.com"]);
}

#[tokio::test]
async fn one_that_began_before_another_that_counts_has_to_be_tried_again() {
    let mut rig = Rig::start().await;
    let older = Open::begin(&mut rig).await;
    rig.bulk_sync(&sync(&["new"])).await.unwrap();
    older.send(sync(&["old"]).encode_to_vec().into()).await;
    assert_eq!(older.end().await.unwrap_err().code(), Code::Aborted);
    assert_eq!(rig.problem(), Some("outdated"));
    assert_eq!(rig.routes().await, ["new=new.example.com"]);
}

#[tokio::test]
async fn a_third_one_at_a_time_is_told_to_try_again() {
    let mut rig = Rig::start().await;
    let first = Open::begin(&mut rig).await;
    let second = Open::begin(&mut rig).await;
    let third = rig.bulk_sync(&sync(&["third"])).await.unwrap_err();
    assert_eq!(third.code(), Code::ResourceExhausted);
    assert_eq!(rig.problem(), Some("overflow"));

    first.send(sync(&["first"]).encode_to_vec().into()).await;
    first.end().await.unwrap();
    second.send(sync(&["second"]).encode_to_vec().into()).await;
    second.end().await.unwrap();
    rig.bulk_sync(&sync(&["third"])).await.unwrap();
    assert_eq!(rig.routes().await, ["third=third.example.com"]);
}

/// A reset stream reads like one that has ended: what had arrived of it must not count, be it something or nothing.
#[tokio::test]
async fn one_that_is_cut_changes_nothing_and_leaves_nothing_behind() {
    let mut rig = Rig::start().await;
    rig.bulk_sync(&sync(&["a"])).await.unwrap();
    told(&mut rig).await;
    for bytes in [Bytes::new(), sync(&["b"]).encode_to_vec().into()] {
        // More often than there are places.
        for _ in 0..3 {
            let open = Open::begin(&mut rig).await;
            open.send(bytes.clone()).await;
            open.outcome.abort();
            assert!(soon(open.outcome).await.unwrap_err().is_cancelled());
            // The registrar looks with every call.
            while rig.under_way() > 0 {
                assert_eq!(rig.routes().await, ["a=a.example.com"]);
            }
        }
    }
    assert!(!rig.has_updates());
    rig.bulk_sync(&sync(&["c"])).await.unwrap();
    assert_eq!(rig.routes().await, ["c=c.example.com"]);
}

#[tokio::test]
async fn one_that_is_under_way_at_the_end_is_unavailable_at_once() {
    let mut rig = Rig::start().await;
    let open = Open::begin(&mut rig).await;
    rig.shutdown.cancel();
    let outcome = soon(open.outcome).await.unwrap();
    assert_eq!(outcome.unwrap_err().code(), Code::Unavailable);
    // Until now its client has sent nothing, and not ended it.
    drop(open.chunks);
}

#[tokio::test]
async fn an_invalid_item_is_left_out_alone_and_named() {
    let mut rig = Rig::start().await;
    let mut request = sync(&["a"]);
    request.routes.push(route("bad", "not a host"));
    rig.bulk_sync(&request).await.unwrap();
    assert_eq!(rig.routes().await, ["a=a.example.com"]);
    let dropped = rig.feed().dropped.named().clone();
    assert_eq!(dropped["route bad not a host"].reason, "hostname");

    rig.bulk_sync(&sync(&["a"])).await.unwrap();
    assert!(rig.feed().dropped.is_empty());
}
