//! The names of collections that sinks ask for, as a closed set for metric labels.

use crate::{delivery::OTHER, snapshot::Kind};

/// Every collection that a Pilot from 1.1 to 1.8 asks for, beside ours.
pub(super) const OTHERS: [&str; 18] = [
    "istio/authentication/v1alpha1/meshpolicies",
    "istio/authentication/v1alpha1/policies",
    "istio/config/v1alpha2/httpapispecbindings",
    "istio/config/v1alpha2/httpapispecs",
    "istio/mixer/v1/config/client/quotaspecbindings",
    "istio/mixer/v1/config/client/quotaspecs",
    "istio/networking/v1alpha3/envoyfilters",
    "istio/networking/v1alpha3/synthetic/serviceentries",
    "istio/networking/v1alpha3/workloadentries",
    "istio/networking/v1alpha3/workloadgroups",
    "istio/rbac/v1alpha1/authorizationpolicies",
    "istio/rbac/v1alpha1/clusterrbacconfigs",
    "istio/rbac/v1alpha1/rbacconfigs",
    "istio/rbac/v1alpha1/servicerolebindings",
    "istio/rbac/v1alpha1/serviceroles",
    "istio/security/v1beta1/authorizationpolicies",
    "istio/security/v1beta1/peerauthentications",
    "istio/security/v1beta1/requestauthentications",
];

/// The label for a collection.
pub(super) fn label(name: &str) -> &'static str {
    let ours = Kind::ALL.map(Kind::collection).into_iter();
    ours.chain(OTHERS)
        .find(|known| *known == name)
        .unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_sink_made_up_is_no_label_of_its_own() {
        assert_eq!(
            label("istio/networking/v1alpha3/gateways"),
            "istio/networking/v1alpha3/gateways"
        );
        assert_eq!(label("istio/networking/v1alpha3/gateway"), OTHER);
    }

    #[cfg(feature = "sim")]
    #[test]
    fn every_collection_of_every_pilot_is_known() {
        for (version, collections) in crate::sim::sink::pilots() {
            for collection in &collections {
                assert_eq!(&label(collection), collection, "of Pilot {version}");
            }
        }
    }
}
