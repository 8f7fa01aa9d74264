//! The publisher's memory: what it writes down, and what it finds at its start.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tracing::{info, warn};

use super::{Input, Publisher, ROUTES_GATE};
use crate::{
    feed::chain,
    model::{Report, Update},
    store,
};

/// From a change of routes or policies to its being written down.
const SAVED_WITHIN: Duration = Duration::from_secs(5);
/// The same of a change of instances, of which only the numbers are.
const COUNTED_WITHIN: Duration = Duration::from_mins(1);
/// What is confirmed is written down anew when it has this part of the age at which a file is of no use.
const RENEWED_BEFORE: u32 = 4;

impl Publisher {
    /// Takes in what an earlier process served.
    pub(super) fn remember(&mut self) {
        let Some(store) = &self.settings.store else {
            return;
        };
        match store.read() {
            Ok(Some((mut saved, written_at))) => {
                // Nobody would ever replace them.
                if self.settings.policies.is_none() {
                    saved.policies = None;
                }
                saved.routes.retain(|route| self.settings.wants(route));
                let age = written_at.elapsed().unwrap_or_default();
                let (routes, seconds) = (saved.routes.len(), age.as_secs_f64());
                info!(routes, seconds, "state file read");
                self.stands_in = Some(Instant::now() + store.after);
                self.said_at = written_at;
                self.knows_policies = saved.policies.is_some();
                self.state.remember(saved, self.settings.join);
                self.vips.send_replace(Some(self.state.vips().clone()));
            }
            Ok(None) => info!("there is no state file yet"),
            Err(error) => {
                let error = chain(&error);
                warn!(
                    error,
                    "the state file is of no use, and set aside beside itself"
                );
            }
        }
    }

    /// Whoever has been silent since the start is stood in for.
    pub(super) fn stand_in(&mut self) {
        self.stands_in = None;
        // Without instances there is nothing to serve, and nobody knows what is missing of their processes.
        self.stands_in_late = self.state.is_missing(Input::Instances);
        if self.stands_in_late {
            return;
        }
        let silent = self.state.stand_in();
        if !silent.is_empty() {
            let names: Vec<_> = silent.iter().map(|input| format!("{input:?}")).collect();
            warn!(
                silent = names.join(", "),
                "no word since the start: what the state file has is served"
            );
        }
        if silent.contains(&Input::Processes)
            && let Some(gate) = self.described.take()
        {
            gate.open();
        }
        if silent.contains(&Input::Routes) {
            self.readiness.open(ROUTES_GATE);
        }
        // Also where policies alone are silent.
        if self.state.is_due() {
            self.publish();
        }
    }

    /// The same, if it was only the instances that were waited for.
    pub(super) fn stand_in_late(&mut self) {
        if self.stands_in_late && !self.state.is_missing(Input::Instances) {
            self.stand_in();
        }
    }

    /// What was reported before anything was published is to be written down too.
    pub(super) fn arm_saving(&mut self) {
        if self.settings.store.is_some() {
            self.unsaved = Some(Instant::now() + SAVED_WITHIN);
        }
    }

    /// What is reported is to be written down, soon.
    pub(super) fn note_unsaved(&mut self, report: &Report, now: Instant) {
        if self.settings.store.is_none() {
            return;
        }
        self.knows_policies |= matches!(report.update, Update::AllPolicies(_));
        if matches!(
            report.update,
            Update::AllRoutes(_) | Update::AllPushed { .. }
        ) {
            self.routes_read = Some(now);
            self.said_at = SystemTime::now();
        }
        let within = match report.update {
            Update::AllInstances(_) | Update::Instances { .. } => COUNTED_WITHIN,
            _ => SAVED_WITHIN,
        };
        let due = now + within;
        self.unsaved = Some(self.unsaved.map_or(due, |at| at.min(due)));
    }

    /// Hands over what is to be written down; nothing before anything is published: what was written last is more.
    pub(super) fn save(&mut self) {
        self.unsaved = None;
        if self.published.is_some() {
            return;
        }
        let saved = self.state.saved(self.knows_policies);
        let is_aged = self.is_aged();
        let is_sent = self.saved.send_if_modified(|sent| {
            let is_due = is_aged || sent.as_ref().is_none_or(|sent| *sent.saved != saved);
            if is_due {
                *sent = Some(store::State {
                    saved: Arc::new(saved),
                    said_at: self.said_at,
                });
            }
            is_due
        });
        if is_sent {
            self.saved_at = Some(Instant::now());
        }
    }

    /// A foundation at rest says the same for days, and that is worth as much as if it were new, if Cloud Controller says it.
    fn is_aged(&self) -> bool {
        let store = self.settings.store.as_ref();
        let limit = store.map(|store| store.max_age / RENEWED_BEFORE);
        let age = self.saved_at.map(|at| at.elapsed());
        let is_old = limit.zip(age).is_some_and(|(limit, age)| age >= limit);
        is_old && self.routes_read > self.saved_at
    }

    /// Whoever begins next is told of all that this one knew.
    pub(super) fn save_last(mut self) {
        if let Some(report) = self.damped.release() {
            self.take_in(report, &mut None);
        }
        if self.unsaved.is_some() {
            self.save();
        }
    }

    /// Virtual addresses follow from routes alone: they wait for no snapshot.
    pub(super) fn tell_early_vips(&self) {
        let are_known = self.vips.borrow().is_some() || !self.state.is_missing(Input::Routes);
        if self.published.is_some() && are_known {
            self.vips.send_replace(Some(self.state.vips().clone()));
        }
    }
}
