//! Parses what the BBS sends into observations: what is not for us is `None`, what is invalid is dropped by name.

use std::{collections::BTreeMap, net::IpAddr};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    DOMAIN,
    events::StreamEvent,
    observation::{Desired, Endpoint, Event, Observation, Tag, Unplaced, is_guid},
    ports::{self, Unusable},
};
use crate::{
    feed::{Dropped, Drops},
    model::{AppGuid, ProcessType, Workload, is_plain_name},
    proto::bbs::{
        ActualLrp, ActualLrpInstanceChangedEvent, ActualLrpNetInfo, DesiredLrp,
        DesiredLrpSchedulingInfo, ModificationTag, Presence, actual_lrp_net_info::PreferredAddress,
    },
};

const RUNNING: &str = "RUNNING";
const CRASHED: &str = "CRASHED";
/// Characters of the reason of a crash that are kept.
const MAX_WHY: usize = 200;
/// All that a row can be in.
const STATES: [&str; 4] = ["UNCLAIMED", "CLAIMED", RUNNING, CRASHED];

const NO_GUID: &str = "a guid is empty, or longer than any is";

/// What an event says. What is left out of it alone goes to `parts`.
pub(super) fn event(event: StreamEvent, parts: &mut Drops) -> Result<Option<Event>, Dropped> {
    Ok(match event {
        StreamEvent::Created(lrp) => observed(lrp, parts)?,
        StreamEvent::Changed(event) => {
            changed(*event).map_or(Ok(None), |lrp| observed(lrp, parts))?
        }
        StreamEvent::Removed(lrp) => match unplaced(&lrp) {
            Some(place) => Some(Event::PlaceRemoved(place.process, place.index)),
            None => actual_lrp(bygone(lrp), parts)?.map(Event::Removed),
        },
        StreamEvent::Desired(lrp) => desired_lrp(&lrp)?.map(Event::Desired),
        StreamEvent::DesiredRemoved(lrp) => desired_lrp(&lrp)?.map(Event::DesiredRemoved),
    })
}

fn observed(lrp: ActualLrp, parts: &mut Drops) -> Result<Option<Event>, Dropped> {
    if let Some(place) = unplaced(&lrp) {
        return Ok(Some(Event::Unplaced(place)));
    }
    Ok(actual_lrp(lrp, parts)?.map(Event::Observed))
}

/// What a row without an instance says; nothing routes by it. `None` for every other.
pub(super) fn unplaced(lrp: &ActualLrp) -> Option<Unplaced> {
    let key = lrp.actual_lrp_key.as_ref()?;
    let instance = lrp.actual_lrp_instance_key.as_ref();
    let is_placed = instance.is_some_and(|key| !key.instance_guid.is_empty());
    if is_placed || key.domain != DOMAIN || key.process_guid.is_empty() || lrp.state == RUNNING {
        return None;
    }
    let why = [&lrp.crash_reason, &lrp.placement_error];
    let why = why.into_iter().find(|why| !why.is_empty());
    let brief = |why: &String| why.chars().take(MAX_WHY).collect::<String>().into();
    Some(Unplaced {
        process: key.process_guid.as_str().into(),
        index: u32::try_from(key.index).ok()?,
        is_crashed: lrp.state == CRASHED,
        since: lrp.since,
        crashes: u32::try_from(lrp.crash_count).unwrap_or_default(),
        why: why.map(brief),
    })
}

/// Of a row that is gone only its identity and tag matter; where it was reached may even be invalid.
fn bygone(lrp: ActualLrp) -> ActualLrp {
    ActualLrp {
        state: CRASHED.to_owned(),
        presence: Presence::Ordinary.into(),
        ..lrp
    }
}

/// The row as it is after the change.
pub(super) fn changed(event: ActualLrpInstanceChangedEvent) -> Option<ActualLrp> {
    let after = event.after?;
    Some(ActualLrp {
        actual_lrp_key: event.actual_lrp_key,
        actual_lrp_instance_key: event.actual_lrp_instance_key,
        actual_lrp_net_info: after.actual_lrp_net_info,
        crash_count: after.crash_count,
        crash_reason: after.crash_reason,
        state: after.state,
        placement_error: after.placement_error,
        since: after.since,
        modification_tag: after.modification_tag,
        presence: after.presence,
        metric_tags: BTreeMap::new(),
        routable: after.routable,
        availability_zone: after.availability_zone,
    })
}

