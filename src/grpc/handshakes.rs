//! What becomes of handshakes: each failure is counted, and an address that begins to fail is named.

use std::{collections::VecDeque, net::IpAddr, time::SystemTime};

use tracing::{debug, info, warn};

use super::metrics::{FailingPeer, Metrics};
use crate::{
    feed::{chain, cut},
    repeats::Repeats,
    tls::{Connection, FailedHandshake, Handshake, HandshakeError},
};

const FAIL: &str = "TLS handshakes fail";
const SUCCEED: &str = "TLS handshakes succeed again";

/// Most addresses that are remembered.
const REMEMBERED: usize = 64;

/// The handshakes of all peers of a listener.
#[derive(Debug)]
pub(super) struct Handshakes {
    listener: &'static str,
    metrics: Metrics,
    failing: Failing,
    /// However many addresses begin, and begin again.
    said: Repeats<IpAddr>,
    recovered: Repeats<IpAddr>,
}

impl Handshakes {
    /// No handshakes yet.
    pub(super) fn new(listener: &'static str, metrics: Metrics) -> Self {
        Self {
            listener,
            metrics,
            failing: Failing::default(),
            said: Repeats::warn(FAIL, listener),
            recovered: Repeats::info(SUCCEED, listener),
        }
    }

    /// The connection, if there is one.
    pub(super) fn conclude<S>(&mut self, handshake: Handshake<S>) -> Option<Connection<S>> {
        let listener = self.listener;
        match handshake {
            Ok(connection) => {
                let address = connection.peer.address;
                if self.failing.ends(address.ip()) {
                    self.metrics.succeeds(listener, address.ip());
                    if self.recovered.begins(address.ip()) {
                        info!(listener, %address, "{SUCCEED}");
                    }
                }
                Some(connection)
            }
            Err(FailedHandshake { address, error }) => {
                self.metrics.handshake_failed(listener, error.kind());
                // A peer that only comes and goes is the health check of a load balancer, more often than not.
                let counts = !matches!(error, HandshakeError::Io(_));
                let is_told = counts && self.said.begins(address.ip());
                let is_news = counts && self.failing.begins(address.ip()) && is_told;
                let (reason, error) = (error.kind(), chain(&error));
                if counts {
                    let now = SystemTime::now();
                    self.metrics.fails(FailingPeer {
                        listener,
                        address: address.ip(),
                        reason,
                        error: cut(error.clone()),
                        since: now,
                        last: now,
                    });
                }
                if is_news {
                    warn!(listener, %address, error, "{FAIL}");
                } else {
                    debug!(listener, %address, error, "TLS handshake failed");
                }
                None
            }
        }
    }
}

/// The addresses whose last connection failed, the latest to begin at the end.
#[derive(Debug, Default)]
pub(super) struct Failing(VecDeque<IpAddr>);

impl Failing {
    /// Remembers a failure; whether it is the first of its address.
    pub(super) fn begins(&mut self, ip: IpAddr) -> bool {
        if self.0.contains(&ip) {
            return false;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(ip);
        true
    }

    /// Forgets an address; whether it had failed.
    pub(super) fn ends(&mut self, ip: IpAddr) -> bool {
        let index = self.0.iter().position(|known| *known == ip);
        index.and_then(|index| self.0.remove(index)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[test]
    fn an_address_begins_to_fail_once_until_it_succeeds() {
        let mut failing = Failing::default();
        assert!(!failing.ends(ip(1)));
        assert!(failing.begins(ip(1)) && failing.begins(ip(2)));
        assert!(!failing.begins(ip(1)));
        assert!(failing.ends(ip(1)) && !failing.ends(ip(1)));
        assert!(failing.begins(ip(1)));
    }

    #[test]
    fn only_so_many_addresses_are_remembered() {
        let mut failing = Failing::default();
        for n in 0..=64 {
            assert!(failing.begins(ip(n)));
        }
        assert_eq!(failing.0.len(), REMEMBERED);
        assert!(!failing.begins(ip(1)));
        assert!(failing.begins(ip(0)), "the oldest had to go");
    }
}
