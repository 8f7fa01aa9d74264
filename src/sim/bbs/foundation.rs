//! The simulated rows, and the events that each change of them emits.

mod events;
mod lists;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    net::IpAddr,
};

use bytes::Bytes;

use super::{CellPorts, InstanceSpec, ListFault, ProcessSpec, Subscriber};
use crate::{
    model::AppPort,
    proto::bbs::{
        ActualLrp, ActualLrpInstanceCreatedEvent, ActualLrpInstanceKey, ActualLrpKey,
        ActualLrpNetInfo, DesiredLrp, DesiredLrpChangedEvent, DesiredLrpCreatedEvent,
        DesiredLrpRemovedEvent, MetricTagValue, ModificationTag, PortMapping, Presence,
        actual_lrp_net_info::PreferredAddress,
    },
};

const DOMAIN: &str = "cf-apps";

/// Where the proxies in containers begin to listen.
const FIRST_PROXY_PORT: u32 = 61_001;
/// Where they listen for other apps.
const INTERNAL_TLS_PORT: u32 = 61_443;

/// Encodes a row of a list, given its place there.
pub(super) type Lie<T> = dyn Fn(usize, T) -> Vec<u8> + Send;

/// What goes wrong.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) actual_lie: Option<Box<Lie<ActualLrp>>>,
    pub(super) desired_lie: Option<Box<Lie<DesiredLrp>>>,
    pub(super) hang: bool,
    pub(super) refuse: bool,
    pub(super) end_at_once: bool,
    pub(super) list: ListFault,
    /// Captured answers by path.
    pub(super) replays: HashMap<String, Bytes>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

/// The rows, who is told of their changes, and what goes wrong.
#[derive(Debug)]
pub(super) struct Foundation {
    desired: BTreeMap<String, DesiredLrp>,
    /// Instances that were claimed, by guid.
    instances: BTreeMap<String, ActualLrp>,
    /// Rows that wait for a cell.
    unclaimed: BTreeMap<(String, u32), ActualLrp>,
    retired: HashSet<String>,
    subscribers: Vec<Subscriber>,
    /// Counts guids, epochs and instants.
    clock: i64,
    pub(super) fresh: bool,
    pub(super) routing_infos: bool,
    pub(super) faults: Faults,
}

impl Default for Foundation {
    fn default() -> Self {
        Self {
            desired: BTreeMap::new(),
            instances: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
            retired: HashSet::new(),
            subscribers: Vec::new(),
            clock: 0,
            fresh: true,
            routing_infos: true,
            faults: Faults::default(),
        }
    }
}

// === Desired state ===

impl Foundation {
    pub(super) fn desire(&mut self, spec: ProcessSpec) {
        let lrp = self.desired_lrp(spec);
        let event = DesiredLrpCreatedEvent {
            desired_lrp: Some(lrp.clone()),
        };
        self.desired.insert(lrp.process_guid.clone(), lrp);
        self.emit("desired_lrp_created", &event);
    }

    pub(super) fn scale(&mut self, process: &str, instances: u32) {
        self.rewrite(process, |lrp| {
            lrp.instances = i32::try_from(instances).unwrap_or(i32::MAX);
        });
    }

    pub(super) fn rewrite(&mut self, process: &str, change: impl FnOnce(&mut DesiredLrp)) {
        let Some(lrp) = self.desired.get_mut(process) else {
            return;
        };
        let before = lrp.clone();
        change(lrp);
        bump(&mut lrp.modification_tag);
        let event = DesiredLrpChangedEvent {
            before: Some(before),
            after: Some(lrp.clone()),
        };
        self.emit("desired_lrp_changed", &event);
    }

    pub(super) fn remove_process(&mut self, process: &str) {
        if let Some(lrp) = self.desired.remove(process) {
            let event = DesiredLrpRemovedEvent {
                desired_lrp: Some(lrp),
            };
            self.emit("desired_lrp_removed", &event);
        }
    }

    fn desired_lrp(&mut self, spec: ProcessSpec) -> DesiredLrp {
        let tag = |value: &str| MetricTagValue {
            r#static: value.to_owned(),
        };
        let metric_tags = if spec.metric_tags {
            BTreeMap::from([
                ("app_id".to_owned(), tag(&spec.app_guid)),
                ("process_type".to_owned(), tag(&spec.process_type)),
            ])
        } else {
            BTreeMap::new()
        };
        DesiredLrp {
            process_guid: spec.process_guid,
            domain: DOMAIN.to_owned(),
            instances: i32::try_from(spec.instances).unwrap_or(i32::MAX),
            log_guid: spec.app_guid,
            modification_tag: Some(self.new_tag()),
            metric_tags,
        }
    }
}

// === Instances ===

impl Foundation {
    /// Placed, claimed, running: three events, of which the latter two carry no metric tags.
    pub(super) fn start_instance(
        &mut self,
        process: &str,
        index: u32,
        spec: &InstanceSpec,
    ) -> String {
        let guid = self.claim_instance(process, index, spec.cell);
        self.run_instance(&guid, spec);
        guid
    }

