//! The gRPC service: who may open a stream, and what a stream is made of.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, header};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, Streaming, server::NamedService};
use tonic_prost::ProstDecoder;
use tower::Service as Tower;
use tracing::warn;

use super::{
    Limits,
    body::Body,
    metrics::Metrics,
    sinks::{Sink, Sinks},
    stream::Stream,
};
use crate::{grpc::Caller, snapshot};

const METHOD: &str = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream";
/// Longest user agent that is kept.
const MAX_USER_AGENT: usize = 256;

/// The service, one clone for each connection.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) allowed_names: Arc<Option<BTreeSet<String>>>,
    pub(super) limits: Arc<Limits>,
    pub(super) snapshots: snapshot::Receiver,
    pub(super) sinks: Sinks,
    pub(super) metrics: Arc<Metrics>,
    /// The tasks of all streams.
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
}

impl NamedService for Service {
    const NAME: &'static str = "istio.mcp.v1alpha1.ResourceSource";
}

impl Tower<Request<tonic::body::Body>> for Service {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    // Answers at once: a sink waits for the response's headers before it sends its first request.
    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let response = self.open(request).unwrap_or_else(|status| {
            self.metrics.refused(&status);
            status.into_http()
        });
        ready(Ok(response))
    }
}

impl Service {
    fn open(
        &self,
        request: Request<tonic::body::Body>,
    ) -> Result<Response<tonic::body::Body>, Status> {
        if request.uri().path() != METHOD {
            return Err(Status::unimplemented("no such method"));
        }
        let caller = request
            .extensions()
            .get::<Caller>()
            .cloned()
            .ok_or_else(|| Status::internal("a call without a connection"))?;
        let user_agent = user_agent(&request);
        let sink = caller
            .authorize(self.allowed_names.as_ref().as_ref())
            .and_then(|()| {
                self.sinks
                    .admit(caller.peer.clone(), user_agent, &self.limits)
            })
            .inspect_err(|status| {
                warn!(address = %caller.peer.address, reason = status.message(), "stream refused");
            })?;
        let body = self.spawn(sink, caller, request.into_body());
        let mut response = Response::new(tonic::body::Body::new(body));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        Ok(response)
    }

    fn spawn(&self, sink: Sink, caller: Caller, requests: tonic::body::Body) -> Body {
        let requests = Streaming::new_request(
            ProstDecoder::default(),
            requests,
            None,
            Some(self.limits.max_request_bytes),
        );
        let (responses, outgoing) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let stream = Stream {
            sink,
            caller,
            limits: self.limits.clone(),
            metrics: self.metrics.clone(),
            responses,
            shutdown: self.shutdown.clone(),
        };
        self.tasks
            .spawn(stream.run(requests, self.snapshots.clone(), end));
        Body::new(outgoing, ended, self.metrics.clone())
    }
}

fn user_agent<B>(request: &Request<B>) -> String {
    let value = request.headers().get(header::USER_AGENT);
    let mut text = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    // A header's text is ASCII: every byte is a boundary.
    text.truncate(MAX_USER_AGENT);
    text
}
