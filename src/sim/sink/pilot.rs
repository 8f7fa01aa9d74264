//! What each version of Pilot asks for.

const CORE: &[&str] = &[
    "istio/networking/v1alpha3/virtualservices",
    "istio/networking/v1alpha3/gateways",
    "istio/networking/v1alpha3/serviceentries",
    "istio/networking/v1alpha3/destinationrules",
    "istio/networking/v1alpha3/envoyfilters",
    "istio/networking/v1alpha3/sidecars",
];
const MIXER: &[&str] = &[
    "istio/config/v1alpha2/httpapispecs",
    "istio/config/v1alpha2/httpapispecbindings",
    "istio/mixer/v1/config/client/quotaspecs",
    "istio/mixer/v1/config/client/quotaspecbindings",
];
const AUTHENTICATION: &[&str] = &[
    "istio/authentication/v1alpha1/policies",
    "istio/authentication/v1alpha1/meshpolicies",
];
const RBAC: &[&str] = &[
    "istio/rbac/v1alpha1/serviceroles",
    "istio/rbac/v1alpha1/servicerolebindings",
    "istio/rbac/v1alpha1/rbacconfigs",
    "istio/rbac/v1alpha1/clusterrbacconfigs",
];
const RBAC_POLICIES: &[&str] = &["istio/rbac/v1alpha1/authorizationpolicies"];
const AUTHORIZATION: &[&str] = &["istio/security/v1beta1/authorizationpolicies"];
const IDENTITY: &[&str] = &[
    "istio/security/v1beta1/peerauthentications",
    "istio/security/v1beta1/requestauthentications",
];
const WORKLOAD_ENTRIES: &[&str] = &["istio/networking/v1alpha3/workloadentries"];
const WORKLOAD_GROUPS: &[&str] = &["istio/networking/v1alpha3/workloadgroups"];

/// Every version that speaks classic MCP, and the collections that it asks for.
pub fn pilots() -> [(&'static str, Vec<&'static str>); 8] {
    let first = [CORE, MIXER, AUTHENTICATION, RBAC].concat();
    let since_1_6 = [CORE, AUTHORIZATION, IDENTITY, WORKLOAD_ENTRIES].concat();
    [
        ("1.1", first.clone()),
        ("1.2", [&first, RBAC_POLICIES].concat()),
        ("1.3", first.clone()),
        ("1.4", [&first, AUTHORIZATION].concat()),
        ("1.5", [&first, AUTHORIZATION, IDENTITY].concat()),
        ("1.6", [&since_1_6, MIXER, RBAC].concat()),
        ("1.7", [&since_1_6, MIXER].concat()),
        ("1.8", [&since_1_6, WORKLOAD_GROUPS].concat()),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_version_asks_for_as_many_as_were_counted() {
        let counts = super::pilots().map(|(_, collections)| collections.len());
        assert_eq!(counts, [16, 17, 16, 17, 19, 18, 14, 11]);
    }
}