/// What a row of a list of our domain says, as [`actual_lrp`]: an instance of another domain says nothing there.
pub(super) fn listed_lrp(
    lrp: ActualLrp,
    parts: &mut Drops,
) -> Result<Option<Observation>, Dropped> {
    let key = lrp.actual_lrp_key.clone().unwrap_or_default();
    let instance = lrp.actual_lrp_instance_key.as_ref();
    let guid = instance.map_or("", |key| &key.instance_guid);
    if key.domain == DOMAIN || guid.is_empty() {
        return actual_lrp(lrp, parts);
    }
    Err(Dropped {
        name: format!("{}/{} {guid}", key.process_guid, key.index),
        reason: "domain",
        detail: format!("{:?} was not asked for", key.domain),
    })
}

/// What a row says of an instance; `None` for rows that nothing was started for yet, and for other domains. Mappings
/// that are left out alone go to `parts`.
pub(super) fn actual_lrp(
    lrp: ActualLrp,
    parts: &mut Drops,
) -> Result<Option<Observation>, Dropped> {
    let key = lrp.actual_lrp_key.unwrap_or_default();
    let guid = lrp
        .actual_lrp_instance_key
        .unwrap_or_default()
        .instance_guid;
    let running = lrp.state == RUNNING;
    if key.domain != DOMAIN || (guid.is_empty() && !running) {
        return Ok(None);
    }
    let invalid = |(reason, detail): Unusable| Dropped {
        name: format!("{}/{} {guid}", key.process_guid, key.index),
        reason,
        detail,
    };
    if !is_guid(&guid) || !is_guid(&key.process_guid) {
        return Err(invalid(("guid", NO_GUID.to_owned())));
    }
    let index = u32::try_from(key.index).map_err(|_| invalid(("index", key.index.to_string())))?;
    if !STATES.contains(&lrp.state.as_str()) {
        return Err(invalid(("state", format!("{:?} is no state", lrp.state))));
    }
    // Every presence that is known serves: a suspect cell may only be out of touch, and an evacuating one serves until
    // its replacement runs.
    if Presence::try_from(lrp.presence).is_err() {
        let detail = format!("{} is no presence", lrp.presence);
        return Err(invalid(("presence", detail)));
    }
    // A BBS older than the field does not send `routable`; it routes to all that runs.
    let routable = running && lrp.routable != Some(false);
    let endpoint = running.then(|| {
        let net = lrp.actual_lrp_net_info.unwrap_or_default();
        let leave_out = |at, why| {
            let row = invalid(why);
            parts.push(Dropped {
                name: format!("{} mapping {at}", row.name),
                ..row
            });
        };
        endpoint(&net, &lrp.availability_zone, leave_out)
    });
    let endpoint = match endpoint {
        Some(Err(why)) if routable => return Err(invalid(why)),
        // Where nobody is sent to does not matter.
        endpoint => endpoint.and_then(Result::ok),
    };
    Ok(Some(Observation {
        guid: guid.as_str().into(),
        process: key.process_guid.as_str().into(),
        index,
        tag: tag(lrp.modification_tag),
        since: lrp.since,
        workload: workload(|name| lrp.metric_tags.get(name).map(String::as_str)),
        routable: routable && endpoint.is_some(),
        endpoint,
    }))
}

fn endpoint(
    net: &ActualLrpNetInfo,
    zone: &str,
    leave_out: impl FnMut(usize, Unusable),
) -> Result<Endpoint, Unusable> {
    let address = |text: &str| {
        text.parse::<IpAddr>()
            .map_err(|_| ("address", format!("{text:?} is no IP address")))
    };
    let container_address = match net.instance_address.as_str() {
        "" => None,
        text => Some(address(text)?),
    };
    let ports = ports::parse(&net.ports, leave_out);
    if ports.is_empty() && !net.ports.is_empty() {
        return Err(("port", "none of its ports can be used".to_owned()));
    }
    Ok(Endpoint {
        host_address: address(&net.address)?,
        container_address,
        prefers_container: net.preferred_address() == PreferredAddress::Instance,
        // One that cannot be told is as good as none: the instance is reached all the same.
        zone: is_plain_name(zone).then(|| zone.into()),
        ports,
    })
}

