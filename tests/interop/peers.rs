//! The programs that a mesh consists of, each as on a VM of its own.

pub mod container_proxy;
pub mod daemon;
pub mod istiod;
pub mod kubernetes;
mod ports;
pub mod process;
pub mod proxy;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

pub use self::ports::{HTTP, HTTPS, check_ports, free_port};

/// Where the programs are: the daemon's, and those that `scripts/interop` got.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The daemon.
    pub copilot: PathBuf,
    /// istiod.
    pub pilot_discovery: PathBuf,
    /// What starts Envoy, and serves it certificates from files.
    pub pilot_agent: PathBuf,
    /// Envoy.
    pub envoy: PathBuf,
    /// What pilot-agent makes Envoy's first configuration of.
    pub bootstrap: PathBuf,
}

impl Programs {
    /// The programs in a folder of Istio's and one of Envoy.
    ///
    /// # Errors
    /// One is not there.
    pub fn in_folders(istio: &Path, envoy: &Path) -> Result<Self> {
        let find = |folder: &Path, name: &str| {
            let path = folder.join(name);
            ensure!(
                path.is_file(),
                "{} is not there: run scripts/interop",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            copilot: daemon::PROGRAM.into(),
            pilot_discovery: find(istio, "pilot-discovery")?,
            pilot_agent: find(istio, "pilot-agent")?,
            bootstrap: find(istio, "envoy_bootstrap.json")?,
            envoy: find(envoy, "envoy")?,
        })
    }
}

/// Fills in the `((names))` of a file of deploy/istio, as `bosh interpolate` does.
///
/// # Errors
/// The file has a name that is not given.
pub fn interpolate(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let fill =
        |text: String, (name, value): &(&str, &str)| text.replace(&format!("(({name}))"), value);
    let text = values.iter().fold(template.to_owned(), fill);
    match text
        .lines()
        .find(|line| !line.starts_with('#') && line.contains("(("))
    {
        Some(line) => bail!("nothing is known for {line:?}"),
        None => Ok(text),
    }
}

/// A file or a folder of deploy/istio.
pub fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/istio")
        .join(name)
}
