//! Watches the size of full responses against what sinks accept.

use std::mem;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::snapshot::{self, ByKind, Snapshot};

/// Sizes of a response beyond which a warning is due: what a Pilot accepts by default, and as istio-release starts it.
const WARNING_BYTES: [usize; 2] = [4 << 20, 8 << 20];

/// How many thresholds each collection is over.
#[derive(Debug, Default)]
struct Sizes {
    levels: ByKind<usize>,
}

/// Follows the snapshots until `shutdown`.
///
/// A Pilot drops the stream of a response beyond its limit, reconnects and gets the same again: for ever, and the
/// server sees only that the peer has left. So the size itself has to be said.
pub(super) async fn watch(mut snapshots: snapshot::Receiver, shutdown: CancellationToken) {
    let mut sizes = Sizes::default();
    snapshots.mark_changed();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            changed = snapshots.changed() => if changed.is_err() { return },
        }
        let snapshot = snapshots.borrow_and_update().clone();
        if let Some(snapshot) = snapshot {
            sizes.observe(&snapshot, &WARNING_BYTES);
        }
    }
}

impl Sizes {
    fn observe(&mut self, snapshot: &Snapshot, thresholds: &[usize]) {
        for (kind, collection) in snapshot.iter() {
            let (bytes, resources) = (collection.encoded_len(), collection.len());
            let level = thresholds.iter().filter(|limit| bytes > **limit).count();
            let before = mem::replace(&mut self.levels[kind], level);
            if level == before {
                continue;
            }
            let limit = thresholds[level.max(before) - 1];
            if level > before {
                warn!(
                    collection = kind.collection(),
                    bytes,
                    resources,
                    limit,
                    "response exceeds what sinks may accept; see --mcpMaxMsgSize"
                );
            } else {
                info!(
                    collection = kind.collection(),
                    bytes, resources, limit, "response is below the limit again"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        proto::istio::networking::v1alpha3::VirtualService,
        snapshot::{Collection, Encoded, Kind},
    };

    fn snapshot(resources: usize) -> Snapshot {
        let edits = (0..resources).map(|n| {
            let name = format!("name-{n}");
            let encoded = Encoded::new(&name, 0, &VirtualService::default());
            (name.into(), Some(encoded))
        });
        let collection = Collection::default().edited(edits.collect());
        Snapshot::new(
            [(Kind::VirtualService, Arc::new(collection))]
                .into_iter()
                .collect(),
        )
    }

    #[test]
    fn a_level_rises_and_falls_with_the_size() {
        let mut sizes = Sizes::default();
        for (resources, level) in [(0, 0), (2, 0), (20, 1), (200, 2), (2, 0)] {
            sizes.observe(&snapshot(resources), &[1000, 10_000]);
            assert_eq!(
                sizes.levels[Kind::VirtualService],
                level,
                "of {resources} resources"
            );
        }
    }
}
