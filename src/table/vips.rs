//! Virtual addresses of internal hostnames.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;
use xxhash_rust::xxh3::xxh3_64;

use crate::model::Hostname;

/// One address for each internal hostname: where the hash of the name points to, or the next free one.
///
/// The hash makes replicas agree without talking to each other; a hostname keeps its address while it has a route.
#[derive(Debug, Default)]
pub(super) struct Vips {
    range: Option<Ipv4Net>,
    by_host: HashMap<Hostname, Ipv4Addr>,
    taken: HashSet<Ipv4Addr>,
}

impl Vips {
    pub(super) fn new(range: Option<Ipv4Net>) -> Self {
        Self {
            range,
            ..Self::default()
        }
    }

    pub(super) fn get(&self, host: &Hostname) -> Option<Ipv4Addr> {
        self.by_host.get(host).copied()
    }

    pub(super) fn assign(&mut self, host: &Hostname) {
        if self.by_host.contains_key(host) {
            return;
        }
        if let Some(address) = self.next_free(host) {
            self.taken.insert(address);
            self.by_host.insert(host.clone(), address);
        }
    }

    pub(super) fn release(&mut self, host: &Hostname) {
        if let Some(address) = self.by_host.remove(host) {
            self.taken.remove(&address);
        }
    }

    fn next_free(&self, host: &Hostname) -> Option<Ipv4Addr> {
        let range = self.range?;
        let first = u64::from(u32::from(range.network()));
        // Without the network's own address and the broadcast address, where the range is large enough to have them.
        let edge = u64::from(range.prefix_len() < 31);
        let size = (1u64 << (32 - u32::from(range.prefix_len()))) - 2 * edge;
        if self.taken.len() as u64 >= size {
            return None;
        }
        let start = xxh3_64(host.as_str().as_bytes()) % size;
        (0..size)
            .map(|step| {
                let offset = edge + (start + step) % size;
                Ipv4Addr::from(
                    u32::try_from(first + offset).expect("an offset within an IPv4 range"),
                )
            })
            .find(|address| !self.taken.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: usize) -> Hostname {
        Hostname::parse(&format!("app-{n}.apps.internal")).unwrap()
    }

    #[test]
    fn every_hostname_of_a_full_range_has_an_address_of_its_own_and_the_next_has_none() {
        let range: Ipv4Net = "127.128.0.0/24".parse().unwrap();
        let mut vips = Vips::new(Some(range));
        (0..255).for_each(|n| vips.assign(&host(n)));
        let addresses: HashSet<_> = (0..254).map(|n| vips.get(&host(n)).unwrap()).collect();
        assert_eq!(addresses.len(), 254);
        assert!(
            addresses
                .iter()
                .all(|a| range.contains(a) && *a != range.network() && *a != range.broadcast())
        );
        assert_eq!(vips.get(&host(254)), None);

        vips.release(&host(7));
        vips.assign(&host(254));
        assert!(vips.get(&host(254)).is_some());
    }

    #[test]
    fn without_conflicts_the_order_of_arrival_does_not_matter() {
        let range = Some("127.128.0.0/9".parse().unwrap());
        let (mut a, mut b) = (Vips::new(range), Vips::new(range));
        (0..100).for_each(|n| a.assign(&host(n)));
        (0..100).rev().for_each(|n| b.assign(&host(n)));
        assert_eq!(a.by_host, b.by_host);
    }
}
