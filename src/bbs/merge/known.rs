//! What is known of one instance and of one process, and which of two observations is newer.

use std::{sync::Arc, time::Instant};

use super::Mark;
use crate::{
    bbs::observation::{Desired, Observation, Tag},
    model::{DiegoProcessGuid, Instance, Workload},
};

/// An instance. There are as many as the foundation has, so nothing is in here twice.
#[derive(Debug)]
pub(super) struct Known {
    index: u32,
    tag: Tag,
    since: i64,
    seen: Seen,
    /// Whether the workload is what was said of the instance itself, and not of its process.
    is_described: bool,
    /// The last event about it.
    pub(super) heard: Mark,
    /// Since when the lists lack it while the brake keeps it.
    pub(super) missing_since: Option<Instant>,
    /// What others were told of it: mostly the very same that was seen.
    pub(super) served: Option<Arc<Instance>>,
}

/// As what an instance was seen last.
#[derive(Debug)]
enum Seen {
    /// It may be routed to.
    Routable(Arc<Instance>),
    /// It may not.
    Withheld(Box<Withheld>),
}

#[derive(Debug)]
struct Withheld {
    process: DiegoProcessGuid,
    workload: Option<Workload>,
}

/// How much of a process is to run.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) instances: u32,
    pub(super) tag: Tag,
    pub(super) workload: Option<Workload>,
    pub(super) heard: Mark,
    pub(super) removed_at: Option<Instant>,
}

impl Known {
    /// An instance that was not known before.
    pub(super) fn new(observation: Observation, heard: Mark) -> Self {
        Self {
            index: observation.index,
            tag: observation.tag,
            since: observation.since,
            is_described: observation.workload.is_some(),
            seen: Seen::new(observation),
            heard,
            missing_since: None,
            served: None,
        }
    }

    /// Whose instance it is.
    pub(super) fn process(&self) -> &DiegoProcessGuid {
        match &self.seen {
            Seen::Routable(instance) => &instance.process,
            Seen::Withheld(withheld) => &withheld.process,
        }
    }

    fn workload(&self) -> Option<&Workload> {
        match &self.seen {
            Seen::Routable(instance) => instance.workload.as_ref(),
            Seen::Withheld(withheld) => withheld.workload.as_ref(),
        }
    }

    /// Takes what was observed, unless something newer is known.
    pub(super) fn observe(&mut self, mut observation: Observation, heard: Mark) {
        self.heard = self.heard.max(heard);
        self.missing_since = None;
        if !self.precedes(&observation) {
            return;
        }
        self.tag = observation.tag;
        self.since = observation.since;
        self.is_described |= observation.workload.is_some();
        if observation.workload.is_none() {
            observation.workload = self.workload().cloned();
        }
        // A row's process never changes.
        observation.process = self.process().clone();
        let seen = Seen::new(observation);
        match (&self.seen, &seen) {
            (Seen::Routable(before), Seen::Routable(now)) if before == now => {}
            _ => self.seen = seen,
        }
    }

    /// Whether `later` is as new as this or newer. Presence changes leave the tag as it is; an evacuation gives the
    /// same instance a row of a new incarnation.
    pub(super) fn precedes(&self, later: &Observation) -> bool {
        if self.tag.epoch == later.tag.epoch {
            later.tag.index >= self.tag.index
        } else {
            later.since >= self.since
        }
    }

    /// What is to be served of it.
    pub(super) fn instance(&mut self, limit: Option<&Limit>) -> Option<Arc<Instance>> {
        let Seen::Routable(instance) = &mut self.seen else {
            return None;
        };
        if limit.is_some_and(|limit| self.index >= limit.instances) {
            return None;
        }
        if !self.is_described {
            let workload = limit.and_then(|limit| limit.workload.as_ref());
            if instance.workload.as_ref() != workload {
                *instance = Arc::new(Instance {
                    workload: workload.cloned(),
                    ..Instance::clone(instance)
                });
            }
        }
        Some(instance.clone())
    }
}

impl Seen {
    fn new(observation: Observation) -> Self {
        let Observation {
            guid,
            process,
            workload,
            endpoint,
            ..
        } = observation;
        match endpoint {
            Some(endpoint) => Self::Routable(Arc::new(Instance {
                guid,
                process,
                workload,
                host_address: endpoint.host_address,
                container_address: endpoint.container_address,
                ports: endpoint.ports,
            })),
            None => Self::Withheld(Box::new(Withheld { process, workload })),
        }
    }
}

impl Limit {
    /// What `desired` says, heard of at `heard`.
    pub(super) fn new(desired: Desired, heard: Mark, removed_at: Option<Instant>) -> Self {
        Self {
            instances: if removed_at.is_some() {
                0
            } else {
                desired.instances
            },
            tag: desired.tag,
            workload: desired.workload,
            heard,
            removed_at,
        }
    }

    /// Whether `later` is as new as this or newer. What was heard after `known_until` is newer than another
    /// incarnation of the row.
    pub(super) fn precedes(&self, later: &Desired, known_until: Mark) -> bool {
        if self.tag.epoch == later.tag.epoch {
            self.removed_at.is_none() && later.tag.index >= self.tag.index
        } else {
            self.heard <= known_until
        }
    }
}
