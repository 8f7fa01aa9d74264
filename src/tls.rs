//! TLS from PEM files: server and client configurations, and a listener that shakes hands off the accept path.

mod accept;
mod again;
mod files;
mod names;
mod pem;
mod public_key;
mod validity;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls::{
    AlertDescription, ClientConfig, InconsistentKeys,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    sign::CertifiedKey,
    time_provider::TimeProvider,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

pub use self::again::{read_again, to_be_read_again};
use self::files::Pem;
pub use self::{
    accept::{
        Connection, FailedHandshake, Handshake, HandshakeError, Peer, accept, accept_plaintext,
    },
    files::ServerFiles,
    names::{Clients, NotAllowed},
    pem::PemError,
    validity::{Certificates, Expiry, Place, Standing, Validity, expiries},
};

/// What is wrong with TLS material; each names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read, or holds no well-formed PEM.
    #[error("reading {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
    /// The file holds PEM, but no certificate.
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// None of the certificates can be used as a CA's.
    #[error("{} holds no certificate that can be a CA", .path.display())]
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
    /// The private key is broken, or one that nothing is signed with here.
    #[error("the private key in {} cannot be used: {SUPPORTED}", .0.display())]
    Key(PathBuf),
}

/// What we sign with.
const SUPPORTED: &str =
    "supported are RSA of 2048 to 4096 bits, ECDSA on P-256 and P-384, and Ed25519, unencrypted";

/// A certificate chain and its private key, as paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// The ALPN name of HTTP/2, which gRPC speaks.
pub const HTTP_2: &[u8] = b"h2";
#[cfg(feature = "sim")]
const HTTP_1_1: &[u8] = b"http/1.1";

/// A server of HTTP/2 that presents `identity` and demands a client certificate signed by one of the CAs in
/// `client_ca`.
///
/// # Errors
/// A file is unreadable, or the key does not match the certificate.
#[cfg(feature = "sim")]
pub fn mutual_server(identity: &Identity, client_ca: &Path) -> Result<rustls::ServerConfig, Error> {
    let clients = Clients {
        ca: client_ca.to_owned(),
        names: None,
    };
    ServerFiles::read(identity, Some(&clients))?.config(HTTP_2)
}

/// A server that presents `identity` over HTTP/1.1 and asks for no client certificate.
///
/// # Errors
/// A file is unreadable, or the key does not match the certificate.
#[cfg(feature = "sim")]
pub fn server(identity: &Identity) -> Result<rustls::ServerConfig, Error> {
    ServerFiles::read(identity, None)?.config(HTTP_1_1)
}

/// A client that trusts the CAs in `ca` and presents `identity`, if there is one.
///
/// # Errors
/// A file is unreadable, or the key does not match the certificate.
pub fn client(ca: &Path, identity: Option<&Identity>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Clock))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_root_certificates(Pem::read(ca)?.roots()?);
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
    Pem::read(path)?.roots().map(drop)
}

/// Whether a text holds certificates of authorities.
///
/// # Errors
/// What is wrong with it.
pub fn check_ca_pem(text: &[u8]) -> Result<(), CaError> {
    let certificates = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CaError::Pem(error.into()))?;
    let (roots, unusable) = files::roots(certificates);
    match unusable.into_iter().next() {
        _ if !roots.is_empty() => Ok(()),
        Some(error) => Err(CaError::Unusable(error)),
        None => Err(CaError::Empty),
    }
}

/// Why a text holds no certificate of an authority.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// It is not PEM.
    #[error("reading the CA's certificates")]
    Pem(#[source] PemError),
    /// There is none in it.
    #[error("no certificate in it")]
    Empty,
    /// None of them can be a CA's.
    #[error("no certificate in it can be a CA")]
    Unusable(#[source] rustls::Error),
}

/// Whether a file holds a certificate chain.
///
/// # Errors
/// What is wrong with it.
pub fn check_chain(path: &Path) -> Result<(), Error> {
    Pem::read(path)?.certificates().map(drop)
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

/// The system's, which may be wrong: a handshake fails where it says a time that no certificate has.
#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.ok().map(UnixTime::since_unix_epoch)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn pair_error(identity: &Identity, source: rustls::Error) -> Error {
    if is_unsupported(&source) {
        return Error::Key(identity.key.clone());
    }
    Error::Pair {
        cert: identity.cert.clone(),
        key: identity.key.clone(),
        source,
    }
}

/// Whether a key is none that anything is signed with here. What is wrong with it, the library does not say.
fn is_unsupported(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::General(_))
}

fn load(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let key = Pem::read(&identity.key)?.key()?;
    Ok((Pem::read(&identity.cert)?.certificates()?, key))
}

/// The subject alternative names of a certificate: DNS names, URIs and IP addresses, in the certificate's order.
///
/// The common name is not one of them.
///
/// # Errors
/// The bytes are not an X.509 certificate.
pub fn subject_alt_names(certificate: &[u8]) -> Result<Vec<String>, x509_parser::error::X509Error> {
    alt_names(certificate, name)
}

fn alt_names(
    certificate: &[u8],
    pick: impl Fn(&GeneralName<'_>) -> Option<String>,
) -> Result<Vec<String>, x509_parser::error::X509Error> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate)
        .map_err(|_| x509_parser::error::X509Error::InvalidCertificate)?;
    let Some(extension) = certificate.subject_alternative_name()? else {
        return Ok(Vec::new());
    };
    Ok(extension
        .value
        .general_names
        .iter()
        .filter_map(pick)
        .collect())
}

