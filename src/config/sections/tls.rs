//! Files of certificates, keys and CAs.

use std::path::PathBuf;

use crate::{
    config::reader::Section,
    feed,
    tls::{self, Identity, PairError},
};

/// Which key of a pair's two an error is about.
pub(crate) fn at_fault<'k>(error: &PairError, (chain, key): (&'k str, &'k str)) -> &'k str {
    match error {
        PairError::Chain(_) | PairError::Empty | PairError::Names(_) => chain,
        PairError::Key(_) | PairError::Mismatch(_) | PairError::Unknown => key,
    }
}

pub(crate) fn ca(section: &mut Section<'_>, key: &str) -> Option<PathBuf> {
    let path = section.required(key, Section::path)?;
    usable(section, tls::check_ca(&path), key)?;
    Some(path)
}

pub(crate) fn identity(
    section: &mut Section<'_>,
    cert_key: &str,
    key_key: &str,
) -> Option<Identity> {
    let cert = section.required(cert_key, Section::path);
    let key = section.required(key_key, Section::path);
    let identity = Identity {
        cert: cert?,
        key: key?,
    };
    usable(section, tls::check_chain(&identity.cert), cert_key)?;
    usable(section, tls::check_key(&identity), key_key)?;
    Some(identity)
}

/// Files are read again when they are used; here, so that a bad one is named with its key.
fn usable(section: &mut Section<'_>, checked: Result<(), tls::Error>, key: &str) -> Option<()> {
    checked
        .map_err(|error| section.problem(key, feed::chain(&error)))
        .ok()
}
