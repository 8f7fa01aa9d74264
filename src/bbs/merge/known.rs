//! What is known of one instance and of one process, and which of two observations is newer.

use std::sync::Arc;

use tokio::time::Instant;

use super::Mark;
use crate::{
    bbs::{
        observation::{Desired, Observation, Tag},
        processes::State,
    },
    model::{DiegoProcessGuid, Instance, PortMapping, Workload},
};

/// An instance. There are as many as the foundation has, so nothing is in here twice.
#[derive(Debug)]
pub(super) struct Known {
    index: u32,
    pub(super) tag: Tag,
    seen: Seen,
    /// Whether the workload is what was said of the instance itself, and not of its process.
    is_described: bool,
    /// The event by which it was heard of first, if it was not a list.
    first_event: Mark,
    /// The last event about it.
    pub(super) last_event: Mark,
    /// The last list had an older row, although it was requested after all that was heard.
    is_contradicted: bool,
    /// What others were told of it: mostly the very same that was seen.
    pub(super) served: Option<Arc<Instance>>,
}

/// As what an instance was seen last.
#[derive(Debug)]
enum Seen {
    /// It runs, routable or not.
    Running(Arc<Instance>),
    /// It does not.
    Stopped(Box<Stopped>),
}

#[derive(Debug)]
struct Stopped {
    process: DiegoProcessGuid,
    workload: Option<Workload>,
    since: i64,
}

/// How much of a process is to run.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) instances: u32,
    pub(super) tag: Tag,
    pub(super) workload: Option<Workload>,
    pub(super) last_event: Mark,
    pub(super) removed_at: Option<Instant>,
    /// As of an instance.
    is_contradicted: bool,
}

/// How something was heard of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// By which event, if not by a list.
    pub(super) last_event: Mark,
    /// What was heard until then may be older than another incarnation of the row.
    pub(super) known_until: Mark,
    /// What lists have said until then may be wrong.
    pub(super) after_doubt: bool,
}

impl Heard {
    /// By an event.
    pub(super) fn event(last_event: Mark) -> Self {
        Self {
            last_event,
            known_until: Mark(u64::MAX),
            after_doubt: false,
        }
    }

    /// By a list that was requested at a mark.
    pub(super) fn list(known_until: Mark, after_doubt: bool) -> Self {
        Self {
            last_event: Mark(0),
            known_until,
            after_doubt,
        }
    }

    /// Whether it counts although a newer state of the row is known, by an event or not: if lists were in doubt, or two in a
    /// row say so. The BBS's database may have been restored from an earlier day.
    fn counts(self, known: Mark, is_older: bool, is_contradicted: &mut bool) -> bool {
        let is_later = self.last_event == Mark(0) && known <= self.known_until;
        let was_contradicted = std::mem::replace(is_contradicted, is_older && is_later);
        is_later && (self.after_doubt || was_contradicted)
    }
}

impl Known {
    /// An instance that was not known before.
    pub(super) fn new(observation: Observation, last_event: Mark) -> Self {
        Self {
            index: observation.index,
            tag: observation.tag,
            is_described: observation.workload.is_some(),
            seen: Seen::new(observation),
            first_event: last_event,
            last_event,
            is_contradicted: false,
            served: None,
        }
    }

    /// Whose instance it is.
    pub(super) fn process(&self) -> &DiegoProcessGuid {
        match &self.seen {
            Seen::Running(instance) => &instance.process,
            Seen::Stopped(stopped) => &stopped.process,
        }
    }

    /// What it is an instance of.
    pub(super) fn workload(&self) -> Option<&Workload> {
        match &self.seen {
            Seen::Running(instance) => instance.workload.as_ref(),
            Seen::Stopped(stopped) => stopped.workload.as_ref(),
        }
    }

    /// Its place among those of its process.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// The state of its row, and whether requests are sent to it.
    pub(super) fn state(&self) -> State {
        match &self.seen {
            Seen::Stopped(_) => State::Starting,
            Seen::Running(_) if self.is_routed() => State::Running,
            Seen::Running(_) => State::Withheld,
        }
    }

    /// When the BBS last changed its row, in nanoseconds.
    pub(super) fn since(&self) -> i64 {
        match &self.seen {
            Seen::Running(instance) => instance.since,
            Seen::Stopped(stopped) => stopped.since,
        }
    }

    /// Whether requests are sent to it.
    pub(super) fn is_routed(&self) -> bool {
        let served = self.served.as_ref();
        served.is_some_and(|instance| instance.routable)
    }

