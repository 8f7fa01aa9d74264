//! Fair places for peers that have yet to show that they are worth one: where more come than there is room for, whoever
//! has the most makes room.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Networks by their prefix: what one owner has of addresses, at the least.
const PREFIX_V4: u8 = 24;
const PREFIX_V6: u8 = 64;

/// Places for so many. Clones share them.
///
/// Nobody is turned away, and nobody waits: with one more than there is room for, the oldest place is lost of the address
/// that has the most, in the network that has the most. So whoever has few keeps them, whatever the others do.
#[derive(Debug, Clone)]
pub struct Crowd {
    room: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    /// Counts all places that there ever were.
    last: u64,
    count: usize,
    networks: BTreeMap<IpNet, BTreeMap<IpAddr, Places>>,
}

/// The places of an address, the oldest first.
type Places = BTreeMap<u64, CancellationToken>;

impl Crowd {
    /// Room for so many.
    pub fn new(room: usize) -> Self {
        Self {
            room,
            taken: Arc::default(),
        }
    }

    /// For how many there is room.
    pub fn room(&self) -> usize {
        self.room
    }

    /// A place for a peer with that address.
    pub fn enter(&self, ip: IpAddr) -> Place {
        let ip = ip.to_canonical();
        let mut taken = self.taken();
        let (number, lost) = taken.enter(ip);
        if taken.count > self.room {
            taken.make_room();
        }
        drop(taken);
        Place {
            crowd: self.clone(),
            ip,
            number,
            lost,
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn enter(&mut self, ip: IpAddr) -> (u64, CancellationToken) {
        self.last += 1;
        self.count += 1;
        let lost = CancellationToken::new();
        let addresses = self.networks.entry(network(ip)).or_default();
        let places = addresses.entry(ip).or_default();
        places.insert(self.last, lost.clone());
        (self.last, lost)
    }

    /// Takes the oldest place away of whoever has the most.
    fn make_room(&mut self) {
        let size = |addresses: &BTreeMap<IpAddr, Places>| -> usize {
            addresses.values().map(BTreeMap::len).sum()
        };
        let networks = self.networks.values();
        let largest = networks.max_by_key(|addresses| {
            let oldest = addresses.values().filter_map(oldest).min();
            (size(addresses), Reverse(oldest))
        });
        let addresses = largest.into_iter().flatten();
        let most = addresses.max_by_key(|(_, places)| (places.len(), Reverse(oldest(places))));
        let Some((ip, number)) = most.and_then(|(ip, places)| Some((*ip, oldest(places)?))) else {
            return;
        };
        if let Some(lost) = self.leave(ip, number) {
            lost.cancel();
        }
    }

    fn leave(&mut self, ip: IpAddr, number: u64) -> Option<CancellationToken> {
        let network = network(ip);
        let addresses = self.networks.get_mut(&network)?;
        let places = addresses.get_mut(&ip)?;
        let lost = places.remove(&number)?;
        self.count -= 1;
        if places.is_empty() {
            addresses.remove(&ip);
        }
        if addresses.is_empty() {
            self.networks.remove(&network);
        }
        Some(lost)
    }
}

fn oldest(places: &Places) -> Option<u64> {
    places.keys().next().copied()
}

fn network(ip: IpAddr) -> IpNet {
    let prefix = if ip.is_ipv4() { PREFIX_V4 } else { PREFIX_V6 };
    IpNet::new(ip, prefix)
        .expect("both are valid prefix lengths")
        .trunc()
}

/// A place, until it is dropped or lost.
#[derive(Debug)]
pub struct Place {
    crowd: Crowd,
    ip: IpAddr,
    number: u64,
    lost: CancellationToken,
}

impl Place {
    /// Resolves once it had to make room for another.
    pub fn lost(&self) -> WaitForCancellationFutureOwned {
        self.lost.clone().cancelled_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // One that was lost has left already.
        self.crowd.taken().leave(self.ip, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn enter(crowd: &Crowd, addresses: &[&str]) -> Vec<Place> {
        addresses.iter().map(|one| crowd.enter(ip(one))).collect()
    }

    fn lost(places: &[Place]) -> Vec<bool> {
        places.iter().map(|one| one.lost.is_cancelled()).collect()
    }

    #[test]
    fn the_oldest_makes_room_of_the_address_that_has_the_most() {
        let crowd = Crowd::new(4);
        let places = enter(
            &crowd,
            &["10.0.0.2", "10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.3"],
        );
        assert_eq!(lost(&places), [false, true, false, false, false]);
    }

    #[test]
    fn a_network_of_many_addresses_makes_room_for_another() {
        for many in [
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
            ["fd00::1", "fd00::2", "fd00:0:0:0:ffff::3"],
            ["::ffff:10.0.0.1", "10.0.0.2", "::ffff:10.0.0.3"],
        ] {
            let crowd = Crowd::new(4);
            let few = enter(&crowd, &["10.0.1.1", "10.0.1.1"]);
            let many = enter(&crowd, &many);
            assert_eq!(lost(&few), [false, false]);
            assert_eq!(lost(&many), [true, false, false]);
        }
    }

    #[test]
    fn of_equals_the_oldest_makes_room() {
        let crowd = Crowd::new(2);
        let places = enter(&crowd, &["10.0.2.1", "10.0.1.1", "10.0.3.1"]);
        assert_eq!(lost(&places), [true, false, false]);
    }

    #[test]
    fn a_place_that_is_given_up_is_free_and_one_that_is_lost_is_so_once() {
        let crowd = Crowd::new(1);
        let first = crowd.enter(ip("10.0.0.1"));
        let second = crowd.enter(ip("10.0.0.1"));
        drop(first);
        assert_eq!(crowd.taken().count, 1);
        drop(second);
        let taken = crowd.taken();
        assert_eq!((taken.count, taken.networks.len()), (0, 0));
    }
}
