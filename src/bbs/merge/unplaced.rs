//! The places among instances that have none: what waits for a cell, or has crashed.

use crate::{bbs::observation::Unplaced, guids::GuidMap, model::DiegoProcessGuid};

/// By process. Nothing routes by it.
#[derive(Debug, Default)]
pub(super) struct Places(GuidMap<DiegoProcessGuid, Vec<Unplaced>>);

impl Places {
    /// These are all.
    pub(super) fn replace(&mut self, places: Vec<Unplaced>) {
        self.0.clear();
        for place in places {
            self.insert(place);
        }
    }

    pub(super) fn insert(&mut self, place: Unplaced) {
        let places = self.0.entry(place.process.clone()).or_default();
        places.retain(|known| known.index != place.index);
        places.push(place);
    }

    pub(super) fn remove(&mut self, process: &DiegoProcessGuid, index: u32) {
        if let Some(places) = self.0.get_mut(process) {
            places.retain(|known| known.index != index);
            if places.is_empty() {
                self.0.remove(process);
            }
        }
    }

    /// Those of a process.
    pub(super) fn of(&self, process: &DiegoProcessGuid) -> &[Unplaced] {
        self.0.get(process).map_or(&[], Vec::as_slice)
    }
}
