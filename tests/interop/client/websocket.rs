//! A WebSocket: it is opened, says the same twice, and is closed.

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};
use tonic::body::Body;

use super::{Ask, Connection, Failure, MAX_ANSWER, Reply, broken};

/// Any sixteen bytes will do: they only prove that the answer is to this request (RFC 6455, section 1.3).
const KEY: &str = "aW50ZXJvcC13ZWJzb2NrZQ==";

/// The reply's body is what the instance says of itself; its second message has to be the echo of ours.
pub(super) async fn converse(mut connection: Connection, ask: &Ask) -> Result<Reply, Failure> {
    let mut request = ask.request(http::uri::Scheme::HTTP)?;
    // What is said is said over the WebSocket.
    *request.body_mut() = Body::empty();
    for (name, value) in [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_KEY, KEY),
    ] {
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    let sent = connection.sender.send(request).await;
    let mut response = sent.map_err(|(error, _)| broken(error))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let certificate = connection.certificate.clone();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
        let body = body.await.map_err(Failure::Broken)?.to_bytes();
        return Ok(Reply::new(status, headers, body, certificate));
    }
    let accept = headers.get(header::SEC_WEBSOCKET_ACCEPT);
    if accept.is_none_or(|accept| accept != derive_accept_key(KEY.as_bytes()).as_str()) {
        return Err(Failure::Echo(format!("{accept:?}")));
    }
    let upgraded = hyper::upgrade::on(&mut response).await.map_err(broken)?;
    let io = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
    let mut say_and_hear = async || -> Result<Message, Failure> {
        let said = socket.send(Message::text(ask.body.as_str())).await;
        said.map_err(broken)?;
        let heard = socket
            .next()
            .await
            .ok_or(Failure::Broken("closed".into()))?;
        heard.map_err(broken)
    };
    let introduction = say_and_hear().await?;
    let echo = say_and_hear().await?;
    if echo != Message::text(ask.body.as_str()) {
        return Err(Failure::Echo(echo.to_string()));
    }
    socket.close(None).await.map_err(broken)?;
    let body = introduction.into_data();
    Ok(Reply::new(status, headers, body, certificate))
}
