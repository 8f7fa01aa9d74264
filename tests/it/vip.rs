//! The resolver's service over a real connection.

use std::net::Ipv4Addr;

use copilot::{
    model::Hostname,
    proto::api::{
        GetVipByNameRequest, HealthRequest, vip_resolver_copilot_client::VipResolverCopilotClient,
    },
    snapshot::Vips,
    vip,
};
use tokio::{net::TcpListener, sync::watch};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};

/// A server, and a resolver that asks it.
struct Resolver {
    vips: watch::Sender<Option<Vips>>,
    client: VipResolverCopilotClient<Channel>,
}

impl Resolver {
    async fn start() -> Self {
        let (vips, receiver) = watch::channel(None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(vip::service(receiver));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let client = VipResolverCopilotClient::new(endpoint.connect().await.unwrap());
        Self { vips, client }
    }

    fn publish(&self, addresses: &[(&str, [u8; 4])]) {
        let addresses = addresses.iter().map(|(host, address)| {
            let host = Hostname::parse(host).unwrap();
            (host, Some(Ipv4Addr::from(*address)))
        });
        let vips = Vips::default().edited(addresses);
        self.vips.send_replace(Some(vips));
    }

    async fn ask(&mut self, name: &str) -> Result<String, Status> {
        let request = GetVipByNameRequest {
            fqdn: name.to_owned(),
        };
        let response = self.client.get_vip_by_name(request).await?;
        Ok(response.into_inner().ip)
    }
}

#[tokio::test]
async fn a_name_is_found_in_any_case_with_the_roots_dot_or_without() {
    // Fault 45 of the original.
    let mut resolver = Resolver::start().await;
    resolver.publish(&[("shop.apps.internal", [127, 129, 0, 7])]);
    for name in [
        "shop.apps.internal",
        "Shop.APPS.internal",
        "shop.apps.internal.",
    ] {
        assert_eq!(resolver.ask(name).await.unwrap(), "127.129.0.7", "{name}");
    }
    resolver.publish(&[("other.apps.internal", [127, 129, 0, 8])]);
    let status = resolver.ask("shop.apps.internal").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "gone with its route");
}

#[tokio::test]
async fn an_unknown_name_is_not_found_by_name_and_none_is_an_invalid_argument() {
    let mut resolver = Resolver::start().await;
    resolver.publish(&[("shop.apps.internal", [127, 129, 0, 7])]);
    for name in ["", "."] {
        let status = resolver.ask(name).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    let endless = "é".repeat(500);
    for name in ["shop.apps.internal..", "a\n.apps.internal", &endless] {
        let status = resolver.ask(name).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().len() < 400, "{status}");
    }
    let huge = resolver.ask(&"a".repeat(1 << 10)).await.unwrap_err();
    assert_eq!(huge.code(), Code::OutOfRange, "refused by its length");
    let status = resolver.ask("nowhere.apps.internal").await.unwrap_err();
    assert!(
        status.message().contains("nowhere.apps.internal"),
        "{status}"
    );
}

#[tokio::test]
async fn before_the_first_snapshot_it_knows_nothing_and_is_not_healthy() {
    let mut resolver = Resolver::start().await;
    let status = resolver.ask("shop.apps.internal").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let health = resolver.client.health(HealthRequest {}).await.unwrap();
    assert!(!health.into_inner().healthy);
    resolver.publish(&[]);
    let health = resolver.client.health(HealthRequest {}).await.unwrap();
    assert!(health.into_inner().healthy);
}
