//! Instances by guid and by workload.

use std::{collections::BTreeSet, mem, net::SocketAddrV4, sync::Arc};

use smallvec::SmallVec;

use super::{
    associations::Associations,
    descriptions::Descriptions,
    places::{Places, Standing},
    workloads::{Moved, Workloads},
};
use crate::{
    guids::{GuidMap, GuidSet},
    model::{AppPort, Association, CapiProcessGuid, Instance, InstanceGuid, Process, Workload},
};

/// How it is known what an instance is an instance of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Join {
    /// By what the BBS says of it, or Cloud Controller of its process. For routes that are polled.
    #[default]
    Described,
    /// By the associations of the push API.
    Associated,
}

/// What is running. Of workloads only what is routable.
#[derive(Debug, Default)]
pub(super) struct Instances {
    by_guid: GuidMap<InstanceGuid, Arc<Instance>>,
    /// Each in the order of their guids.
    by_workload: GuidMap<Workload, SmallVec<[Arc<Instance>; 2]>>,
    places: Places,
    /// Instances that are gone or changed, as they were.
    pub(super) displaced: Vec<(Arc<Instance>, Workloads)>,
    descriptions: Descriptions,
    /// Where routes are pushed; then they count, and not the descriptions.
    associations: Option<Associations>,
}

