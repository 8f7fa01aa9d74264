//! What the librarian needs of a config file: its own small one or the daemon's.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    BackendPems, Error, instance_tls,
    reader::{Findings, Problem, Section},
    sections,
};
use crate::{
    istio::{BackendTls, CertificateRoot, FrontendCertificate},
    secret::Secret,
};

/// A certificate of the router and its private key, which is known to be its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keypair {
    /// The hosts that it serves.
    pub certificate: FrontendCertificate,
    /// The certificate chain in PEM, leaf first.
    pub chain: String,
    /// The private key in PEM.
    pub key: Secret,
}

/// What is to be written, and where.
#[derive(Debug)]
pub struct Librarian {
    /// Where the router has its certificates.
    pub root: CertificateRoot,
    /// The group that may read them; without one, only who writes them.
    pub group: Option<String>,
    /// The good ones of `TLSPems`.
    pub keypairs: Vec<Keypair>,
    /// What the proxies need to reach instances over TLS, and where they look for it.
    pub backend: Option<(BackendTls, BackendPems)>,
    /// What is wrong with the others.
    pub problems: Vec<Problem>,
}

impl Librarian {
    /// Reads a config file. Other keys than `IstioCertRootPath`, `IstioCertGroup`, `TLSPems` and `BackendTLS` are not looked
    /// at.
    ///
    /// # Errors
    /// The file cannot be read, or leaves open where to write. A bad pair is none: the others can be written.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse(super::read(path)?).map_err(|problems| Error::Invalid {
            path: path.to_owned(),
            problems,
        })
    }

    fn parse(object: Map<String, Value>) -> Result<Self, Vec<Problem>> {
        let mut findings = Findings::default();
        let mut section = Section::new("", object, &mut findings);
        let root = sections::certificate_root(&mut section);
        let group = section.string(sections::CERTIFICATE_GROUP);
        if !section.is_good() {
            return Err(findings.problems);
        }
        let backend = instance_tls::backend(&mut section);
        let backend = backend.and_then(|(tls, pems)| Some((tls, pems?)));
        let (keypairs, left_out) = sections::keypairs(&mut section);
        let left_out = left_out.into_iter().map(|(key, invalid)| Problem {
            key,
            what: invalid.detail,
        });
        Ok(Self {
            root,
            group,
            keypairs,
            backend,
            problems: findings.problems.into_iter().chain(left_out).collect(),
        })
    }
}
