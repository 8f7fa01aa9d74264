//! Network policies: which app may connect to which, and where.

use super::AppGuid;

/// A network policy: an app may connect to ports of another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Policy {
    /// Who connects.
    pub source: AppGuid,
    /// To whom.
    pub destination: AppGuid,
    /// By what.
    pub transport: Transport,
    /// To which of the ports of its containers.
    pub ports: PortRange,
}

impl Policy {
    /// Whether it lets HTTP pass to one of these container ports.
    pub fn admits(&self, ports: &[u16]) -> bool {
        self.transport == Transport::Tcp && ports.iter().any(|port| self.ports.contains(*port))
    }

    /// For tests, which know that there are such ports.
    #[cfg(test)]
    pub(crate) fn at(
        source: &str,
        destination: &str,
        transport: Transport,
        (first, last): (u16, u16),
    ) -> Self {
        Self {
            source: source.into(),
            destination: destination.into(),
            transport,
            ports: PortRange::new(first, last).unwrap(),
        }
    }
}

/// What a policy lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// TCP, and with it HTTP.
    Tcp,
    /// UDP.
    Udp,
}

/// Ports from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports from `first` to `last`; `None` where there is none, or 0 is one of them.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (1..=last).contains(&first).then_some(Self { first, last })
    }

    /// The first of them.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The last one.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether a port is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}