/// The DNS names of a certificate, after a check that the private key is its own. Both are PEM texts, for somebody else's
/// TLS: RSA of any size and ECDSA on any curve will do.
///
/// # Errors
/// One of the texts is not what it should be, or the key belongs to another certificate.
pub fn dns_names(chain: &[u8], key: &[u8]) -> Result<Vec<String>, PairError> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| PairError::Chain(error.into()))?;
    let leaf = chain.first().ok_or(PairError::Empty)?.clone();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| PairError::Key(error.into()))?;
    match CertifiedKey::from_der(chain, key.clone_key(), &provider()) {
        Err(error) if is_unsupported(&error) => match public_key::is_of(&key, &leaf) {
            Some(true) => {}
            Some(false) => return Err(PairError::Mismatch(InconsistentKeys::KeyMismatch.into())),
            None => return Err(PairError::Unknown),
        },
        certified => drop(certified.map_err(PairError::Mismatch)?),
    }
    Ok(alt_names(&leaf, |name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    })?)
}

/// What is wrong with a certificate and a key.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The chain is not PEM.
    #[error("reading the certificate chain")]
    Chain(#[source] PemError),
    /// The chain has no certificate.
    #[error("no certificate in the chain")]
    Empty,
    /// The key is not PEM.
    #[error("reading the private key")]
    Key(#[source] PemError),
    /// They do not belong together, or one of them is unusable.
    #[error("certificate and private key do not work together")]
    Mismatch(#[source] rustls::Error),
    /// Nothing can be said of the key.
    #[error(
        "the private key is broken, encrypted, or without its public key: it cannot be compared with the certificate's"
    )]
    Unknown,
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

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn pair(names: Vec<SanType>) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn only_dns_names_are_dns_names() {
        let (chain, key) = pair(vec![
            SanType::URI("urn:uuid:4".try_into().unwrap()),
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::DnsName("example.com".try_into().unwrap()),
        ]);
        let names = dns_names(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(names, ["example.com"]);
    }

    /// A certificate and its private key, made by OpenSSL: none of these keys can be made, or used, here.
    fn made_by_openssl(key: &str, name: &str) -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");
        fs::read_to_string(format!("{folder}/{key}.{name}")).unwrap()
    }

    #[test]
    fn a_key_for_somebody_elses_tls_may_be_of_any_size_and_curve() {
        let keys = [
            "rsa-8192.pkcs1",
            "rsa-8192.pkcs8",
            "p521.sec1",
            "p521.pkcs8",
        ];
        for key in keys {
            let (kind, form) = key.split_once('.').unwrap();
            let (chain, key) = (made_by_openssl(kind, "crt"), made_by_openssl(kind, form));
            let names = dns_names(chain.as_bytes(), key.as_bytes()).unwrap();
            assert_eq!(names, ["example.com"], "{kind} {form}");
        }
    }

    #[test]
    fn a_key_of_any_size_and_curve_belongs_to_its_own_certificate_alone() {
        for (chain, key) in [
            ("rsa-8192", "other-rsa-8192"),
            ("p521", "other-p521"),
            ("p521", "rsa-8192"),
        ] {
            let (chain, key) = (made_by_openssl(chain, "crt"), made_by_openssl(key, "pkcs8"));
            let error = dns_names(chain.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(matches!(error, PairError::Mismatch(_)), "{error:?}");
        }
    }

    #[test]
    fn a_key_of_our_own_that_cannot_sign_is_told_what_can() {
        let folder = tempfile::TempDir::new().unwrap();
        let identity = Identity {
            cert: folder.path().join("a.crt"),
            key: folder.path().join("a.key"),
        };
        for kind in ["rsa-8192", "p521"] {
            fs::write(&identity.cert, made_by_openssl(kind, "crt")).unwrap();
            fs::write(&identity.key, made_by_openssl(kind, "pkcs8")).unwrap();
            for error in [
                check_key(&identity).unwrap_err(),
                server(&identity).unwrap_err(),
            ] {
                assert!(
                    error.to_string().contains("RSA of 2048 to 4096 bits"),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn no_error_repeats_a_text_that_has_lost_its_line_breaks() {
        let folder = tempfile::TempDir::new().unwrap();
        let identity = Identity {
            cert: folder.path().join("a.crt"),
            key: folder.path().join("a.key"),
        };
        let (chain, key) = pair(Vec::new());
        for joint in [" ", "\\n"] {
            let flat = |text: &str| text.replace('\n', joint);
            for (chain, key) in [(flat(&chain), key.clone()), (chain.clone(), flat(&key))] {
                fs::write(&identity.cert, &chain).unwrap();
                fs::write(&identity.key, &key).unwrap();
                let texts = dns_names(chain.as_bytes(), key.as_bytes()).unwrap_err();
                let files = check_key(&identity).unwrap_err();
                let server = server(&identity).unwrap_err();
                for error in [&texts as &dyn std::error::Error, &files, &server] {
                    let causes = std::iter::successors(error.source(), |error| error.source());
                    let causes: String = causes.map(ToString::to_string).collect();
                    let said = format!("{error} {causes} {error:?}");
                    // What every such certificate or key begins with, and its bytes in decimal.
                    for content in ["MI", "77, 73"] {
                        assert!(!said.contains(content), "{said}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_certificate_that_cannot_be_a_ca_is_passed_over_unless_it_is_the_only_one() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("ca.crt");
        let broken = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        let (good, _) = pair(Vec::new());
        fs::write(&path, format!("{broken}{good}")).unwrap();
        check_ca(&path).unwrap();
        fs::write(&path, broken).unwrap();
        assert!(matches!(check_ca(&path), Err(Error::BadCa { .. })));
    }
}
