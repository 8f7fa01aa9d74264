//! The ingress gateway.

use super::{
    CREATED_AT, Era, GATEWAY,
    certificate::{CHAIN_FILE, CertificateRoot, FrontendCertificate, KEY_FILE, places},
    validate::{Invalid, Validate as _},
};
use crate::{
    proto::istio::networking::v1alpha3::{
        Gateway, Port, Server, ServerTlsSettings, server_tls_settings::TlSmode,
    },
    snapshot::Encoded,
};

/// Every hostname.
const ALL: &str = "*";

/// The gateway, and the names of certificates that it does not serve, each with the reason.
#[derive(Debug)]
pub struct Served {
    /// The resource.
    pub gateway: Encoded,
    /// The rest of the certificates' names.
    pub left_out: Vec<(String, Invalid)>,
}

/// The gateway: plain HTTP for every hostname, and HTTPS by the certificates, which are below `root`.
///
/// One name that Istio or Envoy refuses would take the whole gateway with it, so such names are left out. Two
/// certificates for one name are among them: Envoy refuses a listener that cannot tell which to present.
///
/// A server for `*` is in every Istio the one for clients that ask for no name, or for one that no other server has.
///
/// # Errors
/// Istio would discard the gateway all the same; what is wrong is named.
pub fn gateway(
    root: &CertificateRoot,
    certificates: &[FrontendCertificate],
) -> Result<Served, Invalid> {
    let mut left_out = Vec::new();
    let mut servers = vec![Server {
        port: Some(Port {
            number: 80,
            protocol: "http".to_owned(),
            name: "http".to_owned(),
        }),
        hosts: vec![ALL.to_owned()],
        tls: None,
    }];
    for (index, place) in places(certificates).into_iter().enumerate() {
        left_out.extend(place.left_out);
        let Some(folder) = place.folder else { continue };
        let tls = tls_settings(root, folder);
        // Names are unique across the servers of a gateway.
        let mut name = format!("https-{index}");
        if place.is_default {
            servers.push(https(&name, vec![ALL.to_owned()], tls.clone()));
            name.push_str("-names");
        }
        if !place.hosts.is_empty() {
            servers.push(https(&name, place.hosts, tls));
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

fn https(name: &str, hosts: Vec<String>, tls: ServerTlsSettings) -> Server {
    Server {
        port: Some(Port {
            number: 443,
            protocol: "https".to_owned(),
            name: name.to_owned(),
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
                "example.org"
            ]
        );
    }
}
