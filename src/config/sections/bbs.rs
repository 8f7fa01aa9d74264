//! Diego's BBS.

use std::time::Duration;

use super::tls::{ca, identity};
use crate::{bbs, config::reader::Section, outbound};

const SECOND: Duration = Duration::from_secs(1);

/// `None` if it is disabled, or could not be read.
pub(crate) fn read(root: &mut Section<'_>) -> Option<bbs::Settings> {
    let mut section = root
        .required("BBS", Section::object)
        .map(|object| root.section("BBS", object))?;
    section.ignore(
        "ClientSessionCacheSize",
        "the connection to the BBS is kept open",
    );
    section.ignore(
        "MaxIdleConnsPerHost",
        "the connection to the BBS is kept open",
    );
    if section.flag("Disable", false) {
        section.skip(&[
            "Address",
            "ServerCACertPath",
            "ClientCertPath",
            "ClientKeyPath",
        ]);
        section.skip(&["SyncInterval", "RequestTimeout", "MaxRemovedPercent"]);
        section.end();
        return None;
    }
    let address = section.required("Address", Section::https);
    let ca = ca(&mut section, "ServerCACertPath");
    let identity = identity(&mut section, "ClientCertPath", "ClientKeyPath");
    let sync_interval = section.duration("SyncInterval", 60 * SECOND);
    let request_timeout = section.duration("RequestTimeout", 30 * SECOND);
    section.ignore_doubt("MaxRemovedPercent");
    section.end();
    Some(bbs::Settings {
        peer: outbound::Settings {
            address: address?,
            ca: ca?,
            identity: Some(identity?),
            connect_timeout: 5 * SECOND,
            request_timeout,
        },
        sync_interval,
        backoff: (SECOND / 2, 15 * SECOND),
        confirm_after: 60 * SECOND,
    })
}
