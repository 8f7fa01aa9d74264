//! What is written of resources that are not served as they are.

use std::{collections::HashSet, sync::Arc};

use tracing::{info, warn};

use crate::{
    istio::validate::{Invalid, Rejected},
    repeats::Repeats,
};

const WITHHELD: &str = "not served as it is";
const RELEASED: &str = "no longer withheld";

/// The lines of what is withheld, each kind told apart by its rule. Tenants make as many of them as they like.
#[derive(Debug)]
pub(super) struct Told {
    withheld: Repeats<&'static str>,
    released: Repeats<&'static str>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            withheld: Repeats::warn(WITHHELD, "publisher"),
            released: Repeats::info(RELEASED, "publisher"),
        }
    }
}

impl Told {
    pub(super) fn reject(
        &self,
        rejected: &mut Arc<Rejected>,
        collection: &'static str,
        host: &str,
        reasons: Vec<Invalid>,
    ) {
        // As nearly always.
        if reasons.is_empty() && rejected.is_empty() {
            return;
        }
        let key = (collection, host.to_owned());
        let before = rejected.get(&key).map_or(&[][..], Vec::as_slice);
        if before == reasons {
            return;
        }
        let known: HashSet<_> = before.iter().collect();
        for reason in reasons.iter().filter(|reason| !known.contains(reason)) {
            let rule = reason.rule;
            if self.withheld.begins(rule) {
                warn!(collection, host, rule, reason.detail, "{WITHHELD}");
            }
        }
        let rejected = Arc::make_mut(rejected);
        if reasons.is_empty() {
            if self.released.begins(collection) {
                info!(collection, host, "{RELEASED}");
            }
            rejected.remove(&key);
        } else {
            rejected.insert(key, reasons);
        }
    }
}
