//! Hostnames that are no domain names. No Istio takes them for hosts, so a proxy sends their requests to the wildcard
//! above them, and has to be told there where they go.

use std::collections::BTreeMap;

use super::fall_backs::labels;
use crate::model::Hostname;

/// The external hostnames that are no domain names.
#[derive(Debug, Default)]
pub(super) struct Nameless {
    /// By their labels from the right, so that what is below a wildcard is a range.
    by_labels: BTreeMap<String, Hostname>,
}

impl Nameless {
    /// Takes in whether there is such a hostname.
    pub(super) fn set(&mut self, host: &Hostname, is_there: bool) {
        if host.is_domain_name() {
            return;
        }
        let labels = labels(host.as_str());
        if is_there {
            self.by_labels.insert(labels, host.clone());
        } else {
            self.by_labels.remove(&labels);
        }
    }

    /// Those below a wildcard.
    pub(super) fn below(&self, wildcard: &Hostname) -> impl Iterator<Item = &Hostname> + use<'_> {
        let labels = labels(wildcard.as_str());
        let domain = labels.strip_suffix('*').unwrap_or(&labels).to_owned();
        let from_there = self.by_labels.range(domain.clone()..);
        let names = from_there.take_while(move |(name, _)| name.starts_with(&domain));
        names.map(|(_, host)| host)
    }
}
