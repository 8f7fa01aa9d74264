//! The one task that owns the table: takes in updates, regenerates what they changed, publishes snapshots.

mod collections;
mod damped;
mod generation;
mod hold;
mod linger;
mod memory;
mod metrics;
mod names;
mod pace;
mod settings;
mod state;
mod withdrawn;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use prometheus_client::registry::Registry;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    damped::Damped,
    pace::{Pace, gathered},
};
pub use self::{
    metrics::Metrics,
    settings::{Input, LINGER, Settings},
    state::State,
};
use crate::{
    explain::Question,
    guard,
    istio::validate::{Invalid, Rejected},
    model::{CapiProcessGuid, Confirmations, Report, Source},
    readiness::{Gate, Readiness},
    snapshot::{self, Snapshot, Vips},
    store,
};

/// The gate of whoever tells the routes.
pub const ROUTES_GATE: &str = "routes from Cloud Controller";

/// How long everything else waits for the first TCP routes: their list fails where the Routing API does.
const TCP_GRACE: Duration = Duration::from_secs(30);

/// What the publisher tells others.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// The published state.
    pub snapshots: snapshot::Receiver,
    /// What is withheld, and why.
    pub rejected: watch::Receiver<Arc<Rejected>>,
    /// The processes of running instances that nobody has described yet: a question to Cloud Controller.
    pub undescribed: watch::Receiver<Arc<BTreeSet<CapiProcessGuid>>>,
    /// When complete reads could confirm what is held: for each feed one of its own, since it is chance which of several
    /// receivers of one channel wakes first.
    pub confirmations: BTreeMap<Source, watch::Receiver<Confirmations>>,
    /// The virtual addresses, as soon as routes are known.
    pub vips: watch::Receiver<Option<Vips>>,
    /// What is to be written down.
    pub saved: store::Receiver,
    /// What is held.
    pub held: watch::Receiver<Arc<Vec<guard::Summary>>>,
    /// What operators say of it.
    pub decisions: mpsc::Sender<guard::Decision>,
    /// What people ask.
    pub questions: mpsc::Sender<Question>,
}

/// Reports that are taken in together, of those that wait.
const TOGETHER: usize = 64;
/// Reports that are gathered in a rest, which is a second at the most.
const GATHERED: usize = 4096;

/// Operators whose word or question waits.
const OPERATORS: usize = 4;

/// Owns the table; everyone else reads what it publishes.
#[derive(Debug)]
pub struct Publisher {
    settings: Settings,
    state: State,
    reports: mpsc::Receiver<Report>,
    described: Option<Gate>,
    published: Option<Gate>,
    /// Since the first snapshot: until when policies may come.
    grace: Option<Instant>,
    /// Since nothing else is waited for: until when TCP routes may come.
    tcp_grace: Option<Instant>,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    rejected: watch::Sender<Arc<Rejected>>,
    undescribed: watch::Sender<Arc<BTreeSet<CapiProcessGuid>>>,
    confirmations: BTreeMap<Source, watch::Sender<Confirmations>>,
    held: watch::Sender<Arc<Vec<guard::Summary>>>,
    vips: watch::Sender<Option<Vips>>,
    saved: watch::Sender<Option<store::State>>,
    /// When what has changed is to be written down.
    unsaved: Option<Instant>,
    /// When that was handed over last.
    saved_at: Option<Instant>,
    /// When all routes were read last.
    routes_read: Option<Instant>,
    /// The same by the clock of the state file, and until then when what it has was said.
    said_at: SystemTime,
    /// When what an earlier process served stands in for sources that are silent.
    stands_in: Option<Instant>,
    /// That time has come, and the instances are not known yet.
    stands_in_late: bool,
    readiness: Readiness,
    /// Whether network policies were read, or remembered.
    knows_policies: bool,
    decisions: mpsc::Receiver<guard::Decision>,
    pace: Pace,
    damped: Damped,
    /// Whether what is to be published next was damped: then that is whose work it is.
    is_damped: bool,
    questions: mpsc::Receiver<Question>,
}

/// When the changes that wait have to be published.
#[derive(Debug, Clone, Copy)]
struct Armed {
    first: Instant,
    last: Instant,
}

