//! The push API: what a Cloud Controller may push, and where it connects.

use super::{
    grpc::{Listener, Server},
    tls::ca,
};
use crate::{
    cloud_controller::{self, Settings},
    config::reader::Section,
    tls::Clients,
};

const ADDRESS: &str = "ListenAddressForCloudController";
const CA: &str = "CloudControllerClientCAPath";
const MAX_BYTES: &str = "MaxBulkSyncBytes";
const MAX_EMPTIED: &str = "MaxEmptiedRoutes";
const NAMES: &str = "AllowedCloudControllerNames";

/// What may be pushed.
pub(super) fn read(root: &mut Section<'_>) -> Settings {
    root.ignore_doubt(MAX_EMPTIED);
    Settings {
        // The answer counts them in an int32.
        max_bulk_sync_bytes: root.count(MAX_BYTES, 1..=i32::MAX as u64, 128 << 20),
    }
}

/// Nothing may be.
pub(super) fn ignore(root: &mut Section<'_>) {
    for key in [MAX_BYTES, MAX_EMPTIED, NAMES] {
        root.ignore(key, "with CAPI, what is pushed is refused");
    }
}

/// Whether Cloud Controllers that push are listened to.
pub(super) fn is_there(root: &mut Section<'_>) -> bool {
    root.has(ADDRESS)
}

/// The listener for Cloud Controllers that push.
pub(crate) fn listener(root: &mut Section<'_>, server: &Server) -> Option<Listener> {
    let Some(address) = root.address(ADDRESS) else {
        root.ignore(CA, "there is no ListenAddressForCloudController");
        return None;
    };
    let names = root.names(NAMES);
    let clients = Clients {
        ca: ca(root, CA)?,
        names,
    };
    let listener = server.listener(address, Some(clients))?;
    Some(Listener {
        settings: cloud_controller::listening(listener.settings),
        ..listener
    })
}