/// What is to run of a process; `None` for other domains.
pub(super) fn desired_lrp(lrp: &DesiredLrp) -> Result<Option<Desired>, Dropped> {
    let static_tag = |name: &str| lrp.metric_tags.get(name).map(|tag| tag.r#static.as_str());
    let app = static_tag("app_id").filter(|app| !app.is_empty());
    of_process(
        Key {
            domain: &lrp.domain,
            process: &lrp.process_guid,
        },
        lrp.instances,
        lrp.modification_tag.clone(),
        app.unwrap_or(&lrp.log_guid),
        workload(static_tag),
    )
}

/// The same from an older BBS, which says the app but not the process type.
pub(super) fn scheduling_info(info: DesiredLrpSchedulingInfo) -> Result<Option<Desired>, Dropped> {
    let key = info.desired_lrp_key.unwrap_or_default();
    of_process(
        Key {
            domain: &key.domain,
            process: &key.process_guid,
        },
        info.instances,
        info.modification_tag,
        &key.log_guid,
        None,
    )
}

/// What a process is found by.
struct Key<'a> {
    domain: &'a str,
    process: &'a str,
}

fn of_process(
    Key { domain, process }: Key<'_>,
    instances: i32,
    tag_sent: Option<ModificationTag>,
    app: &str,
    workload: Option<Workload>,
) -> Result<Option<Desired>, Dropped> {
    if domain != DOMAIN {
        return Ok(None);
    }
    let invalid = |reason, detail: String| Dropped {
        name: format!("desired {process}"),
        reason,
        detail,
    };
    if !is_guid(process) {
        return Err(invalid("guid", NO_GUID.to_owned()));
    }
    Ok(Some(Desired {
        process: process.into(),
        instances: u32::try_from(instances)
            .map_err(|_| invalid("instances", instances.to_string()))?,
        tag: tag(tag_sent),
        app: is_guid(app).then(|| AppGuid::from(app)),
        workload,
    }))
}

fn workload<'a>(tag: impl Fn(&str) -> Option<&'a str>) -> Option<Workload> {
    let present = |name| tag(name).filter(|value| is_guid(value));
    Some(Workload {
        app: present("app_id")?.into(),
        process_type: ProcessType::from(present("process_type")?),
    })
}

