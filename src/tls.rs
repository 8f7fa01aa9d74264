//! TLS from PEM files: server and client configurations, and a listener that shakes hands off the accept path.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tracing::{debug, warn};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

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

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it connected from.
    pub address: SocketAddr,
    /// The subject alternative names of every certificate it presented; verified with the handshake.
    pub names: Arc<[String]>,
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How long a peer may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many handshakes run at once: one costs about a millisecond of CPU, and more than this only queue for it.
const HANDSHAKES: usize = 128;

/// Accepts connections until `shutdown`, and sends those whose handshake succeeds to `accepted`.
///
/// A peer that is slow, silent or speaks no TLS holds up nobody else and ends after ten seconds.
pub async fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    accepted: mpsc::Sender<io::Result<Connection>>,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(config);
    let permits = Arc::new(Semaphore::new(HANDSHAKES));
    let mut handshakes = JoinSet::new();
    loop {
        let permit = permits
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let (stream, address) = tokio::select! {
            () = shutdown.cancelled() => return,
            connection = listener.accept() => match connection {
                Ok(connection) => connection,
                Err(error) => {
                    // Out of file descriptors, most likely: trying at once again would only spin.
                    warn!(%error, "accepting a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        while handshakes.try_join_next().is_some() {}
        let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
        handshakes.spawn(async move {
            match tokio::time::timeout(HANDSHAKE, shake_hands(&acceptor, stream, address)).await {
                Ok(Ok(connection)) => {
                    drop(permit);
                    // A closed receiver means that the server is shutting down.
                    if accepted.send(Ok(connection)).await.is_err() {
                        debug!(%address, "connection refused: shutting down");
                    }
                }
                Ok(Err(error)) => warn!(%address, %error, "TLS handshake failed"),
                Err(_) => warn!(%address, "TLS handshake timed out"),
            }
        });
    }
}

async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let names = certificates
        .iter()
        .flat_map(|certificate| subject_alt_names(certificate).unwrap_or_default())
        .collect();
    Ok(Connection {
        stream,
        peer: Peer { address, names },
    })
}
