//! TLS to instances: the paths that proxies are told, and for the librarian what belongs there.

use std::str::FromStr;

use super::tls::at_fault;
use crate::{
    config::reader::Section,
    feed,
    istio::{BackendTls, InternalTls, ProxyIdentity, ProxyPath},
    secret::Secret,
    tls::{self, Place},
};

const CERT: [&str; 2] = ["ClientCertPath", "ClientCert"];
const KEY: [&str; 2] = ["ClientKeyPath", "ClientKey"];
const CA: [&str; 2] = ["CACertPath", "CACert"];

/// `BackendTLS.Mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Proxies present a certificate.
    Mutual,
    /// They present none.
    Simple,
}

#[derive(Debug, thiserror::Error)]
#[error("expected mutual or simple")]
struct NoMode;

impl FromStr for Mode {
    type Err = NoMode;

    fn from_str(text: &str) -> Result<Self, NoMode> {
        match text {
            "mutual" => Ok(Self::Mutual),
            "simple" => Ok(Self::Simple),
            _ => Err(NoMode),
        }
    }
}

/// What belongs at the paths of `BackendTLS`, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendPems {
    /// The certificate chain, leaf first, and the private key, which is known to be its own.
    pub pair: Option<(String, Secret)>,
    /// The CAs.
    pub ca: String,
}

/// TLS to the instances of external routes, where it is set; with what the librarian writes, where that is there too.
pub(crate) fn backend(root: &mut Section<'_>) -> Option<(BackendTls, Option<BackendPems>)> {
    let object = root.object("BackendTLS")?;
    let mut section = root.section("BackendTLS", object);
    let mode = section.required("Mode", Section::parsed);
    if mode == Some(Mode::Simple) {
        for key in [CERT, KEY].into_iter().flatten() {
            if section.has(key) {
                section.problem(
                    key,
                    "is for Mode mutual: with simple, proxies present no certificate",
                );
            }
            section.skip(&[key]);
        }
    }
    let path = |section: &mut Section<'_>, key: &str| match mode {
        Some(Mode::Mutual) => section.required(key, Section::parsed::<ProxyPath>),
        _ => section.parsed(key),
    };
    let (chain, key) = (path(&mut section, CERT[0]), path(&mut section, KEY[0]));
    // Whatever is verified, it is of a certificate that a CA has signed.
    let ca = section.required(CA[0], Section::parsed);
    let verify = section.parsed("Verify");
    let pems = pems(&mut section, mode);
    section.end();
    let identity = match mode? {
        Mode::Mutual => Some(ProxyIdentity {
            chain: chain?,
            key: key?,
        }),
        Mode::Simple => None,
    };
    let tls = BackendTls {
        identity,
        ca: ca?,
        verify: verify.unwrap_or_default(),
    };
    Some((tls, pems))
}

/// All of the texts that the mode has paths for, or none.
fn pems(section: &mut Section<'_>, mode: Option<Mode>) -> Option<BackendPems> {
    let texts = [CERT[1], KEY[1], CA[1]];
    if !texts.iter().any(|key| section.has(key)) {
        section.skip(&texts);
        return None;
    }
    let ca = section.required(CA[1], Section::string);
    let ca = ca.filter(|ca| match tls::check_ca_pem(ca.as_bytes()) {
        Ok(()) => true,
        Err(error) => {
            section.problem(CA[1], feed::chain(&error));
            false
        }
    });
    let pair = match mode {
        Some(Mode::Simple) => None,
        _ => Some(pair(section)?),
    };
    let ca = ca?;
    section.certificates(CA[1], Place::Config(ca.clone()));
    Some(BackendPems { pair, ca })
}

fn pair(section: &mut Section<'_>) -> Option<(String, Secret)> {
    let chain = section.required(CERT[1], Section::string);
    let key = section.required(KEY[1], Section::string).map(Secret::from);
    let (chain, key) = (chain?, key?);
    if let Err(error) = tls::dns_names(chain.as_bytes(), key.expose().as_bytes()) {
        let names = (CERT[1], KEY[1]);
        section.problem(at_fault(&error, names), feed::chain(&error));
        return None;
    }
    section.certificates(CERT[1], Place::Config(chain.clone()));
    Some((chain, key))
}

/// TLS to the instances of internal routes, where it is set.
pub(crate) fn internal(root: &mut Section<'_>) -> Option<InternalTls> {
    let object = root.object("InternalTLS")?;
    let mut section = root.section("InternalTLS", object);
    let ca = section.required(CA[0], Section::parsed);
    section.end();
    Some(InternalTls { ca: ca? })
}
