//! The poller: one request after another, and an update when the policies have changed.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::error::SendError,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::info;
use xxhash_rust::xxh3::xxh3_128;

use super::{Error, Outputs, Settings, client::Client, guard::Guard, wire};
use crate::{
    backoff::Backoff,
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
    guard: Guard,
    /// The hash of the body that came last, if it was believed: the same one need not be parsed again.
    believed: Option<u128>,
    /// What was read last and believed.
    known: Option<Vec<Policy>>,
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
            guard: Guard::new(settings.max_removed_percent),
            settings,
            outputs,
            believed: None,
            known: None,
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
            let changed = match self.client.read().await {
                Ok(body) => self.believe(&body),
                Err(error) => Err(error.into()),
            };
            let pause = match changed {
                Ok(changed) => {
                    if let Some(policies) = changed {
                        let report = Update::AllPolicies(policies).on(Basis::read_since(started));
                        self.outputs.updates.send(report).await?;
                    }
                    self.outputs.feed.succeeded(started.elapsed());
                    self.backoff.reset();
                    self.settings.poll_interval
                }
                Err(error) => self.failed(&error),
            };
            self.rest(pause).await;
        }
    }

    /// The policies, if they are to be believed and are not the same as before.
    fn believe(&mut self, body: &[u8]) -> Result<Option<Vec<Policy>>, Error> {
        let hash = xxh3_128(body);
        if self.believed == Some(hash) {
            return Ok(None);
        }
        self.believed = None;
        let answer = wire::answer(self.client.url(), body)?;
        let (policies, unreadable) = (answer.policies, answer.dropped.len());
        // Even of an answer that is not believed: what could not be read may be the reason.
        self.outputs.feed.dropped_in_read(answer.dropped);
        self.guard
            .judge(self.known.as_deref(), &policies, unreadable)?;
        self.believed = Some(hash);
        self.outputs.feed.holds("policies", policies.len());
        if self.known.as_ref() == Some(&policies) {
            return Ok(None);
        }
        Ok(Some(self.known.insert(policies).clone()))
    }

    /// Reports what went wrong; how long to wait.
    fn failed(&mut self, error: &Error) -> Duration {
        self.outputs.feed.failed(error.kind(), error);
        match error {
            // The server is well: the next answer is as good at its usual time.
            Error::Doubt(_) => {
                self.backoff.reset();
                self.settings.poll_interval
            }
            _ => self.backoff.delay(),
        }
    }

    async fn rest(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while Instant::now() < end {
            self.outputs.feed.turned();
            sleep_until(end.min(Instant::now() + IDLE)).await;
        }
    }
}
