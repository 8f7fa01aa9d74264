//! The settings of each module, from the keys of the config file.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use super::reader::Section;
use crate::{
    bbs,
    capi::{self, DomainPattern, MAX_PAGE_SIZE, Secret},
    feed::chain,
    istio::{self, FrontendCertificate},
    mcp,
    publisher::{self, Input},
    tls::{self, Identity, PairError},
};

/// Loopback: the surface has no authentication of its own.
pub(super) const ADMIN_ADDRESS: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9003));

const SECOND: Duration = Duration::from_secs(1);

/// The listener for Pilots.
pub(super) fn mcp(root: &mut Section<'_>) -> Option<mcp::Settings> {
    let client_ca = ca(root, "PilotClientCAPath");
    let identity = identity(root, "ServerCertPath", "ServerKeyPath");
    let defaults = mcp::Limits::default();
    let limits = mcp::Limits {
        streams_total: root.count("MaxSinkStreams", 1..=1_000_000, defaults.streams_total),
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
        ..defaults
    };
    let allowed_names = root
        .strings("AllowedSinkNames")
        .map(|names| names.into_iter().collect());
    Some(mcp::Settings {
        identity: identity?,
        client_ca: client_ca?,
        allowed_names,
        limits,
    })
}

/// Cloud Controller and its UAA.
pub(super) fn capi(root: &mut Section<'_>) -> Option<capi::Settings> {
    let domains = root
        .required("MeshDomains", Section::strings)
        .and_then(|names| mesh_domains(root, &names));
    let mut section = root
        .required("CAPI", Section::object)
        .map(|object| root.section("CAPI", object))?;
    let api = section.required("Address", Section::https);
    let uaa = section.https("UAAAddress");
    let ca = ca(&mut section, "CACertPath");
    let client_id = section.required("ClientID", Section::string);
    let client_secret = section.required("ClientSecret", Section::string);
    let full_read_interval = section.duration("FullReadInterval", Duration::from_mins(5));
    let tail_interval = section.duration("TailInterval", 2 * SECOND);
    let tail_audit_events = section.flag("TailAuditEvents", true);
    let tail_updated_at = section.flag("TailRouteUpdates", true);
    let page_size = section.count("PageSize", 1..=MAX_PAGE_SIZE.into(), MAX_PAGE_SIZE);
    let max_shrink_percent = section.count("MaxShrinkPercent", 0..=100, 20);
    let request_timeout = section.duration("RequestTimeout", 30 * SECOND);
    section.end();
    Some(capi::Settings {
        api: api?,
        uaa,
        ca: ca?,
        client_id: client_id?,
        client_secret: Secret::from(client_secret?),
        domains: domains?,
        full_read_interval,
        tail_interval,
        tail_audit_events,
        tail_updated_at,
        page_size,
        max_shrink_percent,
        confirm_after: 10 * SECOND,
        request_timeout,
        page_retries: 3,
        min_backoff: SECOND / 2,
        max_backoff: 15 * SECOND,
        debounce: SECOND / 5,
        recheck_after: vec![2 * SECOND, 10 * SECOND, 60 * SECOND],
    })
}

fn mesh_domains(root: &mut Section<'_>, names: &[String]) -> Option<Vec<DomainPattern>> {
    if names.is_empty() {
        root.problem("MeshDomains", "is empty: no route would be served");
        return None;
    }
    let parse = |(index, name): (usize, &String)| {
        let parsed = name.parse();
        parsed
            .map_err(|error| root.problem(&format!("MeshDomains[{index}]"), error))
            .ok()
    };
    let domains: Vec<_> = names.iter().enumerate().filter_map(parse).collect();
    (domains.len() == names.len()).then_some(domains)
}

/// Diego's BBS.
pub(super) fn bbs(root: &mut Section<'_>) -> Option<bbs::Settings> {
    let mut section = root
        .required("BBS", Section::object)
        .map(|object| root.section("BBS", object))?;
    let address = section.required("Address", Section::https);
    let ca = ca(&mut section, "ServerCACertPath");
    let identity = identity(&mut section, "ClientCertPath", "ClientKeyPath");
    let sync_interval = section.duration("SyncInterval", 30 * SECOND);
    let request_timeout = section.duration("RequestTimeout", 30 * SECOND);
    let max_removed_percent: u8 = section.count("MaxRemovedPercent", 0..=100, 30);
    section.end();
    Some(bbs::Settings {
        address: address?,
        ca: ca?,
        identity: identity?,
        sync_interval,
        request_timeout,
        connect_timeout: 5 * SECOND,
        backoff: (SECOND / 2, 15 * SECOND),
        max_removed_share: f64::from(max_removed_percent) / 100.0,
        confirm_after: 60 * SECOND,
    })
}

/// What is generated, and how soon.
pub(super) fn publisher(root: &mut Section<'_>) -> Option<publisher::Settings> {
    let quiet = root.duration("MCPQuietInterval", Duration::from_millis(10));
    let ceiling = root.duration("MCPConvergeInterval", Duration::from_millis(100));
    let vip_range = root.parsed("VIPCIDR");
    let certificates = frontend_certificates(root)?;
    if let Err(error) = istio::gateway(&certificates) {
        root.problem("TLSPems", error);
        return None;
    }
    Some(publisher::Settings {
        quiet,
        ceiling,
        required: [Input::Routes, Input::Instances, Input::Processes].into(),
        certificates,
        vip_range,
    })
}

fn frontend_certificates(root: &mut Section<'_>) -> Option<Vec<FrontendCertificate>> {
    let pairs = root.list("TLSPems");
    let count = pairs.len();
    let certificates: Vec<_> = pairs
        .into_iter()
        .enumerate()
        .filter_map(|(index, pair)| {
            let mut pair = root.element("TLSPems", index, pair);
            let names = frontend_certificate(&mut pair);
            pair.end();
            names
        })
        .collect();
    (certificates.len() == count).then_some(certificates)
}

fn frontend_certificate(pair: &mut Section<'_>) -> Option<FrontendCertificate> {
    let cert = pair.required("CertChain", Section::string);
    let key = pair.required("PrivateKey", Section::string);
    match tls::dns_names(cert?.as_bytes(), key?.as_bytes()) {
        Ok(names) if names.is_empty() => {
            pair.problem(
                "CertChain",
                "the certificate has no DNS name among its subject alternative names",
            );
            None
        }
        Ok(names) => Some(FrontendCertificate { names }),
        Err(error) => {
            let key = match error {
                PairError::Chain(_) | PairError::Empty | PairError::Names(_) => "CertChain",
                PairError::Key(_) | PairError::Mismatch(_) => "PrivateKey",
            };
            pair.problem(key, chain(&error));
            None
        }
    }
}

fn ca(section: &mut Section<'_>, key: &str) -> Option<PathBuf> {
    let path = section.required(key, Section::path)?;
    usable(section, tls::check_ca(&path), key)?;
    Some(path)
}

fn identity(section: &mut Section<'_>, cert_key: &str, key_key: &str) -> Option<Identity> {
    let cert = section.required(cert_key, Section::path);
    let key = section.required(key_key, Section::path);
    let identity = Identity {
        cert: cert?,
        key: key?,
    };
    usable(section, tls::check_chain(&identity.cert), cert_key)?;
    usable(section, tls::check_key(&identity), key_key)?;
    Some(identity)
}

/// Files are read again when they are used; here, so that a bad one is named with its key.
fn usable(section: &mut Section<'_>, checked: Result<(), tls::Error>, key: &str) -> Option<()> {
    checked
        .map_err(|error| section.problem(key, chain(&error)))
        .ok()
}
