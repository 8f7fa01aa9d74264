//! A simulated BBS with a feed that follows it, and what came out of the feed.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use copilot::{
    bbs::{Outputs, Settings, Watcher},
    feed::{Feeds, Problem, Status},
    model::{AppGuid, Basis, Confirmations, Instance, InstanceGuid, Reading, Report, Update},
    outbound::{self, Sockets, Transport},
    readiness::Readiness,
    sim::{
        bbs::{Bbs, InstanceSpec, ProcessSpec},
        pki::Pki,
    },
    tls::Identity,
};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than anything here takes.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// No second list during a test.
pub(super) const NEVER: Duration = Duration::from_hours(1);
/// Lists all the time.
pub(super) const OFTEN: Duration = Duration::from_millis(20);

pub(super) struct Rig {
    pub(super) bbs: Bbs,
    /// Those that requests may be sent to.
    pub(super) instances: BTreeMap<InstanceGuid, Arc<Instance>>,
    /// The others that run.
    pub(super) withheld: BTreeMap<InstanceGuid, Arc<Instance>>,
    pub(super) lists: watch::Receiver<Status>,
    pub(super) events: watch::Receiver<Status>,
    pub(super) readiness: Readiness,
    pub(super) touched_apps: mpsc::Receiver<AppGuid>,
    updates: mpsc::Receiver<Report>,
    confirmations: watch::Sender<Confirmations>,
    watcher: JoinHandle<()>,
    shutdown: DropGuard,
    _folder: TempDir,
}

/// A BBS without anybody who follows it yet.
pub(super) struct Peers {
    pub(super) bbs: Bbs,
    pub(super) server: Identity,
    pub(super) settings: Settings,
    pub(super) folder: TempDir,
}

impl Peers {
    pub(super) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let pki = Pki::new(folder.path(), "bbs").unwrap();
        let server = pki.issue("server", &["127.0.0.1", "localhost"]).unwrap();
        let bbs = Bbs::start_on_loopback(&server, pki.ca()).await.unwrap();
        let settings = Settings {
            peer: outbound::Settings {
                address: bbs.address(),
                ca: pki.ca().to_owned(),
                identity: Some(pki.issue("copilot", &["copilot"]).unwrap()),
                connect_timeout: LONG,
                request_timeout: LONG,
            },
            sync_interval: NEVER,
            backoff: (Duration::from_millis(5), Duration::from_millis(20)),
            confirm_after: NEVER,
        };
        Self {
            bbs,
            server,
            settings,
            folder,
        }
    }

    /// A certificate of an authority that the BBS does not know.
    pub(super) fn foreign_identity(&self) -> Identity {
        let pki = Pki::new(self.folder.path(), "foreign").unwrap();
        pki.issue("stranger", &["stranger"]).unwrap()
    }

    pub(super) fn follow(self) -> Rig {
        self.follow_over(Arc::new(Sockets))
    }

    pub(super) fn follow_over(self, transport: Arc<dyn Transport>) -> Rig {
        let mut feeds = Feeds::new(&mut Registry::default());
        let (lists, events) = (
            feeds.register("bbs", LONG),
            feeds.register("bbs-events", LONG),
        );
        let (list_status, event_status) = (lists.status(), events.status());
        let readiness = Readiness::default();
        // So small that the feed has to wait for its reader.
        let (updates_in, updates) = mpsc::channel(1);
        let (touched_in, touched_apps) = mpsc::channel(8);
        let confirmations = watch::Sender::default();
        let outputs = Outputs {
            updates: updates_in,
            confirmations: confirmations.subscribe(),
            touched_apps: vec![touched_in],
            questions: mpsc::channel(1).1,
            lists,
            events,
            synced: readiness.gate("instances"),
        };
        let watcher = Watcher::new(self.settings, transport, outputs).unwrap();
        let shutdown = CancellationToken::new();
        Rig {
            bbs: self.bbs,
            instances: BTreeMap::new(),
            withheld: BTreeMap::new(),
            lists: list_status,
            events: event_status,
            readiness,
            touched_apps,
            updates,
            confirmations,
            watcher: tokio::spawn(watcher.run(shutdown.clone())),
            shutdown: shutdown.drop_guard(),
            _folder: self.folder,
        }
    }
}

impl Rig {
    /// A BBS with some processes, followed and listed once.
    pub(super) async fn with(sync_interval: Duration, load: impl FnOnce(&Bbs)) -> Self {
        let mut peers = Peers::start().await;
        peers.settings.sync_interval = sync_interval;
        load(&peers.bbs);
        let mut rig = peers.follow();
        rig.synced().await;
        rig
    }

    /// Receives the first complete read.
    pub(super) async fn synced(&mut self) {
        let all = match self.update().await {
            Update::AllInstances(all) => all,
            other => panic!("{other:?} before the first complete read"),
        };
        self.take(all);
    }

    fn take(&mut self, current: Vec<Arc<Instance>>) {
        for instance in current {
            self.instances.remove(&instance.guid);
            self.withheld.remove(&instance.guid);
            let kept = if instance.routable {
                &mut self.instances
            } else {
                &mut self.withheld
            };
            kept.insert(instance.guid.clone(), instance);
        }
    }

    /// Applies updates until the instances are as claimed.
    pub(super) async fn until(
        &mut self,
        claim: impl Fn(&BTreeMap<InstanceGuid, Arc<Instance>>) -> bool,
    ) {
        while !claim(&self.instances) {
            self.change().await;
        }
    }

