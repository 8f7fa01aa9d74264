//! The bodies of the lists.

use std::borrow::Borrow;

use prost::{Message, encoding::message};

use super::{DOMAIN, Foundation};
use crate::proto::bbs::{
    ActualLrp, DesiredLrp, DesiredLrpKey, DesiredLrpSchedulingInfo, DomainsResponse,
};

impl Foundation {
    pub(in crate::sim::bbs) fn actual_lrps(&self) -> Vec<u8> {
        list::<ActualLrp, _>(self.instances.values().chain(self.unclaimed.values()))
    }

    pub(in crate::sim::bbs) fn routing_infos(&self) -> Vec<u8> {
        list::<DesiredLrp, _>(self.desired.values())
    }

    pub(in crate::sim::bbs) fn scheduling_infos(&self) -> Vec<u8> {
        list::<DesiredLrpSchedulingInfo, _>(self.desired.values().map(scheduling_info))
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
fn list<M: Message, R: Borrow<M>>(rows: impl Iterator<Item = R>) -> Vec<u8> {
    let mut body = Vec::new();
    for row in rows {
        message::encode(ROWS, row.borrow(), &mut body);
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
