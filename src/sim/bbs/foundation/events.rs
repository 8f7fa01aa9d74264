//! Who is told of changes, and in what words.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message;

use super::Foundation;
use crate::{
    proto::bbs::{
        ActualLrp, ActualLrpInfo, ActualLrpInstanceChangedEvent, ActualLrpInstanceRemovedEvent,
    },
    sim::bbs::{Emission, Subscriber},
};

impl Foundation {
    pub(in crate::sim::bbs) fn subscribe(&mut self, subscriber: Subscriber) {
        if !self.faults.end_at_once {
            self.subscribers.push(subscriber);
        }
    }

    pub(in crate::sim::bbs) fn end_streams(&mut self) {
        self.subscribers.clear();
    }

    pub(in crate::sim::bbs) fn cut_streams(&mut self) {
        self.send(&Emission::Cut);
        self.end_streams();
    }

    pub(in crate::sim::bbs) fn emit_raw(&mut self, name: &str, data: &str) {
        self.send(&Emission::Event(Arc::from(name), Arc::from(data)));
    }

    pub(super) fn emit(&mut self, name: &str, event: &impl Message) {
        if !self.subscribers.is_empty() {
            self.emit_raw(name, &STANDARD.encode(event.encode_to_vec()));
        }
    }

    pub(super) fn emit_changed(&mut self, before: &ActualLrp, after: &ActualLrp) {
        let event = ActualLrpInstanceChangedEvent {
            actual_lrp_key: after.actual_lrp_key.clone(),
            actual_lrp_instance_key: after.actual_lrp_instance_key.clone(),
            before: Some(info(before)),
            after: Some(info(after)),
        };
        self.emit("actual_lrp_instance_changed", &event);
    }

    pub(super) fn emit_removed(&mut self, row: ActualLrp) {
        let event = ActualLrpInstanceRemovedEvent {
            actual_lrp: Some(row),
        };
        self.emit("actual_lrp_instance_removed", &event);
    }

    /// A stream whose queue is full is ended, as the BBS does it: in order, and without a word.
    fn send(&mut self, emission: &Emission) {
        self.subscribers
            .retain(|subscriber| subscriber.try_send(emission.clone()).is_ok());
    }
}

fn info(row: &ActualLrp) -> ActualLrpInfo {
    ActualLrpInfo {
        actual_lrp_net_info: row.actual_lrp_net_info.clone(),
        crash_count: row.crash_count,
        crash_reason: row.crash_reason.clone(),
        state: row.state.clone(),
        placement_error: row.placement_error.clone(),
        since: row.since,
        modification_tag: row.modification_tag.clone(),
        presence: row.presence,
        routable: row.routable,
        availability_zone: row.availability_zone.clone(),
    }
}
