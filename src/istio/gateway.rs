//! The ingress gateway.

use std::collections::BTreeSet;

use super::{
    CREATED_AT, Era, GATEWAY,
    certificate::{CHAIN_FILE, CertificateRoot, FrontendCertificate, KEY_FILE},
    validate::{Invalid, Validate as _, full_name},
};
use crate::{
    proto::istio::networking::v1alpha3::{
        Gateway, Port, Server, ServerTlsSettings, server_tls_settings::TlSmode,
    },
    snapshot::Encoded,
};

/// The gateway, and the names of certificates that it does not serve, each with the reason.
#[derive(Debug)]
pub struct Served {
    /// The resource.
    pub gateway: Encoded,
    /// The rest of the certificates' names.
    pub left_out: Vec<(String, Invalid)>,
}

/// The gateway: plain HTTP for every hostname, and HTTPS for those of each certificate, which are below `root`.
///
/// One name that Istio or Envoy refuses would take the whole gateway with it, so such names are left out. Two
/// certificates for one name are among them: Envoy refuses a listener that cannot tell which to present.
///
/// # Errors
/// Istio would discard the gateway all the same; what is wrong is named.
pub fn gateway(
    root: &CertificateRoot,
    certificates: &[FrontendCertificate],
) -> Result<Served, Invalid> {
    let mut left_out = Vec::new();
    let mut taken = BTreeSet::new();
    let mut servers = vec![Server {
        port: Some(Port {
            number: 80,
            protocol: "http".to_owned(),
            name: "http".to_owned(),
        }),
        hosts: vec!["*".to_owned()],
        tls: None,
    }];
    let mut folders = BTreeSet::new();
    for (index, certificate) in certificates.iter().enumerate() {
        let folder = certificate
            .folder()
            .filter(|folder| folders.insert(*folder));
        let mut hosts = Vec::new();
        for name in &certificate.names {
            let host = name.to_lowercase();
            match servable(&host, folder.is_some(), &taken) {
                Ok(()) => {
                    taken.insert(host.clone());
                    hosts.push(host);
                }
                Err(invalid) => left_out.push((host, invalid)),
            }
        }
        if let Some(folder) = folder.filter(|_| !hosts.is_empty()) {
            servers.push(https(index, hosts, tls_settings(root, folder)));
        }
    }
    let gateway = Gateway {
        servers,
        ..Gateway::default()
    };
    gateway.validate(Era::Classic)?;
    Ok(Served {
        gateway: Encoded::new(GATEWAY, CREATED_AT, &gateway),
        left_out,
    })
}

fn servable(host: &str, has_folder: bool, taken: &BTreeSet<String>) -> Result<(), Invalid> {
    let invalid = |detail: &str| {
        Err(Invalid {
            rule: "certificate",
            detail: detail.to_owned(),
        })
    };
    if !has_folder {
        return invalid("the certificate's first name is another's too, or no name of a folder");
    }
    if taken.contains(host) {
        return invalid("another certificate is for this name too");
    }
    full_name(host)
}

fn https(index: usize, hosts: Vec<String>, tls: ServerTlsSettings) -> Server {
    Server {
        // Names are unique across the servers of a gateway.
        port: Some(Port {
            number: 443,
            protocol: "https".to_owned(),
            name: format!("https-{index}"),
        }),
        hosts,
        tls: Some(tls),
    }
}

fn tls_settings(root: &CertificateRoot, folder: &str) -> ServerTlsSettings {
    let folder = root.folder(folder);
    ServerTlsSettings {
        mode: TlSmode::Simple.into(),
        server_certificate: format!("{folder}/{CHAIN_FILE}"),
        private_key: format!("{folder}/{KEY_FILE}"),
        ..ServerTlsSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> FrontendCertificate {
        FrontendCertificate {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn a_name_that_would_spoil_the_gateway_is_left_out_and_the_rest_is_served() {
        let served = gateway(
            &CertificateRoot::default(),
            &[
                certificate(&["*.Example.com", "localhost", "under_score.example.com"]),
                certificate(&["*.example.com"]),
                certificate(&["../etc"]),
                certificate(&["example.org"]),
                certificate(&["example.org", "example.net"]),
            ],
        )
        .unwrap();
        let left_out: Vec<_> = served
            .left_out
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            left_out,
            [
                "localhost",
                "under_score.example.com",
                "*.example.com",
                "../etc",
                "example.org",
                "example.net"
            ]
        );
    }
}
