//! What the peers of a listener may hold of it: connections, and bytes of what they say.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Bytes of one share that count nowhere: requests of everyday are smaller, so whoever behaves is heard even where others
/// have taken all. Streams are limited in number, and so are these.
const FREE: usize = 16 << 10;

/// Most bytes of what peers have said and nobody is done with: requests that are not complete, and what is kept of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// Of one connection.
    pub connection: usize,
    /// Of all connections from one address.
    pub address: usize,
    /// Of all connections.
    pub listener: usize,
}

impl Default for Bytes {
    fn default() -> Self {
        // The largest request as it came and as it was read. One address has what one connection may have: several of
        // them are needed to leave nothing for the rest.
        Self {
            connection: 96 << 20,
            address: 96 << 20,
            listener: 512 << 20,
        }
    }
}

/// Who is in, in numbers.
#[derive(Debug)]
pub(super) struct Admission {
    max_connections: usize,
    connections_per_address: usize,
    bytes: Bytes,
    all: Arc<Holder>,
    addresses: Mutex<HashMap<IpAddr, Weak<Holder>>>,
}

/// What somebody holds.
#[derive(Debug, Default)]
struct Holder {
    connections: AtomicUsize,
    bytes: AtomicUsize,
}

/// Why a connection is not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Full {
    #[error("too many are open")]
    All,
    #[error("too many of its address are open")]
    Address,
}

impl Admission {
    pub(super) fn new(
        max_connections: usize,
        connections_per_address: usize,
        bytes: Bytes,
    ) -> Self {
        Self {
            max_connections,
            connections_per_address,
            bytes,
            all: Arc::default(),
            addresses: Mutex::default(),
        }
    }

    /// Lets a connection in, if there is room for it.
    pub(super) fn admit(&self, ip: IpAddr) -> Result<Admitted, Full> {
        let address = self.holder(ip);
        if !take(&address.connections, 1, self.connections_per_address) {
            return Err(Full::Address);
        }
        if !take(&self.all.connections, 1, self.max_connections) {
            give(&address.connections, 1);
            return Err(Full::All);
        }
        Ok(Admitted(Allowance {
            holders: [Arc::default(), address, self.all.clone()],
            most: [
                self.bytes.connection,
                self.bytes.address,
                self.bytes.listener,
            ],
        }))
    }

    fn holder(&self, ip: IpAddr) -> Arc<Holder> {
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let ip = owner(ip);
        if let Some(known) = addresses.get(&ip).and_then(Weak::upgrade) {
            return known;
        }
        addresses.retain(|_, holder| holder.strong_count() > 0);
        let holder = Arc::default();
        addresses.insert(ip, Arc::downgrade(&holder));
        holder
    }
}

/// An address, or the network that a host of IPv6 has for itself.
fn owner(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

fn take(held: &AtomicUsize, more: usize, most: usize) -> bool {
    let sum = |held: usize| held.checked_add(more).filter(|sum| *sum <= most);
    held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum)
        .is_ok()
}

fn give(held: &AtomicUsize, back: usize) {
    held.fetch_sub(back, Ordering::Relaxed);
}

/// A connection's place among all and among those of its address, until it is dropped.
#[derive(Debug)]
pub(super) struct Admitted(Allowance);

impl Admitted {
    pub(super) fn allowance(&self) -> Allowance {
        self.0.clone()
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let [_, address, all] = &self.0.holders;
        give(&address.connections, 1);
        give(&all.connections, 1);
    }
}

/// The bytes that may be held for a connection, those for its address, and those for all.
#[derive(Debug, Clone)]
pub struct Allowance {
    holders: [Arc<Holder>; 3],
    most: [usize; 3],
}

impl Allowance {
    /// For something that is kept for the peer, of which there is nothing yet.
    pub fn share(&self) -> Share {
        Share {
            allowance: self.clone(),
            counted: 0,
        }
    }
}

/// More is kept for a peer than it may have.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes of requests are kept for this connection, its address, or all")]
pub struct Exhausted;

/// Bytes that are held for a peer, until it is dropped.
#[derive(Debug)]
pub struct Share {
    allowance: Allowance,
    counted: usize,
}

impl Share {
    /// Holds so many bytes from now on.
    ///
    /// # Errors
    /// They are too many; then it holds what it did.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let bytes = bytes.saturating_sub(FREE);
        let Some(more) = bytes.checked_sub(self.counted) else {
            self.give(self.counted - bytes);
            return Ok(());
        };
        let Allowance { holders, most } = &self.allowance;
        let pairs = || holders.iter().zip(most);
        for (n, (holder, most)) in pairs().enumerate() {
            if !take(&holder.bytes, more, *most) {
                pairs()
                    .take(n)
                    .for_each(|(before, _)| give(&before.bytes, more));
                return Err(Exhausted);
            }
        }
        self.counted = bytes;
        Ok(())
    }

    fn give(&mut self, bytes: usize) {
        for holder in &self.allowance.holders {
            give(&holder.bytes, bytes);
        }
        self.counted -= bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give(self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: Bytes = Bytes {
        connection: 10,
        address: 15,
        listener: 20,
    };

    fn admit(admission: &Admission, ip: &str) -> Admitted {
        admission.admit(ip.parse().unwrap()).unwrap()
    }

    #[test]
    fn connections_are_limited_by_address_and_in_all() {
        let admission = Admission::new(3, 2, BYTES);
        let refused = |ip: &str| admission.admit(ip.parse().unwrap()).unwrap_err();
        let one = admit(&admission, "fd00::1");
        let _two = admit(&admission, "fd00::2");
        assert!(matches!(refused("fd00::3"), Full::Address));
        let _other = admit(&admission, "10.0.0.1");
        assert!(matches!(refused("10.0.0.2"), Full::All));
        drop(one);
        admit(&admission, "fd00::3");
    }

    #[test]
    fn bytes_are_limited_by_connection_by_address_and_in_all_and_given_back() {
        let admission = Admission::new(9, 9, BYTES);
        let places = ["10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3"];
        let places = places.map(|ip| admit(&admission, ip));
        let mut shares = places.each_ref().map(|one| one.allowance().share());
        let [one, two, other, last] = &mut shares;
        assert!(one.resize(FREE + 11).is_err(), "of the connection");
        one.resize(FREE + 10).unwrap();
        assert!(two.resize(FREE + 6).is_err(), "of the address");
        two.resize(FREE + 5).unwrap();
        assert!(other.resize(FREE + 6).is_err(), "in all");
        last.resize(FREE).unwrap();
        one.resize(FREE + 9).unwrap();
        other.resize(FREE + 6).unwrap();
        drop(shares);
        let held = |holder: &Holder| holder.bytes.load(Ordering::Relaxed);
        assert_eq!(held(&admission.all), 0);
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let admission = Admission::new(9, 9, BYTES);
        drop(admit(&admission, "10.0.0.1"));
        let _other = admit(&admission, "10.0.0.2");
        assert_eq!(admission.addresses.lock().unwrap().len(), 1);
    }
}
