//! One world: a simulated foundation, the daemon, an istiod, and an ingress Envoy.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use anyhow::{Context as _, Result};
use copilot::sim::cloud_foundry::INTERNAL_DOMAIN;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::Client,
    deployment::Deployment,
    frontend::Frontend,
    peers::{
        HTTP, HTTPS, Programs,
        daemon::Daemon,
        istiod::{self, Istiod},
        kubernetes::Kubernetes,
        proxy::{Identity, Proxy},
    },
    stage::{DOMAIN, Stage, TCP_DOMAIN, TCP_PORTS},
};

/// The ingress that all scenarios share; the next ones are on the addresses after it.
pub const INGRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Where internal hostnames get their virtual addresses from: no cell and no container is there.
pub const VIPS: &str = "127.64.0.0/10";

/// An istiod with an ingress of its own, beside others that are configured otherwise.
pub struct Ingress {
    /// Its istiod.
    pub istiod: Istiod,
    /// Its Envoy.
    pub proxy: Proxy,
    address: Ipv4Addr,
}

impl Ingress {
    /// Where its Envoy listens.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A client of port 80.
    pub fn client(&self) -> Client {
        Client::new(SocketAddr::from((self.address, HTTP)))
    }

    /// A client of port 443, which trusts these CAs.
    pub fn tls_client(&self, roots: &Path) -> Client {
        Client::new(SocketAddr::from((self.address, HTTPS))).with_roots(roots)
    }
}

/// A running world. Its processes end before its folder goes.
pub struct Mesh {
    /// The ingress with all of deploy/istio.
    pub ingress: Ingress,
    /// The daemon.
    pub daemon: Daemon,
    /// The router's certificates.
    pub frontend: Frontend,
    /// The foundation, and the instances that run.
    pub stage: Stage,
    kubernetes: Kubernetes,
    programs: Programs,
    copilot_ca: String,
    change: fn(&mut Value),
    folder: TempDir,
}

impl Mesh {
    /// Starts a world around a foundation, with its ingress there and certificates for these hosts. `change` is what its
    /// daemons have otherwise in their config.
    ///
    /// # Errors
    /// A peer does not start: what to do, and the end of its log.
    pub async fn start(
        programs: &Programs,
        stage: Stage,
        ingress: Ipv4Addr,
        certificates: &'static [&'static [&'static str]],
        change: fn(&mut Value),
    ) -> Result<Self> {
        let folder = TempDir::with_prefix("copilot-interop-").context("making a folder")?;
        let frontend = Frontend::start(folder.path(), certificates)?;
        let config = config(&stage, &frontend, change);
        let daemon = Daemon::start(&programs.copilot, folder.path(), "copilot", config).await?;
        let kubernetes = Kubernetes::start(folder.path()).await?;
        let copilot_ca = fs::read_to_string(stage.foundation.pki.ca())?;
        let settings = istiod::Settings {
            programs,
            kubeconfig: kubernetes.kubeconfig(),
            copilot: daemon.xds(),
            copilot_ca: &copilot_ca,
        };
        let ingress = start_ingress(folder.path(), &settings, ingress, Deployment::read()?).await?;
        Ok(Self {
            ingress,
            daemon,
            frontend,
            stage,
            kubernetes,
            programs: programs.clone(),
            copilot_ca,
            change,
            folder,
        })
    }

    /// One more istiod with an ingress, at `127.0.0.NUMBER`, of the same daemon.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn ingress(&self, number: u8, deployment: Deployment) -> Result<Ingress> {
        self.ingress_of(self.daemon.xds(), number, deployment).await
    }

