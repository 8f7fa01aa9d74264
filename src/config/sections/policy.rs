//! The policy server.

use std::time::Duration;

use super::tls::{ca, identity};
use crate::{config::reader::Section, outbound, policy};

const SECOND: Duration = Duration::from_secs(1);

/// Where network policies come from; `None` if they are not wanted, or could not be read.
pub(crate) fn read(root: &mut Section<'_>) -> Option<policy::Settings> {
    const ADDRESS: &str = "PolicyServerAddress";
    const CERT: &str = "PolicyServerClientCertPath";
    const KEY: &str = "PolicyServerClientKeyPath";
    const CA: &str = "PolicyServerCAPath";
    let disabled = root.flag("PolicyServerDisabled", false);
    if disabled || ![ADDRESS, CERT, KEY, CA].iter().any(|key| root.has(key)) {
        root.skip(&[ADDRESS, CERT, KEY, CA]);
        root.skip(&["PolicyServerPollInterval", "PolicyServerRequestTimeout"]);
        root.skip(&["PolicyServerMaxRemovedPercent"]);
        return None;
    }
    let address = root.required(ADDRESS, Section::https);
    let ca = ca(root, CA);
    let identity = identity(root, CERT, KEY);
    let poll_interval = root.duration("PolicyServerPollInterval", 5 * SECOND);
    let request_timeout = root.duration("PolicyServerRequestTimeout", 30 * SECOND);
    root.ignore_doubt("PolicyServerMaxRemovedPercent");
    Some(policy::Settings {
        peer: outbound::Settings {
            address: address?,
            ca: ca?,
            identity: Some(identity?),
            connect_timeout: 5 * SECOND,
            request_timeout,
        },
        poll_interval,
        backoff: (SECOND / 2, 15 * SECOND),
    })
}
