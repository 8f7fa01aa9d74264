//! The gRPC service: parses each call, asks the registrar, and answers.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::Stream;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Pushed, Refused, Settings,
    change::{Change, Invalid},
    chunks,
    registrar::{BulkSync, Command},
};
use crate::{
    feed::Feed,
    proto::api::{self, cloud_controller_copilot_server::CloudControllerCopilot},
};

/// BulkSyncs that are under way at a time: the one, and one of a client that has restarted meanwhile.
const BULK_SYNCS: usize = 2;

/// `api.CloudControllerCopilot`.
#[derive(Debug, Clone)]
pub struct Service {
    source: Source,
}

/// Where routes come from.
#[derive(Debug, Clone)]
enum Source {
    /// From this service's clients.
    Pushed(RegistrarHandle),
    /// From Cloud Controller's API.
    Polled,
}

/// The way to the registrar.
#[derive(Debug, Clone)]
struct RegistrarHandle {
    commands: mpsc::Sender<Command>,
    bulk_syncs: Arc<Semaphore>,
    max_bulk_sync_bytes: usize,
    feed: Feed,
}

impl Service {
    pub(super) fn new(settings: Settings, commands: mpsc::Sender<Command>, feed: Feed) -> Self {
        Self {
            source: Source::Pushed(RegistrarHandle {
                commands,
                bulk_syncs: Arc::new(Semaphore::new(BULK_SYNCS)),
                max_bulk_sync_bytes: settings.max_bulk_sync_bytes,
                feed,
            }),
        }
    }

    /// The service of a daemon that polls Cloud Controller: its clients are told so. Only Health answers.
    pub fn polled() -> Self {
        Self {
            source: Source::Polled,
        }
    }

    fn registrar(&self) -> Result<&RegistrarHandle, Status> {
        match &self.source {
            Source::Pushed(registrar) => Ok(registrar),
            Source::Polled => Err(Status::failed_precondition(
                "routes are read from Cloud Controller's API (CAPI): remove this client or the CAPI section",
            )),
        }
    }

    async fn apply(&self, change: Result<Change, Invalid>) -> Result<(), Status> {
        let registrar = self.registrar()?;
        let change = change.map_err(|invalid| Status::invalid_argument(invalid.to_string()))?;
        let applied = registrar.ask(|reply| Command::Apply(change, reply)).await?;
        applied.map_err(|full| Status::resource_exhausted(full.to_string()))
    }

    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Pushed) -> T + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let answered = self.registrar()?.ask(|reply| {
            // A caller that has gone needs no answer.
            Command::Look(Box::new(|pushed| drop(reply.send(look(pushed)))))
        });
        Ok(Response::new(answered.await?))
    }
}

impl RegistrarHandle {
    /// Gives up only when the registrar has ended.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| Refused::ShuttingDown)?;
        answer.await.map_err(|_| Refused::ShuttingDown)
    }

    /// Receives a BulkSync and has it applied; the answer is its size.
    async fn bulk_sync(
        &self,
        chunks: impl Stream<Item = Result<api::BulkSyncRequestChunk, Status>> + Unpin,
    ) -> Result<usize, Refused> {
        let place = Arc::clone(&self.bulk_syncs).try_acquire_owned();
        let place = place.map_err(|_| Refused::Busy)?;
        let began = Instant::now();
        // Before the first chunk: what is changed from now on is newer.
        let ticket = self.ask(Command::Open).await?;
        let message = tokio::select! {
            message = chunks::collect(chunks, self.max_bulk_sync_bytes) => message?,
            () = self.commands.closed() => return Err(Refused::ShuttingDown),
        };
        let bytes = message.len();
        // Tens of milliseconds of work at 20,000 routes, which would hold up other connections. It goes on when the
        // client has gone, and so has its place with it.
        let read = tokio::task::spawn_blocking(move || {
            let (pushed, unclear, dropped) = Pushed::from_bulk_sync(&message)?;
            Ok::<_, Refused>(Box::new(BulkSync {
                _place: place,
                ticket,
                began,
                pushed,
                unclear,
                dropped,
            }))
        });
        // Ends early only with the runtime.
        let sync = read.await.map_err(|_| Refused::ShuttingDown)??;
        self.ask(|reply| Command::Replace(sync, reply)).await??;
        Ok(bytes)
    }
}

#[tonic::async_trait]
impl CloudControllerCopilot for Service {
    async fn health(
        &self,
        _: Request<api::HealthRequest>,
    ) -> Result<Response<api::HealthResponse>, Status> {
        match &self.source {
            Source::Pushed(registrar) if registrar.commands.is_closed() => {
                Err(Refused::ShuttingDown.into())
            }
            _ => Ok(Response::new(api::HealthResponse { healthy: true })),
        }
    }

