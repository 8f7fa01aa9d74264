//! Peers that answer at once, and truly, but for what they are to withhold.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{pending, ready},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use copilot::{
    outbound::{Pool, Request, Response, Target, Transport},
    proto::bbs::{ActualLrPsRequest, ActualLrPsResponse, DesiredLrPsResponse},
    sim::{bbs::Bbs, capi::Capi, policy::PolicyServer},
};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::FOR_LONG;
use crate::peers::{BBS, CAPI};

const ROUTES: &str = "/v3/routes";
const EVENTS: &str = "/v1/events/lrp_instances.r1";
/// Where all of them are.
const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
];
/// What a request takes.
const TAKES: Duration = Duration::from_millis(10);
/// What a whole read takes at most, which may ask for several lists.
const READ_WITHIN: Duration = Duration::from_millis(100);
/// Where rows of JSON say whose they are.
const OWNERS: [&str; 3] = ["/guid", "/relationships/route/data/guid", "/source/id"];

/// What a read is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Read {
    /// All routes but those of TCP.
    Routes,
    /// Routes by their guids, or by their apps'.
    Named,
    /// All TCP routes.
    TcpRoutes,
    /// All domains.
    Domains,
    /// Bindings to route services: all, or those of some routes.
    Bindings,
    /// All instances.
    Instances,
    /// All that is to run.
    Desired,
    /// All policies.
    Policies,
}

/// What is left out of the answers to a kind of read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The rows.
    Rows,
    /// Their destinations.
    Destinations,
}

/// How the BBS fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Well,
    /// Nobody listens.
    Down,
    /// At the first of its addresses nothing is answered any more, and nothing is sent on streams.
    Hangs,
}

/// What a daemon asks.
#[derive(Debug, Clone)]
pub(super) struct Peers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capi: Capi,
    bbs: Bbs,
    policies: PolicyServer,
    /// The guid of the TCP domain.
    tcp_domain: String,
    /// What is left out of which reads, and of whom.
    withheld: Mutex<Option<(Read, Part, BTreeSet<String>)>>,
    bbs_health: watch::Sender<Health>,
    /// How many reads of each kind were answered.
    answered: watch::Sender<BTreeMap<Read, usize>>,
}

impl Peers {
    pub(super) fn new(capi: &Capi, bbs: &Bbs, policies: &PolicyServer, tcp_domain: String) -> Self {
        Self(Arc::new(Shared {
            capi: capi.clone(),
            bbs: bbs.clone(),
            policies: policies.clone(),
            tcp_domain,
            withheld: Mutex::default(),
            bbs_health: watch::Sender::new(Health::Well),
            answered: watch::Sender::default(),
        }))
    }

    /// A part of what is of these is left out of reads of a kind.
    pub(super) fn withhold(&self, read: Read, part: Part, of: BTreeSet<String>) {
        *self.0.withheld.lock().unwrap() = Some((read, part, of));
    }

    /// Nothing is left out any more.
    pub(super) fn withhold_nothing(&self) {
        *self.0.withheld.lock().unwrap() = None;
    }

    /// How the BBS fares from now on. Where it is down, its streams end.
    pub(super) fn set_bbs(&self, health: Health) {
        self.0.bbs_health.send_replace(health);
        if health == Health::Down {
            self.0.bbs.end_streams();
        }
    }

    /// How many reads of a kind were answered.
    pub(super) fn count(&self, read: Read) -> usize {
        self.0.answered.borrow().get(&read).copied().unwrap_or(0)
    }

    /// Waits for the end of so many more reads of a kind; when the first was answered.
    pub(super) async fn answers(&self, read: Read, more: usize) -> Instant {
        let mut answered = self.0.answered.subscribe();
        let before = self.count(read);
        let mut first = None;
        for more in 1..=more {
            let is_there = |counts: &BTreeMap<_, _>| counts.get(&read) >= Some(&(before + more));
            let answered = timeout(FOR_LONG, answered.wait_for(is_there)).await;
            answered
                .unwrap_or_else(|_| panic!("{read:?} is read"))
                .unwrap();
            first.get_or_insert_with(Instant::now);
        }
        sleep(READ_WITHIN).await;
        first.expect("one is waited for")
    }