    /// Takes what was observed, unless something newer is known. Whether ports were kept that it lacks.
    pub(super) fn observe(&mut self, mut observation: Observation, heard: Heard) -> bool {
        let is_older = !self.precedes(&observation);
        let counts = heard.counts(self.last_event, is_older, &mut self.is_contradicted);
        self.last_event = self.last_event.max(heard.last_event);
        if is_older && !counts {
            return false;
        }
        let keeps_ports = self.keep_ports(&mut observation);
        self.tag = observation.tag;
        self.is_described |= observation.workload.is_some();
        if observation.workload.is_none() {
            observation.workload = self.workload().cloned();
        }
        // A row's process never changes.
        observation.process = self.process().clone();
        let seen = Seen::new(observation);
        match (&self.seen, &seen) {
            (Seen::Running(before), Seen::Running(now)) if before == now => {}
            _ => self.seen = seen,
        }
        keeps_ports
    }

    /// A container has its ports from its beginning to its end: a row that lacks one of them, or a way to it, says
    /// nothing of them.
    fn keep_ports(&self, observation: &mut Observation) -> bool {
        let (Seen::Running(known), Some(endpoint)) = (&self.seen, &mut observation.endpoint) else {
            return false;
        };
        let has = |port: &PortMapping| {
            let mut ports = endpoint.ports.iter();
            ports.any(|own| own.container == port.container && own.has_ports_of(port))
        };
        let lacks = !known.ports.iter().all(has);
        if lacks {
            endpoint.ports.clone_from(&known.ports);
        }
        lacks
    }

    /// Whether `later` is as new as this or newer. Presence changes leave the tag as it is; an evacuation gives the
    /// same instance a row of a new incarnation.
    pub(super) fn precedes(&self, later: &Observation) -> bool {
        if self.tag.epoch == later.tag.epoch {
            later.tag.index >= self.tag.index
        } else {
            later.since >= self.since()
        }
    }

    /// What is to be told of it. One that is to stop has its addresses until it has. Of a process that a list says is not
    /// to run, one that was started since says otherwise.
    pub(super) fn instance(
        &mut self,
        limit: Option<&Limit>,
        unwanted: Option<Mark>,
    ) -> Option<Arc<Instance>> {
        let Seen::Running(instance) = &mut self.seen else {
            return None;
        };
        if !self.is_described {
            let workload = limit.and_then(|limit| limit.workload.as_ref());
            if instance.workload.as_ref() != workload {
                *instance = Arc::new(Instance {
                    workload: workload.cloned(),
                    ..Instance::clone(instance)
                });
            }
        }
        let is_unwanted = unwanted.is_some_and(|mark| self.first_event <= mark);
        let is_to_stop = limit.map_or(is_unwanted, |limit| self.index >= limit.instances);
        Some(if is_to_stop && instance.routable {
            Arc::new(Instance {
                routable: false,
                ..Instance::clone(instance)
            })
        } else {
            instance.clone()
        })
    }
}

impl Seen {
    fn new(observation: Observation) -> Self {
        let Observation {
            guid,
            process,
            workload,
            since,
            endpoint,
            routable,
            ..
        } = observation;
        match endpoint {
            Some(endpoint) => Self::Running(Arc::new(Instance {
                guid,
                process,
                workload,
                routable,
                since,
                host_address: endpoint.host_address,
                container_address: endpoint.container_address,
                prefers_container: endpoint.prefers_container,
                zone: endpoint.zone,
                ports: endpoint.ports,
            })),
            None => Self::Stopped(Box::new(Stopped {
                process,
                workload,
                since,
            })),
        }
    }
}

impl Limit {
    /// What `desired` says, heard of with `last_event`.
    pub(super) fn new(desired: Desired, last_event: Mark, removed_at: Option<Instant>) -> Self {
        Self {
            instances: if removed_at.is_some() {
                0
            } else {
                desired.instances
            },
            tag: desired.tag,
            workload: desired.workload,
            last_event,
            removed_at,
            is_contradicted: false,
        }
    }

    /// Whether `later` is as new as this or newer.
    pub(super) fn precedes(&mut self, later: &Desired, heard: Heard) -> bool {
        if self.tag.epoch != later.tag.epoch {
            return self.last_event <= heard.known_until;
        }
        let is_older = later.tag.index < self.tag.index;
        let counts = heard.counts(self.last_event, is_older, &mut self.is_contradicted);
        self.removed_at.is_none() && (counts || !is_older)
    }
}