    async fn list_cf_routes(
        &self,
        _: Request<api::ListCfRoutesRequest>,
    ) -> Result<Response<api::ListCfRoutesResponse>, Status> {
        let list = |pushed: &Pushed| api::ListCfRoutesResponse {
            routes: pushed
                .routes()
                .map(|route| (route.guid.to_string(), route.host.to_string()))
                .collect(),
        };
        self.look(list).await
    }

    async fn list_cf_route_mappings(
        &self,
        _: Request<api::ListCfRouteMappingsRequest>,
    ) -> Result<Response<api::ListCfRouteMappingsResponse>, Status> {
        let list = |pushed: &Pushed| api::ListCfRouteMappingsResponse {
            route_mappings: pushed
                .mappings()
                .map(|((route, process), weight)| {
                    let mapping = api::RouteMapping {
                        capi_process_guid: process.to_string(),
                        route_guid: route.to_string(),
                        route_weight: weight,
                    };
                    (format!("{route}-{process}"), mapping)
                })
                .collect(),
        };
        self.look(list).await
    }

    async fn list_capi_diego_process_associations(
        &self,
        _: Request<api::ListCapiDiegoProcessAssociationsRequest>,
    ) -> Result<Response<api::ListCapiDiegoProcessAssociationsResponse>, Status> {
        let list = |pushed: &Pushed| api::ListCapiDiegoProcessAssociationsResponse {
            capi_diego_process_associations: pushed
                .associations()
                .map(|association| {
                    let guids = association.diego_processes.iter();
                    let guids = api::DiegoProcessGuids {
                        diego_process_guids: guids.map(ToString::to_string).collect(),
                    };
                    (association.process.to_string(), guids)
                })
                .collect::<BTreeMap<_, _>>(),
        };
        self.look(list).await
    }

    async fn upsert_route(
        &self,
        request: Request<api::UpsertRouteRequest>,
    ) -> Result<Response<api::UpsertRouteResponse>, Status> {
        self.apply(Change::upsert_route(request.get_ref().route.as_ref()))
            .await?;
        Ok(Response::new(api::UpsertRouteResponse {}))
    }

    async fn delete_route(
        &self,
        request: Request<api::DeleteRouteRequest>,
    ) -> Result<Response<api::DeleteRouteResponse>, Status> {
        self.apply(Change::delete_route(&request.get_ref().guid))
            .await?;
        Ok(Response::new(api::DeleteRouteResponse {}))
    }

    async fn map_route(
        &self,
        request: Request<api::MapRouteRequest>,
    ) -> Result<Response<api::MapRouteResponse>, Status> {
        self.apply(Change::map(request.get_ref().route_mapping.as_ref()))
            .await?;
        Ok(Response::new(api::MapRouteResponse {}))
    }

    async fn unmap_route(
        &self,
        request: Request<api::UnmapRouteRequest>,
    ) -> Result<Response<api::UnmapRouteResponse>, Status> {
        self.apply(Change::unmap(request.get_ref().route_mapping.as_ref()))
            .await?;
        Ok(Response::new(api::UnmapRouteResponse {}))
    }

    async fn upsert_capi_diego_process_association(
        &self,
        request: Request<api::UpsertCapiDiegoProcessAssociationRequest>,
    ) -> Result<Response<api::UpsertCapiDiegoProcessAssociationResponse>, Status> {
        let association = &request.get_ref().capi_diego_process_association;
        self.apply(Change::associate(association.as_ref())).await?;
        Ok(Response::new(
            api::UpsertCapiDiegoProcessAssociationResponse {},
        ))
    }

    async fn delete_capi_diego_process_association(
        &self,
        request: Request<api::DeleteCapiDiegoProcessAssociationRequest>,
    ) -> Result<Response<api::DeleteCapiDiegoProcessAssociationResponse>, Status> {
        self.apply(Change::dissociate(&request.get_ref().capi_process_guid))
            .await?;
        Ok(Response::new(
            api::DeleteCapiDiegoProcessAssociationResponse {},
        ))
    }

    async fn bulk_sync(
        &self,
        request: Request<Streaming<api::BulkSyncRequestChunk>>,
    ) -> Result<Response<api::BulkSyncResponse>, Status> {
        let registrar = self.registrar()?;
        let bytes = registrar
            .bulk_sync(request.into_inner())
            .await
            .inspect_err(|refused| registrar.feed.failed(refused.kind(), refused))?;
        Ok(Response::new(api::BulkSyncResponse {
            total_bytes_received: i32::try_from(bytes).unwrap_or(i32::MAX),
        }))
    }
}

#[cfg(test)]
mod tests;
