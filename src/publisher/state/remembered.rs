//! What an earlier process served: what a start is compared with, and what stands in for whoever is silent.

use std::sync::Arc;

use super::State;
use crate::{
    model::{Basis, Process, Update},
    publisher::Input,
    store::Saved,
    table::Join,
};

/// What stands in for sources that are silent.
#[derive(Debug)]
pub(super) struct Remembered {
    processes: Vec<Process>,
    has_policies: bool,
}

impl State {
    /// Takes in what was served before the start. Nothing of it is published yet.
    pub fn remember(&mut self, saved: Saved, join: Join) {
        if !saved.routes.is_empty() {
            self.start.trust();
        }
        let routes = saved.routes.into_iter();
        let routes = routes.map(Arc::unwrap_or_clone).collect();
        let update = match join {
            Join::Described => Update::AllRoutes(routes),
            Join::Associated => Update::AllPushed {
                routes,
                associations: saved.associations,
                leads: true,
            },
        };
        let policies = saved.policies.clone().map(Update::AllPolicies);
        for update in [Some(update), policies].into_iter().flatten() {
            let mut changes = self.table.apply(update);
            changes.take_losses();
            self.move_vips(&changes);
            self.pending.merge(changes);
        }
        // What is remembered of TCP routes is in the table: nobody has to wait for them.
        self.missing.remove(&Input::TcpRoutes);
        self.table.expect(&saved.instances);
        self.is_expecting = true;
        self.remembered = Some(Remembered {
            processes: saved.processes,
            has_policies: saved.policies.is_some(),
        });
    }

    /// Whether the state file has policies, and nothing that is silent was stood in for yet.
    pub fn remembers_policies(&self) -> bool {
        let remembered = self.remembered.as_ref();
        remembered.is_some_and(|remembered| remembered.has_policies)
    }

    /// Sources have been silent since the start: what was known of them is served from now on.
    pub fn stand_in(&mut self) -> Vec<Input> {
        let Some(remembered) = self.remembered.take() else {
            return Vec::new();
        };
        let silent = [Input::Routes, Input::Processes].into_iter();
        let silent: Vec<_> = silent.filter(|input| self.is_missing(*input)).collect();
        if !silent.is_empty() && !remembered.processes.is_empty() {
            self.apply(Update::Processes {
                known: remembered.processes,
                unknown: Vec::new(),
            });
        }
        self.missing.retain(|input| !silent.contains(input));
        if remembered.has_policies {
            self.release_sidecars();
        }
        silent
    }

    /// Whether the first list of instances is to be compared with what there was.
    pub(super) fn expects(&self, update: &Update, basis: Basis) -> bool {
        let is_first = self.is_missing(Input::Instances) && self.is_expecting;
        is_first && basis != Basis::Told && matches!(update, Update::AllInstances(_))
    }

    /// What is to be written down: what is served, or was last.
    pub fn saved(&self, knows_policies: bool) -> Saved {
        Saved {
            routes: self.table.all_routes(),
            processes: self.table.processes(),
            associations: self.table.associations(),
            policies: knows_policies.then(|| self.table.policies().to_vec()),
            instances: self.table.instance_counts(),
        }
    }
}