    pub(super) fn claim_instance(&mut self, process: &str, index: u32, cell: IpAddr) -> String {
        if !self.unclaimed.contains_key(&(process.to_owned(), index)) {
            let row = self.unclaimed_row(process, index);
            self.add_unclaimed(row);
        }
        let mut row = self
            .unclaimed
            .remove(&(process.to_owned(), index))
            .expect("it was just added");
        let guid = self.new_guid();
        row.actual_lrp_instance_key = Some(instance_key(&guid, cell));
        let before = row.clone();
        "CLAIMED".clone_into(&mut row.state);
        self.stamp(&mut row);
        self.instances.insert(guid.clone(), row.clone());
        self.emit_changed(&before, &row);
        guid
    }

    pub(super) fn run_instance(&mut self, guid: &str, spec: &InstanceSpec) {
        self.change(guid, |row| {
            "RUNNING".clone_into(&mut row.state);
            row.routable = Some(true);
            row.actual_lrp_net_info = Some(net_info(spec));
            spec.zone.clone_into(&mut row.availability_zone);
        });
        let Some(row) = self.instances.get(guid) else {
            return;
        };
        let key = row.actual_lrp_key.clone().unwrap_or_default();
        let tags = self.metric_tags(&key.process_guid);
        if let Some(row) = self.instances.get_mut(guid) {
            row.metric_tags = tags;
        }
    }

    pub(super) fn index_of(&self, guid: &str) -> Option<u32> {
        let key = self.instances.get(guid)?.actual_lrp_key.as_ref()?;
        u32::try_from(key.index).ok()
    }

    pub(super) fn stop_instance(&mut self, guid: &str) {
        if let Some(row) = self.instances.remove(guid) {
            self.retired.remove(guid);
            self.emit_removed(row);
        }
    }

    /// Its row changes and goes, and the event of its end has the row before the change.
    pub(super) fn stop_with_older_row(&mut self, guid: &str) {
        let Some(before) = self.instances.get(guid).cloned() else {
            return;
        };
        self.change(guid, |_| {});
        self.forget(guid);
        self.emit_removed(before);
    }

    /// The row is unclaimed again under its incarnation; the instance that it was is removed.
    pub(super) fn crash(&mut self, guid: &str) {
        let Some(row) = self.instances.remove(guid) else {
            return;
        };
        // A crashed event's keys have the numbers that they have in a row.
        let keys = ActualLrp {
            actual_lrp_key: row.actual_lrp_key.clone(),
            actual_lrp_instance_key: row.actual_lrp_instance_key.clone(),
            ..ActualLrp::default()
        };
        self.emit("actual_lrp_crashed", &keys);
        let mut again = unplaced(&row);
        again.crash_count += 1;
        "APP/PROC/WEB: Exited with status 1".clone_into(&mut again.crash_reason);
        self.stamp(&mut again);
        self.add_unclaimed(again);
        self.emit_removed(row);
    }

    /// The instance gets a row of another incarnation, and its own row waits for a replacement.
    pub(super) fn evacuate(&mut self, guid: &str) {
        let Some(before) = self.instances.get(guid).cloned() else {
            return;
        };
        let mut after = before.clone();
        after.presence = Presence::Evacuating.into();
        after.modification_tag = Some(self.new_tag());
        after.since = self.tick();
        self.instances.insert(guid.to_owned(), after.clone());
        self.emit_changed(&before, &after);
        let mut replacement = unplaced(&before);
        self.stamp(&mut replacement);
        self.add_unclaimed(replacement);
    }

    /// Only the presence changes, not the tag; a replacement of another incarnation is placed.
    pub(super) fn suspect(&mut self, guid: &str) {
        let Some(row) = self.instances.get_mut(guid) else {
            return;
        };
        let before = row.clone();
        row.presence = Presence::Suspect.into();
        let after = row.clone();
        self.emit_changed(&before, &after);
        let mut replacement = unplaced(&before);
        replacement.modification_tag = Some(self.new_tag());
        replacement.since = self.tick();
        self.add_unclaimed(replacement);
    }

    pub(super) fn set_routable(&mut self, guid: &str, routable: bool) {
        self.change(guid, |row| row.routable = Some(routable));
    }

    /// The event precedes the end of the container, and the row stays as it is until then.
    pub(super) fn retire(&mut self, guid: &str) {
        if let Some(row) = self.instances.get(guid).cloned()
            && self.retired.insert(guid.to_owned())
        {
            self.emit_removed(row);
        }
    }

    pub(super) fn load(&mut self, process: ProcessSpec, instances: &[InstanceSpec]) -> Vec<String> {
        let lrp = self.desired_lrp(process);
        let process = lrp.process_guid.clone();
        self.desired.insert(process.clone(), lrp);
        let mut guids = Vec::with_capacity(instances.len());
        for (index, spec) in (0..).zip(instances) {
            let mut row = self.unclaimed_row(&process, index);
            let guid = self.new_guid();
            row.actual_lrp_instance_key = Some(instance_key(&guid, spec.cell));
            "RUNNING".clone_into(&mut row.state);
            row.routable = Some(true);
            row.actual_lrp_net_info = Some(net_info(spec));
            spec.zone.clone_into(&mut row.availability_zone);
            row.metric_tags = self.metric_tags(&process);
            self.instances.insert(guid.clone(), row);
            guids.push(guid);
        }
        guids
    }