impl Publisher {
    /// Takes what feeds say from `reports`. Ready with the first snapshot.
    ///
    /// # Errors
    /// Istio would discard the gateway, which is made of the configured certificates.
    pub fn new(
        settings: Settings,
        reports: mpsc::Receiver<Report>,
        readiness: &Readiness,
        registry: &mut Registry,
    ) -> Result<(Self, Outputs), Invalid> {
        let described = settings.required.contains(&Input::Processes);
        let state = State::new(&settings, Metrics::new(registry))?;
        let rejected = state.rejected();
        let (decide, decisions) = mpsc::channel(OPERATORS);
        let (ask, questions) = mpsc::channel(OPERATORS);
        let starting = Confirmations {
            is_starting: true,
            ..Confirmations::default()
        };
        let this = Self {
            settings,
            state,
            reports,
            described: described.then(|| readiness.gate("processes from Cloud Controller")),
            published: Some(readiness.gate("first snapshot")),
            grace: None,
            tcp_grace: None,
            snapshots: watch::Sender::new(None),
            rejected: watch::Sender::new(rejected),
            undescribed: watch::Sender::default(),
            confirmations: Source::ALL
                .map(|source| (source, watch::Sender::new(starting)))
                .into(),
            held: watch::Sender::default(),
            vips: watch::Sender::default(),
            saved: watch::Sender::default(),
            unsaved: None,
            saved_at: None,
            routes_read: None,
            said_at: SystemTime::now(),
            stands_in: None,
            stands_in_late: false,
            readiness: readiness.clone(),
            knows_policies: false,
            decisions,
            pace: Pace::default(),
            damped: Damped::default(),
            is_damped: false,
            questions,
        };
        let outputs = Outputs {
            snapshots: this.snapshots.subscribe(),
            rejected: this.rejected.subscribe(),
            undescribed: this.undescribed.subscribe(),
            confirmations: this
                .confirmations
                .iter()
                .map(|(source, sender)| (*source, sender.subscribe()))
                .collect(),
            held: this.held.subscribe(),
            vips: this.vips.subscribe(),
            saved: this.saved.subscribe(),
            decisions: decide,
            questions: ask,
        };
        Ok((this, outputs))
    }