impl Instances {
    pub(super) fn new(join: Join) -> Self {
        Self {
            associations: match join {
                Join::Described => None,
                Join::Associated => Some(Associations::default()),
            },
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_guid.len()
    }

    /// What an instance was one of, and what it is one of as it is told now.
    pub(super) fn around<'a>(
        &'a self,
        guid: &InstanceGuid,
        told: Option<&'a Instance>,
    ) -> impl Iterator<Item = Workload> + use<'a> {
        let known = self.by_guid.get(guid).map(Arc::as_ref);
        let both = known.into_iter().chain(told);
        both.flat_map(|instance| self.workloads(instance))
    }

    /// How many could answer a route.
    pub(super) fn answering(&self) -> usize {
        let instances = self.by_guid.values();
        let answers = |one: &&Arc<Instance>| one.routable && one.mapping(AppPort::Main).is_some();
        instances.filter(answers).count()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Instance>> {
        self.by_guid.values().cloned().collect()
    }

    pub(super) fn undescribed(&self) -> &BTreeSet<CapiProcessGuid> {
        self.descriptions.undescribed()
    }

    pub(super) fn is_answered(&self) -> bool {
        self.descriptions.is_answered()
    }

    pub(super) fn of_workload(
        &self,
        workload: &Workload,
    ) -> impl Iterator<Item = &Instance> + use<'_> {
        self.by_workload
            .get(workload)
            .into_iter()
            .flatten()
            .map(Arc::as_ref)
    }

    pub(super) fn is_taken(&self, place: SocketAddrV4) -> bool {
        self.places.is_taken(place)
    }

    pub(super) fn standing(&self, instance: &Instance) -> Standing {
        self.places.standing(instance)
    }

    /// Who has the place that an instance has lost.
    pub(super) fn successor(&self, of: &Instance) -> Option<&Instance> {
        self.places.successor(of).map(Arc::as_ref)
    }

    /// How many instances have lost theirs.
    pub(super) fn displaced(&self) -> usize {
        self.places.displaced()
    }

    /// Each of the following answers with the workloads whose instances are different now.
    pub(super) fn replace(&mut self, instances: Vec<Arc<Instance>>) -> GuidSet<Workload> {
        let current: GuidSet<_> = instances.iter().map(|instance| &instance.guid).collect();
        let gone: Vec<_> = self
            .by_guid
            .keys()
            .filter(|guid| !current.contains(guid))
            .cloned()
            .collect();
        drop(current);
        let mut touched = self.remove(&gone);
        touched.extend(self.upsert(instances));
        touched
    }

    pub(super) fn upsert(&mut self, instances: Vec<Arc<Instance>>) -> GuidSet<Workload> {
        let mut touched = GuidSet::default();
        for instance in instances {
            match self.by_guid.get(&instance.guid) {
                Some(known) if *known == instance => {}
                Some(known) if is_same_but_for_since(known, &instance) => {
                    self.renew(&instance, &mut touched);
                }
                _ => {
                    self.remove_one(&instance.guid, &mut touched);
                    self.insert(instance, &mut touched);
                }
            }
        }
        touched
    }

    pub(super) fn remove(&mut self, guids: &[InstanceGuid]) -> GuidSet<Workload> {
        let mut touched = GuidSet::default();
        for guid in guids {
            self.remove_one(guid, &mut touched);
        }
        touched
    }

    pub(super) fn describe(
        &mut self,
        known: Vec<Process>,
        unknown: Vec<CapiProcessGuid>,
    ) -> GuidSet<Workload> {
        let moved = self.descriptions.describe(known, unknown);
        self.relocate(moved)
    }

    pub(super) fn associate(
        &mut self,
        current: Vec<Association>,
        gone: Vec<CapiProcessGuid>,
    ) -> GuidSet<Workload> {
        let associations = self.associations.as_mut();
        let moved = associations.map(|associations| associations.update(current, gone));
        self.relocate(moved.unwrap_or_default())
    }

    pub(super) fn associate_all(&mut self, current: Vec<Association>) -> GuidSet<Workload> {
        let associations = self.associations.as_mut();
        let moved = associations.map(|associations| associations.replace(current));
        self.relocate(moved.unwrap_or_default())
    }

    pub(super) fn take_displaced_associations(&mut self) -> Vec<Association> {
        let associations = self.associations.as_mut();
        associations.map_or_else(Vec::new, |associations| {
            mem::take(&mut associations.displaced)
        })
    }

    /// Whether an instance is what it was before, at as many ports.
    pub(super) fn serves(&self, before: &Instance, workloads: &Workloads) -> bool {
        let Some(now) = self.by_guid.get(&before.guid) else {
            return false;
        };
        let standing = self.places.standing(now);
        let has_place = standing.has_cell && standing.has_container;
        has_place && now.offers_as_much_as(before) && self.workloads(now) == *workloads
    }

    /// Puts instances back as what they were.
    pub(super) fn restore(
        &mut self,
        instances: Vec<(Arc<Instance>, Workloads)>,
    ) -> GuidSet<Workload> {
        let is_undescribed = |instance: &Instance| {
            self.associations.is_none() && instance.routable && instance.workload.is_none()
        };
        let mut processes = Vec::new();
        for (instance, workloads) in &instances {
            if let Some(workload) = workloads.first().filter(|_| is_undescribed(instance)) {
                processes.push(Process {
                    guid: instance.process.capi_process().clone(),
                    workload: workload.clone(),
                });
            }
        }
        let instances = instances.into_iter().map(|(instance, _)| instance);
        let mut touched = self.upsert(instances.collect());
        // What Cloud Controller had said of them went with the last one.
        touched.extend(self.describe(processes, Vec::new()));
        touched
    }

    fn insert(&mut self, instance: Arc<Instance>, touched: &mut GuidSet<Workload>) {
        self.settle(&instance, touched);
        let workloads = match &mut self.associations {
            _ if !instance.routable => Workloads::new(),
            Some(associations) => associations.add(&instance),
            None => self.descriptions.add(&instance).into_iter().collect(),
        };
        for workload in &workloads {
            self.place(workload, instance.clone());
        }
        touched.extend(workloads);
        self.by_guid.insert(instance.guid.clone(), instance);
    }

    fn remove_one(&mut self, guid: &InstanceGuid, touched: &mut GuidSet<Workload>) {
        let Some(instance) = self.by_guid.remove(guid) else {
            return;
        };
        self.unsettle(&instance, touched);
        let workloads = match &mut self.associations {
            _ if !instance.routable => Workloads::new(),
            Some(associations) => associations.remove(&instance),
            None => self.descriptions.remove(&instance).into_iter().collect(),
        };
        for workload in &workloads {
            self.displace(workload, guid);
        }
        self.displaced.push((instance, workloads.clone()));
        touched.extend(workloads);
    }

    /// Nothing of an instance is different but the time of its row, and perhaps who has its addresses.
    fn renew(&mut self, instance: &Arc<Instance>, touched: &mut GuidSet<Workload>) {
        let Some(known) = self.by_guid.insert(instance.guid.clone(), instance.clone()) else {
            return;
        };
        let before = self.places.standing(&known);
        self.unsettle(&known, touched);
        self.settle(instance, touched);
        let workloads = self.workloads(instance);
        for workload in &workloads {
            self.place(workload, instance.clone());
        }
        if self.places.standing(instance) != before {
            touched.extend(workloads.iter().cloned());
        }
        self.displaced.push((known, workloads));
    }

    /// Takes in where an instance is. Others may have been there.
    fn settle(&mut self, instance: &Arc<Instance>, touched: &mut GuidSet<Workload>) {
        for other in self.places.add(instance) {
            touched.extend(self.workloads(&other));
        }
    }

    fn unsettle(&mut self, instance: &Instance, touched: &mut GuidSet<Workload>) {
        for other in self.places.remove(instance) {
            touched.extend(self.workloads(&other));
        }
    }

    /// What an instance that is known is one of.
    fn workloads(&self, instance: &Instance) -> Workloads {
        match &self.associations {
            _ if !instance.routable => Workloads::new(),
            Some(associations) => associations.of(instance),
            None => self
                .descriptions
                .of(instance)
                .cloned()
                .into_iter()
                .collect(),
        }
    }

    fn relocate(&mut self, moved: Vec<Moved>) -> GuidSet<Workload> {
        let mut touched = GuidSet::default();
        for Moved {
            instances,
            from,
            to,
        } in moved
        {
            for guid in &instances {
                let instance = self.by_guid[guid].clone();
                for workload in from.iter().filter(|workload| !to.contains(workload)) {
                    self.displace(workload, guid);
                }
                for workload in to.iter().filter(|workload| !from.contains(workload)) {
                    self.place(workload, instance.clone());
                }
            }
            let (left, joined) = (from.iter(), to.iter());
            touched.extend(left.filter(|workload| !to.contains(workload)).cloned());
            touched.extend(joined.filter(|workload| !from.contains(workload)).cloned());
        }
        touched
    }

    fn place(&mut self, workload: &Workload, instance: Arc<Instance>) {
        let instances = self.by_workload.entry(workload.clone()).or_default();
        match position(instances, &instance.guid) {
            Ok(index) => instances[index] = instance,
            Err(index) => instances.insert(index, instance),
        }
    }

    fn displace(&mut self, workload: &Workload, guid: &InstanceGuid) {
        if let Some(instances) = self.by_workload.get_mut(workload) {
            if let Ok(index) = position(instances, guid) {
                instances.remove(index);
            }
            if instances.is_empty() {
                self.by_workload.remove(workload);
            }
        }
    }
}

fn is_same_but_for_since(known: &Instance, instance: &Instance) -> bool {
    let with_its_since = Instance {
        since: instance.since,
        ..known.clone()
    };
    with_its_since == *instance
}

/// Where an instance is among others in the order of their guids, or belongs.
fn position(instances: &[Arc<Instance>], guid: &InstanceGuid) -> Result<usize, usize> {
    instances.binary_search_by(|instance| instance.guid.cmp(guid))
}

impl Instances {
    /// What Cloud Controller has said of processes.
    pub(super) fn descriptions(&self) -> impl Iterator<Item = Process> {
        self.descriptions.all()
    }

    /// All associations.
    pub(super) fn associations(&self) -> Vec<Association> {
        let associations = self.associations.as_ref();
        associations.map_or_else(Vec::new, Associations::all)
    }

    /// The workloads that have instances.
    pub(super) fn routed(&self) -> impl Iterator<Item = &Workload> {
        self.by_workload.keys()
    }
}
