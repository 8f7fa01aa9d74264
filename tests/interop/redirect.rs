//! What an app connects to, redirected to its sidecar as istio-init does it, in a network of our own.

use std::{net::Ipv4Addr, process::Command};

use anyhow::{Result, ensure};

/// Where a sidecar takes what is redirected to it.
const OUTBOUND: &str = "15001";

/// Says that the network is the run's own: set by `scripts/interop`.
const ALONE: &str = "COPILOT_INTEROP_ALONE";

/// From where connections are redirected: an app's. A sidecar's own come from elsewhere; what it passes through would
/// come back to it for ever.
pub const APP: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 61);

/// Redirected connections, until this is dropped.
pub struct Redirected(String);

/// Redirects what is sent to these addresses; `None` where that would change the machine's own network, or there is no
/// iptables.
///
/// # Errors
/// iptables refuses.
pub fn to_sidecar(addresses: &str) -> Result<Option<Redirected>> {
    let can =
        std::env::var_os(ALONE).is_some() && Command::new("iptables").arg("-V").output().is_ok();
    if !can {
        return Ok(None);
    }
    let redirected = Redirected(addresses.to_owned());
    ensure!(
        redirected.rule("-A")?,
        "iptables cannot redirect {addresses}"
    );
    Ok(Some(redirected))
}

impl Redirected {
    fn rule(&self, change: &str) -> std::io::Result<bool> {
        let Self(addresses) = self;
        let status = Command::new("iptables")
            .args(["-t", "nat", change, "OUTPUT", "-p", "tcp"])
            .args(["-s", &APP.to_string(), "-d", addresses])
            .args(["-j", "REDIRECT", "--to-ports", OUTBOUND])
            .status()?;
        Ok(status.success())
    }
}

impl Drop for Redirected {
    fn drop(&mut self) {
        if !self.rule("-D").unwrap_or_default() {
            eprintln!("interop: {} is still redirected", self.0);
        }
    }
}
