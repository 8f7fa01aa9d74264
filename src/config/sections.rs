//! The settings of each module, from the keys of the config file.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use serde_json::{Map, Value};

use super::{
    Routes, instance_tls,
    librarian::Keypair,
    listeners,
    reader::{Longest, Section},
    vip_range::VipRange,
};
use crate::{
    bbs,
    capi::{self, DomainPattern, MAX_PAGE_SIZE},
    cloud_controller, feed,
    istio::{self, CertificateRoot, FrontendCertificate, validate::Invalid},
    policy,
    publisher::{self, Input},
    secret::Secret,
    table::Join,
    tls::{self, Identity, PairError},
};

/// Loopback: the surface has no authentication of its own.
pub(super) const ADMIN_ADDRESS: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9003));

const SECOND: Duration = Duration::from_secs(1);

/// No proxy needs longer, and all that goes is served until then.
const LONGEST_LINGER: Longest = Longest {
    duration: Duration::from_mins(10),
    written: "10m",
};

/// Where routes come from: read from Cloud Controller, or pushed by it.
pub(super) fn routes(root: &mut Section<'_>) -> Option<Routes> {
    const MAX_BYTES: &str = "MaxBulkSyncBytes";
    const MAX_EMPTIED: &str = "MaxEmptiedRoutes";
    const NAMES: &str = "AllowedCloudControllerNames";
    if let Some(object) = root.object("CAPI") {
        for key in [MAX_BYTES, MAX_EMPTIED, NAMES] {
            root.ignore(key, "with CAPI, what is pushed is refused");
        }
        return capi(root, object).map(|settings| Routes::Polled(Box::new(settings)));
    }
    if !root.has("ListenAddressForCloudController") {
        root.problem(
            "CAPI",
            "is required to read routes from Cloud Controller, or else ListenAddressForCloudController where it pushes them",
        );
        return None;
    }
    if root.has("MeshDomains") {
        root.problem("MeshDomains", "is for routes that are read: it needs CAPI");
    }
    Some(Routes::Pushed(cloud_controller::Settings {
        // The answer counts them in an int32.
        max_bulk_sync_bytes: root.count(MAX_BYTES, 1..=i32::MAX as u64, 128 << 20),
        max_emptied_routes: root.count(MAX_EMPTIED, 0..=u64::from(u32::MAX), 10),
        allowed_names: listeners::names(root, NAMES),
    }))
}

/// Where network policies come from; `None` if they are not wanted, or could not be read.
pub(super) fn policy(root: &mut Section<'_>) -> Option<policy::Settings> {
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
    let max_removed_percent = root.count("PolicyServerMaxRemovedPercent", 0..=100, 50);
    Some(policy::Settings {
        address: address?,
        ca: ca?,
        identity: identity?,
        poll_interval,
        request_timeout,
        connect_timeout: 5 * SECOND,
        backoff: (SECOND / 2, 15 * SECOND),
        max_removed_percent,
    })
}

