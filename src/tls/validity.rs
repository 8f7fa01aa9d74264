//! When certificates end.

use std::{
    collections::HashSet,
    fmt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use rustls::pki_types::CertificateDer;
use serde::Serialize;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, time::ASN1Time};

use super::{Error, files::Pem, subject_alt_names};

/// What is left of a certificate that is to be replaced soon.
const SOON: Duration = Duration::from_hours(30 * 24);

/// Certificates that a config has or names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The key in the config.
    pub key: String,
    /// Whether they are authorities, of which one may end while another takes its place.
    pub are_authorities: bool,
    /// Where they are.
    pub place: Place,
}

/// Where certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// In the config itself, in PEM.
    Config(String),
}

/// A certificate, and when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// Its subject, or its first name if that is empty.
    pub subject: String,
    /// From when on it is valid.
    pub begins: SystemTime,
    /// Until when.
    pub ends: SystemTime,
    /// How it fares.
    pub standing: Standing,
    /// Whether another authority has taken its place.
    pub is_replaced: bool,
}

/// How a certificate fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is valid for a month and more.
    Good,
    /// It is to be replaced.
    EndsSoon,
    /// It is valid no more.
    Ended,
    /// It is not valid yet.
    NotYet,
}

impl Standing {
    fn of(begins: SystemTime, ends: SystemTime, now: SystemTime) -> Self {
        if now < begins {
            return Self::NotYet;
        }
        match ends.duration_since(now) {
            Err(_) => Self::Ended,
            Ok(left) if left < SOON => Self::EndsSoon,
            Ok(_) => Self::Good,
        }
    }
}

/// A certificate that somebody has to look at.
#[derive(Debug)]
pub struct Expiry<'a> {
    /// The key that has or names it.
    pub key: &'a str,
    /// The certificate.
    pub certificate: Validity,
}

impl fmt::Display for Expiry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (when, at) = match self.certificate.standing {
            Standing::Ended => ("ended", self.certificate.ends),
            Standing::NotYet => ("is not valid before", self.certificate.begins),
            Standing::Good | Standing::EndsSoon => ("ends", self.certificate.ends),
        };
        let (key, subject) = (self.key, self.certificate.subject.escape_debug());
        let at = humantime::format_rfc3339_seconds(at);
        write!(f, "{key}: certificate {subject} {when} {at}")
    }
}

impl Certificates {
    /// Reads them as they are now, in their order.
    ///
    /// # Errors
    /// A file cannot be read, or one of them is no certificate.
    pub fn read(&self) -> Result<Vec<Validity>, Error> {
        let pem = match &self.place {
            Place::File(path) => Pem::read(path)?,
            Place::Config(text) => Pem::of(&self.key, text),
        };
        let now = SystemTime::now();
        let certificates = pem.certificates()?;
        let validities = certificates.iter().map(|der| validity(der, now));
        let validities: Option<Vec<_>> = validities.collect();
        let mut validities = validities.ok_or_else(|| pem.holds_none())?;
        if self.are_authorities {
            let good = validities
                .iter()
                .filter(|one| one.standing == Standing::Good);
            let good: HashSet<_> = good.map(|one| one.subject.clone()).collect();
            for one in &mut validities {
                one.is_replaced = one.standing != Standing::Good && good.contains(&one.subject);
            }
        }
        Ok(validities)
    }
}

/// Those of the certificates that have ended, end soon, or are not valid yet. What cannot be read says so elsewhere.
pub fn expiries(certificates: &[Certificates]) -> impl Iterator<Item = Expiry<'_>> {
    certificates.iter().flat_map(|source| {
        let read = source.read().unwrap_or_default().into_iter();
        let worries = read.filter(|one| one.standing != Standing::Good && !one.is_replaced);
        worries.map(|certificate| Expiry {
            key: &source.key,
            certificate,
        })
    })
}

fn validity(der: &CertificateDer<'_>, now: SystemTime) -> Option<Validity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let at = |time: &ASN1Time| {
        let seconds = time.timestamp().try_into().unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    let subject = certificate.subject().to_string();
    let names = subject_alt_names(der).unwrap_or_default();
    let begins = at(&certificate.validity().not_before);
    let ends = at(&certificate.validity().not_after);
    Some(Validity {
        subject: if subject.is_empty() {
            names.into_iter().next().unwrap_or_default()
        } else {
            subject
        },
        standing: Standing::of(begins, ends, now),
        begins,
        ends,
        is_replaced: false,
    })
}
