//! What is written of streams: whoever opens, refuses or answers as often as it likes fills no disk with it.

use std::net::{IpAddr, SocketAddr};

use tonic::Status;
use tracing::{info, warn};

use crate::{feed::cut, grpc::Caller, repeats::Repeats};

const OPENED: &str = "stream opened";
const CLOSED: &str = "stream closed";
const REFUSED: &str = "stream refused";
const CUT: &str = "connection cut: its peer does not read";
const REJECTED: &str = "rejected";
const UNKNOWN: &str = "unknown collection asked for; answered empty";

/// The lines of a listener's streams, each kind told apart by the address of its peer, and by what is said of it.
#[derive(Debug, Clone)]
pub(super) struct Log {
    opened: Repeats<IpAddr>,
    closed: Repeats<String>,
    refused: Repeats<IpAddr>,
    cut: Repeats<IpAddr>,
    rejected: Repeats<String>,
    unknown: Repeats<IpAddr>,
}

impl Log {
    pub(super) fn new(listener: &'static str) -> Self {
        Self {
            opened: Repeats::info(OPENED, listener),
            closed: Repeats::info(CLOSED, listener),
            refused: Repeats::warn(REFUSED, listener),
            cut: Repeats::warn(CUT, listener),
            rejected: Repeats::warn(REJECTED, listener),
            unknown: Repeats::warn(UNKNOWN, listener),
        }
    }

    pub(super) fn opened(&self, id: u64, caller: &Caller) {
        let address = caller.peer.address;
        if self.opened.begins(address.ip()) {
            let names = cut(caller.peer.names.join(", "));
            info!(id, %address, names, "{OPENED}");
        }
    }

    pub(super) fn closed(&self, id: u64, address: SocketAddr, status: &Status) {
        if self
            .closed
            .begins(format!("{} {:?}", address.ip(), status.code()))
        {
            let reason = cut(status.message().to_owned());
            info!(id, %address, code = ?status.code(), reason, "{CLOSED}");
        }
    }

    pub(super) fn refused(&self, address: SocketAddr, status: &Status) {
        if self.refused.begins(address.ip()) {
            let reason = cut(status.message().to_owned());
            warn!(%address, reason, "{REFUSED}");
        }
    }

    pub(super) fn cut(&self, id: u64, address: SocketAddr) {
        if self.cut.begins(address.ip()) {
            warn!(id, %address, "{CUT}");
        }
    }

    pub(super) fn rejected(&self, id: u64, address: SocketAddr, what: &Rejection<'_>) {
        let collection = cut(what.collection.to_owned());
        if self
            .rejected
            .begins(format!("{} {collection}", address.ip()))
        {
            let Rejection {
                version,
                code,
                message,
                ..
            } = what;
            // The line has its own message.
            let reason = cut((*message).to_owned());
            warn!(id, %address, collection, version, code, reason, "{REJECTED}");
        }
    }

    pub(super) fn unknown(&self, id: u64, address: SocketAddr, collection: &str) {
        if self.unknown.begins(address.ip()) {
            let collection = cut(collection.to_owned());
            warn!(id, %address, collection, "{UNKNOWN}");
        }
    }
}

/// What a sink does not take, and why.
#[derive(Debug)]
pub(super) struct Rejection<'a> {
    pub(super) collection: &'a str,
    pub(super) version: String,
    pub(super) code: i32,
    pub(super) message: &'a str,
}
