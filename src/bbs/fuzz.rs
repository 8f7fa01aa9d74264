//! What a BBS may send, taken in as it comes.

use tokio::time::Instant;

use super::{events::Decoder, merge::Merge, observation::List, parse};
use crate::{
    feed::Drops,
    proto::{
        bbs::{ActualLrp, DesiredLrp, DesiredLrpSchedulingInfo},
        fields::Fields,
    },
};
use prost::Message as _;

/// An event stream.
pub(crate) fn events(bytes: &[u8]) {
    let (mut decoder, mut events) = (Decoder::default(), Vec::new());
    let mut parts = Drops::default();
    let mut merge = Merge::default();
    for piece in bytes.chunks(100) {
        if decoder.push(piece, &mut events).is_err() {
            break;
        }
    }
    for event in events {
        if let Ok(Some(event)) = parse::event(event, &mut parts) {
            merge.event(event, Instant::now());
        }
    }
}

/// A list of instances, and what is to run by either list.
pub(crate) fn list(bytes: &[u8]) {
    let (mut fields, mut list) = (Fields::default(), List::default());
    let mut parts = Drops::default();
    fields.push(bytes);
    while let Ok(Some((_, row))) = fields.next() {
        if let Ok(lrp) = ActualLrp::decode(row.clone()) {
            let observed = parse::listed_lrp(lrp, &mut parts);
            list.instances.extend(observed.ok().flatten());
        }
        if let Ok(lrp) = DesiredLrp::decode(row.clone()) {
            list.desired.extend(parse::desired_lrp(&lrp).ok().flatten());
        }
        if let Ok(info) = DesiredLrpSchedulingInfo::decode(row) {
            list.desired
                .extend(parse::scheduling_info(info).ok().flatten());
        }
    }
    let mut merge = Merge::default();
    let mark = merge.mark();
    merge.list(list, mark, Instant::now());
}
