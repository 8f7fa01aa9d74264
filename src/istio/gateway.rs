//! The ingress gateway.

use std::collections::BTreeSet;

use super::{
    CREATED_AT, Era, GATEWAY, HttpsRedirect, PLAIN_GATEWAYS,
    certificate::{CHAIN_FILE, CertificateRoot, FrontendCertificate, KEY_FILE, places},
    tcp::{self, TCP_GATEWAY},
    validate::{Invalid, Validate as _},
};
use crate::{
    model::Hostname,
    proto::istio::networking::v1alpha3::{
        Gateway, Port, Server, ServerTlsSettings, server_tls_settings::TlSmode,
    },
    snapshot::Encoded,
};

/// Every hostname.
const ALL: &str = "*";

/// The gateways, and the names of certificates that they do not serve, each with the reason.
#[derive(Debug)]
pub struct Served {
    /// The resources, by their names.
    pub gateways: Vec<(&'static str, Encoded)>,
    /// The rest of the certificates' names.
    pub left_out: Vec<(String, Invalid)>,
}

/// The gateway: plain HTTP for every hostname, and HTTPS by the certificates, which are below `root`. Where some hostnames
/// are spared from a redirect, the gateways. And one for TCP routes, if they have ports.
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
    redirect: Option<&HttpsRedirect>,
    tcp_ports: &BTreeSet<u16>,
) -> Result<Served, Invalid> {
    let mut left_out = Vec::new();
    let is_divided = redirect.is_some_and(|redirect| !redirect.except.is_empty());
    let mut servers = Vec::new();
    if !is_divided {
        servers.push(http(redirect.is_some()));
    }
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
    let mut gateways = vec![encoded(GATEWAY, servers)?];
    if is_divided {
        let [plain, redirecting] = PLAIN_GATEWAYS;
        gateways.push(encoded(plain, vec![http(false)])?);
        gateways.push(encoded(redirecting, vec![http(true)])?);
    }
    if !tcp_ports.is_empty() {
        gateways.push((TCP_GATEWAY, tcp::gateway(tcp_ports)?));
    }
    Ok(Served { gateways, left_out })
}

fn encoded(name: &'static str, servers: Vec<Server>) -> Result<(&'static str, Encoded), Invalid> {
    let gateway = Gateway {
        servers,
        ..Gateway::default()
    };
    gateway.validate(Era::Classic)?;
    Ok((name, Encoded::new(name, CREATED_AT, &gateway)))
}

/// The gateways of a hostname.
pub(super) fn gateways(host: &Hostname, redirect: Option<&HttpsRedirect>) -> Vec<String> {
    let [plain, redirecting] = PLAIN_GATEWAYS;
    let of_port_80 = match redirect {
        Some(redirect) if redirect.spares(host) => Some(plain),
        Some(redirect) if !redirect.except.is_empty() => Some(redirecting),
        _ => None,
    };
    let names = std::iter::once(GATEWAY).chain(of_port_80);
    names.map(str::to_owned).collect()
}

fn http(is_redirect: bool) -> Server {
    Server {
        port: Some(Port {
            number: 80,
            protocol: "http".to_owned(),
            name: "http".to_owned(),
        }),
        hosts: vec![ALL.to_owned()],
        tls: is_redirect.then(|| ServerTlsSettings {
            https_redirect: true,
            ..ServerTlsSettings::default()
        }),
    }
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
            None,
            &BTreeSet::new(),
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
