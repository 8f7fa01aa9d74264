//! Listeners of each kind, with a service that answers with what it knows of its caller.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use copilot::{
    feed::Feeds,
    grpc::{Caller, Listener, Metrics, Reports, Security, Services, Settings},
    metrics,
    proto::{
        DESCRIPTOR_SET,
        api::{
            GetVipByNameRequest, GetVipByNameResponse, HealthRequest, HealthResponse,
            vip_resolver_copilot_client::VipResolverCopilotClient,
            vip_resolver_copilot_server::{VipResolverCopilot, VipResolverCopilotServer},
        },
        istio::mcp::v1alpha1::resource_source_client::ResourceSourceClient,
    },
    sim::{
        pki::Pki,
        sink::{self, request},
    },
    tls,
};
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use rustls::{ClientConfig, pki_types::ServerName};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};

use super::health::check;
use crate::mcp::harness::{A, Harness, assert_code, names, soon, until};

/// Answers each name with the caller's names; `pending` not at all.
#[derive(Debug, Clone, Default)]
struct Echo {
    /// Told when a call for `pending` begins,
    began: Arc<Notify>,
    /// and when it is given up.
    given_up: Arc<Notify>,
}

struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tonic::async_trait]
impl VipResolverCopilot for Echo {
    async fn health(&self, _: Request<HealthRequest>) -> Result<Response<HealthResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_vip_by_name(
        &self,
        request: Request<GetVipByNameRequest>,
    ) -> Result<Response<GetVipByNameResponse>, Status> {
        let caller = request.extensions().get::<Caller>().unwrap().clone();
        if request.get_ref().fqdn == "pending" {
            self.began.notify_one();
            let _given_up = OnDrop(self.given_up.clone());
            std::future::pending::<()>().await;
        }
        let ip = caller.peer.names.join(",");
        Ok(Response::new(GetVipByNameResponse { ip }))
    }
}

struct Rig {
    address: SocketAddr,
    feeds: Feeds,
    echo: Echo,
    ready: watch::Sender<bool>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    registry: Registry,
}

impl Rig {
    async fn start(settings: Settings) -> Self {
        let mut registry = Registry::default();
        let mut feeds = Feeds::new(&mut registry);
        let reports = Reports {
            listener: "echo",
            certificates: "echo_certificates",
            feeds: &mut feeds,
            metrics: &Metrics::new(&mut registry),
        };
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(address, settings, reports).await.unwrap();
        let address = listener.local_addr();
        let echo = Echo::default();
        let services =
            Services::new(DESCRIPTOR_SET).with(VipResolverCopilotServer::new(echo.clone()));
        let (ready, mut is_ready) = watch::channel(false);
        let ready_at = async move {
            is_ready.wait_for(|ready| *ready).await.unwrap();
        };
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(services, ready_at, shutdown.clone()));
        Self {
            address,
            feeds,
            echo,
            ready,
            shutdown,
            serving,
            registry,
        }
    }

    /// How many handshakes have failed for that reason.
    fn failures(&self, reason: &str) -> Option<f64> {
        let page = metrics::page(&self.registry);
        let name = format!(
            "copilot_grpc_handshake_failures_total{{listener=\"echo\",reason=\"{reason}\"}} "
        );
        let line = page.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|value| value.parse().ok())
    }

    async fn plaintext(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        soon(endpoint.connect()).await.unwrap()
    }
}

