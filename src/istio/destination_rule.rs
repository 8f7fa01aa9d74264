//! DestinationRules.

use super::subset::Subsets;
use crate::{
    proto::istio::networking::v1alpha3::{DestinationRule, Subset},
    table::HostView,
};

/// The subsets of a hostname's destinations, each once; `None` where it has no destination.
pub(super) fn destination_rule(host: &HostView<'_>) -> Option<DestinationRule> {
    let subsets: Vec<_> = Subsets::of(host)
        .selectors()
        .into_iter()
        .map(|(name, labels)| Subset { name, labels })
        .collect();
    (!subsets.is_empty()).then(|| DestinationRule {
        host: host.name.to_string(),
        subsets,
    })
}
