//! What is generated, and how soon.

use std::{collections::BTreeSet, time::Duration};

use super::{
    certificates, defaults, instance_tls, routes::Routes, tcp_routes::TcpRoutes,
    vip_range::VipRange,
};
use crate::{
    config::reader::{Longest, Section},
    guard,
    istio::{self, FrontendCertificate},
    publisher::{self, Input},
    store,
    table::{Join, Limits},
};

/// No proxy needs longer, and all that goes is served until then.
const LONGEST_LINGER: Longest = Longest {
    duration: Duration::from_mins(10),
    written: "10m",
};

pub(crate) fn read(
    root: &mut Section<'_>,
    routes: Option<&Routes>,
    tcp: TcpRoutes,
    (with_instances, with_policies): (bool, bool),
) -> Option<publisher::Settings> {
    let (debounce_after, debounce_max) = waits(root);
    let linger = root.duration_up_to("MCPLingerInterval", LONGEST_LINGER, publisher::LINGER);
    let grace = root.duration("PolicyServerGrace", Duration::from_secs(30));
    let guard = guard::Settings {
        free: root.count("MaxLoss", 0..=1_000_000, 10),
        percent: root.count("MaxLossPercent", 0..=100, 10),
    };
    let limits = limits(root);
    let log_changes = root.flag("LogChanges", false);
    let store = store(root, routes);
    let vip_range = root
        .parsed("VIPCIDR")
        .map(|VipRange(range): VipRange| range);
    let keep_empty_service_entries = root.flag("KeepEmptyServiceEntries", true);
    let certificate_root = certificates::root(root);
    root.string(certificates::GROUP);
    let backend_tls = instance_tls::backend(root).map(|(tls, _)| tls);
    let internal_tls = instance_tls::internal(root);
    let (keypairs, mut left_out) = certificates::keypairs(root);
    left_out.extend(tcp.left_out);
    let certificates: Vec<_> = keypairs.into_iter().map(|pair| pair.certificate).collect();
    let defaults = defaults::read(root, has_https(&certificates));
    let redirect = defaults.https_redirect.as_ref();
    if let Err(error) = istio::gateway(&certificate_root, &certificates, redirect, &tcp.ports) {
        root.problem("TLSPems", error);
        return None;
    }
    let mut required = BTreeSet::from([Input::Routes]);
    if with_instances {
        required.insert(Input::Instances);
    }
    if !tcp.ports.is_empty() {
        required.insert(Input::TcpRoutes);
    }
    let join = match routes? {
        Routes::Polled(_) if with_instances => {
            required.insert(Input::Processes);
            Join::Described
        }
        Routes::Polled(_) => Join::Described,
        Routes::Pushed(_) => Join::Associated,
    };
    Some(publisher::Settings {
        store,
        guard,
        limits,
        log_changes,
        debounce_after,
        debounce_max,
        linger,
        required,
        keep_empty_service_entries,
        join,
        policies: with_policies.then_some(grace),
        certificate_root,
        certificates,
        left_out,
        backend_tls,
        internal_tls,
        defaults,
        tcp_ports: tcp.ports,
        tcp_domains: tcp.names,
        vip_range,
    })
}

/// Whether a certificate is served at all.
fn has_https(certificates: &[FrontendCertificate]) -> bool {
    let places = istio::places(certificates);
    places.iter().any(|place| place.folder.is_some())
}

/// How long changes are waited for: after the last, and after the first of them.
fn waits(root: &mut Section<'_>) -> (Duration, Duration) {
    let (debounce_after, debounce_max) = (Duration::from_millis(10), Duration::from_millis(100));
    let defaults = [debounce_after, debounce_max];
    let debounce_after = root.duration("MCPQuietInterval", debounce_after);
    let debounce_max = root.duration("MCPConvergeInterval", debounce_max);
    // A template writes what nobody has set, too.
    let are_meant = [debounce_after, debounce_max]
        .iter()
        .zip(defaults)
        .all(|(set, default)| *set != default);
    if are_meant && debounce_after > debounce_max {
        let what = "is less than MCPQuietInterval: nothing is ever waited for so long";
        root.problem("MCPConvergeInterval", what);
    }
    (debounce_after.min(debounce_max), debounce_max)
}

/// How much of one hostname and of one app is served.
fn limits(root: &mut Section<'_>) -> Limits {
    let default = Limits::default();
    Limits {
        host_routes: root.count("MaxHostRoutes", 100..=100_000, default.host_routes),
        host_bytes: root.count("MaxHostBytes", 4_096..=1_073_741_824, default.host_bytes),
        app_routes: root.count("MaxAppRoutes", 100..=100_000, default.app_routes),
    }
}

/// Where what is served is written down, if it is.
fn store(root: &mut Section<'_>, routes: Option<&Routes>) -> Option<store::Settings> {
    let path = root.path("StateFile");
    let max_age = root.duration("StateFileMaxAge", Duration::from_hours(24));
    let after = root.duration("StateFileAfter", Duration::from_mins(1));
    Some(store::Settings {
        path: path?,
        foundation: routes?.foundation(),
        max_age,
        after,
    })
}
