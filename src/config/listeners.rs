//! The listeners of every server, from the keys of the config file.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    Listener, Xds,
    reader::{Longest, Section},
    sections::{ca, identity},
};
use crate::{
    grpc::{self, Security},
    mcp,
    tls::Identity,
    xds,
};

/// istiod pushes at the latest so long after a change, however many follow it (`PILOT_DEBOUNCE_MAX`): to keep changes from
/// it for longer spares it nothing.
const LONGEST_DEBOUNCE: Longest = Longest {
    duration: Duration::from_secs(10),
    written: "10s",
};

/// What all servers present, and how often its files are looked at.
pub(super) struct Server {
    identity: Option<Identity>,
    every: Duration,
}

impl Server {
    /// Everything that a listener has besides its address; `client_ca` has signed its clients' certificates.
    fn listener(&self, address: SocketAddr, client_ca: Option<PathBuf>) -> Option<Listener> {
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
pub(super) fn server(root: &mut Section<'_>) -> Server {
    Server {
        identity: identity(root, "ServerCertPath", "ServerKeyPath"),
        every: root.duration("CertificateReloadInterval", grpc::CERTIFICATES_EVERY),
    }
}

/// What sinks may use, be they Pilots or istiods.
#[derive(Debug, Clone, Copy)]
pub(super) struct SinkLimits {
    streams: usize,
    streams_per_peer: usize,
    requests_per_second: u32,
}

impl SinkLimits {
    pub(super) fn read(root: &mut Section<'_>) -> Self {
        let defaults = mcp::Limits::default();
        Self {
            streams: root.count("MaxSinkStreams", 1..=1_000_000, defaults.streams_total),
            streams_per_peer: root.count(
                "MaxSinkStreamsPerPeer",
                1..=1_000_000,
                defaults.streams_per_peer,
            ),
            requests_per_second: root.count(
                "MaxSinkRequestsPerSecond",
                1..=100_000,
                defaults.requests_per_second,
            ),
        }
    }

    /// Of one listener, whose other limits are `defaults`.
    fn of(self, defaults: mcp::Limits) -> mcp::Limits {
        mcp::Limits {
            streams_total: self.streams,
            streams_per_peer: self.streams_per_peer,
            requests_per_second: self.requests_per_second,
            ..defaults
        }
    }
}

/// The listener for Pilots.
pub(super) fn mcp(
    root: &mut Section<'_>,
    server: &Server,
    limits: SinkLimits,
) -> Option<mcp::Settings> {
    let client_ca = ca(root, "PilotClientCAPath");
    let allowed_names = names(root, "AllowedSinkNames");
    Some(mcp::Settings {
        identity: server.identity.clone()?,
        client_ca: client_ca?,
        certificates_every: server.every,
        allowed_names,
        limits: limits.of(mcp::Limits::default()),
    })
}

pub(super) fn names(root: &mut Section<'_>, key: &str) -> Option<BTreeSet<String>> {
    let names = root.strings(key)?;
    Some(names.into_iter().collect())
}

/// The listener for Cloud Controllers that push.
pub(super) fn cloud_controller(root: &mut Section<'_>, server: &Server) -> Option<Listener> {
    const CA: &str = "CloudControllerClientCAPath";
    let Some(address) = root.address("ListenAddressForCloudController") else {
        root.ignore(CA, "there is no ListenAddressForCloudController");
        return None;
    };
    let client_ca = ca(root, CA)?;
    server.listener(address, Some(client_ca))
}

/// The listener for resolvers: plaintext, as the original's, unless TLS is asked for.
pub(super) fn vip_resolver(root: &mut Section<'_>, server: &Server) -> Option<Listener> {
    let tls = root.flag("VIPResolverTLS", false);
    let address = root.address("ListenAddressForVIPResolver")?;
    if tls {
        return server.listener(address, None);
    }
    Some(Listener {
        address,
        settings: grpc::Settings::new(Security::Plaintext),
    })
}

/// The listener for istiods, which have no certificate to show.
pub(super) fn xds(root: &mut Section<'_>, server: &Server, limits: SinkLimits) -> Option<Xds> {
    const ADDRESS: &str = "ListenAddressForXDS";
    const CERT: &str = "XDSServerCertPath";
    const KEY: &str = "XDSServerKeyPath";
    let with_tls = root.has(CERT) || root.has(KEY);
    let allow_plaintext = root.flag("XDSAllowPlaintext", false);
    let burst_distance =
        root.duration_within("XDSPushInterval", LONGEST_DEBOUNCE, xds::BURST_DISTANCE);
    let Some(address) = root.address(ADDRESS) else {
        for key in [CERT, KEY] {
            root.ignore(key, "there is no ListenAddressForXDS");
        }
        return None;
    };
    if with_tls {
        let security = Security::Tls {
            identity: identity(root, CERT, KEY)?,
            client_ca: None,
            certificates_every: server.every,
        };
        return Some(Xds::new(address, security, limits, burst_distance));
    }
    if !address.ip().is_loopback() && !allow_plaintext {
        root.problem(
            ADDRESS,
            "is not on loopback: set XDSServerCertPath and XDSServerKeyPath, or XDSAllowPlaintext",
        );
    }
    let security = Security::Plaintext;
    Some(Xds::new(address, security, limits, burst_distance))
}

impl Xds {
    fn new(
        address: SocketAddr,
        security: Security,
        limits: SinkLimits,
        burst_distance: Duration,
    ) -> Self {
        let xds::Settings {
            security,
            limits: defaults,
        } = xds::Settings::new(security);
        Self {
            address,
            settings: xds::Settings {
                security,
                limits: mcp::Limits {
                    burst_distance,
                    ..limits.of(defaults)
                },
            },
        }
    }
}