/// A connection from an address of its own.
async fn connect_from(ip: [u8; 4], address: SocketAddr, config: ClientConfig) -> Channel {
    let config = Arc::new(config);
    let connector = tower::service_fn(move |_: http::Uri| {
        let connector = TlsConnector::from(Arc::clone(&config));
        async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind((ip, 0).into())?;
            let stream = socket.connect(address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            let stream = connector.connect(name, stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    soon(endpoint.connect_with_connector(connector))
        .await
        .unwrap()
}

/// The caller's names as the service sees them.
async fn ask(channel: &Channel, fqdn: &str) -> Result<String, Status> {
    let fqdn = fqdn.to_owned();
    let mut client = VipResolverCopilotClient::new(channel.clone());
    let response = soon(client.get_vip_by_name(GetVipByNameRequest { fqdn })).await?;
    Ok(response.into_inner().ip)
}

#[tokio::test]
async fn without_tls_everybody_is_served_and_nobody_has_a_name() {
    let rig = Rig::start(Settings::new(Security::Plaintext)).await;
    let channel = rig.plaintext().await;
    assert_eq!(ask(&channel, "a").await.unwrap(), "");
    assert!(rig.feeds.statuses().is_empty(), "there are no certificates");
}

#[tokio::test]
async fn a_listener_may_ask_for_no_client_certificate() {
    let folder = TempDir::new().unwrap();
    let pki = Pki::new(folder.path(), "vip").unwrap();
    let settings = Settings::new(Security::Tls {
        identity: pki.issue("vip", &["localhost"]).unwrap(),
        clients: None,
        certificates_every: Duration::from_secs(10),
    });
    let rig = Rig::start(settings).await;
    let config = tls::client(pki.ca(), None).unwrap();
    let channel = sink::connect(rig.address, config).await.unwrap();
    assert_eq!(ask(&channel, "a").await.unwrap(), "");
    let certificates = &rig.feeds.statuses()[0];
    assert_eq!(certificates.name, "echo_certificates");
}

#[tokio::test]
async fn a_listener_is_healthy_once_it_says_so() {
    let rig = Rig::start(Settings::new(Security::Plaintext)).await;
    let channel = rig.plaintext().await;
    let name = "api.VIPResolverCopilot";
    assert_eq!(check(&channel, name).await.unwrap(), NotServing);
    rig.ready.send_replace(true);
    // No call of this connection sees the state from before for long.
    soon(async { while check(&channel, name).await.unwrap() != Serving {} }).await;
    assert_eq!(ask(&channel, "a").await.unwrap(), "");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_longer_is_given_up() {
    let rig = Rig::start(Settings::new(Security::Plaintext)).await;
    let channel = rig.plaintext().await;
    let mut request = Request::new(GetVipByNameRequest {
        fqdn: "pending".to_owned(),
    });
    request.set_timeout(Duration::from_millis(50));
    let mut client = VipResolverCopilotClient::new(channel.clone());
    soon(client.get_vip_by_name(request)).await.unwrap_err();
    soon(rig.echo.given_up.notified()).await;
    assert_eq!(ask(&channel, "a").await.unwrap(), "");
}

#[tokio::test]
async fn a_call_whose_request_never_ends_is_over_at_the_ceiling() {
    let settings = Settings {
        answer_within: Duration::from_millis(50),
        ..Settings::new(Security::Plaintext)
    };
    let rig = Rig::start(settings).await;
    let mut client = tonic::client::Grpc::new(rig.plaintext().await);
    soon(client.ready()).await.unwrap();
    let codec = tonic_prost::ProstCodec::<GetVipByNameRequest, GetVipByNameResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/api.VIPResolverCopilot/GetVIPByName");
    let endless = Request::new(tokio_stream::pending());
    let status = soon(client.client_streaming(endless, path, codec)).await;
    assert_eq!(status.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_stream_ends_at_its_clients_deadline() {
    let harness = Harness::start().await;
    harness.publish(&[(A, &[("a", 1)])]);
    let requests = tokio_stream::once(request(A)).chain(tokio_stream::pending());
    let mut call = Request::new(requests);
    call.set_timeout(Duration::from_millis(500));
    let mut client = ResourceSourceClient::new(harness.channel().await);
    let responses = soon(client.establish_resource_stream(call)).await;
    let mut responses = responses.unwrap().into_inner();
    let response = soon(responses.message()).await.unwrap().unwrap();
    assert_eq!(names(&response), ["a"]);
    let end = soon(responses.message()).await;
    assert_code(end, Code::DeadlineExceeded);
    until(|| harness.sinks.list().is_empty()).await;
}

#[tokio::test]
async fn silent_connections_of_one_address_make_room_for_each_other_and_keep_nobody_waiting() {
    let folder = TempDir::new().unwrap();
    let pki = Pki::new(folder.path(), "vip").unwrap();
    let settings = Settings {
        half_open: 4,
        ..Settings::new(Security::Tls {
            identity: pki.issue("vip", &["localhost"]).unwrap(),
            clients: None,
            certificates_every: Duration::from_secs(10),
        })
    };
    let rig = Rig::start(settings).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(TcpStream::connect(rig.address).await.unwrap());
    }
    // The oldest are closed, and no more of them than had to be.
    for stream in &mut silent[..8] {
        assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0, "closed");
    }
    let config = tls::client(pki.ca(), None).unwrap();
    let channel = connect_from([127, 0, 0, 2], rig.address, config).await;
    assert_eq!(ask(&channel, "a").await.unwrap(), "");
    assert_eq!(rig.failures("timeout"), Some(0.0), "nobody was waited for");
    assert_eq!(rig.failures("crowded"), Some(9.0));
}

#[tokio::test]
async fn silent_connections_in_plaintext_do_likewise() {
    let settings = Settings {
        half_open: 4,
        ..Settings::new(Security::Plaintext)
    };
    let rig = Rig::start(settings).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(TcpStream::connect(rig.address).await.unwrap());
    }
    for stream in &mut silent[..8] {
        // The server speaks first, and then there is an end, or a reset.
        soon(stream.read_to_end(&mut Vec::new())).await.ok();
    }
    assert_eq!(ask(&rig.plaintext().await, "a").await.unwrap(), "");
    // It took one of the four places, and those who still have one have not been given up.
    for stream in &silent[9..] {
        let read = stream.try_read(&mut [0; 1024]);
        assert!(!matches!(read, Ok(0)), "an end");
        let read = stream.try_read(&mut [0; 1024]);
        assert!(read.is_err(), "nothing more, and no end: {read:?}");
    }
}

#[tokio::test]
async fn connections_of_one_address_leave_places_for_others() {
    let settings = Settings {
        max_connections: 3,
        connections_per_address: 2,
        ..Settings::new(Security::Plaintext)
    };
    let rig = Rig::start(settings).await;
    let many = [rig.plaintext().await, rig.plaintext().await];
    for channel in &many {
        ask(channel, "a").await.unwrap();
    }
    let mut third = TcpStream::connect(rig.address).await.unwrap();
    assert_eq!(soon(third.read(&mut [0])).await.unwrap(), 0, "closed");
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut other = socket.connect(rig.address).await.unwrap();
    other
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    other.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(soon(other.read(&mut [0])).await.unwrap(), 1, "SETTINGS");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_until_one_ends() {
    let settings = Settings {
        max_connections: 1,
        ..Settings::new(Security::Plaintext)
    };
    let rig = Rig::start(settings).await;
    let first = rig.plaintext().await;
    assert_eq!(ask(&first, "a").await.unwrap(), "");
    let mut second = TcpStream::connect(rig.address).await.unwrap();
    assert_eq!(soon(second.read(&mut [0])).await.unwrap(), 0, "closed");
    drop(first);
    soon(async {
        let endpoint = Endpoint::from_shared(format!("http://{}", rig.address)).unwrap();
        while ask(&endpoint.connect_lazy(), "a").await.is_err() {}
    })
    .await;
}

#[tokio::test]
async fn a_call_that_never_ends_is_cut_after_a_grace_period() {
    let rig = Rig::start(Settings::new(Security::Plaintext)).await;
    let channel = rig.plaintext().await;
    let call = tokio::spawn(async move { ask(&channel, "pending").await });
    soon(rig.echo.began.notified()).await;
    rig.shutdown.cancel();
    soon(rig.serving).await.unwrap();
    assert!(soon(call).await.unwrap().is_err());
}
