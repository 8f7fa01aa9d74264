//! What an instance answers: who it is, and what it was asked.

use std::{collections::BTreeMap, convert::Infallible, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, future::BoxFuture};
use http::{HeaderMap, Request, Response, StatusCode, Version, header, request::Parts};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tonic::{
    Code, Status,
    body::Body,
    server::{Grpc, UnaryService},
};
use tonic_prost::ProstCodec;

use super::{ANSWER_WITH, Behind, GRPC_METHOD, Shared};

/// What is said to an instance is this long at most.
const MAX_SAID: usize = 64 << 10;
/// The longest that an instance takes for an answer when it is asked to.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Who answers, and what it saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The app.
    pub app: String,
    /// The guid of the instance.
    pub instance: String,
    /// The container port that was asked.
    pub port: u16,
    /// Whether it was asked over TLS.
    pub tls: bool,
    /// `http/1.0`, `http/1.1`, `h2`, `grpc` or `websocket`.
    pub protocol: String,
    /// The method.
    pub method: String,
    /// The authority that was asked for.
    pub host: String,
    /// Path and query as they came.
    pub path: String,
    /// All headers in lower case, several of one name joined by commas.
    pub headers: BTreeMap<String, String>,
    /// The request's body, or the first message.
    pub said: String,
}

impl Answer {
    fn new(shared: &Shared, behind: Behind, parts: &Parts, protocol: &str) -> Self {
        let host = parts.headers.get(header::HOST);
        let host = host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        let authority = || parts.uri.authority().map(ToString::to_string);
        let path = parts.uri.path_and_query().map(ToString::to_string);
        Self {
            app: shared.spec.app.clone(),
            instance: shared.spec.guid.clone(),
            port: behind.port,
            tls: behind.is_tls,
            protocol: protocol.to_owned(),
            method: parts.method.to_string(),
            host: host.or_else(authority).unwrap_or_default(),
            path: path.unwrap_or_default(),
            headers: joined(&parts.headers),
            said: String::new(),
        }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("strings make JSON")
    }
}

fn joined(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut joined = BTreeMap::<_, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        joined
            .entry(name.to_string())
            .and_modify(|values| values.extend([",", &value]))
            .or_insert_with(|| value.into_owned());
    }
    joined
}

/// Answers a request; its query may say how long that takes, and with what: `wait=MILLISECONDS&status=NUMBER`.
pub(super) async fn answer(
    mut request: Request<Incoming>,
    behind: Behind,
    shared: Arc<Shared>,
) -> Result<Response<Body>, Infallible> {
    shared.record.ask();
    let query = request.uri().query().unwrap_or_default();
    let (wait, status) = (wait(query), status(query));
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let is = |name: header::HeaderName, value: &[u8]| {
        let held = parts.headers.get(name);
        held.is_some_and(|held| held.as_bytes().to_ascii_lowercase().starts_with(value))
    };
    if is(header::UPGRADE, b"websocket") {
        let answer = Answer::new(&shared, behind, &parts, "websocket");
        return Ok(open_websocket(&parts, upgrade, answer, &shared));
    }
    if is(header::CONTENT_TYPE, b"application/grpc") {
        let answer = Answer::new(&shared, behind, &parts, "grpc");
        return Ok(call(parts, body, answer).await);
    }
    let protocol = match parts.version {
        Version::HTTP_10 => "http/1.0",
        Version::HTTP_2 => "h2",
        _ => "http/1.1",
    };
    let Ok(said) = Limited::new(body, MAX_SAID).collect().await else {
        return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let answer = Answer {
        said: String::from_utf8_lossy(&said.to_bytes()).into_owned(),
        ..Answer::new(&shared, behind, &parts, protocol)
    };
    let mut response = Response::new(Body::new(Full::new(Bytes::from(answer.json()))));
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    *response.status_mut() = status;
    Ok(response)
}

fn wait(query: &str) -> Duration {
    Duration::from_millis(asked_for(query, "wait").unwrap_or_default()).min(MAX_WAIT)
}

fn status(query: &str) -> StatusCode {
    let status = asked_for(query, "status").and_then(|status| StatusCode::from_u16(status).ok());
    status.unwrap_or_default()
}

fn asked_for<T: FromStr>(query: &str, what: &str) -> Option<T> {
    let mut values = query.split('&').filter_map(|pair| pair.split_once('='));
    values.find_map(|(key, value)| (key == what).then(|| value.parse().ok())?)
}

fn refusal(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

// === gRPC ===

struct Echo(Answer);

impl UnaryService<String> for Echo {
    type Response = String;
    type Future = BoxFuture<'static, Result<tonic::Response<String>, Status>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        let answer = Answer {
            said: request.into_inner(),
            ..self.0.clone()
        };
        let asked_for = answer.headers.get(ANSWER_WITH);
        let answer = match asked_for.and_then(|code| code.parse().ok()) {
            Some(code) => Err(Status::new(Code::from_i32(code), "as it was asked")),
            None => Ok(tonic::Response::new(answer.json())),
        };
        Box::pin(async move { answer })
    }
}

async fn call(parts: Parts, body: Incoming, answer: Answer) -> Response<Body> {
    if parts.uri.path() != GRPC_METHOD {
        return Status::unimplemented("no such method").into_http();
    }
    let mut grpc = Grpc::new(ProstCodec::default());
    grpc.unary(Echo(answer), Request::from_parts(parts, body))
        .await
}

// === WebSocket ===

/// Accepts a WebSocket (RFC 6455, section 4.2.2).
fn open_websocket(
    parts: &Parts,
    upgrade: OnUpgrade,
    answer: Answer,
    shared: &Arc<Shared>,
) -> Response<Body> {
    let Some(key) = parts.headers.get(header::SEC_WEBSOCKET_KEY) else {
        return refusal(StatusCode::BAD_REQUEST);
    };
    let mut response = refusal(StatusCode::SWITCHING_PROTOCOLS);
    let accept = derive_accept_key(key.as_bytes());
    for (name, value) in [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
    ] {
        let value = value.parse().expect("base64 makes a header");
        response.headers_mut().insert(name, value);
    }
    let talking = Arc::clone(shared);
    shared.conversations.spawn(async move {
        let talk = talk(upgrade, answer, &talking);
        // How it ends is the client's affair, and seen there.
        drop(talking.cut.run_until_cancelled(talk).await);
    });
    response
}

/// Answers the first message with who it is, and each later one with itself.
async fn talk(upgrade: OnUpgrade, answer: Answer, shared: &Shared) -> anyhow::Result<()> {
    let limits = WebSocketConfig::default().max_message_size(Some(MAX_SAID));
    let io = TokioIo::new(upgrade.await?);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
    let mut introduction = Some(answer);
    loop {
        let next = shared.draining.run_until_cancelled(socket.next()).await;
        let reply = match next {
            None => return Ok(socket.close(None).await?),
            Some(None) => return Ok(()),
            Some(Some(message)) => match (message?, introduction.take()) {
                (Message::Text(said), Some(answer)) => Message::text(
                    Answer {
                        said: said.to_string(),
                        ..answer
                    }
                    .json(),
                ),
                (message @ (Message::Text(_) | Message::Binary(_)), None) => message,
                (_, answer) => {
                    introduction = answer;
                    continue;
                }
            },
        };
        match socket.send(reply).await {
            Err(Error::ConnectionClosed) => return Ok(()),
            sent => sent?,
        }
    }
}