fn tag(tag: Option<ModificationTag>) -> Tag {
    let tag = tag.unwrap_or_default();
    Tag {
        epoch: xxh3_64(tag.epoch.as_bytes()),
        index: tag.index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::PortMapping,
        proto::bbs::{self, ActualLrpInstanceKey, ActualLrpKey},
    };

    fn row() -> ActualLrp {
        ActualLrp {
            actual_lrp_key: Some(ActualLrpKey {
                process_guid: "process".to_owned(),
                index: 0,
                domain: DOMAIN.to_owned(),
            }),
            actual_lrp_instance_key: Some(ActualLrpInstanceKey {
                instance_guid: "instance".to_owned(),
                cell_id: "cell".to_owned(),
            }),
            actual_lrp_net_info: Some(ActualLrpNetInfo {
                address: "10.0.16.5".to_owned(),
                instance_address: "10.255.1.2".to_owned(),
                ..ActualLrpNetInfo::default()
            }),
            state: "RUNNING".to_owned(),
            ..ActualLrp::default()
        }
    }

    fn mapping(container_port: u32, host_port: u32) -> bbs::PortMapping {
        bbs::PortMapping {
            container_port,
            host_port,
            ..bbs::PortMapping::default()
        }
    }

    fn observed(lrp: ActualLrp) -> Observation {
        let mut parts = Drops::default();
        let observed = actual_lrp(lrp, &mut parts).unwrap().unwrap();
        assert!(parts.is_empty());
        observed
    }

    #[test]
    fn only_what_runs_and_is_not_withheld_is_routable() {
        let with = |change: fn(&mut ActualLrp)| {
            let mut lrp = row();
            change(&mut lrp);
            observed(lrp).routable
        };
        assert!(with(|_| {}), "routable is absent in older BBSs");
        assert!(with(|lrp| lrp.routable = Some(true)));
        assert!(with(|lrp| lrp.presence = Presence::Suspect.into()));
        assert!(with(|lrp| lrp.presence = Presence::Evacuating.into()));
        assert!(!with(|lrp| lrp.routable = Some(false)));
        assert!(!with(|lrp| lrp.state = "CRASHED".to_owned()));
    }

    #[test]
    fn what_runs_has_its_place_whether_it_is_routable_or_not() {
        let with = |change: fn(&mut ActualLrp)| {
            let mut lrp = row();
            lrp.routable = Some(false);
            change(&mut lrp);
            observed(lrp).endpoint.is_some()
        };
        assert!(with(|_| {}));
        assert!(!with(|lrp| lrp.state = "CRASHED".to_owned()));
        assert!(!with(|lrp| lrp.actual_lrp_net_info = None));
    }

    #[test]
    fn a_zone_that_cannot_be_told_keeps_no_instance_from_being_reached() {
        let long = "z".repeat(65);
        let with = |zone: &str| {
            let mut lrp = row();
            zone.clone_into(&mut lrp.availability_zone);
            observed(lrp).endpoint.unwrap().zone
        };
        assert_eq!(with("z1").as_deref(), Some("z1"));
        for bad in ["", "z/1", "z 1", &*long] {
            assert_eq!(with(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_row_prefers_its_containers_address_only_where_it_says_so() {
        let with = |number: i32| {
            let mut lrp = row();
            let net = lrp.actual_lrp_net_info.get_or_insert_default();
            net.preferred_address = number;
            observed(lrp).endpoint.unwrap().prefers_container
        };
        assert_eq!([0, 1, 2, 7].map(with), [false, true, false, false]);
    }

    #[test]
    fn rows_of_other_domains_and_without_an_instance_are_not_for_us() {
        let mut other = row();
        other.actual_lrp_key.as_mut().unwrap().domain = "tasks".to_owned();
        assert_eq!(actual_lrp(other, &mut Drops::default()), Ok(None));
        let mut unclaimed = row();
        unclaimed.actual_lrp_instance_key = None;
        unclaimed.state = "UNCLAIMED".to_owned();
        assert_eq!(actual_lrp(unclaimed, &mut Drops::default()), Ok(None));
    }

    #[test]
    fn a_mapping_that_is_left_out_is_named_with_its_place_in_the_row() {
        let mut lrp = row();
        let net = lrp.actual_lrp_net_info.get_or_insert_default();
        net.ports = vec![mapping(8080, 61_000), mapping(9090, 70_000)];
        let mut parts = Drops::default();
        let observed = actual_lrp(lrp, &mut parts).unwrap().unwrap();
        assert_eq!(
            observed.endpoint.unwrap().ports.as_slice(),
            [PortMapping::plain(8080, 61_000)]
        );
        assert_eq!(
            parts,
            Drops::from(Dropped {
                name: "process/0 instance mapping 1".to_owned(),
                reason: "port",
                detail: "70000 is no port".to_owned(),
            })
        );
    }

    #[test]
    fn a_removal_counts_even_where_the_row_was_invalid() {
        let mut lrp = row();
        lrp.actual_lrp_net_info = None;
        let removed = event(StreamEvent::Removed(lrp), &mut Drops::default());
        assert!(
            matches!(removed, Ok(Some(Event::Removed(_)))),
            "{removed:?}"
        );
    }

    #[test]
    fn invalid_rows_are_named_with_the_reason() {
        let reason = |change: fn(&mut ActualLrp)| {
            let mut lrp = row();
            change(&mut lrp);
            actual_lrp(lrp, &mut Drops::default()).unwrap_err().reason
        };
        assert_eq!(reason(|lrp| lrp.actual_lrp_net_info = None), "address");
        assert_eq!(reason(|lrp| lrp.state.clear()), "state");
        assert_eq!(reason(|lrp| lrp.state = "ASLEEP".to_owned()), "state");
        assert_eq!(reason(|lrp| lrp.presence = 7), "presence");
        assert_eq!(reason(|lrp| lrp.actual_lrp_instance_key = None), "guid");
        assert_eq!(
            reason(|lrp| lrp.actual_lrp_key.as_mut().unwrap().process_guid.clear()),
            "guid"
        );
        assert_eq!(
            reason(|lrp| lrp.actual_lrp_key.as_mut().unwrap().index = -1),
            "index"
        );
        let mut lrp = row();
        lrp.actual_lrp_net_info.get_or_insert_default().address = "cell".to_owned();
        let dropped = actual_lrp(lrp, &mut Drops::default()).unwrap_err();
        assert_eq!(
            (
                dropped.name.as_str(),
                dropped.reason,
                dropped.detail.as_str()
            ),
            ("process/0 instance", "address", "\"cell\" is no IP address")
        );
    }
}
