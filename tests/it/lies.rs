//! Lies of each peer, told to a whole daemon: while it runs, and when it starts beside a state file and without one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use copilot::{
    istio::Kind,
    proto::{bbs::ActualLrp, bbs::DesiredLrp, istio::mcp::v1alpha1::Resources},
    sim::{
        bbs::ListFault,
        capi::{Endpoint, Fault, Lie},
        cloud_foundry::{App, CloudFoundry, loaded_host},
        policy,
        sink::{self, Answer, Options, Sink},
    },
    tls,
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::mesh::{Daemon, LONG, collections, eager, endpoints, holds, with};

const ROUTES: usize = 40;
/// What the BBS does not remember afterwards.
const FOREVER: [&str; 3] = ["B7", "B8, B9", "B10"];
/// More reads than confirm each other at once; the time that the guard lets pass is longer than they take.
const READS: usize = 8;
/// A first read that is not believed is followed by another one at once, and the next ones take their time.
const AT_A_START: usize = 2;

/// A way to lie in complete reads, and whether a daemon that knows nothing else can see that it is one.
struct Told {
    row: &'static str,
    tell: fn(&CloudFoundry, &[App]),
    shows: bool,
}

fn capi(foundation: &CloudFoundry, fault: Fault) {
    let capi = &foundation.capi;
    capi.inject(Endpoint::Routes, 0, usize::MAX, fault);
}

fn rows(foundation: &CloudFoundry, lie: fn(&mut ActualLrp)) {
    foundation.bbs.lie(move |_, mut row| {
        row.modification_tag.get_or_insert_default().index += 1;
        lie(&mut row);
        row.encode_to_vec()
    });
}

fn desired(foundation: &CloudFoundry, lie: fn(&mut DesiredLrp)) {
    foundation.bbs.lie_of_desired(move |_, mut row| {
        row.modification_tag.get_or_insert_default().index += 1;
        lie(&mut row);
        row.encode_to_vec()
    });
}

/// Rows from a place on cannot be decoded.
fn garble(foundation: &CloudFoundry, rows: usize) {
    foundation.bbs.lie(move |at, row| {
        let garbage = vec![0xff];
        if at < rows {
            garbage
        } else {
            row.encode_to_vec()
        }
    });
}

fn forget(foundation: &CloudFoundry, apps: &[App]) {
    for app in apps {
        foundation.bbs.forget(&app.instances);
    }
}

