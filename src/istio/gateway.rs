//! The ingress gateway.

use std::collections::BTreeSet;

use super::{
    GATEWAY,
    validate::{Invalid, Validate as _, gateway_host},
};
use crate::{
    proto::istio::networking::v1alpha3::{
        Gateway, Port, Server, ServerTlsSettings, server_tls_settings::TlSmode,
    },
    snapshot::Encoded,
};

/// 2018-01-01: the gateway is as old as the project. Constant, because sinks order by it.
const CREATED_AT: i64 = 1_514_764_800;

/// A certificate of the router, as the `librarian` writes it on the router's VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontendCertificate {
    /// The subject alternative names: the hosts that it serves. The first names its folder. Never empty.
    pub names: Vec<String>,
}

/// The gateway, and the names of certificates that it does not serve, each with the reason.
#[derive(Debug)]
pub struct Served {
    /// The resource.
    pub gateway: Encoded,
    /// The rest of the certificates' names.
    pub left_out: Vec<(String, Invalid)>,
}

/// The gateway: plain HTTP for every hostname, and HTTPS for those of each certificate.
///
/// One name that Istio or Envoy refuses would take the whole gateway with it, so such names are left out. Two
/// certificates for one name are among them: Envoy refuses a listener that cannot tell which to present.
///
/// # Errors
/// Istio would discard the gateway all the same; what is wrong is named.
pub fn gateway(certificates: &[FrontendCertificate]) -> Result<Served, Invalid> {
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
        let folder = &certificate.names[0];
        let has_folder = folders.insert(folder) && is_folder(folder);
        let mut hosts = Vec::new();
        for name in &certificate.names {
            let host = name.to_lowercase();
            match servable(&host, has_folder, &taken) {
                Ok(()) => {
                    taken.insert(host.clone());
                    hosts.push(host);
                }
                Err(invalid) => left_out.push((host, invalid)),
            }
        }
        if !hosts.is_empty() {
            servers.push(https(index, hosts, folder));
        }
    }
    let gateway = Gateway {
        servers,
        ..Gateway::default()
    };
    gateway.validate()?;
    Ok(Served {
        gateway: Encoded::new(GATEWAY, CREATED_AT, &gateway),
        left_out,
    })
}

/// The router's VM has a folder for each certificate, under its first name.
fn is_folder(name: &str) -> bool {
    !name.contains('/') && !name.starts_with('.')
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
    gateway_host(host)
}

fn https(index: usize, hosts: Vec<String>, folder: &str) -> Server {
    Server {
        // Names are unique across the servers of a gateway.
        port: Some(Port {
            number: 443,
            protocol: "https".to_owned(),
            name: format!("https-{index}"),
        }),
        hosts,
        tls: Some(tls_settings(folder)),
    }
}

fn tls_settings(folder: &str) -> ServerTlsSettings {
    ServerTlsSettings {
        mode: TlSmode::Simple.into(),
        server_certificate: format!("/etc/istio/{folder}/tls.crt"),
        private_key: format!("/etc/istio/{folder}/tls.key"),
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
        let served = gateway(&[
            certificate(&["*.Example.com", "localhost", "under_score.example.com"]),
            certificate(&["*.example.com"]),
            certificate(&["../etc"]),
            certificate(&["example.org"]),
            certificate(&["example.org", "example.net"]),
        ])
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