    /// Runs until `shutdown`, or until every feed is gone.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.remember();
        let mut armed = None;
        let mut waiting = Vec::new();
        loop {
            // What was taken in is published before the next rest: who waits, waits for one rest and not for two.
            if armed.is_none() && self.rests(&shutdown, &mut waiting).await.is_break() {
                return self.save_last();
            }
            if !waiting.is_empty() {
                self.take_in_all(&mut waiting, &mut armed);
            }
            let due = armed.map(|armed| self.due(armed));
            tokio::select! {
                // The deadline comes before further updates, or a steady stream of them would hold it off.
                biased;
                () = shutdown.cancelled() => return self.save_last(),
                () = wait_until(due) => {
                    armed = None;
                    self.publish();
                }
                () = wait_until(self.damped.due(Instant::now())) => self.take_in_damped(&mut armed),
                () = wait_until(self.grace) => self.end_grace(),
                () = wait_until(self.tcp_grace) => self.end_tcp_grace(),
                () = wait_until(self.stands_in) => self.stand_in(),
                () = wait_until(self.unsaved) => self.save(),
                () = wait_until(self.state.next_end().map(Instant::from_std)) => self.publish(),
                Some(decision) = self.decisions.recv() => self.decide(decision),
                Some(question) = self.questions.recv() => self.answer(question),
                count = self.reports.recv_many(&mut waiting, TOGETHER) => {
                    if count == 0 {
                        return;
                    }
                    self.take_in_all(&mut waiting, &mut armed);
                }
            }
        }
    }

    fn due(&self, armed: Armed) -> Instant {
        (armed.last + self.settings.debounce_after).min(armed.first + self.settings.debounce_max)
    }

    /// Rests as long as the work until now has to be paid; breaks off at the shutdown. What is reported meanwhile is
    /// gathered, so that a feed does not wait for what another one has caused.
    async fn rests(
        &mut self,
        shutdown: &CancellationToken,
        waiting: &mut Vec<Report>,
    ) -> ControlFlow<()> {
        let rest = self
            .pace
            .rests_until()
            .filter(|until| *until > Instant::now());
        let Some(until) = rest else {
            return ControlFlow::Continue(());
        };
        let end = tokio::time::sleep_until(until);
        tokio::pin!(end);
        let mut is_open = true;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return ControlFlow::Break(()),
                () = &mut end => return ControlFlow::Continue(()),
                count = self.reports.recv_many(waiting, TOGETHER), if is_open && waiting.len() < GATHERED => {
                    is_open = count > 0;
                }
            }
        }
    }

    fn take_in_all(&mut self, reports: &mut Vec<Report>, armed: &mut Option<Armed>) {
        let began = Instant::now();
        let is_on_many = |guid: &_, instance: Option<&_>| self.state.is_on_many(guid, instance);
        let reports = self.damped.pass(gathered(reports.drain(..)), is_on_many);
        for report in reports {
            self.take_in(report, armed);
        }
        self.work(began);
        if self.damped.due(began).is_some_and(|due| due <= began) {
            self.take_in_damped(armed);
        }
    }

    fn take_in_damped(&mut self, armed: &mut Option<Armed>) {
        let began = Instant::now();
        if let Some(report) = self.damped.release() {
            self.is_damped = true;
            self.take_in(report, armed);
            self.work(began);
            self.is_damped = armed.is_some();
        }
    }

    /// Work ends that began then. Until the first snapshot nobody has anything, and all is done as fast as it can be.
    fn work(&mut self, began: Instant) {
        if self.published.is_some() {
            return;
        }
        if self.is_damped {
            self.damped.work(began, Instant::now());
        } else {
            self.pace.work(began, Instant::now());
        }
    }

    fn take_in(&mut self, report: Report, armed: &mut Option<Armed>) {
        let now = Instant::now();
        self.note_unsaved(&report, now);
        self.state.take(report, now);
        if self.state.take_held_otherwise() {
            self.tell_held();
        }
        self.stand_in_late();
        self.tell_early_vips();
        let undescribed = self.state.undescribed();
        self.undescribed.send_if_modified(|sent| {
            let changed = **sent != *undescribed;
            if changed {
                *sent = Arc::new(undescribed.clone());
            }
            changed
        });
        if !self.state.is_missing(Input::Processes)
            && let Some(gate) = self.described.take()
        {
            gate.open();
        }
        self.tcp_grace = self
            .state
            .awaits_tcp_routes()
            .then(|| self.tcp_grace.unwrap_or(now + TCP_GRACE));
        if self.state.is_due() {
            let now = Instant::now();
            armed
                .get_or_insert(Armed {
                    first: now,
                    last: now,
                })
                .last = now;
        }
    }

    fn decide(&mut self, decision: guard::Decision) {
        let guard::Decision {
            source,
            is_believed,
            reply,
        } = decision;
        let is_held = self.state.decide(source, is_believed, Instant::now());
        self.tell_held();
        // Whoever asked may have gone.
        let _gone = reply.send(is_held);
    }

    fn answer(&self, question: Question) {
        // Whoever asked may have gone.
        match question {
            Question::Host { host, path, reply } => {
                drop(reply.send(self.state.explain(&host, &path, Instant::now())));
            }
            Question::Everything(reply) => drop(reply.send(self.state.everything())),
            Question::Changes { host, reply } => {
                drop(reply.send(self.state.changes(host.as_ref())));
            }
        }
    }

    /// Tells feeds when to read, and operators what is held.
    fn tell_held(&self) {
        let confirmations = Confirmations {
            is_starting: self.published.is_some(),
            ..self.state.confirmations()
        };
        for sender in self.confirmations.values() {
            sender.send_if_modified(|sent| std::mem::replace(sent, confirmations) != confirmations);
        }
        if confirmations != Confirmations::default() || !self.held.borrow().is_empty() {
            self.held.send_replace(Arc::new(self.state.held()));
        }
    }

    /// Sinks that hold nothing wait for an answer for each collection before they are ready.
    fn end_grace(&mut self) {
        self.grace = None;
        if self.state.awaits_policies() {
            if self.state.remembers_policies() {
                warn!("no network policies so far: those of the state file are served");
            } else {
                warn!("no network policies so far, the default Sidecar is served alone");
            }
            self.state.release_sidecars();
            self.publish();
        }
    }

    fn end_tcp_grace(&mut self) {
        self.tcp_grace = None;
        warn!(
            "no TCP routes so far, and no state file that has any: all others are served without them"
        );
        self.state.forgo_tcp_routes();
        if self.state.is_due() {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let began = Instant::now();
        // By the clock of the timer that says when services go.
        let snapshot = self.state.publish_at(began.into_std());
        self.work(began);
        self.is_damped = false;
        let rejected = self.state.rejected();
        self.rejected.send_if_modified(|sent| {
            !Arc::ptr_eq(&std::mem::replace(sent, rejected.clone()), &rejected)
        });
        let Some(snapshot) = snapshot else {
            return;
        };
        let resources: usize = snapshot
            .iter()
            .map(|(_, collection)| collection.len())
            .sum();
        self.vips.send_replace(Some(snapshot.vips().clone()));
        self.snapshots.send_replace(Some(Arc::new(snapshot)));
        if let Some(gate) = self.published.take() {
            info!(resources, "first snapshot");
            gate.open();
            self.grace = self.settings.policies.map(|grace| Instant::now() + grace);
            self.arm_saving();
            self.tell_held();
        }
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
