//! A push API on loopback, its clients, and what it tells the publisher.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use copilot::{
    cloud_controller::{self, Calls, Io, Service, Settings},
    feed::{Feeds, Status as FeedStatus},
    model::{Report, Update},
    proto::api::{self, cloud_controller_copilot_client::CloudControllerCopilotClient},
    readiness::Readiness,
};
use prometheus_client::registry::Registry;
use prost::Message as _;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};

pub(super) type Client = CloudControllerCopilotClient<Channel>;

/// Nothing that is waited for takes as long as this in health.
const SOON: Duration = Duration::from_secs(20);

pub(super) async fn soon<F: Future>(future: F) -> F::Output {
    let outcome = tokio::time::timeout(SOON, future).await;
    outcome.expect("it happens soon")
}

/// A running push API.
pub(super) struct Rig {
    pub(super) address: SocketAddr,
    pub(super) client: Client,
    pub(super) updates: mpsc::Receiver<Report>,
    pub(super) readiness: Readiness,
    pub(super) shutdown: CancellationToken,
    pub(super) registrar: JoinHandle<()>,
    feeds: Feeds,
    feed: watch::Receiver<FeedStatus>,
}

impl Rig {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            max_bulk_sync_bytes: 64 << 20,
        };
        change(&mut settings);
        let mut feeds = Feeds::new(&mut Registry::default());
        let feed = feeds.register("push", Duration::from_mins(1));
        let (status, readiness) = (feed.status(), Readiness::default());
        let (updates, received) = mpsc::channel(1024);
        let io = Io {
            updates,
            confirmations: watch::Sender::default().subscribe(),
            feed,
            synced: Some(readiness.gate("routes")),
        };
        let (service, registrar) = cloud_controller::new(settings, io);
        let shutdown = CancellationToken::new();
        let address = serve(service).await;
        Self {
            address,
            client: client(address).await,
            updates: received,
            readiness,
            registrar: tokio::spawn(registrar.run(shutdown.clone())),
            shutdown,
            feeds,
            feed: status,
        }
    }

    /// Sends a message in chunks of 64 KiB and the empty one at the end.
    pub(super) async fn bulk_sync(
        &mut self,
        request: &api::BulkSyncRequest,
    ) -> Result<i32, Status> {
        let message = request.encode_to_vec();
        let chunks = message.chunks(65_536).map(Bytes::copy_from_slice);
        self.bulk_sync_of(chunks.chain([Bytes::new()]).collect())
            .await
    }

    pub(super) async fn bulk_sync_of(&mut self, chunks: Vec<Bytes>) -> Result<i32, Status> {
        let chunks = chunks.into_iter().map(chunk);
        let chunks = tokio_stream::iter(chunks.collect::<Vec<_>>());
        let response = soon(self.client.bulk_sync(chunks)).await?;
        Ok(response.into_inner().total_bytes_received)
    }

    pub(super) async fn next_update(&mut self) -> Update {
        soon(self.updates.recv()).await.expect("an update").update
    }

    /// What came to the publisher up to now.
    pub(super) fn has_updates(&self) -> bool {
        !self.updates.is_empty()
    }

    pub(super) fn feed(&self) -> FeedStatus {
        self.feeds.statuses().remove(0)
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        self.feed().problem.map(|problem| problem.kind)
    }

    /// How many BulkSyncs the server is receiving.
    pub(super) fn under_way(&self) -> u64 {
        under_way(&self.feed())
    }

    pub(super) async fn until_under_way(&mut self, count: u64) {
        let is_so = self.feed.wait_for(|status| under_way(status) == count);
        soon(is_so).await.expect("the registrar runs");
    }

    /// Hosts by route guid, as `guid=host`.
    pub(super) async fn routes(&mut self) -> Vec<String> {
        let listed = self.client.list_cf_routes(api::ListCfRoutesRequest {});
        let listed = soon(listed).await.unwrap().into_inner().routes;
        let routes = listed.iter().map(|(guid, host)| format!("{guid}={host}"));
        routes.collect()
    }

    /// Weights by key, as `key=weight`.
    pub(super) async fn mappings(&mut self) -> Vec<String> {
        let request = api::ListCfRouteMappingsRequest {};
        let listed = soon(self.client.list_cf_route_mappings(request)).await;
        let listed = listed.unwrap().into_inner().route_mappings;
        let mappings = listed.iter();
        mappings
            .map(|(key, mapping)| format!("{key}={}", mapping.route_weight))
            .collect()
    }

    /// Diego process guids by process, as `process=guid,guid`.
    pub(super) async fn associations(&mut self) -> Vec<String> {
        let request = api::ListCapiDiegoProcessAssociationsRequest {};
        let listed = soon(self.client.list_capi_diego_process_associations(request)).await;
        let listed = listed.unwrap().into_inner();
        let listed = listed.capi_diego_process_associations.into_iter();
        listed
            .map(|(process, guids)| format!("{process}={}", guids.diego_process_guids.join(",")))
            .collect()
    }

    pub(super) async fn upsert(&mut self, guid: &str, host: &str) {
        let request = api::UpsertRouteRequest {
            route: Some(route(guid, host)),
        };
        soon(self.client.upsert_route(request)).await.unwrap();
    }
}

fn under_way(status: &FeedStatus) -> u64 {
    let count = status.counts.get("bulk_syncs_under_way");
    count.copied().unwrap_or_default()
}

pub(super) async fn serve(service: Service) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(Calls::new(service));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

pub(super) async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    soon(endpoint.connect()).await.unwrap()
}

pub(super) async fn client(address: SocketAddr) -> Client {
    Client::new(channel(address).await)
}

pub(super) fn chunk(chunk: Bytes) -> api::BulkSyncRequestChunk {
    api::BulkSyncRequestChunk { chunk }
}

pub(super) fn route(guid: &str, host: &str) -> api::Route {
    api::Route {
        guid: guid.to_owned(),
        host: host.to_owned(),
        ..api::Route::default()
    }
}

pub(super) fn mapping(route: &str, process: &str, weight: u32) -> api::RouteMapping {
    api::RouteMapping {
        capi_process_guid: process.to_owned(),
        route_guid: route.to_owned(),
        route_weight: weight,
    }
}

pub(super) fn association(process: &str, diego: &[&str]) -> api::CapiDiegoProcessAssociation {
    api::CapiDiegoProcessAssociation {
        capi_process_guid: process.to_owned(),
        diego_process_guids: diego.iter().map(ToString::to_string).collect(),
    }
}

/// A BulkSync of routes with these guids, each mapped to a process of its own.
pub(super) fn sync(guids: &[&str]) -> api::BulkSyncRequest {
    let process = |guid: &str| format!("{guid}-process");
    api::BulkSyncRequest {
        routes: guids
            .iter()
            .map(|guid| route(guid, &format!("{guid}.example.com")))
            .collect(),
        route_mappings: guids
            .iter()
            .map(|guid| mapping(guid, &process(guid), 0))
            .collect(),
        capi_diego_process_associations: guids
            .iter()
            .map(|guid| association(&process(guid), &[&format!("{guid}-diego")]))
            .collect(),
    }
}
