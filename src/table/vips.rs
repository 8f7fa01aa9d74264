//! Virtual addresses of internal hostnames.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};

use ipnet::Ipv4Net;
use xxhash_rust::xxh3::xxh3_64;

use crate::model::{Hostname, Route, RouteGuid};

/// Who comes first where two hostnames want one address: the one whose oldest route was created first.
type Age = (i64, RouteGuid);

/// What an internal hostname has its address by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// It came with one.
    Pushed(Ipv4Addr),
    /// It is assigned one.
    Assigned(Age),
}

impl Claim {
    /// The claim of a hostname with these routes; `None` where none of them is internal and served.
    pub(super) fn of(routes: &[Arc<Route>]) -> Option<Self> {
        let age = |route: &&Arc<Route>| (route.created_at, route.guid.clone());
        let serves = |route: &&Arc<Route>| route.internal && route.refused.is_none();
        let internal = || routes.iter().filter(serves);
        let pushed = internal()
            .filter(|route| route.vip.is_some())
            .min_by_key(age);
        match pushed.and_then(|route| route.vip) {
            Some(vip) => Some(Self::Pushed(vip)),
            None => internal()
                .map(|route| age(&route))
                .min()
                .map(Self::Assigned),
        }
    }
}

/// One address for each internal hostname: the one that it came with; else where the hash of its name points to, or
/// the next one that no hostname came with and no older one has.
///
/// A function of the hostnames that there are, whatever their history, so that replicas agree without talking to each
/// other. Only where hostnames collide does one that comes or goes move another.
#[derive(Debug, Default)]
pub(super) struct Vips {
    range: Option<Range>,
    pushed: HashMap<Hostname, Ipv4Addr>,
    /// The slots of the pushed ones within the range, and how many hostnames came with each.
    reserved: HashMap<u64, usize>,
    assigned: HashMap<Hostname, Host>,
    taken: HashMap<u64, Hostname>,
    /// Those that are assigned another than their first choice.
    displaced: HashSet<Hostname>,
}

