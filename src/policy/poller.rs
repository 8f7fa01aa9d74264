//! The poller: one request after another, and an update when the policies have changed.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::error::SendError,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::info;
use xxhash_rust::xxh3::xxh3_128;

use super::{Doubt, Error, Outputs, Settings, client::Client, wire};
use crate::{
    backoff::Backoff,
    feed::is_unreadable,
    model::{Basis, Policy, Report, Update},
    outbound::Transport,
    tls,
};

/// An idle loop still comes round this often, to show that it is not stuck.
const IDLE: Duration = Duration::from_secs(5);

/// Nobody receives the updates any more.
type Closed = SendError<Report>;

/// Polls the policy server and sends the policies when they have changed.
///
/// What was read last stays in force while the server is slow, silent or wrong: routes never wait for policies.
#[derive(Debug)]
pub struct Poller {
    client: Client,
    settings: Settings,
    outputs: Outputs,
    backoff: Backoff,
    /// The hash of the body that came last, if it was good: the same one need not be parsed again.
    last: Option<u128>,
    /// What was read last.
    known: Option<Vec<Policy>>,
    /// Whether a first answer had none, and the next one is to confirm it.
    is_doubted: bool,
    /// When the last good answer was asked for.
    began: Option<Instant>,
}

impl Poller {
    /// Reads the certificates; connects to nothing yet.
    pub fn new(
        settings: Settings,
        transport: Arc<dyn Transport>,
        outputs: Outputs,
    ) -> Result<Self, tls::Error> {
        let (min, max) = settings.backoff;
        Ok(Self {
            client: Client::new(&settings, transport)?,
            backoff: Backoff::new(min, max),
            settings,
            outputs,
            last: None,
            known: None,
            is_doubted: false,
            began: None,
        })
    }

    /// Polls until `shutdown`, or until nobody receives the updates.
    pub async fn run(mut self, shutdown: CancellationToken) {
        if let Some(Err(_)) = shutdown.run_until_cancelled(self.follow()).await {
            info!("nobody receives the policies any more");
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, Closed> {
        loop {
            self.outputs.feed.turned();
            let started = Instant::now();
            let confirms = self.confirmation().is_some();
            if confirms || self.is_doubted {
                self.client.renew();
            }
            let news = match self.client.read().await {
                Ok(body) => self.take_in(&body),
                Err(error) => Err(error.into()),
            };
            match news {
                Ok(is_news) => {
                    self.began = Some(started);
                    if let Some(policies) = self.known.clone().filter(|_| is_news || confirms) {
                        let report = Update::AllPolicies(policies).on(Basis::read_since(started));
                        self.outputs.updates.send(report).await?;
                    }
                    self.outputs.feed.succeeded(started.elapsed());
                    self.backoff.reset();
                    self.rest(self.settings.poll_interval, true).await;
                }
                Err(error) => self.failed(&error).await,
            }
        }
    }

    /// When an answer could confirm something that is held.
    fn confirmation(&self) -> Option<Instant> {
        self.outputs.confirmations.borrow().policies
    }

    /// Takes in an answer. Whether it differs from the one before.
    fn take_in(&mut self, body: &[u8]) -> Result<bool, Error> {
        let hash = xxh3_128(body);
        if self.last == Some(hash) {
            return Ok(false);
        }
        self.last = None;
        let answer = wire::answer(self.client.url(), body)?;
        let (mut policies, unreadable) = (answer.policies, answer.unreadable);
        // Even of an answer that is not believed: what could not be read may be the reason.
        self.outputs.feed.dropped_in_read(answer.dropped);
        let kept = match &self.known {
            Some(known) if unreadable > 0 => keep(&mut policies, known, unreadable),
            Some(_) => 0,
            None => self.judge_first(policies.len(), unreadable).map(|()| 0)?,
        };
        self.last = Some(hash);
        self.outputs.feed.holds("policies", policies.len());
        self.outputs.feed.holds("kept_policies", kept);
        let is_news = self.known.as_ref() != Some(&policies);
        self.known = Some(policies);
        Ok(is_news)
    }

    /// A first answer without any counts when a second one agrees.
    fn judge_first(&mut self, read: usize, unreadable: usize) -> Result<(), Doubt> {
        if is_unreadable(read, unreadable) {
            return Err(Doubt::Unreadable { unreadable });
        }
        let was_doubted = std::mem::replace(&mut self.is_doubted, read == 0);
        if self.is_doubted && !was_doubted {
            return Err(Doubt::Nothing);
        }
        self.is_doubted = false;
        Ok(())
    }

    /// Reports what went wrong, and waits.
    async fn failed(&mut self, error: &Error) {
        self.outputs.feed.failed(error.kind(), error);
        match error {
            // Asked again at once.
            Error::Doubt(Doubt::Nothing) => self.backoff.reset(),
            // The server is well: the next answer is as good at its usual time.
            Error::Doubt(_) => {
                self.backoff.reset();
                self.rest(self.settings.poll_interval, true).await;
            }
            _ => {
                let delay = self.backoff.delay();
                self.rest(delay, false).await;
            }
        }
    }

    /// Waits; if it may be shorter, only until an answer could confirm something.
    async fn rest(&mut self, pause: Duration, may_be_shorter: bool) {
        let end = Instant::now() + pause;
        loop {
            self.outputs.feed.turned();
            let confirms = self.confirmation().filter(|_| may_be_shorter);
            let confirms = confirms.filter(|at| self.began < Some(*at));
            let wake = confirms.map_or(end, |at| end.min(at));
            if wake <= Instant::now() {
                return;
            }
            tokio::select! {
                biased;
                () = sleep_until(wake.min(Instant::now() + IDLE)) => {}
                Ok(()) = self.outputs.confirmations.changed() => {}
            }
        }
    }
}

/// What cannot be read does not say what it is: any of those that are missing, but no more of them than there are such
/// policies. How many are kept. Both are sorted.
fn keep(policies: &mut Vec<Policy>, known: &[Policy], unreadable: usize) -> usize {
    let is_missing = |policy: &&Policy| policies.binary_search(policy).is_err();
    let missing: Vec<_> = known.iter().filter(is_missing).cloned().collect();
    if missing.len() > unreadable {
        return 0;
    }
    let kept = missing.len();
    policies.extend(missing);
    policies.sort_unstable();
    kept
}
