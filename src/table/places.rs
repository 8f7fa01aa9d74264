//! Who has an address: of several instances that have the same in their rows, the one whose row the BBS changed last.
//!
//! A container has its address and its ports on the cell from its beginning to its end. Of two rows with the same, the
//! earlier is of a container that is gone, though its row is not yet, and whoever is sent there meets another app.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    hash::Hash,
    mem,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    sync::Arc,
};

use crate::{
    guids::GuidMap,
    model::{Instance, InstanceGuid, PortMapping},
};

/// Where an instance can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its ports on the cell are its own. Where they are not, its container is gone.
    pub has_cell: bool,
    /// The container's address is its own, among all cells' too: some cells give out addresses that mean something on
    /// themselves alone.
    pub has_container: bool,
}

/// The addresses of all instances. Only those of IPv4: nobody is sent to others.
#[derive(Debug, Default)]
pub(super) struct Places {
    ports: Claims<SocketAddrV4>,
    /// Containers by cell and address.
    slots: Claims<[Ipv4Addr; 2]>,
    containers: Claims<Ipv4Addr>,
    /// How many instances each cell has.
    cells: GuidMap<Ipv4Addr, usize>,
}

impl Places {
    /// Takes in where an instance is. Answers with others that stand differently now, or may.
    pub(super) fn add(&mut self, instance: &Arc<Instance>) -> Vec<Arc<Instance>> {
        let mut affected = Vec::new();
        affected.extend(ports(instance).filter_map(|place| self.ports.claim(place, instance)));
        affected.extend(slot(instance).and_then(|place| self.slots.claim(place, instance)));
        let container = container(instance);
        affected.extend(container.and_then(|place| self.containers.claim(place, instance)));
        if let Some(cell) = v4(instance.host_address) {
            let count = self.cells.entry(cell).or_default();
            *count += 1;
            if *count == 1 {
                affected.extend(self.containers.owners.get(&cell).cloned());
            }
        }
        affected
    }

    /// Forgets an instance. Answers as [`Places::add`].
    pub(super) fn remove(&mut self, instance: &Instance) -> Vec<Arc<Instance>> {
        let mut affected = Vec::new();
        affected.extend(ports(instance).filter_map(|place| self.ports.release(place, instance)));
        affected.extend(slot(instance).and_then(|place| self.slots.release(place, instance)));
        let container = container(instance);
        affected.extend(container.and_then(|place| self.containers.release(place, instance)));
        if let Some(cell) = v4(instance.host_address)
            && let Some(count) = self.cells.get_mut(&cell)
        {
            *count -= 1;
            if *count == 0 {
                self.cells.remove(&cell);
                affected.extend(self.containers.owners.get(&cell).cloned());
            }
        }
        affected
    }

    pub(super) fn standing(&self, instance: &Instance) -> Standing {
        let has_cell = self.ports.has_all(ports(instance), instance)
            && self.slots.has_all(slot(instance), instance);
        let container = container(instance);
        let is_cell = container.is_some_and(|address| self.cells.contains_key(&address));
        Standing {
            has_cell,
            has_container: has_cell && !is_cell && self.containers.has_all(container, instance),
        }
    }

    /// Whether somebody has a port of a cell, or the container address that it is of.
    pub(super) fn is_taken(&self, place: SocketAddrV4) -> bool {
        let is_cell = self.cells.contains_key(place.ip());
        self.ports.owners.contains_key(&place)
            || (!is_cell && self.containers.owners.contains_key(place.ip()))
    }

    /// Who has the place that an instance has lost.
    pub(super) fn successor(&self, of: &Instance) -> Option<&Arc<Instance>> {
        let ports = ports(of).filter_map(|place| self.ports.owners.get(&place));
        let slot = slot(of).and_then(|place| self.slots.owners.get(&place));
        let container = container(of).and_then(|place| self.containers.owners.get(&place));
        ports
            .chain(slot)
            .chain(container)
            .find(|owner| owner.guid != of.guid)
    }

    /// How many routable instances have lost their ports on the cell.
    pub(super) fn displaced(&self) -> usize {
        let losers = self.ports.losers().chain(self.slots.losers());
        let displaced = losers.filter(|loser| loser.routable);
        let guids: BTreeSet<_> = displaced.map(|loser| &loser.guid).collect();
        guids.len()
    }
}

/// What an instance has on its cell.
fn ports(instance: &Instance) -> impl Iterator<Item = SocketAddrV4> {
    let cell = v4(instance.host_address).into_iter();
    cell.flat_map(|cell| {
        let of_cell = |mapping: &PortMapping| [mapping.host, mapping.host_tls];
        let ports = instance.ports.iter().flat_map(of_cell);
        ports
            .filter(|port| *port != 0)
            .map(move |port| SocketAddrV4::new(cell, port))
    })
}

pub(super) fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn container(instance: &Instance) -> Option<Ipv4Addr> {
    instance.container_address.and_then(v4)
}

/// Where there is no network for containers, theirs is the cell's address.
fn slot(instance: &Instance) -> Option<[Ipv4Addr; 2]> {
    let (cell, container) = (v4(instance.host_address)?, container(instance)?);
    (cell != container).then_some([cell, container])
}

/// Who has which place of a kind. Diego chooses them, not users.
#[derive(Debug)]
struct Claims<K> {
    owners: GuidMap<K, Arc<Instance>>,
    /// Those that lost it: there are hardly ever any.
    losers: GuidMap<K, Vec<Arc<Instance>>>,
}

impl<K> Default for Claims<K> {
    fn default() -> Self {
        Self {
            owners: GuidMap::default(),
            losers: GuidMap::default(),
        }
    }
}

impl<K: Copy + Eq + Hash> Claims<K> {
    /// Gives a place to whoever is to have it. Answers with who had it before, if that is another.
    fn claim(&mut self, place: K, instance: &Arc<Instance>) -> Option<Arc<Instance>> {
        let owner = self.owners.entry(place).or_insert_with(|| instance.clone());
        if owner.guid == instance.guid {
            return None;
        }
        let losers = self.losers.entry(place).or_default();
        if rank(instance) < rank(owner) {
            losers.push(instance.clone());
            return None;
        }
        let before = mem::replace(owner, instance.clone());
        losers.push(before.clone());
        Some(before)
    }

    /// Takes a place from an instance. Answers with who has it now, if that is another than before.
    fn release(&mut self, place: K, instance: &Instance) -> Option<Arc<Instance>> {
        let mut losers = self.losers.remove(&place).unwrap_or_default();
        losers.retain(|loser| loser.guid != instance.guid);
        let owner = self.owners.get_mut(&place)?;
        let mut next = None;
        if owner.guid == instance.guid {
            let latest = (0..losers.len()).max_by_key(|at| rank(&losers[*at]));
            next = latest.map(|at| losers.swap_remove(at));
            match &next {
                Some(next) => *owner = next.clone(),
                None => {
                    self.owners.remove(&place);
                }
            }
        }
        if !losers.is_empty() {
            self.losers.insert(place, losers);
        }
        next
    }

    fn has_all(&self, places: impl IntoIterator<Item = K>, instance: &Instance) -> bool {
        let has = |place| {
            let owner = self.owners.get(&place);
            owner.is_some_and(|owner| owner.guid == instance.guid)
        };
        self.losers.is_empty() || places.into_iter().all(has)
    }

    fn losers(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.losers.values().flatten()
    }
}

/// The later row has the place; of two at one time the smaller guid, so that all replicas agree.
fn rank(instance: &Instance) -> (i64, Reverse<&InstanceGuid>) {
    (instance.since, Reverse(&instance.guid))
}
