//! Tells a request that was cut from one that has ended.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

/// A gRPC service whose requests either end well or fail.
///
/// tonic takes a stream that its client has reset (`RST_STREAM` with `CANCEL` or `NO_ERROR`) for one that has ended. Half a
/// BulkSync would then count as a whole one.
#[derive(Debug, Clone)]
pub(super) struct CompleteRequests<S>(S);

impl<S> CompleteRequests<S> {
    pub(super) fn new(service: S) -> Self {
        Self(service)
    }
}

impl<S: NamedService> NamedService for CompleteRequests<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for CompleteRequests<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.0
            .call(request.map(|body| Body::new(CompleteBody { body })))
    }
}

/// Ends only where its peer has ended it.
struct CompleteBody {
    body: Body,
}

impl http_body::Body for CompleteBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let cut = || Some(Err(Status::aborted("the request was cut before its end")));
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None if !self.body.is_end_stream() => cut(),
            Some(Err(_)) => cut(),
            frame => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;

    /// What reaches the service of a body with these frames that its peer has not ended.
    async fn received(frames: Vec<Result<Bytes, Status>>) -> Result<Bytes, Status> {
        let frames = frames.into_iter().map(|bytes| bytes.map(Frame::data));
        collect(Body::new(StreamBody::new(tokio_stream::iter(frames)))).await
    }

    async fn collect(body: Body) -> Result<Bytes, Status> {
        let collected = Body::new(CompleteBody { body }).collect().await?;
        Ok(collected.to_bytes())
    }

    #[tokio::test]
    async fn a_body_that_has_ended_is_whole() {
        let whole = Body::new(Full::new(Bytes::from_static(b"whole")));
        assert_eq!(collect(whole).await.unwrap(), "whole");
        assert_eq!(collect(Body::empty()).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_body_that_stops_or_is_cancelled_is_cut() {
        let chunk = || Ok(Bytes::from_static(b"half"));
        for frames in [
            vec![],
            vec![chunk()],
            vec![chunk(), Err(Status::cancelled("reset"))],
        ] {
            let cut = received(frames).await.unwrap_err();
            assert_eq!(cut.code(), tonic::Code::Aborted);
        }
    }
}