#[rustfmt::skip]
const TOLD: [Told; 29] = [
    Told { row: "domains of another kind", shows: true, tell: |cf, _| cf.capi.inject(Endpoint::Domains, 0, usize::MAX, Fault::Lie(Lie::Internal)) },
    Told { row: "B1, claimed", shows: true, tell: |cf, _| rows(cf, |row| "CLAIMED".clone_into(&mut row.state)) },
    Told { row: "C11", shows: true, tell: |cf, _| capi(cf, Fault::Empty) },
    Told { row: "C4", shows: true, tell: |cf, _| capi(cf, Fault::Lie(Lie::NoDestinations)) },
    Told { row: "C5", shows: true, tell: |cf, _| capi(cf, Fault::Lie(Lie::Rows(3, false))) },
    Told { row: "C6", shows: true, tell: |cf, _| capi(cf, Fault::Lie(Lie::Rows(3, true))) },
    Told { row: "C7", shows: true, tell: |cf, _| capi(cf, Fault::Lie(Lie::Rows(0, true))) },
    Told { row: "C8", shows: true, tell: |cf, _| capi(cf, Fault::Lie(Lie::ItselfNext)) },
    Told { row: "C9, hosts", shows: true, tell: |cf, _| capi(cf, Fault::Lie(Lie::BlankHosts)) },
    Told { row: "C9, paths", shows: true, tell: |cf, _| capi(cf, Fault::Lie(Lie::PathsWithoutSlash)) },
    Told { row: "C9, ports", shows: true, tell: |cf, _| capi(cf, Fault::Lie(Lie::Ports)) },
    Told { row: "C9, protocols", shows: true, tell: |cf, _| capi(cf, Fault::Lie(Lie::Tcp)) },
    Told { row: "C10", shows: true, tell: |cf, _| capi(cf, Fault::Lie(Lie::Nothing)) },
    Told { row: "B1, empty", shows: true, tell: |cf, _| rows(cf, |row| row.state.clear()) },
    Told { row: "B1, unknown", shows: true, tell: |cf, _| rows(cf, |row| "ASLEEP".clone_into(&mut row.state)) },
    Told { row: "B2", shows: true, tell: |cf, _| rows(cf, |row| row.presence = 7) },
    Told { row: "B3", shows: true, tell: |cf, _| rows(cf, |row| row.actual_lrp_net_info.get_or_insert_default().ports.clear()) },
    Told { row: "B4", shows: true, tell: |cf, _| desired(cf, |row| row.instances = 0) },
    Told { row: "B5", shows: true, tell: |cf, _| garble(cf, usize::MAX) },
    Told { row: "B6, ports", shows: true, tell: |cf, _| rows(cf, |row| {
        for port in &mut row.actual_lrp_net_info.get_or_insert_default().ports { port.host_port = 70_000; }
    }) },
    Told { row: "B6, addresses", shows: true, tell: |cf, _| rows(cf, |row| row.actual_lrp_net_info.get_or_insert_default().address.clear()) },
    Told { row: "B6, half", shows: true, tell: |cf, _| garble(cf, ROUTES / 2) },
    Told { row: "B7", shows: true, tell: |cf, apps| { cf.bbs.set_fresh(false); forget(cf, apps); } },
    Told { row: "B8, B9", shows: true, tell: forget },
    Told { row: "B10", shows: true, tell: |cf, apps| forget(cf, &apps[3..]) },
    Told { row: "B11", shows: true, tell: |cf, _| rows(cf, |row| "tasks".clone_into(&mut row.actual_lrp_key.get_or_insert_default().domain)) },
    Told { row: "an error in a good answer", shows: true, tell: |cf, _| cf.bbs.fail_lists(ListFault::Reported(2)) },
    Told { row: "half a list", shows: true, tell: |cf, _| cf.bbs.fail_lists(ListFault::Short) },
    Told { row: "P1", shows: true, tell: |cf, _| cf.policies.fail(Some(policy::Fault::Short)) },
];

/// A foundation of forty routes with an instance each, and what to begin anew with when a lie is over.
struct Peers {
    foundation: CloudFoundry,
    apps: Vec<App>,
}

impl Peers {
    async fn start() -> Self {
        let mut foundation = CloudFoundry::start().await.unwrap();
        let apps = foundation.load(ROUTES, ROUTES);
        Self { foundation, apps }
    }

    fn config(&self) -> Value {
        eager(self.foundation.config())
    }

    fn config_with_file(&self) -> Value {
        let file = self.foundation.folder().join("state");
        with(self.config(), &[("/StateFile", json!(file))])
    }

    /// Waits until both peers were read several times since now.
    async fn are_read(&self, row: &str, reads: usize) {
        let capi = &self.foundation.capi;
        let asked = capi.count(Endpoint::Routes) + reads;
        let mut lists = self.foundation.bbs.lists_requested();
        let listed = *lists.borrow() + reads as u64;
        let both = async {
            capi.requested(Endpoint::Routes, asked).await;
            lists.wait_for(|lists| *lists >= listed).await.unwrap();
        };
        let read = timeout(LONG, both).await;
        read.unwrap_or_else(|_| panic!("{row}: reads go on"));
    }

    fn tell_the_truth(&self) {
        self.foundation.capi.clear();
        self.foundation.bbs.lie_no_more();
        self.foundation.bbs.fail_lists(ListFault::None);
        self.foundation.bbs.set_fresh(true);
        self.foundation.policies.fail(None);
    }

