//! What Diego gives each instance: certificates of the instance identity CA (executor, `credmanager.go`).

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, DnType};

use super::pki::{Error, Pki, write};
use crate::{
    model::{AppGuid, InstanceGuid},
    tls::Identity,
};

/// The authority of the instances' certificates.
pub struct InstanceIdentities {
    folder: PathBuf,
    authority: Pki,
    /// How many there were before.
    former: u32,
    trusted: PathBuf,
}

impl InstanceIdentities {
    /// A new authority that writes PEM files into `folder`.
    pub fn new(folder: &Path) -> Result<Self, Error> {
        let authority = authority(folder, 0)?;
        let trusted = folder.join("instance-identity-trusted.crt");
        let identities = Self {
            folder: folder.to_owned(),
            authority,
            former: 0,
            trusted,
        };
        identities.trust_present_alone()?;
        Ok(identities)
    }

    /// The authorities that whoever connects to instances is to trust, in one file.
    pub fn trusted(&self) -> &Path {
        &self.trusted
    }

    /// What the container's proxy presents to everyone: its DNS name is the instance's guid.
    pub fn issue(
        &self,
        instance: &InstanceGuid,
        container: IpAddr,
        app: &AppGuid,
    ) -> Result<Identity, Error> {
        self.sign(instance, app, &[&container.to_string()], "")
    }

    /// What it presents to other apps: the internal hostnames that lead to it are among its names.
    pub fn issue_for_apps(
        &self,
        instance: &InstanceGuid,
        hostnames: &[&str],
        app: &AppGuid,
    ) -> Result<Identity, Error> {
        self.sign(instance, app, hostnames, "-for-apps")
    }

    fn sign(
        &self,
        instance: &InstanceGuid,
        app: &AppGuid,
        names: &[&str],
        file: &str,
    ) -> Result<Identity, Error> {
        let guid = instance.to_string();
        let names = [guid.as_str()].into_iter().chain(names.iter().copied());
        let names: Vec<_> = names.map(str::to_owned).collect();
        let mut params = CertificateParams::new(names)?;
        let subject = &mut params.distinguished_name;
        subject.push(DnType::CommonName, guid.as_str());
        subject.push(DnType::OrganizationalUnitName, format!("app:{app}"));
        self.authority.sign(&format!("{guid}{file}"), params)
    }

    /// Another authority signs from now on. The former ones are trusted beside it until [`Self::trust_present_alone`].
    pub fn rotate(&mut self) -> Result<(), Error> {
        self.former += 1;
        self.authority = authority(&self.folder, self.former)?;
        let both = read(&self.trusted)? + &read(self.authority.ca())?;
        write(&self.trusted, &both)
    }

    /// What former authorities have signed is trusted no longer.
    pub fn trust_present_alone(&self) -> Result<(), Error> {
        write(&self.trusted, &read(self.authority.ca())?)
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn authority(folder: &Path, former: u32) -> Result<Pki, Error> {
    Pki::new(folder, &format!("instance-identity-{former}"))
}
