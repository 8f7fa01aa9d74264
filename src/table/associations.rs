//! Which processes of Cloud Controller an instance is of, as the push API says.

use std::collections::{BTreeSet, HashMap, HashSet};

use smallvec::SmallVec;

use super::workloads::{Moved, Workloads};
use crate::model::{
    Association, CapiProcessGuid, DiegoProcessGuid, Instance, InstanceGuid, Workload,
};

/// The associations, and the instances by what associations name.
///
/// An instance is of every process whose association names its process in Diego. Cloud Controller takes an app's
/// association away when it restarts and gives it another one later; in between no association names the instances,
/// and the guid that their process's guid begins with tells what they are of.
#[derive(Debug, Default)]
pub(super) struct Associations {
    /// None of them empty.
    by_process: HashMap<CapiProcessGuid, DiegoProcesses>,
    /// The same turned around: who names a process in Diego, sorted.
    naming: HashMap<DiegoProcessGuid, SmallVec<[CapiProcessGuid; 1]>>,
    instances: HashMap<DiegoProcessGuid, BTreeSet<InstanceGuid>>,
    /// Those that are gone or changed, as they were.
    pub(super) displaced: Vec<Association>,
}

type DiegoProcesses = SmallVec<[DiegoProcessGuid; 1]>;

/// What the instances of the processes that an update is about were of before it.
type Before = HashMap<DiegoProcessGuid, Workloads>;

impl Associations {
    /// Takes in an instance; answers with what it is one of.
    pub(super) fn add(&mut self, instance: &Instance) -> Workloads {
        self.instances
            .entry(instance.process.clone())
            .or_default()
            .insert(instance.guid.clone());
        self.of(instance)
    }

    /// What an instance is one of.
    pub(super) fn of(&self, instance: &Instance) -> Workloads {
        self.workloads(&instance.process)
    }

    /// Forgets an instance; answers with what it was one of.
    pub(super) fn remove(&mut self, instance: &Instance) -> Workloads {
        if let Some(instances) = self.instances.get_mut(&instance.process) {
            instances.remove(&instance.guid);
            if instances.is_empty() {
                self.instances.remove(&instance.process);
            }
        }
        self.of(instance)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Association> {
        let processes = self.by_process.iter();
        let all = processes.map(|(process, diego_processes)| Association {
            process: process.clone(),
            diego_processes: diego_processes.clone(),
        });
        all.collect()
    }

    /// These are all the associations.
    pub(super) fn replace(&mut self, current: Vec<Association>) -> Vec<Moved> {
        let named: HashSet<_> = current.iter().map(|current| &current.process).collect();
        let known = self.by_process.keys();
        let gone = known.filter(|process| !named.contains(process));
        let gone = gone.cloned().collect();
        self.update(current, gone)
    }

    /// These associations are as given now; others stay.
    pub(super) fn update(
        &mut self,
        current: Vec<Association>,
        gone: Vec<CapiProcessGuid>,
    ) -> Vec<Moved> {
        let mut before = Before::new();
        for process in gone {
            self.set(process, DiegoProcesses::new(), &mut before);
        }
        for association in current {
            self.set(
                association.process,
                association.diego_processes,
                &mut before,
            );
        }
        let moved = before.into_iter().filter_map(|(diego_process, from)| {
            let to = self.workloads(&diego_process);
            let instances = self.instances.get(&diego_process)?;
            (from != to).then(|| Moved {
                instances: instances.clone(),
                from,
                to,
            })
        });
        moved.collect()
    }

    fn set(&mut self, process: CapiProcessGuid, named: DiegoProcesses, before: &mut Before) {
        let known = self.by_process.get(&process);
        if known.map_or(named.is_empty(), |known| *known == named) {
            return;
        }
        let known = self.by_process.remove(&process).unwrap_or_default();
        if !known.is_empty() {
            self.displaced.push(Association {
                process: process.clone(),
                diego_processes: known.clone(),
            });
        }
        for diego_process in known.iter().chain(&named) {
            if self.instances.contains_key(diego_process) && !before.contains_key(diego_process) {
                before.insert(diego_process.clone(), self.workloads(diego_process));
            }
        }
        for diego_process in &known {
            self.unname(diego_process, &process);
        }
        for diego_process in &named {
            let naming = self.naming.entry(diego_process.clone()).or_default();
            if let Err(at) = naming.binary_search(&process) {
                naming.insert(at, process.clone());
            }
        }
        if !named.is_empty() {
            self.by_process.insert(process, named);
        }
    }

    fn unname(&mut self, diego_process: &DiegoProcessGuid, process: &CapiProcessGuid) {
        if let Some(naming) = self.naming.get_mut(diego_process) {
            naming.retain(|other| other != process);
            if naming.is_empty() {
                self.naming.remove(diego_process);
            }
        }
    }

    fn workloads(&self, diego_process: &DiegoProcessGuid) -> Workloads {
        match self.naming.get(diego_process) {
            Some(processes) => processes.iter().map(Workload::pushed).collect(),
            None => [Workload::pushed(diego_process.capi_process())].into(),
        }
    }
}
