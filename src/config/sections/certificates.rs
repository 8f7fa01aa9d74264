//! The router's certificates: the daemon serves their names, the librarian writes them.

use super::tls::at_fault;
use crate::{
    config::reader::Section,
    feed,
    istio::{CertificateRoot, FrontendCertificate, validate::Invalid},
    secret::Secret,
    tls::{self, Place},
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

/// Who may read what the librarian writes; of no use to the daemon, whose file may be the librarian's.
pub(crate) const GROUP: &str = "IstioCertGroup";

/// Where the router has its certificates.
pub(crate) fn root(root: &mut Section<'_>) -> CertificateRoot {
    root.parsed("IstioCertRootPath").unwrap_or_default()
}

/// The router's certificates with their keys; and those that cannot be used, by their keys in the file.
pub(crate) fn keypairs(root: &mut Section<'_>) -> (Vec<Keypair>, Vec<(String, Invalid)>) {
    let (mut usable, mut left_out) = (Vec::new(), Vec::new());
    for (index, pair) in root.list("TLSPems").into_iter().enumerate() {
        let mut pair = root.element("TLSPems", index, pair);
        match keypair(&mut pair) {
            Ok(keypair) => {
                pair.certificates("CertChain", Place::Config(keypair.chain.clone()));
                usable.push(keypair);
            }
            Err((key, detail)) => left_out.push((
                pair.key(key),
                Invalid {
                    rule: "certificate",
                    detail,
                },
            )),
        }
        pair.end();
    }
    (usable, left_out)
}

fn keypair(pair: &mut Section<'_>) -> Result<Keypair, (&'static str, String)> {
    let [chain, key] = ["CertChain", "PrivateKey"]
        .map(|key| pair.string(key).ok_or((key, "is required".to_owned())));
    let (chain, key) = (chain?, Secret::from(key?));
    let names = tls::dns_names(chain.as_bytes(), key.expose().as_bytes()).map_err(|error| {
        let key = at_fault(&error, ("CertChain", "PrivateKey"));
        (key, feed::chain(&error))
    })?;
    if names.is_empty() {
        let what = "the certificate has no DNS name among its subject alternative names";
        return Err(("CertChain", what.to_owned()));
    }
    Ok(Keypair {
        certificate: FrontendCertificate { names },
        chain,
        key,
    })
}
