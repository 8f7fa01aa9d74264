//! Readiness by named gates: ready when each was opened by the task that earned it.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::watch;

/// What the process is still waiting for. Clones share the state.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<BTreeSet<&'static str>>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeSet::new())))
    }
}

impl Readiness {
    /// Closes a gate: not ready until its holder opens it.
    pub fn gate(&self, name: &'static str) -> Gate {
        self.0.send_modify(|pending| {
            pending.insert(name);
        });
        Gate {
            name,
            readiness: self.clone(),
        }
    }

    /// Opens a gate in the place of its holder.
    pub fn open(&self, name: &'static str) {
        self.0.send_modify(|pending| {
            pending.remove(name);
        });
    }

    /// The gates that are still closed; empty when ready.
    pub fn pending(&self) -> Vec<&'static str> {
        self.0.borrow().iter().copied().collect()
    }

    /// Resolves once every gate is open.
    pub async fn ready(&self) {
        let mut pending = self.0.subscribe();
        pending
            .wait_for(BTreeSet::is_empty)
            .await
            .expect("self holds the sender");
    }
}

/// One thing that readiness waits for. A gate that is dropped unopened stays closed.
#[derive(Debug)]
#[must_use = "a gate that is dropped stays closed"]
pub struct Gate {
    name: &'static str,
    readiness: Readiness,
}

impl Gate {
    /// Opens the gate for good.
    pub fn open(self) {
        self.readiness.open(self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_ready_when_every_gate_was_opened_and_names_the_closed_ones() {
        let readiness = Readiness::default();
        let (routes, instances) = (readiness.gate("routes"), readiness.gate("instances"));
        assert_eq!(readiness.pending(), ["instances", "routes"]);
        routes.open();
        assert_eq!(readiness.pending(), ["instances"]);
        instances.open();
        readiness.ready().await;
    }

    #[test]
    fn a_gate_that_is_dropped_unopened_stays_closed() {
        let readiness = Readiness::default();
        drop(readiness.gate("routes"));
        assert_eq!(readiness.pending(), ["routes"]);
    }
}
