//! What is asked and who has to answer: waited for once, as a change takes its time, and then held to.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::time::{sleep, timeout};

use crate::{
    client::{Ask, Client, Failure, Reply},
    peers::process::POLL,
    scenario::Tally,
};

/// Longer than any change takes to reach an ingress.
pub const SOON: Duration = Duration::from_secs(20);

/// Who has to answer, and over what it has to have been asked.
#[derive(Debug, Clone)]
pub struct Answerer {
    by: By,
    port: Option<u16>,
    protocol: &'static str,
    tls: bool,
}

#[derive(Debug, Clone)]
enum By {
    App(String),
    Ingress(u16),
    Nobody,
}

impl From<&str> for Answerer {
    /// An app, over HTTP/1.1.
    fn from(app: &str) -> Self {
        Self {
            by: By::App(app.to_owned()),
            port: None,
            protocol: "http/1.1",
            tls: false,
        }
    }
}

impl Answerer {
    /// The ingress itself, with this status.
    pub fn ingress(status: u16) -> Self {
        Self {
            by: By::Ingress(status),
            ..Self::from("")
        }
    }

    /// No app: the ingress, with whatever status.
    pub fn nobody() -> Self {
        Self {
            by: By::Nobody,
            ..Self::from("")
        }
    }

    /// The same on this port of its container.
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// The same over `h2`, `grpc` or `websocket`.
    pub fn over(mut self, protocol: &'static str) -> Self {
        self.protocol = protocol;
        self
    }

    /// The same by an instance that was asked over TLS.
    pub fn over_tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Whether this is the answer.
    pub fn has_given(&self, result: &Result<Reply, Failure>) -> bool {
        let Ok(reply) = result else { return false };
        match (&self.by, &reply.answer) {
            (By::App(app), Some(answer)) => {
                answer.app == *app
                    && answer.protocol == self.protocol
                    && self.port.is_none_or(|port| answer.port == port)
                    && (answer.tls || !self.tls)
            }
            (By::Ingress(status), None) => reply.status == *status,
            (By::Nobody, None) => true,
            _ => false,
        }
    }
}

/// What came of a request, in a word to count by.
fn word(result: &Result<Reply, Failure>) -> String {
    match result {
        Ok(reply) => match &reply.answer {
            Some(answer) => answer.app.clone(),
            None => reply.status.as_u16().to_string(),
        },
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
    timeout(SOON, settled).await.ok();
    for _ in 0..rounds {
        for (ask, answerer) in wanted {
            // How it went is in the tally.
            drop(self::ask(client, tally, ask, answerer).await);
        }
    }
}

/// Asks once, and counts.
pub async fn ask(
    client: &Client,
    tally: &mut Tally,
    ask: &Ask,
    answerer: &Answerer,
) -> Result<Reply, Failure> {
    let begun = Instant::now();
    let result = client.ask(ask).await;
    let (word, took) = (word(&result), begun.elapsed());
    if answerer.has_given(&result) {
        tally.answered(&word, took);
        return result;
    }
    let answer = result.as_ref().ok().and_then(|reply| reply.answer.as_ref());
    let over = answer.map_or_else(String::new, |answer| {
        let tls = if answer.tls { " and TLS" } else { "" };
        format!(" over {}:{}{tls}", answer.protocol, answer.port)
    });
    tally.failed(&format!("{word}{over} for {}{}", ask.host, ask.path), took);
    result
}

/// Waits until so many instances have answered, asks `requests` times, and counts how often each instance has: by app
/// and guid.
pub async fn spread(
    client: &Client,
    tally: &mut Tally,
    ask: &Ask,
    (instances, requests): (usize, u32),
) -> BTreeMap<(String, String), u32> {
    let mut seen = BTreeSet::new();
    let all_seen = async {
        while seen.len() < instances {
            if let Ok(Reply {
                answer: Some(answer),
                ..
            }) = client.ask(ask).await
            {
                seen.insert(answer.instance);
            }
        }
    };
    timeout(SOON, all_seen).await.ok();
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        let begun = Instant::now();
        let result = client.ask(ask).await;
        let (word, took) = (word(&result), begun.elapsed());
        match result.ok().and_then(|reply| reply.answer) {
            Some(answer) => {
                tally.answered(&word, took);
                *counts.entry((answer.app, answer.instance)).or_default() += 1;
            }
            None => tally.failed(&word, took),
        }
    }
    counts
}

/// Whether each app has had its share, within four standard deviations of as many independent choices.
///
/// # Errors
/// One has not.
pub fn shares(counts: &BTreeMap<(String, String), u32>, wanted: &[(&str, f64)]) -> Result<()> {
    let total = f64::from(counts.values().sum::<u32>());
    for (app, share) in wanted {
        let of_app = counts.iter().filter(|((by, _), _)| by == app);
        let count: u32 = of_app.map(|(_, count)| count).sum();
        let deviation = (total * share * (1.0 - share)).sqrt();
        ensure!(
            (f64::from(count) - total * share).abs() <= 4.0 * deviation,
            "{app} has {count} of {total}, not {:.0} ± {:.0}",
            total * share,
            4.0 * deviation,
        );
    }
    Ok(())
}
