//! A simulated BBS: Diego's answers and event sequences, byte for byte in its framing, and its faults.
//!
//! Verbs change the simulated foundation at once and emit the events that the BBS would. Nothing takes time by
//! itself: what Diego does after a while (a container that has stopped, a cell that is lost) is a verb of its own.

mod foundation;
mod server;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use self::{foundation::Foundation, server::Shared};
use crate::{
    model::InstanceGuid,
    outbound,
    proto::bbs::{ActualLrp, DesiredLrp},
    tls::{self, Identity},
};

/// What is to run of an app.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// The process's guid in Diego: the guid in Cloud Controller and the version.
    pub process_guid: String,
    /// Its app.
    pub app_guid: String,
    /// Its type.
    pub process_type: String,
    /// How many instances are to run.
    pub instances: u32,
    /// Whether it carries metric tags; those of old foundations do not.
    pub metric_tags: bool,
}

/// What the ports of a cell that lead to its containers take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CellPorts {
    /// By the container's proxy alone, at the port that was asked for: cells of today.
    #[default]
    Tls,
    /// At that port in plaintext, and 500 above it by the container's proxy.
    Both,
    /// In plaintext alone: there is no proxy.
    Plain,
}

/// Where an instance runs.
#[derive(Debug, Clone)]
pub struct InstanceSpec {
    /// The cell's address.
    pub cell: IpAddr,
    /// The container's overlay address.
    pub container: IpAddr,
    /// Container ports and the host ports that lead to them.
    pub ports: Vec<(u16, u16)>,
    /// What is behind the host ports.
    pub cell_ports: CellPorts,
    /// Whether the cell asks everyone to use the container's address.
    pub prefers_container: bool,
    /// Its availability zone; none where the BBS is older than the field.
    pub zone: &'static str,
}

impl InstanceSpec {
    /// On a cell as most of them are.
    pub fn new(cell: IpAddr, container: IpAddr, ports: Vec<(u16, u16)>) -> Self {
        Self {
            cell,
            container,
            ports,
            cell_ports: CellPorts::default(),
            prefers_container: false,
            zone: "",
        }
    }
}

/// What the lists answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListFault {
    /// The truth.
    #[default]
    None,
    /// An HTTP status and no body, as during migrations (503).
    Status(u16),
    /// An error of this type inside a good answer.
    Reported(i32),
    /// A good answer that is no protobuf.
    Garbage,
    /// Half of the truth, and then the connection closes.
    Short,
}

/// Why the simulator could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its certificates cannot be used.
    #[error("reading the simulated BBS's certificates")]
    Tls(#[from] tls::Error),
    /// The address cannot be bound.
    #[error("binding the simulated BBS to {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A running simulator. Clones are handles to the same one; it stops with the last.
#[derive(Debug, Clone)]
pub struct Bbs {
    address: SocketAddr,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
    _stops_with_the_last: Arc<DropGuard>,
}

impl Bbs {
    /// Listens on `address` as `identity`, and demands client certificates of `client_ca`.
    pub async fn start(
        address: SocketAddr,
        identity: &Identity,
        client_ca: &Path,
    ) -> Result<Self, Error> {
        let bind = |source| Error::Bind { address, source };
        let mut tls = tls::mutual_server(identity, client_ca)?;
        // As the BBS: its clients fall back to HTTP/1.1.
        tls.alpn_protocols.clear();
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let shutdown = CancellationToken::new();
        let shared = Arc::new(Shared::default());
        tokio::spawn(server::serve(
            listener,
            Arc::new(tls),
            Arc::clone(&shared),
            shutdown.clone(),
        ));
        Ok(Self {
            address,
            shared,
            _stops_with_the_last: Arc::new(shutdown.clone().drop_guard()),
            shutdown,
        })
    }

    /// One that has no socket and is asked by [`Bbs::answer`].
    pub fn within() -> Self {
        let shutdown = CancellationToken::new();
        Self {
            address: (Ipv4Addr::UNSPECIFIED, 0).into(),
            shared: Arc::default(),
            _stops_with_the_last: Arc::new(shutdown.clone().drop_guard()),
            shutdown,
        }
    }

    /// What it answers to a request that no socket carries: the truth, or a stream of what changes.
    pub fn answer(&self, path: &str, sent: &[u8]) -> outbound::Response {
        server::answer_within(&self.shared, path, sent)
    }

    /// The same on a free port of the loopback interface.
    pub async fn start_on_loopback(identity: &Identity, client_ca: &Path) -> Result<Self, Error> {
        Self::start((Ipv4Addr::LOCALHOST, 0).into(), identity, client_ca).await
    }

    /// Where it is reached.
    pub fn address(&self) -> Url {
        Url::parse(&format!("https://{}", self.address)).expect("a socket address makes a URL")
    }

    /// Ends the streams in order and closes the port.
    pub fn stop(&self) {
        self.foundation().end_streams();
        self.shutdown.cancel();
    }

    fn foundation(&self) -> MutexGuard<'_, Foundation> {
        self.shared.foundation()
    }
}

