//! What is known of one instance and of one process, and which of two observations is newer.

use std::{sync::Arc, time::Instant};

use super::Mark;
use crate::{
    bbs::observation::{Desired, Endpoint, Observation, Tag},
    model::{DiegoProcessGuid, Instance, InstanceGuid, Workload},
};

/// An instance.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) process: DiegoProcessGuid,
    pub(super) index: u32,
    pub(super) tag: Tag,
    pub(super) since: i64,
    pub(super) workload: Option<Workload>,
    pub(super) endpoint: Option<Endpoint>,
    /// The last event about it.
    pub(super) heard: Mark,
    /// Since when the lists lack it while the brake keeps it.
    pub(super) missing_since: Option<Instant>,
    pub(super) served: Option<Arc<Instance>>,
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
            process: observation.process,
            index: observation.index,
            tag: observation.tag,
            since: observation.since,
            workload: observation.workload,
            endpoint: observation.endpoint,
            heard,
            missing_since: None,
            served: None,
        }
    }

    /// Takes what was observed, unless something newer is known.
    pub(super) fn observe(&mut self, observation: Observation, heard: Mark) {
        self.heard = self.heard.max(heard);
        self.missing_since = None;
        if !self.precedes(&observation) {
            return;
        }
        self.tag = observation.tag;
        self.since = observation.since;
        self.endpoint = observation.endpoint;
        self.workload = observation.workload.or(self.workload.take());
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

    /// What is served of it.
    pub(super) fn instance(&self, guid: &InstanceGuid, limit: Option<&Limit>) -> Option<Instance> {
        let endpoint = self.endpoint.as_ref()?;
        if limit.is_some_and(|limit| self.index >= limit.instances) {
            return None;
        }
        Some(Instance {
            guid: guid.clone(),
            process: self.process.clone(),
            workload: self
                .workload
                .as_ref()
                .or(limit.and_then(|limit| limit.workload.as_ref()))
                .cloned(),
            host_address: endpoint.host_address,
            container_address: endpoint.container_address,
            ports: endpoint.ports.clone(),
        })
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
