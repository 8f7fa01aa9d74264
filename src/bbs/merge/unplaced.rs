//! The places among instances that have none: what waits for a cell, or has crashed.

use std::collections::BTreeMap;

use crate::{bbs::observation::Unplaced, guids::GuidMap, model::DiegoProcessGuid};

/// By process and place. Nothing routes by it.
#[derive(Debug, Default)]
pub(super) struct Places(GuidMap<DiegoProcessGuid, BTreeMap<u32, Unplaced>>);

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
        places.insert(place.index, place);
    }

    pub(super) fn remove(&mut self, process: &DiegoProcessGuid, index: u32) {
        if let Some(places) = self.0.get_mut(process) {
            places.remove(&index);
            if places.is_empty() {
                self.0.remove(process);
            }
        }
    }

    /// Those of a process.
    pub(super) fn of(&self, process: &DiegoProcessGuid) -> impl Iterator<Item = &Unplaced> {
        self.0.get(process).into_iter().flat_map(BTreeMap::values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(index: u32, crashes: u32) -> Unplaced {
        Unplaced {
            process: "a".into(),
            index,
            is_crashed: true,
            since: 0,
            crashes,
            why: None,
        }
    }

    #[test]
    fn each_place_is_there_once_as_it_was_told_last_and_in_its_order() {
        let mut places = Places::default();
        places.replace((0..20_000).rev().map(|index| place(index, 1)).collect());
        places.insert(place(7, 2));
        places.remove(&"a".into(), 8);
        let process = "a".into();
        let told: Vec<_> = places.of(&process).collect();
        assert_eq!(told.len(), 19_999);
        let around: Vec<_> = told[6..9]
            .iter()
            .map(|one| (one.index, one.crashes))
            .collect();
        assert_eq!(around, [(6, 1), (7, 2), (9, 1)]);
    }
}
