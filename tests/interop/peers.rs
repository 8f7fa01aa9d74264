//! The programs that a mesh consists of, each as on a VM of its own.

pub mod container_proxy;
pub mod daemon;
pub mod istiod;
pub mod kubernetes;
pub mod process;
pub mod proxy;

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail, ensure};

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

/// The ports that the gateway has its proxies listen on.
pub const HTTP: u16 = 80;
/// The one with TLS.
pub const HTTPS: u16 = 443;

/// Whether the gateway's ports can be had.
///
/// # Errors
/// One is taken, or not allowed.
pub fn check_ports() -> Result<()> {
    for port in [HTTP, HTTPS] {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => bail!(
                "port {port} of 127.0.0.1 is not allowed: run as root, or set net.ipv4.ip_unprivileged_port_start=80"
            ),
            Err(error) => bail!(
                "port {port} of 127.0.0.1 cannot be had ({error}): end what listens there, or run as root, in a network of its own"
            ),
        }
    }
    Ok(())
}

/// A port that nobody listens on and that the kernel gives to no connection, and never the same again.
///
/// # Errors
/// All are taken.
pub fn free_port() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let free = (20_000..30_000).find(|port| {
        !given.contains(port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok()
    });
    let port = free.context("every port from 20000 to 29999 is taken: end what listens there")?;
    given.insert(port);
    Ok(port)
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
