//! Which clients a server is for, by the names of their certificates.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use super::subject_alt_names;

/// The clients of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// The CAs of which one must have signed a client's certificate.
    pub ca: PathBuf,
    /// The subject alternative names of which it must have one; any will do if `None`.
    pub names: Option<BTreeSet<String>>,
}

/// A certificate of the right CA, and of somebody who is not served.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.reason())]
pub struct NotAllowed {
    names: Vec<String>,
}

impl NotAllowed {
    /// What the verifier has said, where an error comes from it.
    pub(super) fn cause(error: &rustls::Error) -> Option<&Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
                other.downcast_ref()
            }
            _ => None,
        }
    }

    fn reason(&self) -> String {
        if self.names.is_empty() {
            return "the certificate has no subject alternative name".to_owned();
        }
        format!("none of these names is allowed: {}", self.names.join(", "))
    }
}

/// Verifies that a certificate is good, then that it has one of the allowed names.
///
/// As a part of the handshake: whoever is refused is told so by an alert, has no session to resume, and never gets to
/// hold anything that those who are served need.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) allowed: BTreeSet<String>,
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .verifier
            .verify_client_cert(end_entity, intermediates, now)?;
        let names = subject_alt_names(end_entity).unwrap_or_default();
        if names.iter().any(|name| self.allowed.contains(name)) {
            return Ok(verified);
        }
        let refused = OtherError(Arc::new(NotAllowed { names }));
        Err(CertificateError::Other(refused).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
