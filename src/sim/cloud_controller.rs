//! A Cloud Controller of the years when it pushed its routes: what it sent, in the form in which it sent it.

use prost::Message as _;
use tonic::{Status, codec::CompressionEncoding, transport::Channel};

use crate::proto::api::{
    BulkSyncRequest, BulkSyncRequestChunk, CapiDiegoProcessAssociation,
    DeleteCapiDiegoProcessAssociationRequest, DeleteRouteRequest, MapRouteRequest, Route,
    RouteMapping, UnmapRouteRequest, UpsertCapiDiegoProcessAssociationRequest, UpsertRouteRequest,
    cloud_controller_copilot_client::CloudControllerCopilotClient,
};

/// How Cloud Controller's client library cuts a BulkSync.
const CHUNK: usize = 64 << 10;

/// A client of the push API.
#[derive(Debug, Clone)]
pub struct CloudController {
    client: CloudControllerCopilotClient<Channel>,
}

impl CloudController {
    /// Pushes over `channel`, compressed.
    pub fn new(channel: Channel) -> Self {
        Self {
            client: CloudControllerCopilotClient::new(channel)
                .send_compressed(CompressionEncoding::Gzip),
        }
    }

    /// The bare client, for what Cloud Controller never sends.
    pub fn client(&self) -> CloudControllerCopilotClient<Channel> {
        self.client.clone()
    }

    /// Sends everything, and answers with the bytes that the daemon says it has received.
    ///
    /// # Errors
    /// The daemon refuses it.
    pub async fn bulk_sync(&self, request: &BulkSyncRequest) -> Result<i32, Status> {
        let response = self.client().bulk_sync(chunks(request)).await?;
        Ok(response.into_inner().total_bytes_received)
    }

    /// Creates a route, or changes it.
    ///
    /// # Errors
    /// The daemon refuses it.
    pub async fn upsert_route(&self, route: Route) -> Result<(), Status> {
        let request = UpsertRouteRequest { route: Some(route) };
        self.client().upsert_route(request).await.map(drop)
    }

    /// Deletes a route.
    ///
    /// # Errors
    /// The daemon refuses it.
    pub async fn delete_route(&self, guid: &str) -> Result<(), Status> {
        let request = DeleteRouteRequest {
            guid: guid.to_owned(),
        };
        self.client().delete_route(request).await.map(drop)
    }

    /// Maps a route to a process.
    ///
    /// # Errors
    /// The daemon refuses it.
    pub async fn map_route(&self, mapping: RouteMapping) -> Result<(), Status> {
        let request = MapRouteRequest {
            route_mapping: Some(mapping),
        };
        self.client().map_route(request).await.map(drop)
    }

    /// Unmaps a route from a process: twice, as Cloud Controller does for each destination.
    ///
    /// # Errors
    /// The daemon refuses it.
    pub async fn unmap_route(&self, mapping: RouteMapping) -> Result<(), Status> {
        for _ in 0..2 {
            let request = UnmapRouteRequest {
                route_mapping: Some(mapping.clone()),
            };
            self.client().unmap_route(request).await?;
        }
        Ok(())
    }

    /// Says which process in Diego is a process's.
    ///
    /// # Errors
    /// The daemon refuses it.
    pub async fn associate(&self, association: CapiDiegoProcessAssociation) -> Result<(), Status> {
        let request = UpsertCapiDiegoProcessAssociationRequest {
            capi_diego_process_association: Some(association),
        };
        let mut client = self.client();
        client
            .upsert_capi_diego_process_association(request)
            .await
            .map(drop)
    }

    /// Says that a process has none in Diego any more.
    ///
    /// # Errors
    /// The daemon refuses it.
    pub async fn dissociate(&self, process: &str) -> Result<(), Status> {
        let request = DeleteCapiDiegoProcessAssociationRequest {
            capi_process_guid: process.to_owned(),
        };
        let mut client = self.client();
        client
            .delete_capi_diego_process_association(request)
            .await
            .map(drop)
    }
}

/// The chunks of a BulkSync: the encoded request in slices, and always an empty one after them.
pub fn chunks(
    request: &BulkSyncRequest,
) -> impl futures_util::Stream<Item = BulkSyncRequestChunk> + Send + 'static + use<> {
    let bytes = bytes::Bytes::from(request.encode_to_vec());
    let slices = (0..bytes.len())
        .step_by(CHUNK)
        .map(|at| bytes.slice(at..bytes.len().min(at + CHUNK)));
    let chunks: Vec<_> = slices
        .chain([bytes::Bytes::new()])
        .map(|chunk| BulkSyncRequestChunk { chunk })
        .collect();
    tokio_stream::iter(chunks)
}
