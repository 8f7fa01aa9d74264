//! What is probably wrong with the way in which a server is asked, by how that fails.

use std::io;

use super::server::Protocol;

/// How a server is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) protocol: Protocol,
    pub(super) has_tls: bool,
    /// Whether a client certificate is shown.
    pub(super) has_identity: bool,
}

impl Way {
    /// The error, with what to try.
    pub(super) fn hint(self, error: anyhow::Error) -> anyhow::Error {
        let mut chain = error.chain();
        let status = chain.find_map(|error| error.downcast_ref::<tonic::Status>());
        let is_unknown = status.is_some_and(|status| status.code() == tonic::Code::Unimplemented);
        let other = match self.protocol {
            Protocol::Mcp => "is it xds:// and not mcp://?",
            Protocol::Xds => "is it mcp:// and not xds://?",
        };
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        let is_there = !error
            .chain()
            .any(|error| error.downcast_ref().is_some_and(refused));
        // Whoever answers what was asked was asked well enough.
        let is_cut = is_there
            && (status.is_some_and(|status| status.code() == tonic::Code::Unknown)
                || error
                    .chain()
                    .any(<dyn std::error::Error>::is::<tonic::transport::Error>));
        let hint = match self {
            _ if is_unknown => other,
            Self { has_tls: false, .. } if is_cut => "it is asked in plaintext: is --ca missing?",
            Self {
                has_identity: false,
                ..
            } if is_cut => "no certificate is shown: are --cert and --key missing?",
            _ => return error,
        };
        anyhow::anyhow!("{error:#}; {hint}")
    }
}
