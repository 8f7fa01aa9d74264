//! Virtual addresses of internal hostnames.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;
use xxhash_rust::xxh3::xxh3_64;

use crate::model::{Hostname, RouteGuid};

/// Who comes first where two hostnames want one address: the one whose oldest route was created first.
pub(super) type Age = (i64, RouteGuid);

/// One address for each internal hostname: where the hash of its name points to, or the next one that no older
/// hostname has.
///
/// A function of the hostnames that there are, whatever their history, so that replicas agree without talking to each
/// other. Only where hostnames collide does one that comes or goes move another.
#[derive(Debug, Default)]
pub(super) struct Vips {
    range: Option<Range>,
    hosts: HashMap<Hostname, Host>,
    taken: HashMap<u64, Hostname>,
    /// Those that are not at their first choice.
    displaced: HashSet<Hostname>,
}

#[derive(Debug, Clone)]
struct Host {
    age: Age,
    /// Its first choice.
    home: u64,
    /// Where it is; `None` if every address is taken by an older one.
    slot: Option<u64>,
}

/// The usable addresses of a range, counted from zero.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: u64,
    size: u64,
}

impl Range {
    fn new(range: Ipv4Net) -> Self {
        // Without the network's own address and the broadcast address, where the range is large enough to have them.
        let edge = u64::from(range.prefix_len() < 31);
        Self {
            first: u64::from(u32::from(range.network())) + edge,
            size: (1 << (32 - u32::from(range.prefix_len()))) - 2 * edge,
        }
    }

    fn address(self, slot: u64) -> Ipv4Addr {
        Ipv4Addr::from(u32::try_from(self.first + slot).expect("a slot within an IPv4 range"))
    }

    /// How many steps it is from one slot on to another.
    fn steps(self, from: u64, to: u64) -> u64 {
        (to + self.size - from) % self.size
    }
}

impl Vips {
    pub(super) fn new(range: Option<Ipv4Net>) -> Self {
        Self {
            range: range.map(Range::new),
            ..Self::default()
        }
    }

    pub(super) fn is_configured(&self) -> bool {
        self.range.is_some()
    }

    pub(super) fn get(&self, host: &Hostname) -> Option<Ipv4Addr> {
        let slot = self.hosts.get(host)?.slot?;
        Some(self.range?.address(slot))
    }

    /// Takes in the hostnames with their ages; without one, a hostname is gone. Answers with the others that moved.
    pub(super) fn update(
        &mut self,
        hosts: impl IntoIterator<Item = (Hostname, Option<Age>)>,
    ) -> Vec<Hostname> {
        let Some(range) = self.range else {
            return Vec::new();
        };
        let mut collided = false;
        for (host, age) in hosts {
            if self.hosts.get(&host).map(|host| &host.age) == age.as_ref() {
                continue;
            }
            collided |= self.remove(range, &host);
            if let Some(age) = age {
                collided |= self.insert(range, host, age);
            }
        }
        if collided {
            self.rebuild(range)
        } else {
            Vec::new()
        }
    }

    /// Whether it was in the way of another.
    fn remove(&mut self, range: Range, host: &Hostname) -> bool {
        self.displaced.remove(host);
        let Some(slot) = self.hosts.remove(host).and_then(|host| host.slot) else {
            return false;
        };
        self.taken.remove(&slot);
        self.displaced.iter().any(|other| {
            let other = &self.hosts[other];
            let reach = other
                .slot
                .map_or(range.size, |slot| range.steps(other.home, slot));
            range.steps(other.home, slot) < reach
        })
    }

    /// Whether a younger one is in its way.
    fn insert(&mut self, range: Range, host: Hostname, age: Age) -> bool {
        let home = xxh3_64(host.as_str().as_bytes()) % range.size;
        let mut slots = (0..range.size).map(|step| (home + step) % range.size);
        let slot = slots.find(|slot| {
            let holder = self.taken.get(slot);
            holder.is_none_or(|holder| self.hosts[holder].age > age)
        });
        let collides = slot.is_some_and(|slot| self.taken.contains_key(&slot));
        let slot = slot.filter(|_| !collides);
        if let Some(slot) = slot {
            self.taken.insert(slot, host.clone());
        }
        if slot != Some(home) {
            self.displaced.insert(host.clone());
        }
        self.hosts.insert(host, Host { age, home, slot });
        collides
    }

    /// Assigns everything anew, the oldest first; answers with those that moved.
    fn rebuild(&mut self, range: Range) -> Vec<Hostname> {
        let before = std::mem::take(&mut self.hosts);
        self.taken.clear();
        self.displaced.clear();
        let mut oldest_first: Vec<_> = before.iter().collect();
        oldest_first.sort_by(|(_, a), (_, b)| a.age.cmp(&b.age));
        for (host, Host { age, .. }) in oldest_first {
            self.insert(range, host.clone(), age.clone());
        }
        let moved =
            |(host, was): (Hostname, Host)| (self.hosts[&host].slot != was.slot).then_some(host);
        before.into_iter().filter_map(moved).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn host(n: usize) -> Hostname {
        Hostname::parse(&format!("app-{n}.apps.internal")).unwrap()
    }

    fn age(n: usize) -> Age {
        let created_at = i64::try_from(n % 7).unwrap();
        (created_at, RouteGuid::from(format!("route-{n}").as_str()))
    }

    #[test]
    fn every_hostname_of_a_full_range_has_an_address_of_its_own_and_the_youngest_has_none() {
        let range: Ipv4Net = "127.128.0.0/24".parse().unwrap();
        let mut vips = Vips::new(Some(range));
        vips.update((0..255).map(|n| (host(n), Some((i64::try_from(n).unwrap(), age(n).1)))));
        let addresses: HashSet<_> = (0..254).map(|n| vips.get(&host(n)).unwrap()).collect();
        assert_eq!(addresses.len(), 254);
        let usable =
            |a: &Ipv4Addr| range.contains(a) && *a != range.network() && *a != range.broadcast();
        assert!(addresses.iter().all(usable));
        assert_eq!(vips.get(&host(254)), None);

        let moved = vips.update([(host(7), None)]);
        assert!(vips.get(&host(254)).is_some());
        assert!(moved.contains(&host(254)));
    }

    proptest! {
        #[test]
        fn addresses_follow_from_the_hostnames_and_not_from_their_history(
            rounds in vec(vec((0usize..24, any::<bool>()), 1..8), 1..12),
            bits in 26u8..30,
        ) {
            let range: Ipv4Net = format!("127.128.0.0/{bits}").parse().unwrap();
            let mut vips = Vips::new(Some(range));
            let mut there = HashSet::new();
            let mut seen = HashMap::new();
            for round in rounds {
                for (n, is_there) in &round {
                    if *is_there { there.insert(*n) } else { there.remove(n) };
                }
                let given: HashSet<_> = round.iter().map(|(n, _)| host(*n)).collect();
                let moved = vips.update(round.iter().map(|(n, is_there)| (host(*n), is_there.then(|| age(*n)))));

                let mut fresh = Vips::new(Some(range));
                fresh.update(there.iter().map(|n| (host(*n), Some(age(*n)))));
                for n in 0..24 {
                    let address = vips.get(&host(n));
                    prop_assert_eq!(address, fresh.get(&host(n)));
                    let before = seen.insert(n, address).flatten();
                    prop_assert!(before == address || given.contains(&host(n)) || moved.contains(&host(n)));
                }
            }
        }
    }
}
