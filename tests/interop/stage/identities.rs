//! Who instances and routers are to each other: Diego's instance identity, and the certificates of routers.

use std::{net::IpAddr, path::Path};

use anyhow::Result;
use copilot::{sim::pki::Pki, tls::Identity};
use tempfile::TempDir;

use crate::instances::Credentials;

/// The name in a router's client certificate.
const ROUTER: &str = "gorouter.service.cf.internal";

/// Both authorities, and what they have signed.
pub(super) struct Identities {
    instances: Pki,
    routers: Pki,
    router: Identity,
    _folder: TempDir,
}

impl Identities {
    pub(super) fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let routers = Pki::new(folder.path(), "router")?;
        Ok(Self {
            instances: Pki::new(folder.path(), "instance-identity")?,
            router: routers.issue("router", &[ROUTER])?,
            routers,
            _folder: folder,
        })
    }

    /// The CA of instance identities.
    pub(super) fn ca(&self) -> &Path {
        self.instances.ca()
    }

    /// What a router shows to instances.
    pub(super) fn router(&self) -> &Identity {
        &self.router
    }

    /// New credentials of an instance: the names are its guid and its container's address (executor, `credmanager`).
    pub(super) fn issue(&self, guid: &str, container: IpAddr) -> Result<Credentials> {
        Ok(Credentials {
            identity: self
                .instances
                .issue(guid, &[guid, &container.to_string()])?,
            client_ca: self.routers.ca().to_owned(),
            client_names: vec![ROUTER.to_owned()],
        })
    }
}
