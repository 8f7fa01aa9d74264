//! The listener for istiods.

use std::{net::SocketAddr, time::Duration};

use super::{grpc::Server, mcp::SinkLimits, tls::identity};
use crate::{
    config::reader::{Longest, Section},
    grpc::Security,
    mcp, xds,
};

/// istiod pushes at the latest so long after a change, however many follow it (`PILOT_DEBOUNCE_MAX`): to keep changes from
/// it for longer spares it nothing.
const LONGEST_DEBOUNCE: Longest = Longest {
    duration: Duration::from_secs(10),
    written: "10s",
};

/// The listener for istiods.
#[derive(Debug)]
pub struct Xds {
    /// Where it listens.
    pub address: SocketAddr,
    /// How they are served.
    pub settings: xds::Settings,
}

/// The listener for istiods, which have no certificate to show.
pub(crate) fn read(root: &mut Section<'_>, server: &Server, limits: SinkLimits) -> Option<Xds> {
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
            clients: None,
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
