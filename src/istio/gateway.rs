//! The ingress gateway.

use super::{
    GATEWAY,
    validate::{Invalid, Validate as _},
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

/// The gateway: plain HTTP for every hostname, and HTTPS for those of each certificate.
///
/// # Errors
/// Istio would discard it; what is wrong is named.
pub fn gateway(certificates: &[FrontendCertificate]) -> Result<Encoded, Invalid> {
    let http = Server {
        port: Some(Port {
            number: 80,
            protocol: "http".to_owned(),
            name: "http".to_owned(),
        }),
        hosts: vec!["*".to_owned()],
        tls: None,
    };
    let https = certificates
        .iter()
        .enumerate()
        .map(|(index, certificate)| Server {
            // Names are unique across the servers of a gateway.
            port: Some(Port {
                number: 443,
                protocol: "https".to_owned(),
                name: format!("https-{index}"),
            }),
            hosts: certificate.names.clone(),
            tls: Some(tls_settings(&certificate.names[0])),
        });
    let gateway = Gateway {
        servers: std::iter::once(http).chain(https).collect(),
        ..Gateway::default()
    };
    gateway.validate()?;
    Ok(Encoded::new(GATEWAY, CREATED_AT, &gateway))
}

fn tls_settings(folder: &str) -> ServerTlsSettings {
    ServerTlsSettings {
        mode: TlSmode::Simple.into(),
        server_certificate: format!("/etc/istio/{folder}/tls.crt"),
        private_key: format!("/etc/istio/{folder}/tls.key"),
        ..ServerTlsSettings::default()
    }
}
