//! What lists and events say, parsed: the merge's input.

use std::net::IpAddr;

use super::ports::Ports;
use crate::{
    bbs::DOMAIN,
    guids::{GuidMap, GuidSet},
    model::{AppGuid, DiegoProcessGuid, InstanceGuid, Workload},
};

/// Diego's are two UUIDs; what is much longer would be kept, and compared, for long.
const MAX_GUID: usize = 255;

/// Whether a text can identify something.
pub(super) fn is_guid(text: &str) -> bool {
    (1..=MAX_GUID).contains(&text.len())
}

/// Which state of a row was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tag {
    /// The row's incarnation, hashed to a fixed size.
    pub(super) epoch: u64,
    /// Counts the changes of that incarnation.
    pub(super) index: u32,
}

/// Where an instance runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host_address: IpAddr,
    pub(super) container_address: Option<IpAddr>,
    pub(super) prefers_container: bool,
    pub(super) zone: Option<Box<str>>,
    pub(super) ports: Ports,
}

/// What a list or an event says of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) guid: InstanceGuid,
    pub(super) process: DiegoProcessGuid,
    /// Its place among the process's instances.
    pub(super) index: u32,
    pub(super) tag: Tag,
    /// When the BBS last changed the row other than in its presence, in nanoseconds.
    pub(super) since: i64,
    /// Absent from changed events.
    pub(super) workload: Option<Workload>,
    /// Present where the instance runs.
    pub(super) endpoint: Option<Endpoint>,
    /// Whether it may be routed to there.
    pub(super) routable: bool,
}

/// What a row says of a place among a process's instances where no container is: it waits for one, or has crashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unplaced {
    pub(super) process: DiegoProcessGuid,
    /// The place.
    pub(super) index: u32,
    /// As the BBS calls it.
    pub(super) is_crashed: bool,
    /// When the BBS last changed the row, in nanoseconds.
    pub(super) since: i64,
    /// How often it has crashed of late.
    pub(super) crashes: u32,
    /// Why it crashed last, or why no cell takes it; for people alone.
    pub(super) why: Option<Box<str>>,
}

/// What a list or an event says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Desired {
    pub(super) process: DiegoProcessGuid,
    pub(super) instances: u32,
    pub(super) tag: Tag,
    pub(super) app: Option<AppGuid>,
    pub(super) workload: Option<Workload>,
}

/// An event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// An instance is as given.
    Observed(Observation),
    /// An instance's row is gone.
    Removed(Observation),
    /// A place has no instance at present.
    Unplaced(Unplaced),
    /// A place is no more.
    PlaceRemoved(DiegoProcessGuid, u32),
    /// A process is to run as given.
    Desired(Desired),
    /// A process is to run no more.
    DesiredRemoved(Desired),
}

/// A complete list.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    pub(super) instances: Vec<Observation>,
    pub(super) desired: Vec<Desired>,
    /// The places without an instance.
    pub(super) unplaced: Vec<Unplaced>,
    /// Whether the BBS vouches that the domain's desired state is complete.
    pub(super) fresh: bool,
    /// What it has rows of that say nothing we understand.
    pub(super) unclear: Unclear,
}

/// Rows that are there and say nothing that we understand: no proof that what they are of is gone.
#[derive(Debug, Clone, Default)]
pub(super) struct Unclear {
    /// Instances, with the names under which their rows are left out, where they are named.
    pub(super) instances: GuidMap<InstanceGuid, Option<Box<str>>>,
    /// Processes that are to run.
    pub(super) processes: GuidSet<DiegoProcessGuid>,
    /// How many rows of instances do not even say of which.
    pub(super) nameless_instances: usize,
    /// Whether there are such rows of processes.
    pub(super) has_nameless_processes: bool,
}

impl Unclear {
    /// There is a row of this process. If it cannot be read, or is of another domain, it says nothing of ours.
    pub(super) fn note_process(&mut self, process: &str, domain: &str, is_read: bool) {
        if is_guid(process) {
            if !is_read || domain != DOMAIN {
                self.processes.insert(process.into());
            }
        } else if !is_read {
            self.has_nameless_processes = true;
        }
    }
}
