//! What the poller is told: where Cloud Controller is, how it is polled, and where its findings go.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use url::Url;

use super::{domain_pattern::DomainPattern, wire::AnnotationPrefix};
use crate::{
    feed::Feed,
    model::{AppGuid, CapiProcessGuid, Confirmations, Report},
    readiness::Gate,
    secret::Secret,
};

/// Cloud Controller refuses larger pages.
pub const MAX_PAGE_SIZE: u32 = 5000;

/// Where Cloud Controller is, and how it is polled.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Cloud Controller, by its internal or its external address.
    pub api: Url,
    /// The UAA, where it is not the one that Cloud Controller names.
    pub uaa: Option<Url>,
    /// The CAs that sign the certificates of both.
    pub ca: PathBuf,
    /// A UAA client with `cloud_controller.admin_read_only` or `cloud_controller.global_auditor`.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// The domains of the mesh.
    pub domains: Vec<DomainPattern>,
    /// Which annotations of their routes are for the mesh.
    pub annotations: AnnotationPrefix,
    /// From the end of a full read to the next.
    pub full_read_interval: Duration,
    /// From one look at what changed lately to the next.
    pub tail_interval: Duration,
    /// Whether audit events are followed between full reads.
    pub tail_audit_events: bool,
    /// Whether new and updated routes are followed between full reads.
    pub tail_updated_at: bool,
    /// How many routes are asked for at a time; at most [`MAX_PAGE_SIZE`].
    pub page_size: u32,
    /// From a read that lacks a restriction to the one that confirms or refutes it.
    pub confirm_after: Duration,
    /// Whether routes that are bound to a route service are served past it.
    pub serve_bound_routes: bool,
    /// From one read of the domains to the next, where routes turn up that are of none of them.
    pub domains_interval: Duration,
    /// How long a request may take, with its answer.
    pub request_timeout: Duration,
    /// How many rows one read may have: more are a list without end.
    pub max_rows: usize,
    /// How often one page is tried again before the full read is given up.
    pub page_retries: u32,
    /// The shortest delay after a failure.
    pub min_backoff: Duration,
    /// The longest one.
    pub max_backoff: Duration,
    /// From one look at touched apps to the next: a first one is read at once, those that follow are gathered.
    pub gather: Duration,
    /// The TCP routes of the mesh, if there are any.
    pub tcp: Option<TcpSettings>,
    /// When touched apps and announced deletions are looked at again: a deletion is announced before it is
    /// committed, and the one of a large space takes a while.
    pub recheck_after: Vec<Duration>,
}

/// Which TCP routes are read, in a list of their own, and how often.
#[derive(Debug, Clone)]
pub struct TcpSettings {
    /// The TCP domains of the mesh.
    pub domains: Vec<DomainPattern>,
    /// From the end of a read to the next.
    pub interval: Duration,
    /// The same at the least, where apps are touched.
    pub gather: Duration,
}

/// What the poller of TCP routes reads from and writes to inside the process.
#[derive(Debug)]
pub struct TcpIo {
    /// Where its updates go.
    pub updates: mpsc::Sender<Report>,
    /// When a complete read could confirm a loss that is held.
    pub confirmations: watch::Receiver<Confirmations>,
    /// Apps whose routes may have changed, as the BBS tells; closed where there is none.
    pub touched_apps: mpsc::Receiver<AppGuid>,
    /// How the reads fare.
    pub routes: Feed,
    /// How UAA's tokens are renewed.
    pub token: Feed,
}

/// What the poller reads from and writes to inside the process.
#[derive(Debug)]
pub struct Io {
    /// Where its updates go.
    pub updates: mpsc::Sender<Report>,
    /// When a complete read could confirm a loss that is held.
    pub confirmations: watch::Receiver<Confirmations>,
    /// Apps whose routes may have changed, as the BBS tells; closed where there is none.
    pub touched_apps: mpsc::Receiver<AppGuid>,
    /// Processes with instances that the BBS does not describe.
    pub undescribed: watch::Receiver<Arc<BTreeSet<CapiProcessGuid>>>,
    /// How the full reads fare.
    pub routes: Feed,
    /// How the reads in between fare.
    pub tail: Feed,
    /// How the reads of processes fare.
    pub processes: Feed,
    /// How it is known who may reach routes: bindings to route services, and domains that enforce route policies.
    pub access: Feed,
    /// How UAA's tokens are renewed: a failure shows here while the old one is still good.
    pub token: Feed,
    /// Opens after the first complete read, if anybody waits for that.
    pub synced: Option<Gate>,
}
