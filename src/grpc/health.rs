//! `grpc.health.v1.Health`: whether a listener can do its work.

use futures_util::{
    Stream, StreamExt as _,
    stream::{BoxStream, unfold},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus::{self, NotServing, ServiceUnknown, Serving},
    health_server::{self, HealthServer},
};

/// Longest request: a service's name.
const MAX_REQUEST: usize = 1 << 10;

/// The state of all services of a listener.
#[derive(Debug)]
pub(super) struct Health(watch::Sender<ServingStatus>);

impl Health {
    /// Nothing is served yet.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(NotServing))
    }

    /// The service that tells of it, for the listener as a whole and for each service of these `names`.
    pub(super) fn service(
        &self,
        names: Vec<&'static str>,
    ) -> HealthServer<impl health_server::Health> {
        let status = self.0.subscribe();
        HealthServer::new(Service { names, status }).max_decoding_message_size(MAX_REQUEST)
    }

    /// Everything is served from `ready` until `shutdown`.
    pub(super) async fn follow(self, ready: impl Future<Output = ()>, shutdown: CancellationToken) {
        if let Some(()) = shutdown.run_until_cancelled(ready).await {
            self.0.send_replace(Serving);
            shutdown.cancelled().await;
        }
        self.0.send_replace(NotServing);
    }
}

#[derive(Debug)]
struct Service {
    names: Vec<&'static str>,
    status: watch::Receiver<ServingStatus>,
}

impl Service {
    fn knows(&self, request: &Request<HealthCheckRequest>) -> bool {
        let name = &*request.get_ref().service;
        // "The server should use the empty string as the key for the overall health status".
        name.is_empty() || self.names.contains(&name)
    }
}

#[tonic::async_trait]
impl health_server::Health for Service {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.knows(&request) {
            return Err(Status::not_found("no such service"));
        }
        Ok(Response::new(response(*self.status.borrow())))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        // "If the service name is unknown, SERVICE_UNKNOWN": an error would make clients call again and again.
        let known = self.knows(&request);
        let said = move |status| response(if known { status } else { ServiceUnknown });
        let updates = updates(self.status.clone()).map(move |status| status.map(said));
        Ok(Response::new(updates.boxed()))
    }
}

/// The status now and whenever it changes, until the listener shuts down.
fn updates(
    mut status: watch::Receiver<ServingStatus>,
) -> impl Stream<Item = Result<ServingStatus, Status>> {
    status.mark_changed();
    unfold(Some(status), async |status| {
        let mut status = status?;
        if status.changed().await.is_err() {
            let end = Status::unavailable("copilot is shutting down");
            return Some((Err(end), None));
        }
        let now = *status.borrow_and_update();
        Some((Ok(now), Some(status)))
    })
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}
