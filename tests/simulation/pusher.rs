//! A Cloud Controller that pushes its routes to a daemon: each change once, and everything now and then.

use std::{collections::BTreeMap, time::Duration};

use copilot::{
    proto::api::{BulkSyncRequest, CapiDiegoProcessAssociation, Route, RouteMapping},
    sim::cloud_controller::CloudController,
};
use fastrand::Rng;
use tokio::time::sleep_until;

use super::{
    clock,
    oracle::Oracle,
    peers::{CAPI, Fate, Network},
    sinks::{AllEntrances, connect},
    trace::Trace,
};

/// Seconds between two messages of everything.
const EVERY: u64 = 20;
/// What such a message says.
const EVERYTHING: &str = "everything";

/// What pushes to one daemon.
pub(super) struct Pusher {
    pub(super) number: usize,
    pub(super) entrances: AllEntrances,
    pub(super) oracle: Oracle,
    pub(super) network: Network,
    pub(super) trace: Trace,
}

/// A call that says one thing.
#[derive(Debug)]
enum Call {
    Upsert(Route),
    Map(RouteMapping),
    Associate(CapiDiegoProcessAssociation),
    Unmap(RouteMapping),
    Delete(String),
    Dissociate(String),
}

impl Pusher {
    /// Pushes for ever.
    pub(super) async fn run(self) {
        let mut told = BulkSyncRequest::default();
        let mut earlier = told.clone();
        for second in 0.. {
            sleep_until(clock::after(Duration::from_secs(1), 1)).await;
            let now = self.oracle.world(|world| world.pushed());
            let calls = differences(&told, &now);
            let is_everything = second % EVERY == 0;
            if is_everything || !calls.is_empty() {
                // Whoever does not answer is asked anew with the next change.
                let _lost = self
                    .push(calls, is_everything.then_some(&now), &earlier)
                    .await;
            }
            if is_everything {
                earlier.clone_from(&told);
            }
            told = now;
        }
    }

    async fn push(
        &self,
        calls: Vec<Call>,
        everything: Option<&BulkSyncRequest>,
        earlier: &BulkSyncRequest,
    ) -> anyhow::Result<()> {
        let entrances = self.entrances.lock().unwrap()[self.number].clone();
        let entrance = entrances.cloud_controller.expect("it listens for pushes");
        let cloud_controller = CloudController::new(connect(entrance).await?);
        for call in calls {
            let asked = format!("{call:?}");
            let (fate, _) = self.network.fate_of(CAPI, &asked);
            self.trace.note(format!("{fate:?} {asked}"));
            if matches!(fate, Fate::Answered | Fate::Stale | Fate::Lie) {
                call.make(&cloud_controller).await?;
            }
        }
        let Some(everything) = everything else {
            return Ok(());
        };
        let (fate, mut rng) = self.network.fate_of(CAPI, EVERYTHING);
        self.trace.note(format!("{fate:?} {EVERYTHING}"));
        let request = match fate {
            Fate::Answered => everything.clone(),
            Fate::Stale => earlier.clone(),
            Fate::Lie => {
                let knows_nothing = self.network.knows_nothing(CAPI, EVERYTHING);
                lie(&mut rng, everything.clone(), knows_nothing)
            }
            Fate::Refused | Fate::Unanswered | Fate::Failed | Fate::CutShort => return Ok(()),
        };
        cloud_controller.bulk_sync(&request).await?;
        Ok(())
    }
}

/// A message of everything that is wrong; of nothing, to who has nothing to compare it with.
fn lie(rng: &mut Rng, mut request: BulkSyncRequest, knows_nothing: bool) -> BulkSyncRequest {
    let BulkSyncRequest {
        routes,
        route_mappings: mappings,
        capi_diego_process_associations: associations,
    } = &mut request;
    match rng.u32(0..if knows_nothing { 4 } else { 7 }) {
        0 => request = BulkSyncRequest::default(),
        1 => mappings.clear(),
        2 => associations.clear(),
        3 => {
            for route in routes {
                "a b".clone_into(&mut route.host);
            }
        }
        4 => routes.retain(|_| rng.bool()),
        5 => mappings.retain(|_| rng.bool()),
        _ => associations.retain(|_| rng.bool()),
    }
    request
}

/// What to call so that `before` becomes `now`: what is new first.
fn differences(before: &BulkSyncRequest, now: &BulkSyncRequest) -> Vec<Call> {
    let routes = |of: &BulkSyncRequest| by(&of.routes, |route| route.guid.clone());
    let mapping = |of: &RouteMapping| (of.route_guid.clone(), of.capi_process_guid.clone());
    let mappings = |of: &BulkSyncRequest| by(&of.route_mappings, mapping);
    let associations = |of: &BulkSyncRequest| {
        by(&of.capi_diego_process_associations, |of| {
            of.capi_process_guid.clone()
        })
    };
    let [routes_before, routes] = [before, now].map(routes);
    let [mappings_before, mappings] = [before, now].map(mappings);
    let [associations_before, associations] = [before, now].map(associations);
    let mut calls = Vec::new();
    calls.extend(new(&routes_before, &routes).map(Call::Upsert));
    calls.extend(new(&mappings_before, &mappings).map(Call::Map));
    calls.extend(new(&associations_before, &associations).map(Call::Associate));
    calls.extend(gone(&mappings_before, &mappings).map(Call::Unmap));
    calls.extend(gone(&routes_before, &routes).map(|route| Call::Delete(route.guid)));
    let dissociated = gone(&associations_before, &associations);
    calls.extend(dissociated.map(|of| Call::Dissociate(of.capi_process_guid)));
    calls
}

fn by<K: Ord, T: Clone>(items: &[T], key: impl Fn(&T) -> K) -> BTreeMap<K, T> {
    items.iter().map(|item| (key(item), item.clone())).collect()
}

fn new<K: Ord, T: Clone + PartialEq>(
    before: &BTreeMap<K, T>,
    now: &BTreeMap<K, T>,
) -> impl Iterator<Item = T> {
    let new = now.iter();
    new.filter(|(key, item)| before.get(key) != Some(item))
        .map(|(_, item)| item.clone())
}

fn gone<K: Ord, T: Clone>(
    before: &BTreeMap<K, T>,
    now: &BTreeMap<K, T>,
) -> impl Iterator<Item = T> {
    let before = before.iter();
    before
        .filter(|(key, _)| !now.contains_key(key))
        .map(|(_, item)| item.clone())
}

impl Call {
    async fn make(self, cloud_controller: &CloudController) -> Result<(), tonic::Status> {
        match self {
            Self::Upsert(route) => cloud_controller.upsert_route(route).await,
            Self::Map(mapping) => cloud_controller.map_route(mapping).await,
            Self::Associate(association) => cloud_controller.associate(association).await,
            Self::Unmap(mapping) => cloud_controller.unmap_route(mapping).await,
            Self::Delete(route) => cloud_controller.delete_route(&route).await,
            Self::Dissociate(process) => cloud_controller.dissociate(&process).await,
        }
    }
}
