//! Certificates for simulated peers.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::tls::Identity;

/// A certificate authority that writes PEM files into a folder.
pub struct Pki {
    folder: PathBuf,
    ca: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The parameters make no certificate.
    #[error("issuing a certificate")]
    Issue(#[from] rcgen::Error),
    /// A file cannot be read.
    #[error("reading {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("writing {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Pki {
    /// A new authority; its certificate is `NAME-ca.crt` in `folder`.
    pub fn new(folder: &Path, name: &str) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("{name} CA"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let ca = folder.join(format!("{name}-ca.crt"));
        write(&ca, &issuer.pem())?;
        Ok(Self {
            folder: folder.to_owned(),
            ca,
            issuer,
        })
    }

    /// The authority's certificate.
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// Issues a certificate for servers and clients with the given subject alternative names (DNS names and IP
    /// addresses): `NAME.crt` and `NAME.key`.
    pub fn issue(&self, name: &str, subject_alt_names: &[&str]) -> Result<Identity, Error> {
        self.sign(name, params(name, subject_alt_names)?)
    }

    /// The same, of a time that is over.
    pub fn issue_ended(&self, name: &str, subject_alt_names: &[&str]) -> Result<Identity, Error> {
        let mut params = params(name, subject_alt_names)?;
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.sign(name, params)
    }

    /// The same, of a time that ends then.
    pub fn issue_until(
        &self,
        name: &str,
        subject_alt_names: &[&str],
        end: SystemTime,
    ) -> Result<Identity, Error> {
        let mut params = params(name, subject_alt_names)?;
        params.not_after = end.into();
        self.sign(name, params)
    }

    /// Signs what a certificate is to say: `FILE.crt` and `FILE.key`.
    pub(super) fn sign(
        &self,
        file: &str,
        mut params: CertificateParams,
    ) -> Result<Identity, Error> {
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let identity = Identity {
            cert: self.folder.join(format!("{file}.crt")),
            key: self.folder.join(format!("{file}.key")),
        };
        write(&identity.cert, &certificate.pem())?;
        write(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }
}

fn params(name: &str, subject_alt_names: &[&str]) -> Result<CertificateParams, Error> {
    let names = subject_alt_names.iter().map(|name| (*name).to_owned());
    let mut params = CertificateParams::new(names.collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}
