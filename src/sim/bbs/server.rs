//! HTTP/1.1 as the BBS speaks it, written by hand so that each byte of its framing is the same.

use std::{
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, TRANSFER_ENCODING},
};
use prost::Message as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Emission, ListFault, QUEUE, foundation::Foundation};
use crate::{
    crowd::Crowd,
    outbound::{Body, Response},
    proto::bbs::{ActualLrPsRequest, ActualLrPsResponse, Error},
    tls,
};

/// Handshakes that run at once.
const HALF_OPEN: usize = 1024;

const EVENTS: &str = "/v1/events/lrp_instances.r1";
const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";
const PROTOBUF: &str = "application/x-protobuf";
const TEXT: &str = "text/plain; charset=utf-8";

/// A request's head and body are this long at most; real ones are some hundred bytes.
const MAX_REQUEST: u64 = 64 << 10;

/// What the handle and the connections share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) foundation: Mutex<Foundation>,
    pub(super) held: watch::Sender<bool>,
    pub(super) streams: watch::Sender<usize>,
    pub(super) subscriptions: watch::Sender<u64>,
    pub(super) lists_requested: watch::Sender<u64>,
    pub(super) lists_served: watch::Sender<u64>,
    pub(super) refused: watch::Sender<u64>,
}

/// Serves until `shutdown`. Streams that were ended before have their end written.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    // A few clients connect at a time.
    let (accepted, mut connections) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    let tls = watch::Sender::new(tls).subscribe();
    tasks.spawn(tls::accept(
        listener,
        tls,
        Crowd::new(HALF_OPEN),
        accepted,
        shutdown.clone(),
    ));
    while let Some(handshake) = connections.recv().await {
        while tasks.try_join_next().is_some() {}
        let Ok(connection) = handshake else { continue };
        if shared.foundation().faults.refuse {
            shared.refused.send_modify(|refused| *refused += 1);
            continue;
        }
        let (shared, shutdown) = (Arc::clone(&shared), shutdown.clone());
        tasks.spawn(async move {
            if let Err(error) = converse(connection, &shared, &shutdown).await {
                debug!(%error, "connection to the simulated BBS ended");
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

type Stream = BufReader<TlsStream<TcpStream>>;

/// Answers one request after another.
async fn converse(
    connection: tls::Connection,
    shared: &Shared,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let mut stream = BufReader::new(connection.stream);
    loop {
        let (method, path, body) = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            request = read_request(&mut stream) => match request? {
                Some(request) => request,
                None => return Ok(()),
            },
        };
        if shared.foundation().faults.hang {
            shutdown.cancelled().await;
            return Ok(());
        }
        let replay = shared.foundation().faults.replays.get(&path).cloned();
        match (path.as_str(), replay) {
            (EVENTS, replay) => {
                return stream_events(stream, replay, shared, shutdown).await;
            }
            // Captured answers say that the connection closes.
            (_, Some(response)) => {
                stream.write_all(&response).await?;
                return stream.shutdown().await;
            }
            (path, None) if method == "POST" => {
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    answered = answer(&mut stream, path, &body, shared) => answered?,
                }
            }
            (_, None) => {
                respond(
                    &mut stream,
                    "405 Method Not Allowed",
                    TEXT,
                    b"Method Not Allowed\n",
                )
                .await?;
            }
        }
    }
}

/// The method, the path and the body; `None` once the client has closed the connection.
async fn read_request(stream: &mut Stream) -> io::Result<Option<(String, String, Vec<u8>)>> {
    let mut head = String::new();
    let mut limited = stream.take(MAX_REQUEST);
    while !head.ends_with("\r\n\r\n") {
        if limited.read_line(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    let mut lines = head.lines();
    let mut words = lines
        .next()
        .unwrap_or_default()
        .split(' ')
        .map(str::to_owned);
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse().ok())
        .unwrap_or(0);
    let mut body = Vec::new();
    limited.take(length).read_to_end(&mut body).await?;
    let words = words.next().zip(words.next());
    Ok(words.map(|(method, path)| (method, path, body)))
}

/// What is there, as the endpoint tells it.
fn body(foundation: &Foundation, path: &str, asked: &ActualLrPsRequest) -> Option<Vec<u8>> {
    match path {
        "/v1/ping" => Some(vec![0x08, 0x01]),
        "/v1/actual_lrps/list" => Some(foundation.actual_lrps(&asked.process_guid)),
        "/v1/desired_lrp_routing_infos/list" if foundation.routing_infos => {
            Some(foundation.routing_infos())
        }
        "/v1/desired_lrp_scheduling_infos/list" => Some(foundation.scheduling_infos()),
        "/v1/domains/list" => Some(foundation.domains()),
        _ => None,
    }
}

/// The truth, to whom no socket leads.
pub(super) fn answer_within(shared: &Shared, path: &str, sent: &[u8]) -> Response {
    let asked = ActualLrPsRequest::decode(sent).unwrap_or_default();
    let mut foundation = shared.foundation();
    let (content_type, body) = if path == EVENTS {
        let (subscriber, events) = mpsc::channel(QUEUE);
        foundation.subscribe(subscriber);
        (EVENT_STREAM, events_within(events))
    } else if let Some(body) = body(&foundation, path, &asked) {
        (PROTOBUF, stream::iter([Ok(body.into())]).boxed())
    } else {
        let mut response = Response::new(stream::empty().boxed());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    response
}

fn events_within(events: mpsc::Receiver<Emission>) -> Body {
    let numbered = ReceiverStream::new(events).enumerate();
    let pieces = numbered.map(|(id, emission)| match emission {
        Emission::Event(name, data) => Ok(event(id, &name, &data).into()),
        Emission::Cut => Err(io::ErrorKind::UnexpectedEof.into()),
    });
    pieces.boxed()
}

async fn answer(stream: &mut Stream, path: &str, sent: &[u8], shared: &Shared) -> io::Result<()> {
    // The simulated domain is the only one, but a process may be asked for.
    let asked = ActualLrPsRequest::decode(sent).map_err(io::Error::other)?;
    let is_list = path == "/v1/actual_lrps/list" && asked.process_guid.is_empty();
    let (body, fault) = {
        let foundation = shared.foundation();
        (body(&foundation, path, &asked), foundation.faults.list)
    };
    let Some(body) = body else {
        return respond(stream, "404 Not Found", TEXT, b"404 page not found\n").await;
    };
    if is_list {
        shared.lists_requested.send_modify(|lists| *lists += 1);
        let mut held = shared.held.subscribe();
        held.wait_for(|held| !held)
            .await
            .map_err(io::Error::other)?;
    }
    let answered = match fault {
        ListFault::Status(status) => respond(stream, &format!("{status} Fault"), TEXT, b"").await,
        ListFault::Reported(kind) => respond(stream, "200 OK", PROTOBUF, &reported(kind)).await,
        ListFault::Garbage => respond(stream, "200 OK", PROTOBUF, b"<html>").await,
        ListFault::Short => {
            let (half, _) = body.split_at(body.len() / 2);
            stream
                .write_all(&head("200 OK", PROTOBUF, body.len()))
                .await?;
            stream.write_all(half).await?;
            stream.flush().await?;
            Err(io::Error::other("cut short on purpose"))
        }
        ListFault::None => respond(stream, "200 OK", PROTOBUF, &body).await,
    };
    if is_list {
        shared.lists_served.send_modify(|lists| *lists += 1);
    }
    answered
}

fn reported(kind: i32) -> Vec<u8> {
    let error = Error {
        r#type: kind,
        message: "simulated".to_owned(),
    };
    ActualLrPsResponse {
        error: Some(error),
        actual_lrps: Vec::new(),
    }
    .encode_to_vec()
}

fn head(status: &str, content_type: &str, length: usize) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nContent-Type: {content_type}\r\n\r\n")
        .into_bytes()
}

async fn respond(
    stream: &mut Stream,
    status: &str,
    content_type: &str,
    body: &[u8],
) -> io::Result<()> {
    stream
        .write_all(&head(status, content_type, body.len()))
        .await?;
    stream.write_all(body).await?;
    stream.flush().await
}

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: text/event-stream; charset=utf-8\r\n\
    Cache-Control: no-cache, no-store, must-revalidate\r\n\
    Connection: keep-alive\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

/// The head is written only when the subscription exists. There is no sign of life between events.
async fn stream_events(
    mut stream: Stream,
    replay: Option<Bytes>,
    shared: &Shared,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    let (subscriber, mut events) = mpsc::channel(QUEUE);
    shared.foundation().subscribe(subscriber);
    let _open = Open::new(shared);
    stream
        .write_all(replay.as_deref().unwrap_or(STREAM_HEAD))
        .await?;
    stream.flush().await?;
    let mut id = 0;
    let mut nothing = [0; 1];
    loop {
        tokio::select! {
            emission = events.recv() => match emission {
                Some(Emission::Event(name, data)) => {
                    stream.write_all(&chunk(id, &name, &data)).await?;
                    stream.flush().await?;
                    id += 1;
                }
                Some(Emission::Cut) => {
                    let event = chunk(id, "actual_lrp_instance_created", "CgA=");
                    stream.write_all(&event[..event.len() / 2]).await?;
                    return stream.flush().await;
                }
                None => break,
            },
            // The client sends nothing more: this is the end of its connection.
            _ = stream.read(&mut nothing) => return Ok(()),
            () = shutdown.cancelled() => break,
        }
    }
    stream.write_all(b"0\r\n\r\n").await?;
    stream.shutdown().await
}

/// One chunk for each event; the chunk's head has an empty extension.
fn chunk(id: usize, name: &str, data: &str) -> Vec<u8> {
    let event = event(id, name, data);
    format!("{:x};\r\n{event}\r\n", event.len()).into_bytes()
}

fn event(id: usize, name: &str, data: &str) -> String {
    format!("id: {id}\nevent: {name}\ndata: {data}\n\n")
}

/// Counts an open stream.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared
            .subscriptions
            .send_modify(|subscriptions| *subscriptions += 1);
        shared.streams.send_modify(|streams| *streams += 1);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.streams.send_modify(|streams| *streams -= 1);
    }
}
