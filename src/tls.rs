//! TLS from PEM files: server and client configurations, and a listener that shakes hands off the accept path.

mod accept;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    AlertDescription, ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

pub use self::accept::{Connection, FailedHandshake, Handshake, HandshakeError, Peer, accept};

/// What is wrong with TLS material; each names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read, or holds no well-formed PEM.
    #[error("reading {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The file holds PEM, but no certificate.
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// A CA certificate cannot be used.
    #[error("{} holds a certificate that cannot be a CA", .path.display())]
    BadCa {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The client CAs cannot be used for verification.
    #[error("{} cannot verify clients", .path.display())]
    Verifier {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::server::VerifierBuilderError,
    },
    /// The private key does not belong to the certificate, or one of them is unusable.
    #[error("certificate {} and private key {} do not work together", .cert.display(), .key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// A certificate chain and its private key, as paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A server that presents `identity` and demands a client certificate signed by one of the CAs in `client_ca`.
///
/// TLS 1.2 stays on: Pilots built with Go 1.12 and older speak nothing newer.
///
/// # Errors
/// A file is unreadable, or the key does not match the certificate.
pub fn mutual_server(identity: &Identity, client_ca: &Path) -> Result<ServerConfig, Error> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(client_ca)?), provider())
            .build()
            .map_err(|source| Error::Verifier {
                path: client_ca.to_owned(),
                source,
            })?;
    let (chain, key) = load(identity)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|source| pair_error(identity, source))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A server that presents `identity` over HTTP/1.1 and asks for no client certificate.
///
/// # Errors
/// A file is unreadable, or the key does not match the certificate.
pub fn server(identity: &Identity) -> Result<ServerConfig, Error> {
    let (chain, key) = load(identity)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|source| pair_error(identity, source))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A client that trusts the CAs in `ca` and presents `identity`, if there is one.
///
/// # Errors
/// A file is unreadable, or the key does not match the certificate.
pub fn client(ca: &Path, identity: Option<&Identity>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_root_certificates(roots(ca)?);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some(identity) => {
            let (chain, key) = load(identity)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|source| pair_error(identity, source))
        }
    }
}

/// Whether a file holds certificates of authorities.
///
/// # Errors
/// What is wrong with it.
pub fn check_ca(path: &Path) -> Result<(), Error> {
    roots(path).map(drop)
}

/// Whether a file holds a certificate chain.
///
/// # Errors
/// What is wrong with it.
pub fn check_chain(path: &Path) -> Result<(), Error> {
    certificates(path).map(drop)
}

/// Whether a private key's file holds one, and it is that of the certificate, which is known to be good.
///
/// # Errors
/// What is wrong with it.
pub fn check_key(identity: &Identity) -> Result<(), Error> {
    let (chain, key) = load(identity)?;
    CertifiedKey::from_der(chain, key, &provider())
        .map_err(|source| pair_error(identity, source))?;
    Ok(())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn pair_error(identity: &Identity, source: rustls::Error) -> Error {
    Error::Pair {
        cert: identity.cert.clone(),
        key: identity.key.clone(),
        source,
    }
}

fn load(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(|source| Error::Read {
        path: identity.key.clone(),
        source,
    })?;
    Ok((certificates(&identity.cert)?, key))
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| Error::BadCa {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(read)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(read)?;
    if certificates.is_empty() {
        return Err(Error::NoCertificate(path.to_owned()));
    }
    Ok(certificates)
}

/// The subject alternative names of a certificate: DNS names, URIs and IP addresses, in the certificate's order.
///
/// The common name is not one of them.
///
/// # Errors
/// The bytes are not an X.509 certificate.
pub fn subject_alt_names(certificate: &[u8]) -> Result<Vec<String>, x509_parser::error::X509Error> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate)
        .map_err(|_| x509_parser::error::X509Error::InvalidCertificate)?;
    let Some(extension) = certificate.subject_alternative_name()? else {
        return Ok(Vec::new());
    };
    Ok(extension
        .value
        .general_names
        .iter()
        .filter_map(name)
        .collect())
}

/// The DNS names of a certificate, after a check that the private key is its own. Both are PEM texts.
///
/// # Errors
/// One of the texts is not what it should be, or the key belongs to another certificate.
pub fn dns_names(chain: &[u8], key: &[u8]) -> Result<Vec<String>, PairError> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(PairError::Chain)?;
    let leaf = chain.first().ok_or(PairError::Empty)?.clone();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(PairError::Key)?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(PairError::Mismatch)?;
    let is_dns = |name: &String| name.parse::<std::net::IpAddr>().is_err() && !name.contains("://");
    Ok(subject_alt_names(&leaf)?
        .into_iter()
        .filter(is_dns)
        .collect())
}

/// What is wrong with a certificate and a key.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The chain is not PEM.
    #[error("reading the certificate chain")]
    Chain(#[source] rustls::pki_types::pem::Error),
    /// The chain has no certificate.
    #[error("no certificate in the chain")]
    Empty,
    /// The key is not PEM.
    #[error("reading the private key")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// They do not belong together, or one of them is unusable.
    #[error("certificate and private key do not work together")]
    Mismatch(#[source] rustls::Error),
    /// The certificate has unreadable names.
    #[error("reading the certificate's names")]
    Names(#[from] x509_parser::error::X509Error),
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
            16 => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// The TLS error that `error` comes from, if it comes from one.
pub fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(error) = error.downcast_ref() {
        return Some(error);
    }
    // An I/O error hides what it wraps from its sources.
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match wrapped {
        Some(wrapped) => cause(wrapped),
        None => error.source().and_then(cause),
    }
}

/// Whether a peer says by `alert` that it does not accept our certificate, or has seen none.
pub fn refuses_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate
    )
}