/// What happens in the foundation.
impl Bbs {
    /// A process is to run. Its instances are started by [`Bbs::start_instance`].
    pub fn desire(&self, spec: ProcessSpec) {
        self.foundation().desire(spec);
    }

    /// A process is to run with another number of instances. Those too many run until they are stopped.
    pub fn scale(&self, process: &str, instances: u32) {
        self.foundation().scale(process, instances);
    }

    /// The process's desired state is written again, as after a route is mapped.
    pub fn touch(&self, process: &str) {
        self.foundation().rewrite(process, |_| {});
    }

    /// A process is to run no more. Its instances run until they are stopped.
    pub fn remove_process(&self, process: &str) {
        self.foundation().remove_process(process);
    }

    /// An instance is placed, claimed and runs.
    pub fn start_instance(&self, process: &str, index: u32, spec: &InstanceSpec) -> InstanceGuid {
        self.foundation()
            .start_instance(process, index, spec)
            .as_str()
            .into()
    }

    /// An instance is placed and claimed by a cell, which knows its guid from then on and makes its container.
    pub fn claim_instance(&self, process: &str, index: u32, cell: IpAddr) -> InstanceGuid {
        self.foundation()
            .claim_instance(process, index, cell)
            .as_str()
            .into()
    }

    /// An instance that was claimed runs there.
    pub fn run_instance(&self, instance: &InstanceGuid, spec: &InstanceSpec) {
        self.foundation().run_instance(&instance.to_string(), spec);
    }

    /// Its place among its process's instances, while there is one.
    pub fn index_of(&self, instance: &InstanceGuid) -> Option<u32> {
        self.foundation().index_of(&instance.to_string())
    }

    /// An instance's container has stopped.
    pub fn stop_instance(&self, instance: &InstanceGuid) {
        self.foundation().stop_instance(&instance.to_string());
    }

    /// An instance's container has stopped, and the event that says so has an older state of its row than the one before.
    pub fn stop_with_older_row(&self, instance: &InstanceGuid) {
        self.foundation().stop_with_older_row(&instance.to_string());
    }

    /// An instance crashes and is to be placed again.
    pub fn crash(&self, instance: &InstanceGuid) {
        self.foundation().crash(&instance.to_string());
    }

    /// An instance's cell is evacuated: it serves on while its replacement is placed.
    pub fn evacuate(&self, instance: &InstanceGuid) {
        self.foundation().evacuate(&instance.to_string());
    }

    /// An instance's cell is out of touch.
    pub fn suspect(&self, instance: &InstanceGuid) {
        self.foundation().suspect(&instance.to_string());
    }

    /// An instance's readiness check changes its mind.
    pub fn set_routable(&self, instance: &InstanceGuid, routable: bool) {
        self.foundation()
            .set_routable(&instance.to_string(), routable);
    }

    /// An instance is told to stop: the event is immediate, but its row runs on until [`Bbs::stop_instance`].
    pub fn retire(&self, instance: &InstanceGuid) {
        self.foundation().retire(&instance.to_string());
    }

    /// Many processes with all their instances, without events: the foundation as it was before anyone subscribed.
    /// The instances in their order.
    pub fn load(
        &self,
        processes: impl IntoIterator<Item = (ProcessSpec, Vec<InstanceSpec>)>,
    ) -> Vec<InstanceGuid> {
        let mut foundation = self.foundation();
        let mut load = |(process, places): (_, Vec<_>)| foundation.load(process, &places);
        let loaded = processes.into_iter().flat_map(&mut load);
        loaded.map(|guid| guid.as_str().into()).collect()
    }

    /// Forgets instances without events, as a database that was lost.
    pub fn forget(&self, instances: &[InstanceGuid]) {
        let mut foundation = self.foundation();
        for instance in instances {
            foundation.forget(&instance.to_string());
        }
    }

