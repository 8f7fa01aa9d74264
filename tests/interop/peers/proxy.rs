//! An Envoy with its pilot-agent: an ingress gateway, or the sidecar of an app.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::{Programs, free_port, process::Process};
use crate::{stage::REGION, surface};

/// What kind of proxy it is, in the words of pilot-agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The ingress.
    Router,
    /// Beside an app.
    Sidecar,
}

/// Who a proxy is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The name of its node and of its folder.
    pub name: String,
    /// What kind it is.
    pub kind: Kind,
    /// The address by which istiod knows it: of a sidecar, its container's.
    pub address: IpAddr,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// The rest of its node's metadata, such as `INTERCEPTION_MODE`.
    pub metadata: Vec<(String, String)>,
}

impl Identity {
    /// An ingress gateway in a zone.
    pub fn ingress(name: &str, address: Ipv4Addr, zone: &str) -> Self {
        let app = "istio-ingressgateway".to_owned();
        let locality = format!("{REGION}/{zone}");
        Self {
            name: name.to_owned(),
            kind: Kind::Router,
            address: address.into(),
            namespace: "cloudfoundry".to_owned(),
            labels: vec![
                ("app".to_owned(), app),
                ("istio-locality".to_owned(), locality),
            ],
            metadata: Vec::new(),
        }
    }

    /// The sidecar of an instance of an app, which takes requests on 127.0.0.1 only: nothing is redirected to it.
    pub fn sidecar(name: &str, app: &str, container: IpAddr) -> Self {
        Self {
            name: name.to_owned(),
            kind: Kind::Sidecar,
            address: container,
            namespace: "cloudfoundry".to_owned(),
            labels: vec![("cfapp".to_owned(), app.to_owned())],
            metadata: vec![("INTERCEPTION_MODE".to_owned(), "NONE".to_owned())],
        }
    }
}

/// A running proxy.
pub struct Proxy {
    process: Process,
    admin: SocketAddr,
}

impl Proxy {
    /// Starts with its files in `folder`, and waits until it has its first configuration.
    pub async fn start(
        folder: PathBuf,
        programs: &Programs,
        (istiod, mesh_config): (SocketAddr, &Path),
        identity: &Identity,
    ) -> Result<Self> {
        // Its sockets are below the folder in which it runs.
        fs::create_dir_all(&folder)?;
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let kind = match identity.kind {
            Kind::Router => "router",
            Kind::Sidecar => "sidecar",
        };
        let config = json!({
            "discoveryAddress": istiod.to_string(),
            "binaryPath": programs.envoy,
            "configPath": "./etc/istio/proxy",
            "proxyAdminPort": admin.port(),
            "statusPort": free_port()?,
            "controlPlaneAuthPolicy": "NONE",
            "terminationDrainDuration": "1s",
            "concurrency": 1,
        });
        let mut command = Command::new(&programs.pilot_agent);
        command
            .args(["proxy", kind])
            .arg(format!("--templateFile={}", programs.bootstrap.display()))
            .arg(format!("--meshConfig={}", mesh_config.display()))
            .env_clear()
            .env("PROXY_CONFIG", config.to_string())
            .env("FILE_MOUNTED_CERTS", "true")
            .env("POD_NAME", &identity.name)
            .env("POD_NAMESPACE", &identity.namespace)
            .env("INSTANCE_IP", identity.address.to_string())
            .env("ISTIO_METAJSON_LABELS", object(&identity.labels))
            .env("ENVOY_STATUS_PORT", free_port()?.to_string())
            .env("ENVOY_PROMETHEUS_PORT", free_port()?.to_string())
            .current_dir(&folder);
        for (name, value) in &identity.metadata {
            command.env(format!("ISTIO_META_{name}"), value);
        }
        let log = folder.join("proxy.log");
        let process = Process::start(&identity.name, &mut command, log)?;
        let proxy = Self { process, admin };
        let ready = async || surface::status(admin, "/ready").await == Some(200);
        let advice = "mend deploy/istio, or try another version in scripts/interop-versions; its log ends with";
        proxy.process.started(advice, ready).await?;
        Ok(proxy)
    }

    /// Where Envoy's own surface is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What Envoy has refused of what it was sent: how often, by kind.
    ///
    /// # Errors
    /// It does not say.
    pub async fn refused(&self) -> Result<Vec<String>> {
        let page = surface::page(self.admin, "/stats?filter=update_rejected").await;
        let (_, page) = page.context("Envoy does not answer")?;
        let refused = page.lines().filter(|line| !line.ends_with(": 0"));
        Ok(refused.map(ToOwned::to_owned).collect())
    }

    /// The agent, of which Envoy is a child.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn object(pairs: &[(String, String)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()));
    Value::Object(pairs.collect::<Map<_, _>>()).to_string()
}
