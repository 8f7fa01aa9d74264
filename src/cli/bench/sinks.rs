//! The sinks of a run.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{sync::mpsc, time::timeout};
use tonic::transport::Channel;

use super::ServedBy;
use crate::{
    istio::Kind,
    sim::{
        istiod,
        load::{Counters, LoadSink, Seen, Sight, Totals},
        sink,
    },
    tls::{self, Identity},
};

/// How long anything may take before the run says that it failed.
const LONG: Duration = Duration::from_mins(2);
/// Handshakes at a time.
const CONNECTING: usize = 16;

/// Sinks of one daemon.
pub(super) struct Sinks {
    served_by: ServedBy,
    address: SocketAddr,
    /// The CA of its certificate, and what to present; in the clear without it.
    tls: Option<(PathBuf, Identity)>,
    connected: Vec<LoadSink>,
    counters: Arc<Counters>,
    seen: mpsc::UnboundedReceiver<Seen>,
    sender: mpsc::UnboundedSender<Seen>,
}

impl Sinks {
    pub(super) fn new(
        served_by: ServedBy,
        address: SocketAddr,
        tls: Option<(PathBuf, Identity)>,
    ) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        Self {
            served_by,
            address,
            tls,
            connected: Vec::new(),
            counters: Arc::default(),
            seen,
            sender,
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn megabytes(&self) -> f64 {
        self.counters.bytes() as f64 / 1e6
    }

    pub(super) fn len(&self) -> usize {
        self.connected.len()
    }

    /// Connects until there are as many.
    pub(super) async fn connect(&mut self, count: usize) -> anyhow::Result<()> {
        let missing = count.saturating_sub(self.connected.len());
        let opening = stream::iter(0..missing).map(|_| self.open());
        let opened: Vec<LoadSink> = opening.buffer_unordered(CONNECTING).try_collect().await?;
        self.connected.extend(opened);
        Ok(())
    }

    async fn open(&self) -> anyhow::Result<LoadSink> {
        let channel = self.channel().await.context("connecting a sink")?;
        let collections = Kind::ALL.map(Kind::collection);
        let (counters, seen) = (self.counters.clone(), self.sender.clone());
        let mode = self.served_by.mode();
        let opened = LoadSink::open(&channel, mode, &collections, counters, seen).await;
        opened.context("opening a sink's stream")
    }

    async fn channel(&self) -> anyhow::Result<Channel> {
        Ok(match &self.tls {
            Some((ca, identity)) => {
                let config = tls::client(ca, Some(identity))?;
                sink::connect(self.address, config).await?
            }
            None => istiod::connect(self.address).await?,
        })
    }

    /// Waits until every sink holds this many resources of each collection.
    pub(super) async fn hold(&self, expected: &[(&str, usize)]) -> anyhow::Result<()> {
        let holds = |totals: &Totals| {
            expected.iter().all(|(collection, count)| {
                totals
                    .resources
                    .get(*collection)
                    .is_some_and(|held| held >= count)
            })
        };
        self.wait(holds).await
    }

    /// Waits until every sink has an answer for every collection.
    pub(super) async fn hold_something(&self) -> anyhow::Result<()> {
        self.wait(|totals| totals.resources.len() == Kind::ALL.len())
            .await
    }

    async fn wait(&self, holds: impl Fn(&Totals) -> bool) -> anyhow::Result<()> {
        for sink in &self.connected {
            let mut totals = sink.totals();
            let arrived = totals.wait_for(|totals| totals.ended.is_some() || holds(totals));
            let arrived = timeout(LONG, arrived).await;
            let totals = arrived.context("a sink waits for its state in vain")??;
            anyhow::ensure!(
                totals.ended.is_none(),
                "a stream has ended: {:?}",
                totals.ended
            );
        }
        Ok(())
    }

    /// What the first sink holds.
    pub(super) fn resources(&self) -> usize {
        let first = self.connected.first();
        first.map_or(0, |sink| sink.totals().borrow().resources.values().sum())
    }

    /// Whether all streams go on.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for sink in &self.connected {
            let ended = sink.totals().borrow().ended.clone();
            anyhow::ensure!(ended.is_none(), "a stream has ended: {ended:?}");
        }
        Ok(())
    }

    /// Has every sink look out for these resources.
    pub(super) fn expect(&self, names: &[String], sight: Sight) {
        let since = Instant::now();
        for sink in &self.connected {
            for name in names {
                sink.expect(name, sight, since);
            }
        }
    }

    /// The next sight of something expected by some sink.
    pub(super) async fn seen(&mut self) -> anyhow::Result<Seen> {
        let seen = timeout(LONG, self.seen.recv()).await;
        let seen = seen.context("a change that no sink has seen")?;
        self.check()?;
        seen.context("self holds a sender")
    }

    /// What has been seen by now.
    pub(super) fn seen_by_now(&mut self) -> Option<Seen> {
        self.seen.try_recv().ok()
    }

    /// How much is expected and not seen.
    pub(super) fn unseen(&self) -> usize {
        self.connected.iter().map(LoadSink::unseen).sum()
    }
}
