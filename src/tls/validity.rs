//! When certificates end.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use rustls::pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, time::ASN1Time};

use super::{Error, files::Pem, subject_alt_names};

/// A certificate of a file, and when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// Its subject, or its first name if that is empty.
    pub subject: String,
    /// From when on it is valid.
    pub begins: SystemTime,
    /// Until when.
    pub ends: SystemTime,
}

/// The certificates of a file, in its order.
///
/// # Errors
/// The file cannot be read, or one of them is none.
pub fn validities(path: &Path) -> Result<Vec<Validity>, Error> {
    let certificates = Pem::read(path)?.certificates()?;
    let validity = |der: &CertificateDer<'_>| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let at = |time: &ASN1Time| {
            let seconds = time.timestamp().try_into().unwrap_or_default();
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        let subject = certificate.subject().to_string();
        let names = subject_alt_names(der).unwrap_or_default();
        Some(Validity {
            subject: if subject.is_empty() {
                names.into_iter().next().unwrap_or_default()
            } else {
                subject
            },
            begins: at(&certificate.validity().not_before),
            ends: at(&certificate.validity().not_after),
        })
    };
    let validities: Option<Vec<_>> = certificates.iter().map(validity).collect();
    validities.ok_or_else(|| Error::NoCertificate(path.to_owned()))
}
