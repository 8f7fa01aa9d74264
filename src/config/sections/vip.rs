//! The listener for resolvers of virtual addresses.

use super::grpc::{Listener, Server};
use crate::{
    config::reader::Section,
    grpc::{self, Security},
};

/// The listener for resolvers: plaintext, as the original's, unless TLS is asked for.
pub(crate) fn listener(root: &mut Section<'_>, server: &Server) -> Option<Listener> {
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
