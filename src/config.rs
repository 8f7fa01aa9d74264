//! The config file: JSON with the original's keys and new ones beside them, into validated settings of every module.

mod file;
mod go_duration;
mod json;
mod librarian;
mod migration;
mod reader;
mod sections;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::Path,
};

use serde_json::{Map, Value, json};
use tracing::info;

pub use self::{
    file::Error,
    librarian::Librarian,
    migration::{Migration, Note},
    reader::{Ignored, Problem},
    sections::{
        certificates::Keypair, grpc::Listener, instance_tls::BackendPems, routes::Routes, xds::Xds,
    },
};
use self::{
    reader::{Findings, Section},
    sections::mcp::SinkLimits,
};
use crate::{
    admin, bbs,
    istio::{self, validate::Invalid},
    mcp, policy, publisher, telemetry, tls,
};

/// Loopback: the surface has no authentication of its own.
const ADMIN_ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9003));

/// Everything that the daemon needs to know, validated.
#[derive(Debug)]
pub struct Config {
    /// What is logged.
    pub log_level: telemetry::Level,
    /// How the time is written in it.
    pub log_timestamp: telemetry::Timestamp,
    /// Where Pilots connect.
    pub mcp_address: SocketAddr,
    /// How they are served.
    pub mcp: mcp::Settings,
    /// Where operators look.
    pub admin: admin::Settings,
    /// Where routes come from.
    pub routes: Routes,
    /// Where Cloud Controllers that push connect.
    pub cloud_controller: Option<Listener>,
    /// Where resolvers of virtual addresses connect.
    pub vip_resolver: Option<Listener>,
    /// Where istiods connect.
    pub xds: Option<Xds>,
    /// Where instances come from; from nowhere if it is disabled.
    pub bbs: Option<bbs::Settings>,
    /// Where network policies come from; from nowhere if it is disabled.
    pub policy: Option<policy::Settings>,
    /// How all of it becomes Istio's configuration.
    pub publisher: publisher::Settings,
    /// The certificates that it has or names.
    pub certificates: Vec<tls::Certificates>,
    /// Keys that are there and have no effect.
    pub ignored: Vec<Ignored>,
}

impl Config {
    /// Reads a config file, and the certificates that it names.
    ///
    /// # Errors
    /// All that is wrong with it, each with its key.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let (object, mut problems) = file::read(path)?;
        let config = Self::parse(object);
        let config = config.map_err(|others| problems.extend(others));
        match config {
            Ok(config) if problems.is_empty() => Ok(config),
            _ => Err(Error::Invalid {
                path: path.to_owned(),
                problems,
            }),
        }
    }

    /// Validates the object of a config file.
    ///
    /// # Errors
    /// All that is wrong with it, each with its key.
    pub fn parse(object: Map<String, Value>) -> Result<Self, Vec<Problem>> {
        let mut findings = Findings::default();
        let mut root = Section::new("", object, &mut findings);
        let config = Self::read(&mut root);
        root.end();
        match config {
            Some(config) if findings.problems.is_empty() => Ok(Self {
                ignored: findings.ignored,
                certificates: findings.certificates,
                ..config
            }),
            // A section that could not be read has reported why.
            _ => Err(findings.problems),
        }
    }

    /// Every key that a file may have, with the sections that it is in: `BBS.Address`, `TLSPems[].CertChain`.
    pub fn keys() -> BTreeSet<String> {
        let mut findings = Findings::default();
        // Which keys are looked at depends on where routes come from, and on what is there at all.
        let polled = json!({
            "CAPI": {},
            "BBS": {},
            "TLSPems": [{}],
            "BackendTLS": { "ClientCert": "-" },
            "InternalTLS": {},
            "TCPRoutes": {},
            "Defaults": { "OutlierDetection": {}, "SessionAffinity": {} },
        });
        let pushed = json!({
            "ListenAddressForCloudController": "127.0.0.1:0",
            "ListenAddressForXDS": "127.0.0.1:0",
            "XDSServerCertPath": "-",
            "BBS": {},
        });
        for file in [polled, pushed] {
            let Value::Object(object) = file else {
                continue;
            };
            let mut root = Section::new("", object, &mut findings);
            Self::read(&mut root);
            root.end();
        }
        findings.keys
    }

    /// What is not served of the router's certificates, and why: pairs by their keys, and names of certificates.
    pub fn left_out(&self) -> Vec<(String, Invalid)> {
        let publisher::Settings {
            certificate_root,
            certificates,
            left_out,
            defaults,
            tcp_ports,
            ..
        } = &self.publisher;
        let served = istio::gateway(
            certificate_root,
            certificates,
            defaults.https_redirect.as_ref(),
            tcp_ports,
        );
        let names = served.map_or_else(|_| Vec::new(), |served| served.left_out);
        left_out.iter().cloned().chain(names).collect()
    }

    /// Logs which keys have no effect.
    pub fn tell(&self) {
        for Ignored { key, why } in &self.ignored {
            info!(key, why, "this key has no effect");
        }
    }

    fn read(root: &mut Section<'_>) -> Option<Self> {
        let log_level = root.parsed("LogLevel");
        let log_timestamp = root.parsed("LogTimestamp");
        let mcp_address = root.required("ListenAddressForMCP", Section::address);
        let server = sections::grpc::read(root);
        let limits = SinkLimits::read(root);
        let mcp = sections::mcp::read(root, &server, limits);
        let admin_address = root.address("AdminListenAddress");
        let admin_names = root.names("AdminHostNames").unwrap_or_default();
        let (routes, tcp) = sections::routes::read(root);
        let cloud_controller = sections::cloud_controller::listener(root, &server);
        let vip_resolver = sections::vip::listener(root, &server);
        let xds = sections::xds::read(root, &server, limits);
        root.ignore(
            "ListenAddressForPilot",
            "Pilots connect to ListenAddressForMCP",
        );
        let bbs = sections::bbs::read(root);
        let policy = sections::policy::read(root);
        let listeners = [
            ("ListenAddressForMCP", mcp_address),
            (
                "AdminListenAddress",
                Some(admin_address.unwrap_or(ADMIN_ADDRESS)),
            ),
            (
                "ListenAddressForCloudController",
                cloud_controller.as_ref().map(|listener| listener.address),
            ),
            (
                "ListenAddressForVIPResolver",
                vip_resolver.as_ref().map(|listener| listener.address),
            ),
            ("ListenAddressForXDS", xds.as_ref().map(|xds| xds.address)),
        ];
        sections::grpc::apart(root, &listeners);
        let inputs = (bbs.is_some(), policy.is_some());
        let publisher = sections::publisher::read(root, routes.as_ref(), tcp, inputs);
        Some(Self {
            log_level: log_level.unwrap_or_default(),
            log_timestamp: log_timestamp.unwrap_or_default(),
            mcp_address: mcp_address?,
            mcp: mcp?,
            admin: admin::Settings {
                address: admin_address.unwrap_or(ADMIN_ADDRESS),
                names: admin_names.iter().map(|name| name.to_lowercase()).collect(),
            },
            routes: routes?,
            cloud_controller,
            vip_resolver,
            xds,
            bbs,
            policy,
            publisher: publisher?,
            certificates: Vec::new(),
            ignored: Vec::new(),
        })
    }
}

/// The text of a config file.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Ok(object) = serde_json::from_slice(bytes) {
        Config::parse(object).ok();
    }
}

/// The text of a duration.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_duration(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        go_duration::parse(text).ok();
    }
}

#[cfg(test)]
mod tests;
