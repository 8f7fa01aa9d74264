//! Instances by guid and by workload.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use crate::model::{CapiProcessGuid, Instance, InstanceGuid, Process, Workload};

#[derive(Debug, Default)]
pub(super) struct Instances {
    by_guid: HashMap<InstanceGuid, Arc<Instance>>,
    by_workload: HashMap<Workload, BTreeMap<InstanceGuid, Arc<Instance>>>,
    /// Only of processes that the BBS does not describe.
    by_process: HashMap<CapiProcessGuid, Undescribed>,
    /// The keys of `by_process` without a workload.
    undescribed: BTreeSet<CapiProcessGuid>,
    /// Those of them that Cloud Controller has not answered for.
    unanswered: BTreeSet<CapiProcessGuid>,
}

/// A process that the BBS says nothing about.
#[derive(Debug, Default)]
struct Undescribed {
    instances: BTreeSet<InstanceGuid>,
    /// What Cloud Controller says, once it has answered.
    workload: Option<Workload>,
}

impl Instances {
    pub(super) fn len(&self) -> usize {
        self.by_guid.len()
    }

    pub(super) fn undescribed(&self) -> &BTreeSet<CapiProcessGuid> {
        &self.undescribed
    }

    pub(super) fn is_answered(&self) -> bool {
        self.unanswered.is_empty()
    }

    pub(super) fn of_workload(
        &self,
        workload: &Workload,
    ) -> impl Iterator<Item = &Instance> + use<'_> {
        self.by_workload
            .get(workload)
            .into_iter()
            .flat_map(BTreeMap::values)
            .map(Arc::as_ref)
    }

    /// Each of the following answers with the workloads whose instances are different now.
    pub(super) fn replace(&mut self, instances: Vec<Arc<Instance>>) -> HashSet<Workload> {
        let current: HashSet<_> = instances.iter().map(|instance| &instance.guid).collect();
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

    pub(super) fn upsert(&mut self, instances: Vec<Arc<Instance>>) -> HashSet<Workload> {
        let mut touched = HashSet::new();
        for instance in instances {
            if self.by_guid.get(&instance.guid) == Some(&instance) {
                continue;
            }
            touched.extend(self.remove_one(&instance.guid));
            touched.extend(self.insert(instance));
        }
        touched
    }

    pub(super) fn remove(&mut self, guids: &[InstanceGuid]) -> HashSet<Workload> {
        guids
            .iter()
            .filter_map(|guid| self.remove_one(guid))
            .collect()
    }

    pub(super) fn describe(
        &mut self,
        known: Vec<Process>,
        unknown: Vec<CapiProcessGuid>,
    ) -> HashSet<Workload> {
        for guid in unknown {
            self.unanswered.remove(&guid);
        }
        let mut touched = HashSet::new();
        for process in known {
            self.unanswered.remove(&process.guid);
            let Some(entry) = self.by_process.get_mut(&process.guid) else {
                continue;
            };
            self.undescribed.remove(&process.guid);
            let before = entry.workload.replace(process.workload.clone());
            if before.as_ref() == Some(&process.workload) {
                continue;
            }
            for guid in entry.instances.clone() {
                let instance = self.by_guid[&guid].clone();
                if let Some(before) = &before {
                    self.displace(before, &guid);
                }
                self.place(process.workload.clone(), instance);
            }
            touched.extend(before);
            touched.insert(process.workload);
        }
        touched
    }

    fn insert(&mut self, instance: Arc<Instance>) -> Option<Workload> {
        let workload = instance.workload.clone().or_else(|| {
            let process = instance.process.capi_process();
            let entry = self.by_process.entry(process.clone()).or_insert_with(|| {
                self.undescribed.insert(process.clone());
                self.unanswered.insert(process.clone());
                Undescribed::default()
            });
            entry.instances.insert(instance.guid.clone());
            entry.workload.clone()
        });
        self.by_guid.insert(instance.guid.clone(), instance.clone());
        if let Some(workload) = &workload {
            self.place(workload.clone(), instance);
        }
        workload
    }

    fn remove_one(&mut self, guid: &InstanceGuid) -> Option<Workload> {
        let instance = self.by_guid.remove(guid)?;
        let workload = instance
            .workload
            .clone()
            .or_else(|| self.forget_undescribed(&instance));
        if let Some(workload) = &workload {
            self.displace(workload, guid);
        }
        workload
    }

    fn forget_undescribed(&mut self, instance: &Instance) -> Option<Workload> {
        let process = instance.process.capi_process();
        let entry = self.by_process.get_mut(process)?;
        entry.instances.remove(&instance.guid);
        let workload = entry.workload.clone();
        if entry.instances.is_empty() {
            self.by_process.remove(process);
            self.undescribed.remove(process);
            self.unanswered.remove(process);
        }
        workload
    }

    fn place(&mut self, workload: Workload, instance: Arc<Instance>) {
        self.by_workload
            .entry(workload)
            .or_default()
            .insert(instance.guid.clone(), instance);
    }

    fn displace(&mut self, workload: &Workload, guid: &InstanceGuid) {
        if let Some(instances) = self.by_workload.get_mut(workload) {
            instances.remove(guid);
            if instances.is_empty() {
                self.by_workload.remove(workload);
            }
        }
    }
}

#[cfg(test)]
impl Instances {
    pub(super) fn all(&self) -> Vec<Arc<Instance>> {
        self.by_guid.values().cloned().collect()
    }

    pub(super) fn descriptions(&self) -> impl Iterator<Item = Process> {
        self.by_process.iter().filter_map(|(guid, process)| {
            let workload = process.workload.clone()?;
            Some(Process {
                guid: guid.clone(),
                workload,
            })
        })
    }
}