/// A hostname that came without an address.
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

    fn slot(self, address: Ipv4Addr) -> Option<u64> {
        let slot = u64::from(u32::from(address)).checked_sub(self.first)?;
        (slot < self.size).then_some(slot)
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
        if let Some(address) = self.pushed.get(host) {
            return Some(*address);
        }
        let slot = self.assigned.get(host)?.slot?;
        Some(self.range?.address(slot))
    }

    /// Takes in the hostnames with their claims; without one, a hostname is gone. Answers with the others that moved.
    pub(super) fn update(
        &mut self,
        hosts: impl IntoIterator<Item = (Hostname, Option<Claim>)>,
    ) -> Vec<Hostname> {
        let mut collided = false;
        for (host, claim) in hosts {
            if !self.claims(&host, claim.as_ref()) {
                collided |= self.remove(&host);
                collided |= claim.is_some_and(|claim| self.insert(host, claim));
            }
        }
        match self.range {
            Some(range) if collided => self.rebuild(range),
            _ => Vec::new(),
        }
    }

    fn claims(&self, host: &Hostname, claim: Option<&Claim>) -> bool {
        match claim {
            None => false,
            Some(Claim::Pushed(address)) => self.pushed.get(host) == Some(address),
            Some(Claim::Assigned(age)) => {
                self.assigned.get(host).map(|host| &host.age) == Some(age)
            }
        }
    }

    /// Whether it was in the way of another.
    fn remove(&mut self, host: &Hostname) -> bool {
        let Some(range) = self.range else {
            self.pushed.remove(host);
            return false;
        };
        let freed = match self.pushed.remove(host) {
            Some(address) => self.release(range, address),
            None => self.unassign(host),
        };
        freed.is_some_and(|slot| self.is_wanted(range, slot))
    }

    /// The slot that no hostname came with any more.
    fn release(&mut self, range: Range, address: Ipv4Addr) -> Option<u64> {
        let slot = range.slot(address)?;
        let hosts = self.reserved.get_mut(&slot)?;
        *hosts -= 1;
        if *hosts > 0 {
            return None;
        }
        self.reserved.remove(&slot);
        Some(slot)
    }

    fn unassign(&mut self, host: &Hostname) -> Option<u64> {
        self.displaced.remove(host);
        let slot = self.assigned.remove(host)?.slot?;
        self.taken.remove(&slot);
        Some(slot)
    }

    /// Whether a displaced one passed the slot on its way.
    fn is_wanted(&self, range: Range, slot: u64) -> bool {
        self.displaced.iter().any(|other| {
            let other = &self.assigned[other];
            let reach = other
                .slot
                .map_or(range.size, |slot| range.steps(other.home, slot));
            range.steps(other.home, slot) < reach
        })
    }

    /// Whether another one is in its way that has to yield.
    fn insert(&mut self, host: Hostname, claim: Claim) -> bool {
        match (claim, self.range) {
            (Claim::Pushed(address), range) => {
                self.pushed.insert(host, address);
                range.is_some_and(|range| self.reserve(range, address))
            }
            (Claim::Assigned(age), Some(range)) => self.assign(range, host, age),
            (Claim::Assigned(_), None) => false,
        }
    }

    fn reserve(&mut self, range: Range, address: Ipv4Addr) -> bool {
        let Some(slot) = range.slot(address) else {
            return false;
        };
        *self.reserved.entry(slot).or_default() += 1;
        self.taken.contains_key(&slot)
    }

    fn assign(&mut self, range: Range, host: Hostname, age: Age) -> bool {
        let home = xxh3_64(host.as_str().as_bytes()) % range.size;
        let slots = (0..range.size).map(|step| (home + step) % range.size);
        let mut free = slots.filter(|slot| !self.reserved.contains_key(slot));
        let slot = free.find(|slot| {
            let holder = self.taken.get(slot);
            holder.is_none_or(|holder| self.assigned[holder].age > age)
        });
        let collides = slot.is_some_and(|slot| self.taken.contains_key(&slot));
        let slot = slot.filter(|_| !collides);
        if let Some(slot) = slot {
            self.taken.insert(slot, host.clone());
        }
        if slot != Some(home) {
            self.displaced.insert(host.clone());
        }
        self.assigned.insert(host, Host { age, home, slot });
        collides
    }

    /// Assigns everything anew, the oldest first; answers with those that moved.
    fn rebuild(&mut self, range: Range) -> Vec<Hostname> {
        let before = std::mem::take(&mut self.assigned);
        self.taken.clear();
        self.displaced.clear();
        let mut oldest_first: Vec<_> = before.iter().collect();
        oldest_first.sort_by(|(_, a), (_, b)| a.age.cmp(&b.age));
        for (host, Host { age, .. }) in oldest_first {
            self.assign(range, host.clone(), age.clone());
        }
        let moved =
            |(host, was): (Hostname, Host)| (self.assigned[&host].slot != was.slot).then_some(host);
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
        vips.update((0..255).map(|n| {
            let age = (i64::try_from(n).unwrap(), age(n).1);
            (host(n), Some(Claim::Assigned(age)))
        }));
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

    #[test]
    fn a_hostname_that_comes_with_an_address_keeps_it_and_the_one_that_was_assigned_it_yields() {
        let mut vips = Vips::new(Some("127.128.0.0/16".parse().unwrap()));
        vips.update([(host(0), Some(Claim::Assigned(age(0))))]);
        let address = vips.get(&host(0)).unwrap();
        let pushed = Some(Claim::Pushed(address));
        assert_eq!(
            vips.update([(host(1), pushed.clone()), (host(2), pushed)]),
            [host(0)]
        );
        assert_eq!(vips.get(&host(1)), Some(address));
        assert_eq!(vips.get(&host(2)), Some(address), "as they were pushed");
        assert_ne!(vips.get(&host(0)).unwrap(), address);

        assert!(vips.update([(host(1), None)]).is_empty(), "another has it");
        assert_eq!(vips.update([(host(2), None)]), [host(0)]);
        assert_eq!(vips.get(&host(0)), Some(address));
    }

    #[test]
    fn a_pushed_address_needs_no_range_and_takes_nothing_of_another_range() {
        let elsewhere = Ipv4Addr::new(10, 0, 0, 1);
        for range in [None, Some("127.128.0.0/30".parse().unwrap())] {
            let mut vips = Vips::new(range);
            vips.update([(host(0), Some(Claim::Pushed(elsewhere)))]);
            assert_eq!(vips.get(&host(0)), Some(elsewhere));
            vips.update([1, 2].map(|n| (host(n), Some(Claim::Assigned(age(n))))));
            let assigned = [1, 2].iter().filter_map(|n| vips.get(&host(*n))).count();
            assert_eq!(assigned, if range.is_some() { 2 } else { 0 });
        }
    }

    /// What becomes of the `n`th hostname: gone, assigned, or pushed with one of a few addresses.
    fn any_claim() -> impl Strategy<Value = (usize, Option<u8>)> {
        (0usize..24, proptest::option::of(0u8..12))
    }

    fn claim(n: usize, kind: u8) -> Claim {
        match kind {
            // Some within the range, some beyond it.
            0..4 => Claim::Pushed(Ipv4Addr::new(127, 128, 0, kind * 20 + 1)),
            _ => Claim::Assigned(age(n)),
        }
    }

    proptest! {
        #[test]
        fn addresses_follow_from_the_hostnames_and_not_from_their_history(
            rounds in vec(vec(any_claim(), 1..8), 1..12),
            bits in 26u8..30,
        ) {
            let range: Ipv4Net = format!("127.128.0.0/{bits}").parse().unwrap();
            let mut vips = Vips::new(Some(range));
            let mut there = HashMap::new();
            let mut seen = HashMap::new();
            for round in rounds {
                for (n, kind) in &round {
                    match kind {
                        Some(kind) => there.insert(*n, claim(*n, *kind)),
                        None => there.remove(n),
                    };
                }
                let given: HashSet<_> = round.iter().map(|(n, _)| host(*n)).collect();
                let moved = vips.update(
                    round.iter().map(|(n, kind)| (host(*n), kind.map(|kind| claim(*n, kind)))),
                );

                let mut fresh = Vips::new(Some(range));
                fresh.update(there.iter().map(|(n, claim)| (host(*n), Some(claim.clone()))));
                let mut assigned = HashSet::new();
                for n in 0..24 {
                    let address = vips.get(&host(n));
                    prop_assert_eq!(address, fresh.get(&host(n)));
                    if let Some(Claim::Pushed(pushed)) = there.get(&n) {
                        prop_assert_eq!(address, Some(*pushed));
                    } else if let Some(address) = address {
                        prop_assert!(assigned.insert(address), "two have {}", address);
                        prop_assert!(!there.values().any(|claim| *claim == Claim::Pushed(address)));
                    }
                    let before = seen.insert(n, address).flatten();
                    prop_assert!(before == address || given.contains(&host(n)) || moved.contains(&host(n)));
                }
            }
        }
    }
}
