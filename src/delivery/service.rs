//! A gRPC service: who may open a stream, and what a stream is made of.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, server::NamedService};
use tower::Service as Tower;

use super::{
    Limits, Protocol,
    body::Body,
    log::Log,
    metrics::Metrics,
    requests::Requests,
    sinks::{OpenStream, Sinks},
    stream::Stream,
};
use crate::{grpc::Caller, snapshot};

/// Longest user agent that is kept.
const MAX_USER_AGENT: usize = 256;

/// The methods of a service: which of them is which protocol. Whoever may connect may call them.
pub(crate) trait Methods: std::fmt::Debug + Send + Sync + Sized + 'static {
    /// The full name of the service.
    const SERVICE: &'static str;

    /// Opens a stream by the protocol of the method that has that path.
    fn open(service: &Service<Self>, path: &str, call: Call) -> Result<Body, Status>;
}

/// A call that waits to become a stream.
#[derive(Debug)]
pub(crate) struct Call {
    caller: Caller,
    user_agent: String,
    requests: tonic::body::Body,
}

/// The service, one clone for each connection.
#[derive(Debug)]
pub(crate) struct Service<M> {
    pub(super) methods: Arc<M>,
    pub(super) limits: Arc<Limits>,
    pub(super) snapshots: snapshot::Receiver,
    pub(super) sinks: Sinks,
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: Log,
    /// The tasks of all streams.
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
}

impl<M> Clone for Service<M> {
    fn clone(&self) -> Self {
        Self {
            methods: self.methods.clone(),
            limits: self.limits.clone(),
            snapshots: self.snapshots.clone(),
            sinks: self.sinks.clone(),
            metrics: self.metrics.clone(),
            log: self.log.clone(),
            tasks: self.tasks.clone(),
            shutdown: self.shutdown.clone(),
        }
    }
}

impl<M: Methods> NamedService for Service<M> {
    const NAME: &'static str = M::SERVICE;
}

impl<M: Methods> Tower<Request<tonic::body::Body>> for Service<M> {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    // Answers at once: a sink waits for the response's headers before it sends its first request.
    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let response = self.respond(request).unwrap_or_else(|status| {
            self.metrics.refused(&status);
            status.into_http()
        });
        ready(Ok(response))
    }
}

impl<M: Methods> Service<M> {
    fn respond(
        &self,
        request: Request<tonic::body::Body>,
    ) -> Result<Response<tonic::body::Body>, Status> {
        let (head, requests) = request.into_parts();
        let caller = head.extensions.get::<Caller>().cloned();
        let call = Call {
            caller: caller.ok_or_else(|| Status::internal("a call without a connection"))?,
            user_agent: user_agent(&head.headers),
            requests,
        };
        let body = M::open(self, head.uri.path(), call)?;
        let mut response = Response::new(tonic::body::Body::new(body));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        Ok(response)
    }

    /// Opens a stream of that protocol, if the caller may have one.
    pub(crate) fn open<P: Protocol>(&self, call: Call) -> Result<Body, Status> {
        let Call {
            caller,
            user_agent,
            requests,
        } = call;
        let sink = self
            .sinks
            .admit::<P>(caller.peer.clone(), user_agent, &self.limits)
            .inspect_err(|status| self.log.refused(caller.peer.address, status))?;
        Ok(self.spawn::<P>(sink, caller, requests))
    }

    fn spawn<P: Protocol>(
        &self,
        sink: OpenStream,
        caller: Caller,
        requests: tonic::body::Body,
    ) -> Body {
        let allowance = &caller.allowance;
        let requests = Requests::new(requests, self.limits.clone(), allowance.share());
        let kept = allowance.share();
        let (responses, outgoing) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let stream = Stream {
            protocol: PhantomData::<P>,
            sink,
            caller,
            limits: self.limits.clone(),
            metrics: self.metrics.clone(),
            log: self.log.clone(),
            responses,
            shutdown: self.shutdown.clone(),
        };
        self.tasks
            .spawn(stream.run(requests, kept, self.snapshots.clone(), end));
        Body::new(outgoing, ended, self.metrics.clone())
    }
}

fn user_agent(headers: &HeaderMap) -> String {
    let value = headers.get(header::USER_AGENT);
    let mut text = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    // A header's text is ASCII: every byte is a boundary.
    text.truncate(MAX_USER_AGENT);
    text
}
