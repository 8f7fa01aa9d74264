//! The bodies of the lists.

use std::borrow::Borrow;

use prost::{
    Message,
    encoding::{bytes, message},
};

use super::{DOMAIN, Foundation, Lie};
use crate::proto::bbs::{
    ActualLrp, DesiredLrp, DesiredLrpKey, DesiredLrpSchedulingInfo, DomainsResponse,
};

impl Foundation {
    /// Of one process, or of all if it has no name.
    pub(in crate::sim::bbs) fn actual_lrps(&self, process: &str) -> Vec<u8> {
        let is_asked_for = |row: &&ActualLrp| {
            let key = row.actual_lrp_key.as_ref();
            process.is_empty() || key.is_some_and(|key| key.process_guid == process)
        };
        let rows = self.instances.values().chain(self.unclaimed.values());
        list(rows.filter(is_asked_for), self.faults.actual_lie.as_deref())
    }

    pub(in crate::sim::bbs) fn routing_infos(&self) -> Vec<u8> {
        list(self.desired.values(), self.faults.desired_lie.as_deref())
    }

    pub(in crate::sim::bbs) fn scheduling_infos(&self) -> Vec<u8> {
        list::<DesiredLrpSchedulingInfo, _>(self.desired.values().map(scheduling_info), None)
    }

    pub(in crate::sim::bbs) fn domains(&self) -> Vec<u8> {
        let domains = self.fresh.then(|| DOMAIN.to_owned());
        DomainsResponse {
            error: None,
            domains: domains.into_iter().collect(),
        }
        .encode_to_vec()
    }
}

/// The rows of every list have this number.
const ROWS: u32 = 2;

/// Row by row, so that the rows of a large foundation are not copied first.
fn list<M: Message + Clone, R: Borrow<M>>(
    rows: impl Iterator<Item = R>,
    lie: Option<&Lie<M>>,
) -> Vec<u8> {
    let mut body = Vec::new();
    for (place, row) in rows.enumerate() {
        match lie {
            Some(lie) => bytes::encode(ROWS, &lie(place, row.borrow().clone()), &mut body),
            None => message::encode(ROWS, row.borrow(), &mut body),
        }
    }
    body
}

fn scheduling_info(lrp: &DesiredLrp) -> DesiredLrpSchedulingInfo {
    DesiredLrpSchedulingInfo {
        desired_lrp_key: Some(DesiredLrpKey {
            process_guid: lrp.process_guid.clone(),
            domain: lrp.domain.clone(),
            log_guid: lrp.log_guid.clone(),
        }),
        instances: lrp.instances,
        modification_tag: lrp.modification_tag.clone(),
    }
}
