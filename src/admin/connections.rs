//! The connections of the surface: few, none for ever, and the oldest make room for the next.

use std::{convert::Infallible, net::SocketAddr, pin::pin, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, Response, StatusCode},
    response::IntoResponse as _,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::{crowd::Crowd, tls};

/// Open connections: operators, monit, scrapers. What makes room most likely was never a whole request.
pub const CONNECTIONS: usize = 128;
/// Connections that are accepted and not yet served; serving one only spawns its task.
const ACCEPTED: usize = 16;
/// How long the head of a request may take, and how long a connection may be idle before it.
const HEAD: Duration = Duration::from_secs(5);
/// The largest head.
const MAX_HEAD: usize = 16 << 10;
/// How long it takes at most from a request's head to its answer's: the rest of the request has to come in that time.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a connection lives, with one answer that is under way then.
const AGE: Duration = Duration::from_mins(5);

/// Where a connection came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local(pub(super) Option<SocketAddr>);

/// Serves whoever connects until `stop`, and then nobody: a client that keeps its connection open does not hold up the
/// end.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let (accepted, mut connections) = mpsc::channel(ACCEPTED);
    let crowd = Crowd::new(CONNECTIONS);
    let accepting = tls::accept_plaintext(listener, crowd, accepted, stop.clone());
    let serving = async {
        let mut open = JoinSet::new();
        while let Some(accepted) = connections.recv().await {
            while open.try_join_next().is_some() {}
            // One that has failed has gone already.
            if let Ok(connection) = accepted {
                open.spawn(converse(connection, router.clone()));
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        _ = futures_util::future::join(accepting, serving) => {}
    }
}

async fn converse(connection: tls::Connection<TcpStream>, router: Router) {
    let tls::Connection {
        stream,
        peer,
        place,
    } = connection;
    let local = stream.local_addr().ok();
    let answer = move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer.address));
        request.extensions_mut().insert(Local(local));
        answered(router.clone(), request.map(Body::new))
    };
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD);
    let mut conversation = pin!(builder.serve_connection(TokioIo::new(stream), service_fn(answer)));
    // Whatever goes wrong with a connection ends it alone.
    let to_its_end = async {
        if timeout(AGE, conversation.as_mut()).await.is_err() {
            conversation.as_mut().graceful_shutdown();
            drop(timeout(ANSWER, conversation).await);
        }
    };
    let lost = async {
        match &place {
            Some(place) => place.lost().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = lost => {}
        () = to_its_end => {}
    }
}

async fn answered(
    mut router: Router,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    let late = (
        StatusCode::REQUEST_TIMEOUT,
        "the request did not end in time\n",
    );
    match timeout(ANSWER, router.call(request)).await {
        Ok(response) => response,
        Err(_) => Ok(late.into_response()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use axum::routing::put;
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_body_does_not_end_is_answered_all_the_same() {
        let router = Router::new().route("/", put(|_: String| async {}));
        let endless = Body::from_stream(stream::pending::<io::Result<Bytes>>());
        let request = Request::put("/").body(endless).unwrap();
        let response = timeout(2 * ANSWER, answered(router, request)).await;
        let status = response.expect("an answer in time").unwrap().status();
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    }
}
