//! The Envoy in a container, in front of the app: configured as Diego's executor does it (`proxy_config_handler.go`).

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Programs, free_port, process::Process};
use crate::instances::Credentials;

/// A running one.
pub struct ContainerProxy {
    _process: Process,
}

impl ContainerProxy {
    /// Takes TLS at `at`, which a port of the cell leads to, and passes on to the app what is admitted.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(
        folder: &Path,
        programs: &Programs,
        at: SocketAddr,
        app: SocketAddr,
        credentials: &Credentials,
    ) -> Result<Self> {
        let name = format!("container-proxy-{at}");
        let file = |ending: &str| folder.join(format!("{name}.{ending}"));
        let config = file("json");
        fs::write(&config, config_of(at, app, credentials)?.to_string())?;
        let mut command = Command::new(&programs.envoy);
        command.arg("--config-path").arg(&config).args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
        ]);
        let process = Process::start(&name, &mut command, file("log"))?;
        let listens = async || TcpStream::connect(at).await.is_ok();
        process
            .started("try another Envoy; its log ends with", listens)
            .await?;
        Ok(Self { _process: process })
    }
}

fn config_of(at: SocketAddr, app: SocketAddr, credentials: &Credentials) -> Result<Value> {
    let address = |address: SocketAddr| {
        json!({
            "socket_address": { "address": address.ip(), "port_value": address.port() },
        })
    };
    let clients = credentials.clients.as_ref();
    let clients = clients.context("a cell's ports are for certain clients")?;
    let names = clients.names.iter();
    let names = names.map(|name| json!({ "san_type": "DNS", "matcher": { "exact": name } }));
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_2" },
            "tls_certificates": [{
                "certificate_chain": { "filename": credentials.identity.cert },
                "private_key": { "filename": credentials.identity.key },
            }],
            "validation_context": {
                "trusted_ca": { "filename": clients.ca },
                "match_typed_subject_alt_names": names.collect::<Vec<_>>(),
            },
        },
    });
    let to_app = json!({
        "name": "envoy.tcp_proxy",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "ingress_tcp",
            "cluster": "app",
        },
    });
    let socket = json!({ "name": "envoy.transport_sockets.tls", "typed_config": tls });
    let endpoint = json!({ "endpoint": { "address": address(app) } });
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    Ok(json!({
        "admin": { "address": address(admin) },
        "static_resources": {
            "listeners": [{
                "name": "listener",
                "address": address(at),
                "filter_chains": [{ "filters": [to_app], "transport_socket": socket }],
            }],
            "clusters": [{
                "name": "app",
                "connect_timeout": "0.25s",
                "type": "STATIC",
                "load_assignment": { "cluster_name": "app", "endpoints": [{ "lb_endpoints": [endpoint] }] },
            }],
        },
    }))
}