/// Cloud Controller and its UAA.
fn capi(root: &mut Section<'_>, object: Map<String, Value>) -> Option<capi::Settings> {
    let domains = root
        .required("MeshDomains", Section::strings)
        .and_then(|names| mesh_domains(root, &names));
    let mut section = root.section("CAPI", object);
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
    let serve_bound_routes = section.flag("ServeBoundRoutes", false);
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
        serve_bound_routes,
        domains_interval: 5 * SECOND,
        request_timeout,
        page_retries: 3,
        min_backoff: SECOND / 2,
        max_backoff: 15 * SECOND,
        gather: SECOND / 20,
        recheck_after: vec![SECOND / 5, 2 * SECOND, 10 * SECOND, 60 * SECOND],
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

/// Diego's BBS; `None` if it is disabled, or could not be read.
pub(super) fn bbs(root: &mut Section<'_>) -> Option<bbs::Settings> {
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
pub(super) fn publisher(
    root: &mut Section<'_>,
    routes: Option<&Routes>,
    with_instances: bool,
    with_policies: bool,
) -> Option<publisher::Settings> {
    let quiet = root.duration("MCPQuietInterval", Duration::from_millis(10));
    let ceiling = root.duration("MCPConvergeInterval", Duration::from_millis(100));
    let linger = root.duration_up_to("MCPLingerInterval", LONGEST_LINGER, publisher::LINGER);
    let grace = root.duration("PolicyServerGrace", 30 * SECOND);
    let vip_range = root
        .parsed("VIPCIDR")
        .map(|VipRange(range): VipRange| range);
    let keep_empty_service_entries = root.flag("KeepEmptyServiceEntries", true);
    let certificate_root = certificate_root(root);
    root.string(CERTIFICATE_GROUP);
    let backend_tls = instance_tls::backend(root).map(|(tls, _)| tls);
    let internal_tls = instance_tls::internal(root);
    let (keypairs, left_out) = keypairs(root);
    let certificates: Vec<_> = keypairs.into_iter().map(|pair| pair.certificate).collect();
    if let Err(error) = istio::gateway(&certificate_root, &certificates) {
        root.problem("TLSPems", error);
        return None;
    }
    let mut required = BTreeSet::from([Input::Routes]);
    if with_instances {
        required.insert(Input::Instances);
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
        quiet,
        ceiling,
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
        vip_range,
    })
}

/// Who may read what the librarian writes; of no use to the daemon, whose file may be the librarian's.
pub(super) const CERTIFICATE_GROUP: &str = "IstioCertGroup";

/// Where the router has its certificates.
pub(super) fn certificate_root(root: &mut Section<'_>) -> CertificateRoot {
    root.parsed("IstioCertRootPath").unwrap_or_default()
}

/// The router's certificates with their keys; and those that cannot be used, by their keys in the file.
pub(super) fn keypairs(root: &mut Section<'_>) -> (Vec<Keypair>, Vec<(String, Invalid)>) {
    let (mut usable, mut left_out) = (Vec::new(), Vec::new());
    for (index, pair) in root.list("TLSPems").into_iter().enumerate() {
        let mut pair = root.element("TLSPems", index, pair);
        match keypair(&mut pair) {
            Ok(keypair) => usable.push(keypair),
            Err((key, detail)) => left_out.push((
                pair.key(key),
                Invalid {
                    rule: "certificate",
                    detail,
                },
            )),
        }
        pair.end();
    }
    (usable, left_out)
}

fn keypair(pair: &mut Section<'_>) -> Result<Keypair, (&'static str, String)> {
    let [chain, key] = ["CertChain", "PrivateKey"]
        .map(|key| pair.string(key).ok_or((key, "is required".to_owned())));
    let (chain, key) = (chain?, Secret::from(key?));
    let names = tls::dns_names(chain.as_bytes(), key.expose().as_bytes()).map_err(|error| {
        let key = at_fault(&error, ("CertChain", "PrivateKey"));
        (key, feed::chain(&error))
    })?;
    if names.is_empty() {
        let what = "the certificate has no DNS name among its subject alternative names";
        return Err(("CertChain", what.to_owned()));
    }
    Ok(Keypair {
        certificate: FrontendCertificate { names },
        chain,
        key,
    })
}

/// Which key of a pair's two an error is about.
pub(super) fn at_fault<'k>(error: &PairError, (chain, key): (&'k str, &'k str)) -> &'k str {
    match error {
        PairError::Chain(_) | PairError::Empty | PairError::Names(_) => chain,
        PairError::Key(_) | PairError::Mismatch(_) => key,
    }
}

pub(super) fn ca(section: &mut Section<'_>, key: &str) -> Option<PathBuf> {
    let path = section.required(key, Section::path)?;
    usable(section, tls::check_ca(&path), key)?;
    Some(path)
}

pub(super) fn identity(
    section: &mut Section<'_>,
    cert_key: &str,
    key_key: &str,
) -> Option<Identity> {
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
        .map_err(|error| section.problem(key, feed::chain(&error)))
        .ok()
}