    /// Whether the domain of apps is fresh: Cloud Controller vouches for its completeness.
    pub fn set_fresh(&self, fresh: bool) {
        self.foundation().fresh = fresh;
    }
}

/// What goes wrong.
impl Bbs {
    /// Connections are closed before they are answered, as long as this is so.
    pub fn refuse(&self, refuse: bool) {
        self.foundation().faults.refuse = refuse;
    }

    /// What lists answer from now on.
    pub fn fail_lists(&self, fault: ListFault) {
        self.foundation().faults.list = fault;
    }

    /// Lists have these rows of instances instead, by their place and what is true; events stay true.
    pub fn lie(&self, lie: impl Fn(usize, ActualLrp) -> Vec<u8> + Send + 'static) {
        self.foundation().faults.actual_lie = Some(Box::new(lie));
    }

    /// The same of what is to run.
    pub fn lie_of_desired(&self, lie: impl Fn(usize, DesiredLrp) -> Vec<u8> + Send + 'static) {
        self.foundation().faults.desired_lie = Some(Box::new(lie));
    }

    /// Lists are true again.
    pub fn lie_no_more(&self) {
        let mut foundation = self.foundation();
        foundation.faults.actual_lie = None;
        foundation.faults.desired_lie = None;
    }

    /// Connections are accepted and requests are read, and nothing is answered any more, not even a ping.
    pub fn hang(&self) {
        self.foundation().faults.hang = true;
    }

    /// An older BBS does not have the list with metric tags.
    pub fn set_routing_infos(&self, present: bool) {
        self.foundation().routing_infos = present;
    }

    /// Each subscription ends in order as soon as it is made, as long as this is so.
    pub fn end_streams_at_once(&self, end: bool) {
        self.foundation().faults.end_at_once = end;
    }

    /// All streams end in order.
    pub fn end_streams(&self) {
        self.foundation().end_streams();
    }

    /// All streams break off in the middle of an event.
    pub fn cut_streams_mid_event(&self) {
        self.foundation().cut_streams();
    }

    /// An event of any name with any data goes to all streams.
    pub fn send_raw_event(&self, name: &str, data: &str) {
        self.foundation().emit_raw(name, data);
    }

    /// Lists are read from the foundation, but not answered until [`Bbs::release_lists`].
    pub fn hold_lists(&self) {
        self.shared.held.send_replace(true);
    }

    /// Lists are answered again.
    pub fn release_lists(&self) {
        self.shared.held.send_replace(false);
    }

    /// Answers a path with captured bytes, status line and all; a captured stream stays open.
    pub fn replay(&self, path: &str, response: Bytes) {
        self.foundation()
            .faults
            .replays
            .insert(path.to_owned(), response);
    }
}

/// What can be waited for. Each counts from the start of the simulator.
impl Bbs {
    /// How many streams are open.
    pub fn streams(&self) -> watch::Receiver<usize> {
        self.shared.streams.subscribe()
    }

    /// How many subscriptions there were.
    pub fn subscriptions(&self) -> watch::Receiver<u64> {
        self.shared.subscriptions.subscribe()
    }

    /// How many lists of instances were asked for, held ones among them.
    pub fn lists_requested(&self) -> watch::Receiver<u64> {
        self.shared.lists_requested.subscribe()
    }

    /// How many lists of instances were answered, with faults or without.
    pub fn lists_served(&self) -> watch::Receiver<u64> {
        self.shared.lists_served.subscribe()
    }

    /// How many connections were refused.
    pub fn refused(&self) -> watch::Receiver<u64> {
        self.shared.refused.subscribe()
    }

    /// Resolves once somebody is subscribed.
    pub async fn subscribed(&self) {
        let mut streams = self.streams();
        streams
            .wait_for(|streams| *streams > 0)
            .await
            .expect("self holds the sender");
    }
}

/// One event on its way to a stream.
#[derive(Debug, Clone)]
enum Emission {
    /// A name and base64 data.
    Event(Arc<str>, Arc<str>),
    /// Half an event, and then the connection closes.
    Cut,
}

/// A stream's queue: as long as the BBS's, which ends the streams that let theirs overflow.
const QUEUE: usize = 1024;

type Subscriber = mpsc::Sender<Emission>;

impl Shared {
    /// A panic elsewhere leaves the foundation as it was at that moment, which is as good as any.
    fn foundation(&self) -> MutexGuard<'_, Foundation> {
        let foundation: &Mutex<Foundation> = &self.foundation;
        foundation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
