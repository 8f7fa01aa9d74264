//! What an instance is an instance of, as the BBS says, or Cloud Controller where the BBS does not.

use std::collections::{BTreeSet, HashMap};

use super::workloads::Moved;
use crate::model::{CapiProcessGuid, Instance, InstanceGuid, Process, Workload};

#[derive(Debug, Default)]
pub(super) struct Descriptions {
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

impl Descriptions {
    pub(super) fn undescribed(&self) -> &BTreeSet<CapiProcessGuid> {
        &self.undescribed
    }

    pub(super) fn is_answered(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Takes in an instance; answers with what it is one of.
    pub(super) fn add(&mut self, instance: &Instance) -> Option<Workload> {
        instance.workload.clone().or_else(|| {
            let process = instance.process.capi_process();
            let entry = self.by_process.entry(process.clone()).or_insert_with(|| {
                self.undescribed.insert(process.clone());
                self.unanswered.insert(process.clone());
                Undescribed::default()
            });
            entry.instances.insert(instance.guid.clone());
            entry.workload.clone()
        })
    }

    /// What an instance that is known is one of.
    pub(super) fn of<'a>(&'a self, instance: &'a Instance) -> Option<&'a Workload> {
        instance.workload.as_ref().or_else(|| {
            let process = self.by_process.get(instance.process.capi_process())?;
            process.workload.as_ref()
        })
    }

    /// Forgets an instance; answers with what it was one of.
    pub(super) fn remove(&mut self, instance: &Instance) -> Option<Workload> {
        instance
            .workload
            .clone()
            .or_else(|| self.forget_undescribed(instance))
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

    /// Takes in Cloud Controller's answers.
    pub(super) fn describe(
        &mut self,
        known: Vec<Process>,
        unknown: Vec<CapiProcessGuid>,
    ) -> Vec<Moved> {
        for guid in unknown {
            self.unanswered.remove(&guid);
        }
        let mut moved = Vec::new();
        for process in known {
            self.unanswered.remove(&process.guid);
            let Some(entry) = self.by_process.get_mut(&process.guid) else {
                continue;
            };
            self.undescribed.remove(&process.guid);
            let before = entry.workload.replace(process.workload.clone());
            if before.as_ref() != Some(&process.workload) {
                moved.push(Moved {
                    instances: entry.instances.clone(),
                    from: before.into_iter().collect(),
                    to: [process.workload].into_iter().collect(),
                });
            }
        }
        moved
    }
}

impl Descriptions {
    /// What is known of processes.
    pub(super) fn all(&self) -> impl Iterator<Item = Process> {
        self.by_process.iter().filter_map(|(guid, process)| {
            let workload = process.workload.clone()?;
            Some(Process {
                guid: guid.clone(),
                workload,
            })
        })
    }
}
