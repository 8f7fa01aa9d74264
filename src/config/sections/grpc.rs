//! What all listeners of gRPC have in common.

use std::{net::SocketAddr, time::Duration};

use super::tls::identity;
use crate::{
    config::reader::Section,
    grpc::{self, Security},
    tls::{Clients, Identity},
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
    /// Everything that a listener for these clients has besides its address.
    pub(super) fn listener(
        &self,
        address: SocketAddr,
        clients: Option<Clients>,
    ) -> Option<Listener> {
        let security = Security::Tls {
            identity: self.identity.clone()?,
            clients,
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
