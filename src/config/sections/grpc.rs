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

/// Sees to it that no two listeners want one port.
pub(crate) fn apart(root: &mut Section<'_>, listeners: &[(&str, Option<SocketAddr>)]) {
    for (n, (key, address)) in listeners.iter().enumerate() {
        let Some(address) = address.filter(|address| address.port() != 0) else {
            continue;
        };
        // All addresses of IPv6 are those of IPv4, too.
        let covers = |all: &SocketAddr, one: &SocketAddr| {
            all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4())
        };
        let meets = |other: &SocketAddr| {
            let is_any = covers(&address, other) || covers(other, &address);
            other.port() == address.port() && (is_any || other.ip() == address.ip())
        };
        let mut before = listeners[..n].iter();
        let taken = before.find(|(_, other)| other.as_ref().is_some_and(meets));
        if let Some((other, _)) = taken {
            root.problem(
                key,
                format_args!("port {} is that of {other}", address.port()),
            );
        }
    }
}
