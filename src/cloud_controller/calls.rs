//! Bounds each call: how large its messages may be, and how long it may take.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use tokio::time::timeout;
use tonic::{Code, Status, body::Body, codec::CompressionEncoding, server::NamedService};

use super::{Service, complete_requests::CompleteRequests};
use crate::proto::api::cloud_controller_copilot_server::CloudControllerCopilotServer;

/// Largest chunk of a BulkSync: twice what the Go Copilot took. Cloud Controller's are 64 KiB.
const MAX_CHUNK: usize = 8 << 20;
/// Largest request of the other calls: an association with a thousand guids of the longest.
const MAX_REQUEST: usize = 256 << 10;
/// How long the other calls may take, their requests included. Clients that wait longer for an answer are not known.
const CALL: Duration = Duration::from_secs(30);

const BULK_SYNC: &str = "/api.CloudControllerCopilot/BulkSync";

type Server = CompleteRequests<CloudControllerCopilotServer<Service>>;

/// The calls of a [`Service`]. BulkSync, of which there are few at a time, bounds itself; the others could come in any
/// number, with large requests that never end.
#[derive(Debug, Clone)]
pub struct Calls {
    bulk_syncs: Server,
    others: Server,
}

impl Calls {
    /// As a server takes a service.
    pub fn new(service: Service) -> Self {
        Self {
            bulk_syncs: server(service.clone(), MAX_CHUNK),
            others: server(service, MAX_REQUEST),
        }
    }
}

/// Requests may be compressed, message by message: Cloud Controller's client compresses what is not empty.
fn server(service: Service, max_message: usize) -> Server {
    let server = CloudControllerCopilotServer::new(service)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(max_message);
    CompleteRequests::new(server)
}

impl NamedService for Calls {
    const NAME: &'static str = Server::NAME;
}

impl tower::Service<Request<Body>> for Calls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    /// The servers always are ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() == BULK_SYNC {
            let response = self.bulk_syncs.call(request);
            return response.map(|ok| ok.map(|ok| sized(ok, MAX_CHUNK))).boxed();
        }
        let response = timeout(CALL, self.others.call(request));
        response
            .map(|in_time| match in_time {
                Ok(response) => response.map(|ok| sized(ok, MAX_REQUEST)),
                Err(_) => Ok(Status::deadline_exceeded(format!(
                    "the call was not complete after {CALL:?}"
                ))
                .into_http()),
            })
            .boxed()
    }
}

/// tonic says `OUT_OF_RANGE` of a message over its limit, gRPC's other implementations and its list of codes
/// `RESOURCE_EXHAUSTED`. No call of ours says `OUT_OF_RANGE`.
fn sized(response: Response<Body>, max: usize) -> Response<Body> {
    let status = Status::from_header_map(response.headers());
    if status.is_some_and(|status| status.code() == Code::OutOfRange) {
        let message = format!("a message is larger than {max} bytes, the limit of this call");
        return Status::resource_exhausted(message).into_http();
    }
    response
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tower::Service as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_is_given_up() {
        let endless = stream::pending::<Result<Frame<bytes::Bytes>, Status>>();
        let request = Request::post("/api.CloudControllerCopilot/DeleteRoute")
            .header("content-type", "application/grpc")
            .body(Body::new(StreamBody::new(endless)))
            .unwrap();
        let mut calls = Calls::new(Service::polled());
        let response = timeout(2 * CALL, calls.call(request)).await;
        let response = response.expect("an answer").unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
}
