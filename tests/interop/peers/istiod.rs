//! istiod as on a VM, with the files of deploy/istio.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Programs, free_port, interpolate, process::Process};
use crate::{deployment::Deployment, surface};

/// What an istiod is started with, beside its deployment.
pub struct Settings<'s> {
    /// The programs.
    pub programs: &'s Programs,
    /// The file that leads to the Kubernetes API.
    pub kubeconfig: &'s Path,
    /// Where the daemon serves it.
    pub copilot: SocketAddr,
    /// Who signed the daemon's certificate.
    pub copilot_ca: &'s str,
}

/// An istiod that can be ended and started again, at the same addresses.
pub struct Istiod {
    name: String,
    folder: PathBuf,
    mesh_config: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    grpc: SocketAddr,
    http: SocketAddr,
    monitoring: SocketAddr,
    process: Option<Process>,
}

impl Istiod {
    /// Starts with its files in `folder`, and waits until it is ready.
    pub async fn start(
        folder: PathBuf,
        name: &str,
        settings: &Settings<'_>,
        deployment: &Deployment,
    ) -> Result<Self> {
        let filters = folder.join("filters");
        // One that was here before may have had others.
        if filters.exists() {
            fs::remove_dir_all(&filters)?;
        }
        fs::create_dir_all(&filters)?;
        for (name, text) in &deployment.filters {
            fs::write(filters.join(name), text)?;
        }
        let mesh_config = folder.join("mesh.yml");
        let text = interpolate(
            &deployment.mesh_config,
            &[
                ("copilot_address", &settings.copilot.to_string()),
                ("copilot_name", "localhost"),
                // A string of JSON is one of YAML.
                ("copilot_ca", &serde_json::to_string(settings.copilot_ca)?),
                (
                    "filters_folder",
                    filters.to_str().context("the folder is no text")?,
                ),
            ],
        )?;
        fs::write(&mesh_config, text)?;
        let address =
            || Ok::<_, anyhow::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
        let (grpc, http, monitoring) = (address()?, address()?, address()?);
        let arguments = vec![
            "discovery".to_owned(),
            format!("--meshConfig={}", mesh_config.display()),
            "--networksConfig=".to_owned(),
            "--registries=Kubernetes".to_owned(),
            format!("--kubeconfig={}", settings.kubeconfig.display()),
            format!("--grpcAddr={grpc}"),
            format!("--httpAddr={http}"),
            format!("--monitoringAddr={monitoring}"),
            "--secureGRPCAddr=".to_owned(),
            "--httpsAddr=".to_owned(),
            format!("--ctrlz_address={}", Ipv4Addr::LOCALHOST),
            format!("--ctrlz_port={}", free_port()?),
        ];
        let mut istiod = Self {
            name: name.to_owned(),
            folder,
            mesh_config,
            program: settings.programs.pilot_discovery.clone(),
            arguments,
            environment: deployment.environment.clone(),
            grpc,
            http,
            monitoring,
            process: None,
        };
        istiod.launch()?;
        istiod.ready().await?;
        Ok(istiod)
    }

    /// Starts it again after its end, without waiting for it.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder);
        let log = self.folder.join("istiod.log");
        self.process = Some(Process::start(&self.name, &mut command, log)?);
        Ok(())
    }

    /// Waits until it is ready.
    pub async fn ready(&self) -> Result<()> {
        let process = self.process.as_ref().context("istiod was ended")?;
        let ready = async || surface::status(self.http, "/ready").await == Some(200);
        let advice = "mend deploy/istio, or try another version in scripts/interop-versions; its log ends with";
        process.started(advice, ready).await
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it as its supervisor does.
    pub async fn terminate(&mut self) {
        if let Some(process) = self.process.take() {
            process.terminate().await;
        }
    }

    /// Where proxies connect.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Where `/metrics` and `/debug` are.
    pub fn monitoring(&self) -> SocketAddr {
        self.monitoring
    }

    /// Its mesh config, which the agents of proxies read too.
    pub fn mesh_config(&self) -> &Path {
        &self.mesh_config
    }

    /// Its process, unless it was ended.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }
}
