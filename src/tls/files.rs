//! PEM files as they were read at one moment, and what a server makes of them.

use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::WebPkiClientVerifier,
};
use tracing::warn;

use super::{Clients, Clock, Error, Identity, PemError, names::Named, pair_error, provider};

/// Twenty times the bundle of all public CAs. What is larger is no PEM file, and would only fill the memory.
const MAX_BYTES: u64 = 4 << 20;

/// What a PEM file held when it was read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pem {
    path: PathBuf,
    text: Vec<u8>,
}

// The text may be a private key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Pem {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let read = || {
            let mut text = Vec::new();
            File::open(path)?
                .take(MAX_BYTES + 1)
                .read_to_end(&mut text)?;
            if text.len() as u64 > MAX_BYTES {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Ok(text)
        };
        let path = path.to_owned();
        match read() {
            Ok(text) => Ok(Self { path, text }),
            Err(error) => Err(Error::Read {
                path,
                source: PemError::Io(error),
            }),
        }
    }

    /// What the config has under a key.
    pub(super) fn of(key: &str, text: &str) -> Self {
        Self {
            path: key.into(),
            text: text.into(),
        }
    }

    pub(super) fn holds_none(&self) -> Error {
        Error::NoCertificate(self.path.clone())
    }

    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let certificates = CertificateDer::pem_slice_iter(&self.text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| self.unreadable(source))?;
        if certificates.is_empty() {
            return Err(self.holds_none());
        }
        Ok(certificates)
    }

    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|source| self.unreadable(source))
    }

    /// Every certificate of the file as an authority: there are two while one takes the other's place.
    ///
    /// Those that cannot be one are passed over, as Go does: the others are still trusted.
    pub(super) fn roots(&self) -> Result<RootCertStore, Error> {
        let (roots, unusable) = roots(self.certificates()?);
        let count = unusable.len();
        match unusable.into_iter().next() {
            Some(source) if roots.is_empty() => {
                return Err(Error::BadCa {
                    path: self.path.clone(),
                    source,
                });
            }
            Some(_) => {
                let file = self.path.display();
                warn!(%file, count, "certificates that cannot be a CA are passed over");
            }
            None => {}
        }
        Ok(roots)
    }

    fn unreadable(&self, source: pem::Error) -> Error {
        Error::Read {
            path: self.path.clone(),
            source: source.into(),
        }
    }
}

/// Those of the certificates that can be an authority's, and what is wrong with the others.
pub(super) fn roots(
    certificates: Vec<CertificateDer<'static>>,
) -> (RootCertStore, Vec<rustls::Error>) {
    let mut roots = RootCertStore::empty();
    let certificates = certificates.into_iter();
    let unusable = certificates.filter_map(|certificate| roots.add(certificate).err());
    let unusable = unusable.collect();
    (roots, unusable)
}

/// The files of a server, as they were at one moment. Equal ones make equal servers.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerFiles {
    cert: Pem,
    key: Pem,
    client_ca: Option<Pem>,
    allowed: Option<BTreeSet<String>>,
}

impl ServerFiles {
    /// Reads what `identity` names and, for a server that demands client certificates, the CAs of its `clients`.
    ///
    /// # Errors
    /// A file is unreadable.
    pub fn read(identity: &Identity, clients: Option<&Clients>) -> Result<Self, Error> {
        Ok(Self {
            cert: Pem::read(&identity.cert)?,
            key: Pem::read(&identity.key)?,
            client_ca: clients.map(|clients| Pem::read(&clients.ca)).transpose()?,
            allowed: clients.and_then(|clients| clients.names.clone()),
        })
    }

    /// A server that speaks `protocol`, by its ALPN name.
    ///
    /// TLS 1.2 stays on: Pilots built with Go 1.12 and older speak nothing newer. The config has a store of sessions
    /// of its own, so nobody resumes one that another config began, perhaps with a CA that is trusted no longer.
    ///
    /// # Errors
    /// A file is not what it should be, or the key does not match the certificate.
    pub fn config(&self, protocol: &[u8]) -> Result<ServerConfig, Error> {
        let builder = ServerConfig::builder_with_details(provider(), Arc::new(Clock))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions");
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let roots = Arc::new(ca.roots()?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .build()
                    .map_err(|source| Error::Verifier {
                        path: ca.path.clone(),
                        source,
                    })?;
                builder.with_client_cert_verifier(match self.allowed.clone() {
                    None => verifier,
                    Some(allowed) => Arc::new(Named { verifier, allowed }),
                })
            }
        };
        let identity = Identity {
            cert: self.cert.path.clone(),
            key: self.key.path.clone(),
        };
        let mut config = builder
            .with_single_cert(self.cert.certificates()?, self.key.key()?)
            .map_err(|source| pair_error(&identity, source))?;
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(config)
    }
}