    /// The same of the daemon that is reached there.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn ingress_of(
        &self,
        copilot: SocketAddr,
        number: u8,
        deployment: Deployment,
    ) -> Result<Ingress> {
        let settings = istiod::Settings {
            programs: &self.programs,
            kubeconfig: self.kubernetes.kubeconfig(),
            copilot,
            copilot_ca: &self.copilot_ca,
        };
        let address = Ipv4Addr::new(127, 0, 0, number);
        start_ingress(self.folder.path(), &settings, address, deployment).await
    }

    /// One more daemon of the same foundation.
    ///
    /// # Errors
    /// It does not start.
    pub async fn another_daemon(&self, name: &str) -> Result<Daemon> {
        let config = config(&self.stage, &self.frontend, self.change);
        Daemon::start(&self.programs.copilot, self.folder.path(), name, config).await
    }

    /// One more Envoy of the shared istiod.
    ///
    /// # Errors
    /// It does not start.
    pub async fn proxy(&self, identity: &Identity) -> Result<Proxy> {
        let istiod = &self.ingress.istiod;
        let folder = self.folder.path().join(&identity.name);
        let served = (istiod.grpc(), istiod.mesh_config());
        Proxy::start(folder, &self.programs, served, identity).await
    }

    /// What to type to try it by hand.
    pub fn to_try(&self) -> String {
        format!(
            "left running until interrupted; its files are in {}\n  \
             curl -H 'Host: HOST' http://{INGRESS}/PATH\n  \
             curl --cacert {} --connect-to ::{INGRESS}: https://HOST/PATH\n  \
             curl http://{}/config_dump\n  \
             curl http://{}/debug/configz",
            self.folder().display(),
            self.frontend.ca().display(),
            self.ingress.proxy.admin(),
            self.ingress.istiod.monitoring(),
        )
    }

    /// Where its files are: logs, configs, certificates.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

async fn start_ingress(
    folder: &Path,
    settings: &istiod::Settings<'_>,
    address: Ipv4Addr,
    deployment: Deployment,
) -> Result<Ingress> {
    let name = format!("ingress-{address}");
    let folder = folder.join(&name);
    let deployment = deployment.with_filter("listens-on.yml", listens_on(address).to_string());
    let istiod = Istiod::start(
        folder.clone(),
        &format!("istiod of {name}"),
        settings,
        &deployment,
    )
    .await?;
    let identity = Identity::ingress(&name, address, deployment.zone);
    let served = (istiod.grpc(), istiod.mesh_config());
    let proxy = Proxy::start(folder, settings.programs, served, &identity).await?;
    Ok(Ingress {
        istiod,
        proxy,
        address,
    })
}

/// Has gateways listen on one address of loopback, not on every one of the machine.
fn listens_on(address: Ipv4Addr) -> Value {
    let patch = |port: u16| {
        json!({
            "applyTo": "LISTENER",
            "match": { "context": "GATEWAY", "listener": { "portNumber": port } },
            "patch": {
                "operation": "MERGE",
                "value": { "address": { "socketAddress": { "address": address } } },
            },
        })
    };
    let ports = [HTTP, HTTPS].into_iter().chain(TCP_PORTS);
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": { "name": "listens-on", "namespace": "istio-system" },
        "spec": { "configPatches": ports.map(patch).collect::<Vec<_>>() },
    })
}

/// The daemon's config: as an operator writes it, but for intervals that nobody wants to wait for.
fn config(stage: &Stage, frontend: &Frontend, change: fn(&mut Value)) -> Value {
    let mut config = stage.foundation.config();
    let file = |name: &str| json!(stage.foundation.folder().join(name));
    config["MeshDomains"] = json!([DOMAIN, format!("*.{DOMAIN}"), INTERNAL_DOMAIN]);
    config["VIPCIDR"] = json!(VIPS);
    config["XDSServerCertPath"] = file("copilot.crt");
    config["XDSServerKeyPath"] = file("copilot.key");
    config["CAPI"]["TailInterval"] = json!("100ms");
    config["TCPRoutes"] = json!({
        "Domains": [TCP_DOMAIN],
        "Ports": [format!("{}-{}", TCP_PORTS.start(), TCP_PORTS.end())],
        "PollInterval": "500ms",
    });
    config["IstioCertRootPath"] = json!(frontend.root());
    config["TLSPems"] = frontend.pems();
    // As deploy/istio/mesh.yml has it for hostnames of which nothing is said.
    config["Defaults"] = json!({ "RetryResets": true });
    change(&mut config);
    config
}