    /// A Pilot, and the fewest services that it was ever told of.
    async fn pilot(&self, daemon: &Daemon) -> (Sink, Arc<AtomicUsize>) {
        let client = self.foundation.pki.issue("pilot", &["pilot"]).unwrap();
        let config = tls::client(self.foundation.pki.ca(), Some(&client)).unwrap();
        let channel = sink::connect(daemon.mcp, config).await.unwrap();
        let options = Options {
            collections: collections(),
            ..Options::default()
        };
        let fewest = Arc::new(AtomicUsize::new(usize::MAX));
        let seen = fewest.clone();
        let answer = move |response: &Resources| {
            if response.collection == Kind::ServiceEntry.collection() {
                seen.fetch_min(response.resources.len(), Ordering::Relaxed);
            }
            Answer::Ack
        };
        let pilot = Sink::open(&channel, options, answer).await.unwrap();
        (pilot, fewest)
    }
}

/// The routes of which a Pilot has each its instance.
async fn holds_all(pilot: &Sink, told: &str) {
    let state = holds(pilot, |state| {
        let reached = (0..ROUTES).filter(|n| endpoints(state, &loaded_host(*n)).len() == 1);
        reached.count() == ROUTES
    });
    let state = state.await;
    assert!(state.ended.is_none(), "{told}");
}

#[tokio::test]
async fn no_lie_takes_anything_from_a_daemon_that_runs() {
    for Told { row, tell, .. } in TOLD {
        let peers = Peers::start().await;
        let daemon = Daemon::start(peers.config()).await;
        let (pilot, fewest) = peers.pilot(&daemon).await;
        holds_all(&pilot, row).await;
        tell(&peers.foundation, &peers.apps);
        peers.are_read(row, READS).await;
        assert_eq!(fewest.load(Ordering::Relaxed), ROUTES, "{row}");
        holds_all(&pilot, row).await;
        if !FOREVER.contains(&row) {
            peers.tell_the_truth();
            let is_over = |ready: &Value| ready.get("held").is_none();
            daemon.shows("/readyz", is_over).await;
            peers.are_read(row, READS).await;
            daemon.shows("/readyz", is_over).await;
            assert_eq!(fewest.load(Ordering::Relaxed), ROUTES, "{row}, afterwards");
            holds_all(&pilot, row).await;
        }
        daemon.end().await;
    }
}

#[tokio::test]
async fn no_lie_takes_anything_from_a_daemon_that_starts_beside_a_file() {
    for Told { row, tell, .. } in TOLD {
        let peers = Peers::start().await;
        let daemon = Daemon::start(peers.config_with_file()).await;
        let (pilot, _) = peers.pilot(&daemon).await;
        holds_all(&pilot, row).await;
        // What it knew at its end is in the file.
        daemon.end().await;
        tell(&peers.foundation, &peers.apps);
        let daemon = Daemon::start(peers.config_with_file()).await;
        let (_pilot, fewest) = peers.pilot(&daemon).await;
        peers.are_read(row, AT_A_START).await;
        let fewest = fewest.load(Ordering::Relaxed);
        assert!(fewest >= ROUTES, "{row}: {fewest}");
        daemon.end().await;
    }
}

#[tokio::test]
async fn a_daemon_that_knows_nothing_is_silent_while_it_is_lied_to() {
    for Told { row, tell, .. } in TOLD.into_iter().filter(|told| told.shows) {
        let peers = Peers::start().await;
        tell(&peers.foundation, &peers.apps);
        let daemon = Daemon::start(peers.config()).await;
        let (_pilot, fewest) = peers.pilot(&daemon).await;
        peers.are_read(row, AT_A_START).await;
        let fewest = fewest.load(Ordering::Relaxed);
        assert!(fewest >= ROUTES, "{row}: {fewest}");
        peers.tell_the_truth();
        daemon.end().await;
    }
}
