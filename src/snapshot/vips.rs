//! The virtual addresses by hostname, as they are looked up by name.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

use crate::model::Hostname;

/// A change copies one of so many shards: 80 entries at 20,000 hostnames.
const SHARDS: usize = 256;

type Shard = HashMap<Hostname, Ipv4Addr>;

/// The virtual address of each internal hostname at one moment. Clones and successors share what is the same.
#[derive(Debug, Clone)]
pub struct Vips(Arc<[Arc<Shard>; SHARDS]>);

impl Default for Vips {
    fn default() -> Self {
        let empty = Arc::default();
        Self(Arc::new(std::array::from_fn(|_| Arc::clone(&empty))))
    }
}

impl Vips {
    /// The address of a hostname.
    pub fn get(&self, host: &Hostname) -> Option<Ipv4Addr> {
        self.0[shard(host)].get(host).copied()
    }

    /// The addresses with some set (`Some`) and some removed (`None`). Only the shards with edits are copied.
    #[must_use]
    pub fn edited(&self, edits: impl IntoIterator<Item = (Hostname, Option<Ipv4Addr>)>) -> Self {
        let mut shards = (*self.0).clone();
        for (host, address) in edits {
            let shard = Arc::make_mut(&mut shards[shard(&host)]);
            match address {
                Some(address) => shard.insert(host, address),
                None => shard.remove(&host),
            };
        }
        Self(Arc::new(shards))
    }
}

fn shard(host: &Hostname) -> usize {
    let hash = xxh3_64(host.as_str().as_bytes()) % SHARDS as u64;
    usize::try_from(hash).expect("a small number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> Hostname {
        Hostname::parse(&format!("app-{n}.apps.internal")).unwrap()
    }

    #[test]
    fn an_edit_copies_its_own_shard_and_leaves_the_state_before_it_as_it_was() {
        let address = |n| Ipv4Addr::new(127, 128, 0, n);
        let before = Vips::default().edited((0..100).map(|n| (host(n), Some(address(n)))));
        let after = before.edited([(host(7), Some(address(200))), (host(8), None)]);
        assert_eq!(before.get(&host(7)), Some(address(7)));
        assert_eq!(after.get(&host(7)), Some(address(200)));
        assert_eq!(before.get(&host(8)), Some(address(8)));
        assert_eq!(after.get(&host(8)), None);
        let shards = std::iter::zip(&*before.0, &*after.0);
        let copied = shards.filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!(copied, 2);
    }
}
