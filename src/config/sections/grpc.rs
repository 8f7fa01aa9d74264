//! What all listeners of gRPC have in common.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::tls::identity;
use crate::{
    config::reader::Section,
    grpc::{self, Security},
    tls::Identity,
};

/// A gRPC listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who may connect, and what they may use.
    pub settings: grpc::Settings,
}

/// What all servers present, and how often its files are looked at.
pub(crate) struct Server {
    pub(super) identity: Option<Identity>,
    pub(super) every: Duration,
}

impl Server {
    /// Everything that a listener has besides its address; `client_ca` has signed its clients' certificates.
    pub(super) fn listener(
        &self,
        address: SocketAddr,
        client_ca: Option<PathBuf>,
    ) -> Option<Listener> {
        let security = Security::Tls {
            identity: self.identity.clone()?,
            client_ca,
            certificates_every: self.every,
        };
        Some(Listener {
            address,
            settings: grpc::Settings::new(security),
        })
    }
}

/// The certificate of all servers.
pub(crate) fn read(root: &mut Section<'_>) -> Server {
    Server {
        identity: identity(root, "ServerCertPath", "ServerKeyPath"),
        every: root.duration("CertificateReloadInterval", grpc::CERTIFICATES_EVERY),
    }
}
