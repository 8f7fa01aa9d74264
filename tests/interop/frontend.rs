//! The router's certificates, put where its proxies look for them as on a router's VM: by `copilot librarian`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use copilot::sim::pki::Pki;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::{peers::daemon::PROGRAM, stage::DOMAIN};

/// The host with a certificate of its own; the other hosts of the domain share a wildcard.
pub const OWN: &str = "own-certificate";

/// What a router has that serves most hosts by a wildcard, and one by a certificate of its own, which is the first.
pub const TWO: &[&[&str]] = &[&[OWN], &["*", ""]];
/// What most routers have: one for all hosts.
pub const ONE: &[&[&str]] = &[&["*", ""]];

/// The certificates that are served.
pub struct Frontend {
    pki: Pki,
    config: PathBuf,
    root: PathBuf,
    names: &'static [&'static [&'static str]],
    pairs: Vec<(String, String)>,
}

impl Frontend {
    /// Issues them, one for each of these groups of names in [`DOMAIN`], and has the librarian write them.
    pub fn start(folder: &Path, names: &'static [&'static [&'static str]]) -> Result<Self> {
        let pki = Pki::new(folder, "frontend")?;
        let mut frontend = Self {
            pki,
            config: folder.join("librarian.json"),
            root: folder.join("certificates"),
            names,
            pairs: Vec::new(),
        };
        frontend.rotate()?;
        Ok(frontend)
    }

    /// Issues them anew, for the same names, and has the librarian write them.
    pub fn rotate(&mut self) -> Result<()> {
        let pairs = self.names.iter().map(|names| self.issue(names));
        self.pairs = pairs.collect::<Result<_>>()?;
        let config = json!({ "IstioCertRootPath": self.root, "TLSPems": self.pems() });
        fs::write(&self.config, config.to_string())?;
        let mut librarian = Command::new(PROGRAM);
        librarian.args(["librarian", "--config"]).arg(&self.config);
        let output = librarian.output().context("running the librarian")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the librarian: {said}");
        Ok(())
    }

    fn issue(&self, hosts: &[&str]) -> Result<(String, String)> {
        let names = hosts.iter().map(|host| match *host {
            "" => DOMAIN.to_owned(),
            host => format!("{host}.{DOMAIN}"),
        });
        let names: Vec<_> = names.collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let identity = self.pki.issue("issued", &names)?;
        Ok((
            fs::read_to_string(&identity.cert)?,
            fs::read_to_string(&identity.key)?,
        ))
    }

    /// The certificate of [`OWN`], as a server presents it.
    pub fn own(&self) -> Result<Bytes> {
        certificate(&self.pairs[0])
    }

    /// The certificate of all other hosts.
    pub fn wildcard(&self) -> Result<Bytes> {
        certificate(&self.pairs[1])
    }

    /// The value of `TLSPems`.
    pub fn pems(&self) -> Value {
        let pair =
            |(chain, key): &(String, String)| json!({ "CertChain": chain, "PrivateKey": key });
        self.pairs.iter().map(pair).collect()
    }

    /// The value of `IstioCertRootPath`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Who signed them.
    pub fn ca(&self) -> &Path {
        self.pki.ca()
    }
}

fn certificate((chain, _): &(String, String)) -> Result<Bytes> {
    let certificate = CertificateDer::from_pem_slice(chain.as_bytes())?;
    Ok(Bytes::copy_from_slice(&certificate))
}
