//! The daemon as its supervisor runs it: the binary, with a config file.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use copilot::sim::operator::Operator;
use serde_json::{Value, json};

use super::{free_port, process::Process};

/// What a build does not know of that is older than the guard.
pub const NEWER: [&str; 3] = ["StateFile", "Defaults", "TCPRoutes"];

/// The binary that was built with the harness.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_copilot");

/// A daemon that can be ended and started again, at the same addresses.
pub struct Daemon {
    name: String,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    xds: SocketAddr,
    operator: Operator,
    process: Option<Process>,
}

impl Daemon {
    /// Starts `program` on `config`, to which it adds the addresses, and waits until it serves.
    pub async fn start(
        program: &Path,
        folder: &Path,
        name: &str,
        mut config: Value,
    ) -> Result<Self> {
        let address =
            || Ok::<_, anyhow::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
        let (mcp, xds, admin) = (address()?, address()?, address()?);
        config["ListenAddressForMCP"] = json!(mcp);
        config["ListenAddressForXDS"] = json!(xds);
        config["AdminListenAddress"] = json!(admin);
        let path = folder.join(format!("{name}.json"));
        fs::write(&path, format!("{config:#}"))?;
        let mut daemon = Self {
            name: name.to_owned(),
            program: program.to_owned(),
            config: path,
            log: folder.join(format!("{name}.log")),
            xds,
            operator: Operator::new(admin)?,
            process: None,
        };
        daemon.launch()?;
        daemon.ready().await?;
        Ok(daemon)
    }

    /// Ends it and starts it again with another value of a key; null stands for the default. The value that it had.
    ///
    /// # Errors
    /// It does not start with that. It runs as before then.
    pub async fn reconfigure(&mut self, key: &str, value: &Value) -> Result<Value> {
        let before = fs::read_to_string(&self.config)?;
        let mut config: Value = serde_json::from_str(&before)?;
        let keys = config.as_object_mut().context("a config is an object")?;
        let replaced = match value {
            Value::Null => keys.remove(key),
            value => keys.insert(key.to_owned(), value.clone()),
        };
        if let Err(error) = self.restart(&format!("{config:#}")).await {
            self.restart(&before).await?;
            return Err(error);
        }
        Ok(replaced.unwrap_or_default())
    }

    /// Ends it and starts another build of it at its place, which remembers what it served in a file. Without one it is of a
    /// time before there were state files, defaults for all routes, and TCP routes.
    ///
    /// # Errors
    /// That one does not start.
    pub async fn replace(&mut self, program: &Path, state_file: Option<&Path>) -> Result<()> {
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&self.config)?)?;
        let keys = config.as_object_mut().context("a config is an object")?;
        if let Some(path) = state_file {
            keys.insert("StateFile".to_owned(), json!(path));
        } else {
            keys.retain(|key, _| !NEWER.contains(&key.as_str()));
        }
        program.clone_into(&mut self.program);
        self.restart(&format!("{config:#}")).await
    }

    async fn restart(&mut self, config: &str) -> Result<()> {
        fs::write(&self.config, config)?;
        self.terminate().await;
        self.launch()?;
        self.ready().await
    }

    /// Starts it again after its end, without waiting for it.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--config"]).arg(&self.config);
        self.process = Some(Process::start(&self.name, &mut command, self.log.clone())?);
        Ok(())
    }

    /// Waits until it is ready.
    pub async fn ready(&self) -> Result<()> {
        let process = self.process.as_ref().context("the daemon was ended")?;
        let ready =
            async || matches!(self.operator.get("/readyz").await, Ok((status, _)) if status == 200);
        process
            .started("mend the daemon; its log ends with", ready)
            .await
    }

    /// Kills it, as a machine that is lost.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it as its supervisor does.
    pub async fn terminate(&mut self) {
        if let Some(process) = self.process.take() {
            process.terminate().await;
        }
    }

    /// Where istiod connects.
    pub fn xds(&self) -> SocketAddr {
        self.xds
    }

    /// Who looks at its admin surface.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Its process, unless it was ended.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }
}
