//! What the librarian needs of a config file: its own small one or the daemon's.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    file::{self, Error},
    reader::{Findings, Problem, Section},
    sections::{
        certificates::{self, Keypair},
        instance_tls::{self, BackendPems},
    },
};
use crate::{
    istio::{BackendTls, CertificateRoot},
    tls,
};

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
    /// The certificates among all that.
    pub certificates: Vec<tls::Certificates>,
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
        let (object, twice) = file::read(path)?;
        let read = if twice.is_empty() {
            Self::parse(object)
        } else {
            Err(twice)
        };
        read.map_err(|problems| Error::Invalid {
            path: path.to_owned(),
            problems,
        })
    }

    fn parse(object: Map<String, Value>) -> Result<Self, Vec<Problem>> {
        let mut findings = Findings::default();
        let mut section = Section::new("", object, &mut findings);
        let root = certificates::root(&mut section);
        let group = section.string(certificates::GROUP);
        if !section.is_good() {
            return Err(findings.problems);
        }
        let backend = instance_tls::backend(&mut section);
        let backend = backend.and_then(|(tls, pems)| Some((tls, pems?)));
        let (keypairs, left_out) = certificates::keypairs(&mut section);
        let left_out = left_out.into_iter().map(|(key, invalid)| Problem {
            key,
            what: invalid.detail,
        });
        Ok(Self {
            root,
            group,
            keypairs,
            backend,
            certificates: findings.certificates,
            problems: findings.problems.into_iter().chain(left_out).collect(),
        })
    }
}