    /// Says that a list could confirm what is held.
    pub(super) fn hold(&self, until: Instant) {
        self.confirmations.send_replace(Confirmations {
            instances: Some(until),
            ..Confirmations::default()
        });
    }

    /// The same before anything is served.
    pub(super) fn hold_at_a_start(&self, until: Instant) {
        self.confirmations.send_replace(Confirmations {
            is_starting: true,
            instances: Some(until),
            ..Confirmations::default()
        });
    }

    /// What the next event says of instances, and on what grounds.
    pub(super) async fn next_event(&mut self) -> (Basis, Vec<Arc<Instance>>) {
        loop {
            let report = self.report().await;
            if let Update::Instances { current, .. } = report.update {
                return (report.basis, current);
            }
        }
    }

    /// Takes in the next complete read.
    pub(super) async fn next_read(&mut self) -> Reading {
        loop {
            if let Basis::Read(reading) = self.next_basis().await {
                return reading;
            }
        }
    }

    /// What the next event takes away.
    pub(super) async fn next_end(&mut self) -> Vec<InstanceGuid> {
        loop {
            if let Update::Instances { gone, .. } = self.update().await {
                return gone;
            }
        }
    }

    /// On what the next report of all instances is based.
    pub(super) async fn next_basis(&mut self) -> Basis {
        loop {
            let report = self.report().await;
            if let Update::AllInstances(all) = report.update {
                self.instances.clear();
                self.take(all);
                return report.basis;
            }
        }
    }

    /// Applies one update.
    pub(super) async fn change(&mut self) {
        match self.update().await {
            Update::Instances { current, gone } => {
                assert!(!(current.is_empty() && gone.is_empty()), "an empty update");
                for guid in gone {
                    let routable = self.instances.remove(&guid);
                    let was_there = routable.or_else(|| self.withheld.remove(&guid));
                    assert!(was_there.is_some(), "{guid} was not there");
                }
                self.take(current);
            }
            Update::AllInstances(all) => {
                self.instances.clear();
                self.withheld.clear();
                self.take(all);
            }
            other => panic!("{other:?} after the first complete read"),
        }
    }

    async fn update(&mut self) -> Update {
        self.report().await.update
    }

    async fn report(&mut self) -> Report {
        let report = timeout(LONG, self.updates.recv()).await;
        report
            .expect("an update was due")
            .expect("the feed has ended")
    }

    /// Starts an instance of its own process and applies updates until it arrives: what was due before has then been
    /// seen.
    pub(super) async fn catch_up(&mut self) {
        let name = format!("marker-{}", self.instances.len());
        self.bbs.desire(process(&name, 1));
        let marker = self.bbs.start_instance(&name, 0, &place(250));
        self.until(|instances| instances.contains_key(&marker))
            .await;
        self.bbs.stop_instance(&marker);
        self.bbs.remove_process(&name);
        self.until(|instances| !instances.contains_key(&marker))
            .await;
    }

    /// Waits until that many more lists were answered, and the last of them but one was merged.
    pub(super) async fn more_lists(&mut self, more: u64) {
        let mut served = self.bbs.lists_served();
        let target = *served.borrow() + more;
        reached(&mut served, target).await;
    }

    pub(super) async fn list_problem(&mut self) -> Problem {
        problem(&mut self.lists).await
    }

    pub(super) async fn event_problem(&mut self) -> Problem {
        problem(&mut self.events).await
    }

    /// Waits for a stream after the one that ended.
    pub(super) async fn resubscribed(&mut self, subscriptions: u64) {
        reached(&mut self.bbs.subscriptions(), subscriptions).await;
    }

    pub(super) async fn stop(self) {
        drop(self.shutdown);
        timeout(LONG, self.watcher).await.unwrap().unwrap();
    }
}

pub(super) async fn reached(count: &mut watch::Receiver<u64>, target: u64) {
    timeout(LONG, count.wait_for(|count| *count >= target))
        .await
        .unwrap_or_else(|_| panic!("{target} was not reached"))
        .unwrap();
}

async fn problem(status: &mut watch::Receiver<Status>) -> Problem {
    let failing = status.wait_for(|status| status.problem.is_some());
    let status = timeout(LONG, failing)
        .await
        .expect("a problem was due")
        .unwrap();
    status.problem.clone().unwrap()
}

/// Waits until nothing is wrong with a feed that succeeded.
pub(super) async fn well(status: &mut watch::Receiver<Status>) {
    let well = status.wait_for(|status| status.problem.is_none() && status.last_success.is_some());
    timeout(LONG, well)
        .await
        .expect("a recovery was due")
        .unwrap();
}

pub(super) fn process(name: &str, instances: u32) -> ProcessSpec {
    ProcessSpec {
        process_guid: name.to_owned(),
        app_guid: format!("app-of-{name}"),
        process_type: "web".to_owned(),
        instances,
        metric_tags: true,
    }
}

pub(super) fn place(number: u8) -> InstanceSpec {
    InstanceSpec::new(
        Ipv4Addr::new(10, 0, 1, number).into(),
        Ipv4Addr::new(10, 255, 1, number).into(),
        vec![(8080, 61_000), (2222, 61_001)],
    )
}

/// A process with as many instances as it is to have.
pub(super) fn running(bbs: &Bbs, name: &str, instances: u8) {
    let places = (0..instances).map(place).collect();
    bbs.load([(process(name, instances.into()), places)]);
}
