//! What is known of an app's processes, for people who ask.

use std::collections::HashSet;

use super::{Merge, Process};
use crate::{
    bbs::processes::{InstanceStatus, ProcessStatus, State},
    model::{AppGuid, DiegoProcessGuid, Workload},
};

impl Process {
    fn wanted(&self) -> Option<u32> {
        if self.unwanted.is_some() {
            return Some(0);
        }
        self.desired.as_ref().map(|limit| limit.instances)
    }
}

impl Merge {
    /// The processes of an app, with all that is known of their instances. Looks at every process.
    pub(in crate::bbs) fn processes_of(&self, app: &AppGuid) -> Vec<ProcessStatus> {
        let status = |(guid, process): (&DiegoProcessGuid, &Process)| {
            let workload = self.workload_of(process);
            // Pushed routes name processes.
            let is_of_app = app.is_probably_of(guid.capi_process())
                || workload.is_some_and(|workload| workload.app == *app);
            is_of_app.then(|| ProcessStatus {
                process: guid.to_string(),
                process_type: workload.map(|workload| workload.process_type.to_string()),
                wanted: process.wanted(),
                instances: self.instances_of(guid, process),
            })
        };
        self.processes.iter().filter_map(status).collect()
    }

    fn workload_of<'a>(&'a self, process: &'a Process) -> Option<&'a Workload> {
        let desired = process.desired.as_ref();
        let desired = desired.and_then(|limit| limit.workload.as_ref());
        let mut members = process.members.iter();
        desired.or_else(|| members.find_map(|guid| self.instances.get(guid)?.workload()))
    }

    fn instances_of(&self, guid: &DiegoProcessGuid, process: &Process) -> Vec<InstanceStatus> {
        let members = process.members.iter();
        let known = members.filter_map(|guid| Some((guid, self.instances.get(guid)?)));
        let mut instances: Vec<_> = known
            .map(|(guid, known)| {
                InstanceStatus::new(known.index(), known.state(), known.since()).of(guid)
            })
            .collect();
        let there = instances.iter();
        let there = there.filter(|there| there.state != State::Starting);
        let there: HashSet<_> = there.map(|there| there.index).collect();
        let unplaced = self.unplaced.of(guid);
        let unplaced = unplaced.filter(|place| !there.contains(&place.index));
        instances.extend(unplaced.map(InstanceStatus::from));
        instances.sort_by_key(|instance| instance.index);
        instances
    }
}