    fn read_of(&self, request: &Request) -> Option<Read> {
        let has = |names: &[&str]| {
            let mut query = request.url.query_pairs();
            query.any(|(name, _)| names.contains(&name.as_ref()))
        };
        match request.url.path() {
            ROUTES if has(&["guids", "app_guids"]) => Some(Read::Named),
            // What changed lately.
            ROUTES
                if request
                    .url
                    .query()
                    .is_some_and(|query| query.contains("updated_at")) =>
            {
                None
            }
            ROUTES if request.url.as_str().contains(&self.0.tcp_domain) => Some(Read::TcpRoutes),
            ROUTES => Some(Read::Routes),
            "/v3/domains" => Some(Read::Domains),
            "/v3/service_route_bindings" => Some(Read::Bindings),
            "/v1/actual_lrps/list" => {
                let asked = ActualLrPsRequest::decode(&*request.body).unwrap_or_default();
                asked.process_guid.is_empty().then_some(Read::Instances)
            }
            "/v1/desired_lrp_routing_infos/list" => Some(Read::Desired),
            "/networking/v1/internal/policies" => Some(Read::Policies),
            _ => None,
        }
    }

    async fn carry(self, address: SocketAddr, request: Request) -> io::Result<Response> {
        sleep(TAKES).await;
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let health = *self.0.bbs_health.borrow();
        match health {
            Health::Down if host == BBS => return Err(io::ErrorKind::ConnectionRefused.into()),
            Health::Hangs if host == BBS && address.ip() == ADDRESSES[0] => pending().await,
            _ => {}
        }
        let (read, path) = (self.read_of(&request), request.url.path().to_owned());
        let response = match host.as_str() {
            CAPI => self.0.capi.answer(request).await,
            BBS => self.0.bbs.answer(&path, &request.body),
            _ => self.0.policies.answer(request).await,
        };
        if path == EVENTS {
            let network = self.clone();
            let is_silent = move || {
                let hangs = *network.0.bbs_health.borrow() == Health::Hangs;
                hangs && address.ip() == ADDRESSES[0]
            };
            return Ok(response.map(|body| body.filter(move |_| ready(!is_silent())).boxed()));
        }
        let (head, mut pieces) = response.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = pieces.next().await {
            body.extend_from_slice(&piece?);
        }
        if let Some((withheld, part, of)) = &*self.0.withheld.lock().unwrap()
            && read == Some(*withheld)
        {
            body = without(&body, &path, *part, of);
        }
        if let Some(read) = read {
            self.0
                .answered
                .send_modify(|counts| *counts.entry(read).or_default() += 1);
        }
        let body = stream::iter([Ok(Bytes::from(body))]).boxed();
        Ok(Response::from_parts(head, body))
    }
}

/// An answer without a part of what is of some.
fn without(body: &[u8], path: &str, part: Part, of: &BTreeSet<String>) -> Vec<u8> {
    match path {
        "/v1/actual_lrps/list" => {
            let mut list = ActualLrPsResponse::decode(body).unwrap();
            list.actual_lrps.retain(|row| {
                let key = row.actual_lrp_key.as_ref();
                key.is_none_or(|key| !of.contains(&key.process_guid))
            });
            list.encode_to_vec()
        }
        "/v1/desired_lrp_routing_infos/list" => {
            let mut list = DesiredLrPsResponse::decode(body).unwrap();
            list.desired_lrps
                .retain(|row| !of.contains(&row.process_guid));
            list.encode_to_vec()
        }
        _ => without_json(body, part, of),
    }
}

fn without_json(body: &[u8], part: Part, of: &BTreeSet<String>) -> Vec<u8> {
    let mut answer: Value = serde_json::from_slice(body).unwrap();
    let list = if answer.get("policies").is_some() {
        "policies"
    } else {
        "resources"
    };
    let is_of = |row: &Value| {
        let owners = OWNERS
            .iter()
            .filter_map(|owner| row.pointer(owner)?.as_str());
        owners.into_iter().any(|owner| of.contains(owner))
    };
    let rows = answer[list].as_array_mut().unwrap();
    match part {
        Part::Rows => rows.retain(|row| !is_of(row)),
        Part::Destinations => {
            for row in rows.iter_mut().filter(|row| is_of(row)) {
                row["destinations"] = json!([]);
            }
        }
    }
    let total = json!(rows.len());
    if list == "policies" {
        answer["total_policies"] = total;
    } else {
        answer["pagination"]["total_results"] = total;
    }
    answer.to_string().into_bytes()
}

impl Transport for Peers {
    fn resolve<'a>(
        &'a self,
        _host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let addresses = ADDRESSES.map(|address| (address, port).into());
        ready(Ok(addresses.into())).boxed()
    }

    fn pool(&self, target: &Target<'_>) -> io::Result<Arc<dyn Pool>> {
        Ok(Arc::new(At(self.clone(), target.address)))
    }
}

/// Peers at one of their addresses.
#[derive(Debug)]
struct At(Peers, SocketAddr);

impl Pool for At {
    fn send(&self, request: Request) -> BoxFuture<'static, io::Result<Response>> {
        let Self(peers, address) = self;
        peers.clone().carry(*address, request).boxed()
    }
}