    pub(super) fn forget(&mut self, guid: &str) {
        self.instances.remove(guid);
    }

    fn change(&mut self, guid: &str, change: impl FnOnce(&mut ActualLrp)) {
        let Some(mut row) = self.instances.remove(guid) else {
            return;
        };
        let before = row.clone();
        change(&mut row);
        self.stamp(&mut row);
        self.emit_changed(&before, &row);
        self.instances.insert(guid.to_owned(), row);
    }

    fn unclaimed_row(&mut self, process: &str, index: u32) -> ActualLrp {
        ActualLrp {
            actual_lrp_key: Some(ActualLrpKey {
                process_guid: process.to_owned(),
                index: i32::try_from(index).unwrap_or(i32::MAX),
                domain: DOMAIN.to_owned(),
            }),
            actual_lrp_net_info: Some(ActualLrpNetInfo::default()),
            state: "UNCLAIMED".to_owned(),
            since: self.tick(),
            modification_tag: Some(self.new_tag()),
            routable: Some(false),
            ..ActualLrp::default()
        }
    }

    fn add_unclaimed(&mut self, row: ActualLrp) {
        let key = row.actual_lrp_key.clone().unwrap_or_default();
        let index = u32::try_from(key.index).unwrap_or_default();
        let event = ActualLrpInstanceCreatedEvent {
            actual_lrp: Some(row.clone()),
        };
        self.unclaimed.insert((key.process_guid, index), row);
        self.emit("actual_lrp_instance_created", &event);
    }

    /// A cell reports an instance's metric tags when it starts; they come from the desired state.
    fn metric_tags(&self, process: &str) -> BTreeMap<String, String> {
        let desired = self.desired.get(process);
        desired
            .into_iter()
            .flat_map(|lrp| &lrp.metric_tags)
            .map(|(name, value)| (name.clone(), value.r#static.clone()))
            .collect()
    }

    fn stamp(&mut self, row: &mut ActualLrp) {
        bump(&mut row.modification_tag);
        row.since = self.tick();
    }

    fn tick(&mut self) -> i64 {
        self.clock += 1;
        // Two changes are a millisecond apart; the first is in 2025.
        1_735_689_600_000_000_000 + self.clock * 1_000_000
    }

    fn new_tag(&mut self) -> ModificationTag {
        ModificationTag {
            epoch: self.new_guid(),
            index: 0,
        }
    }

    fn new_guid(&mut self) -> String {
        self.clock += 1;
        format!("bb500000-0000-4000-8000-{:012x}", self.clock)
    }
}

fn bump(tag: &mut Option<ModificationTag>) {
    tag.get_or_insert_default().index += 1;
}

fn instance_key(guid: &str, cell: IpAddr) -> ActualLrpInstanceKey {
    ActualLrpInstanceKey {
        instance_guid: guid.to_owned(),
        cell_id: format!("cell-{cell}"),
    }
}

/// The row without its instance, to be placed anew.
fn unplaced(row: &ActualLrp) -> ActualLrp {
    ActualLrp {
        actual_lrp_instance_key: Some(ActualLrpInstanceKey::default()),
        actual_lrp_net_info: Some(ActualLrpNetInfo::default()),
        state: "UNCLAIMED".to_owned(),
        presence: Presence::Ordinary.into(),
        ..row.clone()
    }
}

/// As a cell reports it (executor, `ProxyPorts` and `portMappingFromContainerInfo`): the proxy's ports follow each other, and
/// where apps listen by default it has a second one, for other apps.
fn net_info(spec: &InstanceSpec) -> ActualLrpNetInfo {
    let mut ports = Vec::new();
    for (proxy, (container, host)) in (FIRST_PROXY_PORT..).zip(&spec.ports) {
        let host = u32::from(*host);
        let (host_port, host_tls) = match spec.cell_ports {
            CellPorts::Both => (host, host + 500),
            CellPorts::Tls => (0, host),
            CellPorts::Plain => (host, 0),
        };
        let mapping = |container_tls_proxy_port, host_tls_proxy_port| PortMapping {
            container_port: (*container).into(),
            host_port,
            container_tls_proxy_port,
            host_tls_proxy_port,
        };
        if spec.cell_ports == CellPorts::Plain {
            ports.push(mapping(0, 0));
            continue;
        }
        ports.push(mapping(proxy, host_tls));
        if *container == AppPort::DEFAULT {
            ports.push(mapping(INTERNAL_TLS_PORT, 0));
        }
    }
    let preferred = if spec.prefers_container {
        PreferredAddress::Instance
    } else {
        PreferredAddress::Host
    };
    ActualLrpNetInfo {
        address: spec.cell.to_string(),
        ports,
        instance_address: spec.container.to_string(),
        preferred_address: preferred.into(),
    }
}
