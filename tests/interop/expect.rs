//! What is asked and who has to answer: waited for once, as a change takes its time, and then held to.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::{
    client::{Ask, Client, Failure, Reply},
    peers::process::POLL,
    scenario::Tally,
};

/// Longer than any change takes to reach an ingress.
const SOON: Duration = Duration::from_secs(20);

/// Who has to answer.
#[derive(Debug, Clone)]
pub enum Answerer {
    /// An app.
    App(String),
    /// Any of these apps.
    AnyOf(Vec<String>),
    /// The ingress itself, with this status.
    Ingress(u16),
}

impl From<&str> for Answerer {
    fn from(app: &str) -> Self {
        Self::App(app.to_owned())
    }
}

impl Answerer {
    /// Whether this is the answer.
    pub fn has_given(&self, outcome: &Result<Reply, Failure>) -> bool {
        let Ok(reply) = outcome else { return false };
        match (self, &reply.answer) {
            (Self::App(app), Some(answer)) => answer.app == *app,
            (Self::AnyOf(apps), Some(answer)) => apps.contains(&answer.app),
            (Self::Ingress(status), None) => reply.status == *status,
            _ => false,
        }
    }
}

/// What came of a request, in a word to count by.
pub fn outcome(outcome: &Result<Reply, Failure>) -> String {
    match outcome {
        Ok(Reply {
            answer: Some(answer),
            ..
        }) => answer.app.clone(),
        Ok(reply) => reply.status.as_u16().to_string(),
        Err(failure) => failure.kind().to_owned(),
    }
}

/// Waits until each is answered by whom it has to be, or a change would have arrived; then asks `rounds` times, and
/// counts.
pub async fn expect(client: &Client, tally: &mut Tally, rounds: usize, wanted: &[(Ask, Answerer)]) {
    let settled = async {
        for (ask, answerer) in wanted {
            while !answerer.has_given(&client.ask(ask).await) {
                sleep(POLL).await;
            }
        }
    };
    // What has not settled by then is counted as it is.
    drop(timeout(SOON, settled).await);
    for _ in 0..rounds {
        for (ask, answerer) in wanted {
            count(tally, ask, answerer, &client.ask(ask).await);
        }
    }
}

/// Counts one request.
pub fn count(tally: &mut Tally, ask: &Ask, answerer: &Answerer, result: &Result<Reply, Failure>) {
    let word = outcome(result);
    let took = result.as_ref().map_or(SOON, |reply| reply.took);
    if answerer.has_given(result) {
        tally.answered(&word, took);
    } else {
        tally.failed(&format!("{word} for {}{}", ask.host, ask.path), took);
    }
}
